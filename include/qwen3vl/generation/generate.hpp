/// generate (GenerationMixin.generate): prompts in, tokens out, for a batch of prompts with images and videos.
/// Greedy search and sampling are in generation/sampling.hpp (in generation/device_sampling.hpp on a backend that
/// samples on the device, if the options allow it), beam search in generation/beam_search.hpp, and their common part,
/// running prompts through the model, in generation/prompt_run.hpp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
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

/// All but GenerateOutput::sequences.
template <class Model>
GenerateOutput search(Model& model, const GenerationPrompts& prompts, const GenerationSettings& settings,
                      PromptCache<Model>* cache) {
  const GenerationConfig& config = settings.config;
  if (const auto& type = model.config().rope.rope_type;
      config.prompt_lookup_num_tokens > 0 && (type == "dynamic" || type == "longrope"))
    fail("prompt_lookup_num_tokens does not go with the rope type '", type,
         "', which turns a token by how many come after it; leave it out");
  const bool beams = config.num_beams > 1;
  const index_t copies = beams ? config.num_beams : config.num_return_sequences;
  GenerateOutput output;
  std::optional<StepOutputs<Model>> steps;
  if (settings.wants_layers()) steps.emplace(config, prompts.padded, copies, output);
  PromptRun<Model> run(model, prompts, cache, copies, output.timings, steps ? &*steps : nullptr);
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
GenerateOutput checked_search(Model& model, const GenerationPrompts& prompts, const GenerationSettings& settings,
                              PromptCache<Model>* cache) {
  if constexpr (Model::BackendType::is_host) {
    return search(model, prompts, settings, cache);
  } else {
    try {
      return search(model, prompts, settings, cache);
    } catch (const OutOfMemory& error) {
      throw OutOfMemory(error.what() + needed_in_all(model, prompts.tokens, prompts.media, settings));
    }
  }
}

/// Throws Error for what does not go with embeddings or positions of the caller's.
template <class Model>
void check_given(const ModelInputs& inputs, const GenerationSettings& settings, bool cached) {
  constexpr index_t hidden = Model::VariantType::config.text.hidden_size;
  const HostCube<float>& embeds = inputs.inputs_embeds;
  check_positions(inputs.position_ids, inputs.batch_size(), inputs.length());
  if (inputs.position_ids.allocated()) {
    const std::int64_t longest = longest_position(inputs.position_ids);
    // A limit that is none is not reached.
    if (longest > std::numeric_limits<std::int32_t>::max() - std::min(settings.token_limit, index_t{1} << 30))
      fail("position_ids go up to ", longest, ", and up to ", settings.token_limit,
           " tokens follow; positions have 31 bits");
  }
  if (cached && (embeds.allocated() || inputs.position_ids.allocated()))
    fail("a prompt cache goes by the ids of tokens; inputs_embeds and position_ids do not go with it");
  if (!embeds.allocated()) return;
  if (embeds.extent(2) != hidden) fail("inputs_embeds has ", embeds.extent(2), " columns, hidden_size is ", hidden);
  if (settings.config.token_healing) fail("token_healing changes input_ids; it does not go with inputs_embeds");
  const HostMatrix<TokenId>& ids = inputs.input_ids;
  if (ids.allocated()) {
    if (ids.rows() != embeds.rows() || ids.extent(1) != embeds.extent(1))
      fail("input_ids is [", ids.rows(), ", ", ids.extent(1), "], inputs_embeds [", embeds.rows(), ", ",
           embeds.extent(1), ", ", hidden, "]; give the ids of the same tokens, or none");
    return;
  }
  const GenerationConfig& config = settings.config;
  const auto needs_ids = [](bool is_set, const char* option) {
    if (is_set) fail(option, " goes by the ids of the prompt; give input_ids beside inputs_embeds");
  };
  needs_ids(config.encoder_repetition_penalty != 1.0f, "encoder_repetition_penalty");
  needs_ids(config.encoder_no_repeat_ngram_size > 0, "encoder_no_repeat_ngram_size");
  needs_ids(config.forced_bos_token_id.has_value(), "forced_bos_token_id");
  needs_ids(config.guidance_scale != 1.0f && settings.options.negative_prompt_ids.empty(),
            "guidance_scale without negative_prompt_ids");
  needs_ids(settings.options.thinking_budget.has_value(), "thinking_budget");
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
  PackedTokens padded = padded_left(tokens.rows);
  const detail::GenerationPrompts all{.tokens = std::move(tokens), .padded = std::move(padded), .media = prompts.media};
  GenerateOutput output = detail::checked_search(model, all, settings, cache);
  const TokenId pad = settings.config.padding_token();
  output.sequences =
      detail::sequences_of(to_padded(all.tokens, pad, PaddingSide::left).input_ids, output.new_tokens, pad);
  return output;
}

/// The same from padded prompts; `sequences` begin with them unchanged but for token_healing, or with nothing where
/// inputs_embeds stand for them. Penalties and n-grams then count only new tokens. Tokens after given position_ids
/// continue from those of the last one.
template <class Model>
GenerateOutput generate(Model& model, const ModelInputs& inputs, const GenerateOptions& options = {},
                        PromptCache<Model>* cache = nullptr) {
  const index_t batch = inputs.batch_size(), length = inputs.length();
  const detail::GenerationSettings settings(options, model.generation_config(), length);
  if (length == 0) fail("the prompt is empty; generation needs at least one token");
  detail::check_mask(inputs.attention_mask, batch, length);
  detail::check_given<Model>(inputs, settings, cache != nullptr);
  PackedTokens padded = pack(batch, length, inputs.attention_mask);
  PromptTokens tokens = model.prompts_of(inputs, padded);
  if (settings.config.token_healing) detail::heal_tokens(model, tokens, inputs, options);
  const detail::GenerationPrompts all{
      .tokens = std::move(tokens), .padded = std::move(padded), .media = inputs, .inputs = &inputs};
  GenerateOutput output = detail::checked_search(model, all, settings, cache);
  const HostMatrix<TokenId> nothing(batch, 0);
  output.sequences = detail::sequences_of(inputs.input_ids.allocated() ? inputs.input_ids : nothing, output.new_tokens,
                                          settings.config.padding_token());
  if (settings.config.token_healing) {
    const index_t copies = output.sequences.rows() / batch;
    for (index_t r = 0; r < output.sequences.rows(); ++r) {
      index_t last = length - 1;
      while (inputs.attention_mask.allocated() && inputs.attention_mask(r / copies, last) == 0) --last;
      output.sequences(r, last) = all.tokens.row(r / copies).back();
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
