/// Quantised checkpoints: what config.json says about them, and their tensors as rows that are decoded.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "qwen3vl/io/weights/quantized/awq.hpp"
#include "qwen3vl/io/weights/quantized/bitsandbytes.hpp"
#include "qwen3vl/io/weights/quantized/compressed_tensors.hpp"
#include "qwen3vl/io/weights/quantized/fp8.hpp"
#include "qwen3vl/io/weights/quantized/gptq.hpp"
#include "qwen3vl/io/weights/quantized/merge_experts.hpp"
#include "qwen3vl/io/weights/quantized/modelopt.hpp"
#include "qwen3vl/json/fields.hpp"

namespace qwen3vl {

struct BitsAndBytesConfig {};

/// The settings of one quantisation method.
using QuantizationConfig =
    std::variant<Fp8Config, CompressedTensorsConfig, GptqConfig, AwqConfig, BitsAndBytesConfig, ModelOptConfig>;

namespace detail {

inline QuantizationConfig quantization_method(const JsonFields& fields, std::string_view usual) {
  std::string method(usual);
  fields.read("quant_method", method);
  if (fields.boolean("load_in_4bit", false) || fields.boolean("load_in_8bit", false)) method = "bitsandbytes";
  if (method == "fp8") return read_fp8_config(fields, {128, 128});
  if (method == "mxfp8") return read_fp8_config(fields, {1, 32});
  if (method == "compressed-tensors") return CompressedTensorsConfig(fields);
  if (method == "gptq") return read_gptq_config(fields);
  if (method == "awq") return read_awq_config(fields);
  if (method == "modelopt" || method == "modelopt_fp4" || method == "modelopt_fp8" || method == "modelopt_mixed")
    return read_modelopt_config(fields);
  if (method == "bitsandbytes") {
    check_bitsandbytes_config(fields);
    return BitsAndBytesConfig{};
  }
  constexpr std::string_view known = "fp8, compressed-tensors, gptq, awq, bitsandbytes and modelopt are";
  if (method.empty()) fail(fields.where(), " has no quant_method; ", known, " read");
  fail(fields.place("quant_method"), " is '", shown(method), "', which is not read; ", known,
       "; take the checkpoint in one of them, or in bfloat16");
}

/// Throws Error if a weight is left as the numbers of a format.
inline void require_decoded(const Checkpoint& checkpoint) {
  std::vector<std::string> left;
  for (const std::string& name : checkpoint.names()) {
    const StoredTensor& tensor = *checkpoint.find(name);
    const bool is_weight = name.ends_with(".weight") || name.ends_with(".gate_up_proj") || name.ends_with(".down_proj");
    if (is_weight && !tensor.encoded && !is_floating_weight(tensor.dtype) && tensor.dtype != DType::f64)
      left.push_back(concat(shown(name), " (", name_of(tensor.dtype), ")"));
  }
  if (!left.empty()) fail(checkpoint.name(), " has quantised weights without their scales: ", listed(left));
}

}  // namespace detail

/// The settings in a parsed config.json: `quantization_config`, or the older `compression_config`, at the top or in the
/// config of a part; none where its weights are plain. Throws Error that names the field.
inline std::optional<QuantizationConfig> quantization_from_json(const nlohmann::json& config, const std::string& file) {
  const JsonFields top(config, file);
  const JsonFields text = top.section("text_config"), vision = top.section("vision_config");
  const nlohmann::json* first = nullptr;
  std::optional<QuantizationConfig> found;
  for (const JsonFields* const section : {&top, &text, &vision})
    for (const char* const name : {"quantization_config", "compression_config"}) {
      if (!section->has(name)) continue;
      const nlohmann::json& own = *section->find(name);
      if (first != nullptr && own != *first) fail(section->place(name), " differs from another one in the file");
      if (first != nullptr) continue;
      first = &own;
      const JsonFields fields = section->section(name);
      const bool is_older = std::string_view(name) == "compression_config";
      if (is_older && fields.has("quantization_config")) {
        if (const JsonFields sparsity = fields.section("sparsity_config"); sparsity.has("format"))
          detail::one_of(sparsity, "format", {"dense"});
        found = detail::quantization_method(fields.section("quantization_config"), "compressed-tensors");
      } else {
        found = detail::quantization_method(fields, is_older ? "compressed-tensors" : "");
      }
    }
  return found;
}

/// The settings in ModelOpt's hf_quant_config.json, where config.json says nothing. Throws Error that names the field.
inline QuantizationConfig quantization_of_modelopt(const nlohmann::json& json, const std::string& file) {
  const JsonFields fields(json, file);
  if (!fields.has("quantization")) fail(fields.place("quantization"), " is missing, wanted an object");
  return read_modelopt_config(fields.section("quantization"));
}

/// Replaces the quantised tensors of a checkpoint by rows under the model's names. Throws Error that names the tensor
/// if one is missing, has another type or shape than its neighbours say, or belongs to nothing.
inline void decode_quantized(Checkpoint& checkpoint, const QuantizationConfig& config) {
  std::visit(
      [&]<class Config>(const Config& own) {
        if constexpr (std::is_same_v<Config, Fp8Config>) decode_fp8(checkpoint, own);
        if constexpr (std::is_same_v<Config, CompressedTensorsConfig>) decode_compressed_tensors(checkpoint, own);
        if constexpr (std::is_same_v<Config, GptqConfig>) decode_gptq(checkpoint, own);
        if constexpr (std::is_same_v<Config, AwqConfig>) decode_awq(checkpoint, own);
        if constexpr (std::is_same_v<Config, BitsAndBytesConfig>) decode_bitsandbytes(checkpoint);
        if constexpr (std::is_same_v<Config, ModelOptConfig>) decode_modelopt(checkpoint, own);
      },
      config);
  detail::require_decoded(checkpoint);
  merge_experts(checkpoint);
}

}  // namespace qwen3vl
