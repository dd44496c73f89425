/// generate (GenerationMixin.generate): prompts in, tokens out, for a padded batch of prompts with pictures and clips.
/// Greedy search and sampling are in generation/sampling.hpp (on a backend that does them by itself, where nothing else
/// is asked for, in generation/device_sampling.hpp), beam search in generation/beam_search.hpp, and what they share,
/// the prompts in the model, in generation/prompt_run.hpp.
#pragma once

#include <utility>
#include <vector>

#include "qwen3vl/generation/beam_search.hpp"
#include "qwen3vl/generation/device_sampling.hpp"
#include "qwen3vl/generation/out_of_memory.hpp"
#include "qwen3vl/generation/sampling.hpp"

namespace qwen3vl {

namespace detail {

template <class Model>
GenerateOutput generate_with(Model& model, const ModelInputs& inputs, const GenerationSettings& settings,
                             PromptCache<Model>* prompt_cache) {
  const GenerateOptions& options = settings.options;
  const GenerationConfig& config = settings.config;
  if (const auto& type = model.config().rope.rope_type;
      config.prompt_lookup_num_tokens > 0 && (type == "dynamic" || type == "longrope"))
    fail("prompt_lookup_num_tokens does not go with the rope type '", type,
         "', which turns a token by how many come after it; leave it out");
  const bool beams = config.num_beams > 1;
  GenerateOutput output;
  PromptRun<Model> run(model, inputs, prompt_cache, beams ? config.num_beams : config.num_return_sequences,
                       output.timings);
  const auto give = [&](auto search) {
    std::vector<Answer>& answers = search();
    collect(answers, inputs, config.padding_token(), output);
    if (beams || options.output_scores)
      for (const Answer& answer : answers) output.sequences_scores.push_back(answer.score);
    if (options.output_scores)
      for (Answer& answer : answers) output.transition_scores.push_back(std::move(answer.transition_scores));
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
  return output;
}

}  // namespace detail

/// Generates from `inputs` with the model's generation_config, changed by `options`. What
/// `ForConditionalGeneration::generate` calls. With a `prompt_cache`, only tokens and pictures that it does not hold
/// are computed. Throws OutOfMemory, with what the call takes in all, where a device has less.
template <class Model>
GenerateOutput run_generation(Model& model, const ModelInputs& inputs, const GenerateOptions& options,
                              PromptCache<Model>* prompt_cache = nullptr) {
  const detail::GenerationSettings settings(options, model.generation_config(), inputs.length());
  if constexpr (Model::BackendType::is_host) {
    return detail::generate_with(model, inputs, settings, prompt_cache);
  } else {
    try {
      return detail::generate_with(model, inputs, settings, prompt_cache);
    } catch (const OutOfMemory& error) {
      throw OutOfMemory(error.what() + detail::needed_in_all(model, inputs, settings));
    }
  }
}

}  // namespace qwen3vl
