/// The message of generate() if a device's memory does not suffice: how much the whole call takes.
#pragma once

#include <algorithm>
#include <string>

#include "qwen3vl/generation/answers.hpp"
#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/model/memory_plan.hpp"

namespace qwen3vl::detail {

/// The end of a message: the device memory of the call by its plan, as if all prompts were as long as the longest.
template <class Model>
std::string needed_in_all(Model& model, const PromptTokens& tokens, const Media& media,
                          const GenerationSettings& settings) {
  MemoryRequest request{
      .batch_size = tokens.batch_size(),
      .sequences_per_prompt = std::max(settings.config.num_beams, settings.config.num_return_sequences),
      .prompt_tokens = tokens.rows.longest(),
      .max_new_tokens = settings.token_limit,
      .prefill_chunk = settings.options.prefill_chunk,
      .grid_thw = media.image_grid_thw};
  request.grid_thw.insert(request.grid_thw.end(), media.video_grid_thw.begin(), media.video_grid_thw.end());
  const MemoryPlan plan = plan_memory(model, request);
  return concat(". This call takes ", plan.peak, " bytes in all: ", plan.weights, " of weights, ", plan.kv_cache,
                " of keys and values, ", plan.activations + plan.decoding, " of activations, ",
                plan.features + plan.handle, " of others",
                settings.wants_layers() ? "; attentions and hidden states of a prefill_chunk come on top" : "");
}

}  // namespace qwen3vl::detail
