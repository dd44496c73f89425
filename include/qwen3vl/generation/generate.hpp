/// generate (GenerationMixin.generate): prompts in, tokens out, for a batch of prompts with images and videos.
/// Greedy search and sampling are in generation/sampling.hpp (in generation/device_sampling.hpp on a backend that
/// samples on the device, if the options allow it), beam search in generation/beam_search.hpp, and their common part,
/// running prompts through the model, in generation/prompt_run.hpp.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "qwen3vl/generation/beam_search.hpp"
#include "qwen3vl/generation/device_sampling.hpp"
#include "qwen3vl/generation/out_of_memory.hpp"
#include "qwen3vl/generation/sampling.hpp"
#include "qwen3vl/generation/token_healing.hpp"
#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/inputs/prompts.hpp"

namespace qwen3vl {

namespace detail {

/// All but GenerateOutput::sequences. `padded`: the places of the tokens in the padded prompts.
template <class Model>
GenerateOutput search(Model& model, const PromptTokens& tokens, const PackedTokens& padded, const Media& media,
                      const GenerationSettings& settings, PromptCache<Model>* cache) {
  const GenerationConfig& config = settings.config;
  if (const auto& type = model.config().rope.rope_type;
      config.prompt_lookup_num_tokens > 0 && (type == "dynamic" || type == "longrope"))
    fail("prompt_lookup_num_tokens does not go with the rope type '", type,
         "', which turns a token by how many come after it; leave it out");
  const bool beams = config.num_beams > 1;
  const index_t copies = beams ? config.num_beams : config.num_return_sequences;
  GenerateOutput output;
  std::optional<StepOutputs<Model>> steps;
  if (settings.wants_layers()) steps.emplace(config, padded, copies, output);
  PromptRun<Model> run(model, tokens, media, cache, copies, output.timings, steps ? &*steps : nullptr);
  const auto give = [&](auto search) {
    for (Answer& answer : search()) {
      output.new_tokens.emplace_back(answer.new_tokens().begin(), answer.new_tokens().end());
      output.finish_reasons.push_back(answer.finished.value_or(FinishReason::length));
      output.timings.new_tokens += static_cast<index_t>(answer.count());
      if (beams || settings.wants_transition_scores()) output.sequences_scores.push_back(answer.score);
      if (settings.wants_transition_scores()) output.transition_scores.push_back(std::move(answer.transition_scores));
      if (beams) output.beam_indices.push_back(std::move(answer.beam_indices));
    }
  };
  if (beams) {
    give(BeamSearch<Model>(settings, run, output));
    return output;
  }
  if constexpr (DecodesOnDevice<typename Model::BackendType>) {
    if (DeviceSampling<Model>::takes(settings, model)) {
      give(DeviceSampling<Model>(settings, run, output));
      return output;
    }
  }
  give(Sampling<Model>(settings, run, output));
  if (steps) steps->finish(output.new_tokens);
  return output;
}

/// The same; an OutOfMemory says how much memory the call takes in total.
template <class Model>
GenerateOutput checked_search(Model& model, const PromptTokens& tokens, const PackedTokens& padded, const Media& media,
                              const GenerationSettings& settings, PromptCache<Model>* cache) {
  if constexpr (Model::BackendType::is_host) {
    return search(model, tokens, padded, media, settings, cache);
  } else {
    try {
      return search(model, tokens, padded, media, settings, cache);
    } catch (const OutOfMemory& error) {
      throw OutOfMemory(error.what() + needed_in_all(model, tokens, media, settings));
    }
  }
}

}  // namespace detail

/// Generates from `prompts` with the model's generation_config, changed by `options`. With a `cache`, only tokens,
/// images and videos that it does not hold are computed. Throws OutOfMemory, with what the call takes in all, where a
/// device has less. In `sequences`, prompts are padded on the left.
template <class Model>
GenerateOutput generate(Model& model, const Prompts& prompts, const GenerateOptions& options = {},
                        PromptCache<Model>* cache = nullptr) {
  const detail::GenerationSettings settings(options, model.generation_config(), prompts.rows.longest());
  detail::check_media(prompts, model.config().tokens.image_token_id, model.config().tokens.video_token_id);
  PromptTokens tokens = prompts;
  if (settings.config.token_healing) detail::heal_tokens(model, tokens, prompts.media, options);
  GenerateOutput output =
      detail::checked_search(model, tokens, padded_left(tokens.rows), prompts.media, settings, cache);
  const TokenId pad = settings.config.padding_token();
  output.sequences = detail::sequences_of(to_padded(tokens, pad, PaddingSide::left).input_ids, output.new_tokens, pad);
  return output;
}

/// The same from padded prompts; `sequences` begin with them unchanged but for token_healing.
template <class Model>
GenerateOutput generate(Model& model, const ModelInputs& inputs, const GenerateOptions& options = {},
                        PromptCache<Model>* cache = nullptr) {
  const detail::GenerationSettings settings(options, model.generation_config(), inputs.length());
  if (inputs.length() == 0) fail("the prompt is empty; generation needs at least one token");
  if (inputs.inputs_embeds.allocated() || inputs.position_ids.allocated())
    fail("inputs_embeds and position_ids are for forward(); generate() takes input_ids and computes positions itself");
  detail::check_mask(inputs.attention_mask, inputs.batch_size(), inputs.length());
  const auto& special = model.config().tokens;
  const PackedTokens padded = pack(inputs.batch_size(), inputs.length(), inputs.attention_mask);
  PromptTokens tokens = from_padded(inputs, padded, special.image_token_id, special.video_token_id,
                                    Model::VariantType::config.vision.spatial_merge_size);
  if (settings.config.token_healing) detail::heal_tokens(model, tokens, inputs, options);
  GenerateOutput output = detail::checked_search(model, tokens, padded, inputs, settings, cache);
  output.sequences = detail::sequences_of(inputs.input_ids, output.new_tokens, settings.config.padding_token());
  if (settings.config.token_healing) {
    const index_t copies = output.sequences.rows() / tokens.batch_size();
    for (index_t r = 0; r < output.sequences.rows(); ++r) {
      index_t last = inputs.length() - 1;
      while (inputs.attention_mask.allocated() && inputs.attention_mask(r / copies, last) == 0) --last;
      output.sequences(r, last) = tokens.row(r / copies).back();
    }
  }
  return output;
}

template <Variant V, Backend B, class P>
template <PromptInput Input>
GenerateOutput ForConditionalGeneration<V, B, P>::generate(const Input& prompts, const GenerateOptions& options,
                                                           PromptCache<ForConditionalGeneration>* cache) {
  return qwen3vl::generate(*this, prompts, options, cache);
}

template <Variant V, Backend B, class P>
template <PromptInput Input>
GenerateOutput ForConditionalGeneration<V, B, P>::generate(const Input& prompts) {
  return qwen3vl::generate(*this, prompts);
}

}  // namespace qwen3vl
