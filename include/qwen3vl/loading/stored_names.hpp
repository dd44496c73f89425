/// The names under which checkpoints store the model's tensors, as transformers 5.24 accepts them
/// (core_model_loading.py: rename_source_key; conversion_mapping.py: qwen3_vl, qwen3_vl_moe and legacy).
#pragma once

#include <string>
#include <string_view>

namespace qwen3vl::detail {

/// The model's name of a stored tensor. A save of the base model (Qwen3VLModel) lacks "model.", one from within another
/// module has it twice, and one by transformers 5.10 to 5.23 may have "model.model." inside the text model. Names of
/// other kinds stay as they are.
inline std::string canonical_name(std::string_view stored) {
  constexpr std::string_view base = "model.";
  for (const std::string_view legacy : {"model.language_model.model.", "language_model.model.model."})
    if (stored.starts_with(legacy)) return "model.language_model." + std::string(stored.substr(legacy.size()));
  if (stored.starts_with("model.model.") || stored.starts_with("model.lm_head."))
    return std::string(stored.substr(base.size()));
  if (stored.starts_with("visual.") || stored.starts_with("language_model.")) return std::string(base).append(stored);
  return std::string(stored);
}

}  // namespace qwen3vl::detail
