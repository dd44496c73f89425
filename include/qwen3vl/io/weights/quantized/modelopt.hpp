/// Weights of checkpoints by NVIDIA's ModelOpt (quant_method "modelopt", or hf_quant_config.json): NVFP4 and FP8.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/io/weights/quantized/float8_matrix.hpp"
#include "qwen3vl/io/weights/quantized/module_tensors.hpp"
#include "qwen3vl/io/weights/quantized/quantization_fields.hpp"
#include "qwen3vl/io/weights/quantized/rows/float4_rows.hpp"

namespace qwen3vl {

/// What counts of the settings.
struct ModelOptConfig {
  index_t group_size = 16;  ///< of NVFP4
};

/// The object that has quant_algo: quantization_config of config.json, or `quantization` of hf_quant_config.json.
inline ModelOptConfig read_modelopt_config(const JsonFields& fields) {
  static constexpr std::string_view used[] = {"quant_method",     "quant_algo",      "group_size",
                                              "quantized_layers", "pre_quant_scale", "has_zero_point"};
  static constexpr std::string_view unused[] = {"kv_cache_quant_algo", "kv_cache_scheme", "exclude_modules", "ignore",
                                                "config_groups",       "producer",        "quant_library"};
  detail::require_known(fields, used, unused);
  detail::require_unset(fields, {"pre_quant_scale", "has_zero_point"});
  if (!fields.has("quant_algo")) fail(fields.place("quant_algo"), " is missing, wanted NVFP4 or FP8");
  ModelOptConfig config;
  const auto read = [&](const JsonFields& from, std::initializer_list<std::string_view> algorithms) {
    detail::one_of(from, "quant_algo", algorithms);
    from.read("group_size", config.group_size, within(2, 1 << 20));
    if (config.group_size % 2 != 0) from.wrong("group_size", "an even number");
  };
  read(fields, {"nvfp4", "fp8", "mixed_precision"});
  const JsonFields layers = fields.section("quantized_layers");
  for (const auto& [name, layer] : layers.object().items())
    read(JsonFields(layer, layers.place(detail::shown(name)), "."), {"nvfp4", "fp8"});
  return config;
}

/// Replaces what ModelOpt stores by rows: `weight` (U8: two FP4; or F8_E4M3), `weight_scale`, and `weight_scale_2` of
/// NVFP4. Activations, keys and values stay as they are. Throws Error that names the tensor.
inline void decode_modelopt(Checkpoint& checkpoint, const ModelOptConfig& config) {
  static constexpr std::string_view of_weight[] = {"weight_scale", "weight_scale_2", "pre_quant_scale"};
  static constexpr std::string_view of_activations[] = {"input_scale", "k_scale", "v_scale", "k_proj.k_scale",
                                                        "v_proj.v_scale"};
  for (ModuleTensors& module : modules_with(checkpoint, of_weight)) {
    if (module.find("pre_quant_scale") != nullptr)
      fail(module.place(), " has a pre_quant_scale, a factor of its input, which is not read");
    const StoredTensor& weight = module.need_matrix("weight", {DType::u8, DType::f8_e4m3});
    if (weight.dtype == DType::f8_e4m3) {
      const StoredTensor& scale = module.need("weight_scale", {DType::f32, DType::bf16, DType::f16});
      auto rows = float8_matrix(checkpoint.name(), weight, scale, {});
      module.replace(std::move(rows), {"weight", "weight_scale"}, of_activations);
      continue;
    }
    Float4Parts parts{
        .rows = weight.shape[0], .columns = weight.shape[1] * 2, .numbers = weight.bytes, .group = config.group_size};
    if (parts.columns % parts.group != 0)
      module.wrong("weight", concat("half a multiple of ", parts.group, " columns"));
    const index_t groups = parts.columns / parts.group;
    const StoredTensor& scale = module.need_shape("weight_scale", {DType::f8_e4m3}, {parts.rows, groups});
    parts.scales = ScaleGrid(scale, groups, 1);
    parts.factor = module.number("weight_scale_2");
    parts.type_name = "NVFP4";
    parts.memory = {weight.bytes, scale.bytes};
    module.replace(std::make_shared<Float4Rows>(std::move(parts)), {"weight", "weight_scale", "weight_scale_2"},
                   of_activations);
  }
  for (const std::string& name : checkpoint.names())
    for (const std::string_view rest : of_activations)
      if (name.ends_with(concat(".", rest))) checkpoint.erase(name);
}

}  // namespace qwen3vl
