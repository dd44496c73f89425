/// The names of tensors in an adapter_model.safetensors of PEFT.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "qwen3vl/loading/stored_names.hpp"

namespace qwen3vl::detail {

/// What a tensor of an adapter is for.
struct AdapterTensorName {
  enum class Kind {
    lora_a,
    lora_b,
    lora_b_bias,
    embedding_a,
    embedding_b,
    magnitudes,
    tokens,  ///< rows of trainable_token_indices
    base,    ///< the number that the adapter is on top of: PEFT stores embeddings that are adapted
    whole,   ///< of modules_to_save, or a bias
    copy,    ///< of the base model's number, unused
    unknown,
  };
  Kind kind = Kind::unknown;
  std::string name;  ///< the model's name of the module, or of the tensor (base, whole)
  int wrapped = 0;   ///< how many adapters of other parameters of the module are around this one
};

/// The model's name: also of modules as they were called before transformers 4.52.
inline std::string adapted_name(std::string_view stored) {
  for (const std::string_view part : {"layers.", "embed_tokens.", "norm."})
    for (const std::string_view base : {"", "model."})
      if (stored.starts_with(base) && stored.substr(base.size()).starts_with(part))
        return "model.language_model." + std::string(stored.substr(base.size()));
  return canonical_name(stored);
}

inline AdapterTensorName parse_adapter_tensor_name(std::string_view stored) {
  using Kind = AdapterTensorName::Kind;
  std::string name(stored);
  const auto without = [&](std::string_view infix) {
    int count = 0;
    for (std::size_t at = name.find(infix); at != name.npos; at = name.find(infix)) {
      name.erase(at, infix.size());
      ++count;
    }
    return count;
  };
  const auto starts = [&](std::string_view prefix) { return name.starts_with(prefix); };
  while (starts("base_model.model.")) name.erase(0, std::string_view("base_model.model.").size());
  without("_orig_mod.");
  without("_fsdp_wrapped_module.");
  const auto of_module = [&](Kind kind, std::size_t end) {
    name.resize(end);
    AdapterTensorName result{.kind = kind, .name = {}, .wrapped = 0};
    name += '.';
    result.wrapped = without("base_layer.");
    result.name = adapted_name(name);
    result.name.pop_back();
    return result;
  };
  if (const std::size_t at = name.find(".token_adapter.trainable_tokens_delta"); at != name.npos)
    return of_module(Kind::tokens, at);
  if (name.find(".token_adapter.") != name.npos || name.find(".original_module.") != name.npos)
    return {.kind = Kind::copy, .name = name};
  if (const std::size_t at = name.rfind(".lora_"); at != name.npos) {
    // lora_A.weight, or lora_A.default.weight with the name that the adapter had
    const std::string rest = name.substr(at + 1);
    const std::string word = rest.substr(0, rest.find('.'));
    const bool weight = rest.ends_with(".weight"), bias = rest.ends_with(".bias");
    Kind kind = Kind::unknown;
    if (word == "lora_A" && weight) kind = Kind::lora_a;
    if (word == "lora_B" && weight) kind = Kind::lora_b;
    if (word == "lora_B" && bias) kind = Kind::lora_b_bias;
    if (word == "lora_embedding_A" && !bias) kind = Kind::embedding_a;
    if (word == "lora_embedding_B" && !bias) kind = Kind::embedding_b;
    if (word == "lora_magnitude_vector" && !bias) kind = Kind::magnitudes;
    return of_module(kind, at);
  }
  const bool base = without("base_layer.") > 0;
  without("modules_to_save.default.");
  without("modules_to_save.");
  return {.kind = base ? Kind::base : Kind::whole, .name = adapted_name(name)};
}

}  // namespace qwen3vl::detail
