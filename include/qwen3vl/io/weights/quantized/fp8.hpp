/// Weights of FP8 checkpoints as transformers has them (quant_method "fp8"; FineGrainedFP8Config): e4m3 numbers, and
/// the factor of a block of 128 x 128 in `weight_scale_inv`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/concatenated_rows.hpp"
#include "qwen3vl/io/weights/quantized/float8_matrix.hpp"
#include "qwen3vl/io/weights/quantized/module_tensors.hpp"
#include "qwen3vl/io/weights/quantized/quantization_fields.hpp"

namespace qwen3vl {

/// What counts of the settings. Which modules are quantised is seen from their tensors.
struct Fp8Config {
  Float8Blocks blocks;
};

/// `usual`: the blocks where the settings say nothing; no blocks where they say null.
inline Fp8Config read_fp8_config(const JsonFields& fields, Float8Blocks usual) {
  static constexpr std::string_view used[] = {"quant_method", "weight_block_size", "scale_fmt", "expert_dtype",
                                              "fmt",          "activation_scheme"};
  static constexpr std::string_view unused[] = {"modules_to_not_convert", "ignored_layers", "modules_to_convert",
                                                "dequantize"};
  detail::require_known(fields, used, unused);
  detail::one_of(fields, "fmt", {"e4m3"});
  detail::one_of(fields, "scale_fmt", {"float", "ue8m0"});
  detail::one_of(fields, "expert_dtype", {"fp8"});
  detail::one_of(fields, "activation_scheme", {"dynamic", "static"});  // activations are not rounded here
  Fp8Config config{usual};
  if (fields.is_null("weight_block_size")) config.blocks = {0, 0};
  if (const nlohmann::json* const size = fields.find("weight_block_size")) {
    if (!size->is_array() || size->size() != 2) fields.wrong("weight_block_size", "two sizes");
    config.blocks.rows = fields.integer("weight_block_size", (*size)[0], at_least(1));
    config.blocks.columns = fields.integer("weight_block_size", (*size)[1], at_least(1));
  }
  return config;
}

namespace detail {

/// Whether experts.gate_up_proj and .down_proj are stored as the Hub's first files have them, [E, hidden, 2 * inner]
/// and [E, inner, hidden], and not as transformers 5 has them, transposed.
inline bool stored_as_on_the_hub(const std::string& place, const StoredTensor& gate_up, const StoredTensor& down) {
  const std::vector<index_t>&g = gate_up.shape, &d = down.shape;
  if (g.size() == 3 && d.size() == 3 && g[0] == d[0]) {
    if (g[1] == d[2] && g[2] == 2 * d[1]) return true;
    if (g[2] == d[1] && g[1] == 2 * d[2]) return false;
  }
  fail(place, ": experts.gate_up_proj of ", shape_text(g), " and experts.down_proj of ", shape_text(d),
       " do not belong together");
}

}  // namespace detail

/// Replaces what is stored as FP8 by rows. Activations, which transformers rounds to FP8 as well where a GPU can, stay
/// as they are, so that their scales are not used. Throws Error that names the tensor.
inline void decode_fp8(Checkpoint& checkpoint, const Fp8Config& config) {
  constexpr std::string_view end = "_scale_inv", gate_up = "gate_up_proj", down = "down_proj";
  static constexpr auto types = {DType::f8_e4m3};
  static constexpr auto scale_types = {DType::f32, DType::bf16, DType::f16, DType::u8};
  const auto decode = [&](ModuleTensors& module, std::string_view rest, bool transposed) {
    const std::string scale_rest = concat(rest, end);
    const StoredTensor& weight = module.need(rest, types, 3);
    const StoredTensor& scale = module.need(scale_rest, scale_types, 3);
    if (weight.shape.size() < 2) module.wrong(rest, "a matrix");
    const index_t count = weight.shape.size() == 3 ? weight.shape[0] : 1;
    std::vector<SomeRows> matrices;
    for (index_t e = 0; e < count; ++e) {
      auto rows = float8_matrix(checkpoint.name(), weight, scale, config.blocks, e, transposed);
      const index_t all = rows->rows();
      matrices.push_back({std::move(rows), 0, all});
    }
    StoredTensor decoded{.name = weight.name, .shape = weight.shape, .bytes = {}};
    if (transposed) std::swap(decoded.shape[1], decoded.shape[2]);
    decoded.encoded = weight.shape.size() == 2 ? matrices.front().of
                                               : std::make_shared<ConcatenatedRows>(std::move(matrices), weight.name);
    checkpoint.erase(module.name_of_tensor(scale_rest));
    checkpoint.put(std::move(decoded));
  };
  // Both stacks of a layer's experts say together how they are stored.
  static constexpr std::string_view stacks[] = {"gate_up_proj_scale_inv"};
  for (ModuleTensors& experts : modules_with(checkpoint, stacks)) {
    const bool hub =
        detail::stored_as_on_the_hub(checkpoint.name(), experts.need(gate_up, types, 3), experts.need(down, types, 3));
    decode(experts, gate_up, hub);
    decode(experts, down, hub);
  }
  for (const std::string& name : checkpoint.names()) {
    const std::size_t dot = name.rfind('.');
    if (name.ends_with("activation_scale") || name.ends_with(".input_scale") || name.ends_with(".k_scale") ||
        name.ends_with(".v_scale")) {
      checkpoint.erase(name);
    } else if (name.ends_with(end)) {
      if (dot == std::string::npos) fail(checkpoint.name(), ": ", detail::shown(name), " belongs to no weight");
      ModuleTensors module(checkpoint, name.substr(0, dot));
      const std::string rest = name.substr(dot + 1, name.size() - dot - 1 - end.size());
      if (module.need(rest, types, 3).shape.size() != 2) module.wrong(rest, "a matrix");
      decode(module, rest, false);
    }
  }
}

}  // namespace qwen3vl
