/// Weights of bitsandbytes checkpoints (quant_method "bitsandbytes"): NF4 and FP4, whose scales may be quantised again,
/// and LLM.int8.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/quantized/module_tensors.hpp"
#include "qwen3vl/io/weights/quantized/quantization_fields.hpp"
#include "qwen3vl/io/weights/quantized/rows/float4_rows.hpp"
#include "qwen3vl/io/weights/quantized/rows/integer_rows.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// Checks the settings (transformers' BitsAndBytesConfig); all that counts stands beside the weights.
inline void check_bitsandbytes_config(const JsonFields& fields) {
  static constexpr std::string_view used[] = {"quant_method"};
  static constexpr std::string_view unused[] = {"load_in_4bit",
                                                "load_in_8bit",
                                                "_load_in_4bit",
                                                "_load_in_8bit",
                                                "bnb_4bit_compute_dtype",
                                                "bnb_4bit_quant_storage",
                                                "bnb_4bit_quant_type",
                                                "bnb_4bit_use_double_quant",
                                                "llm_int8_enable_fp32_cpu_offload",
                                                "llm_int8_has_fp16_weight",
                                                "llm_int8_skip_modules",
                                                "llm_int8_threshold"};
  detail::require_known(fields, used, unused);
  if (fields.has("bnb_4bit_quant_type")) detail::one_of(fields, "bnb_4bit_quant_type", {"fp4", "nf4"});
}

namespace detail {

/// QuantState.from_dict: what stands in a tensor of JSON, and tensors beside it.
inline void decode_bitsandbytes4(ModuleTensors& module, std::string_view state_name) {
  const StoredTensor& state = module.need(state_name, {DType::u8}, 1);
  const std::string_view text(reinterpret_cast<const char*>(state.bytes.data()), state.bytes.size());
  const std::string place = module.name_of_tensor(state_name);
  const nlohmann::json json = parse_json(text, shown(place), {.max_bytes = 10'000, .max_depth = 4});
  const JsonFields fields(json, shown(place));
  one_of(fields, "quant_type", {state_name.ends_with("nf4") ? "nf4" : "fp4"});
  static constexpr std::string_view used[] = {"quant_type", "blocksize", "shape", "nested_blocksize", "nested_offset"};
  static constexpr std::string_view unused[] = {"dtype", "nested_dtype"};
  require_known(fields, used, unused);
  const nlohmann::json* const shape = fields.find("shape");
  if (shape == nullptr || !shape->is_array() || shape->size() != 2)
    fail(fields.place("shape"), " is not the two sizes of a matrix");
  BitsAndBytes4Parts parts{.rows = fields.integer("shape", (*shape)[0], at_least(1)),
                           .columns = fields.integer("shape", (*shape)[1], at_least(1))};
  const auto power_of_two = [&](const char* name, index_t& value, index_t least) {
    fields.read(name, value, within(static_cast<double>(least), 1 << 20));
    if ((value & (value - 1)) != 0) fields.wrong(name, "a power of two");
  };
  power_of_two("blocksize", parts.block, 2);
  const StoredTensor& weight = module.need(
      "weight", {DType::u8, DType::i8, DType::bf16, DType::f16, DType::f32, DType::f64}, 2);  // bytes, whatever type
  const index_t size = parts.rows * parts.columns;
  if (static_cast<index_t>(weight.bytes.size()) != (size + 1) / 2)
    module.wrong("weight", concat("four bits each of ", shape_text(std::array{parts.rows, parts.columns})));
  parts.numbers = weight.bytes;
  const index_t blocks = (size + parts.block - 1) / parts.block;
  const StoredTensor& map = module.need_shape("weight.quant_map", {DType::f32}, {16});
  read_floats(map, parts.values);
  const bool nested = module.find("weight.nested_absmax") != nullptr;
  const StoredTensor& absmax = module.need_shape("weight.absmax", {nested ? DType::u8 : DType::f32}, {blocks});
  parts.absmax = absmax.bytes;
  parts.memory = {weight.bytes, absmax.bytes};
  if (nested) {
    parts.nested_block = 256;
    power_of_two("nested_blocksize", parts.nested_block, 2);
    const StoredTensor& outer = module.need_shape("weight.nested_absmax", {DType::f32},
                                                  {(blocks + parts.nested_block - 1) / parts.nested_block});
    parts.nested_absmax = ScaleGrid(outer, 0, 1);
    parts.nested_values.resize(256);
    read_floats(module.need_shape("weight.nested_quant_map", {DType::f32}, {256}), parts.nested_values);
    if (!fields.has("nested_offset")) fail(fields.place("nested_offset"), " is missing, wanted a number");
    fields.read("nested_offset", parts.nested_offset);
    parts.memory.push_back(outer.bytes);
  }
  parts.type_name = concat(state_name.ends_with("nf4") ? "NF4 " : "FP4 ", parts.block);
  module.replace(
      std::make_shared<BitsAndBytes4Rows>(std::move(parts)),
      {"weight", "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map", state_name});
}

inline void decode_bitsandbytes8(ModuleTensors& module) {
  const StoredTensor& weight = module.need_matrix("weight", {DType::i8});
  IntegerParts parts{
      .rows = weight.shape[0], .columns = weight.shape[1], .bits = 8, .layout = IntegerParts::Layout::signed_bytes};
  if (module.find("weight_format") != nullptr) {
    const StoredTensor& format = module.need("weight_format", {DType::u8}, 1);
    if (format.size() != 1 || format.bytes[0] != std::byte{0})
      module.wrong("weight_format", "0: weights in the order of a GPU's kernel are not read");
  }
  const StoredTensor& scales = module.need_shape("SCB", {DType::f32}, {parts.rows});
  parts.integers.data = weight.bytes.data();
  parts.group = parts.columns;
  parts.scales = ScaleGrid(scales, 1, 0);
  parts.factor = 7.874015718698502e-3f;  // 1 / 127 as bitsandbytes has it
  parts.type_name = "LLM.int8";
  parts.memory = {weight.bytes, scales.bytes};
  module.replace(std::make_shared<IntegerRows>(std::move(parts)), {"weight", "SCB", "weight_format"});
}

}  // namespace detail

/// Replaces what bitsandbytes stores by rows. LLM.int8 also rounds activations, but for outliers; here they stay as
/// they are. Throws Error that names the tensor.
inline void decode_bitsandbytes(Checkpoint& checkpoint) {
  static constexpr std::string_view states[] = {"weight.quant_state.bitsandbytes__nf4",
                                                "weight.quant_state.bitsandbytes__fp4"};
  for (const std::string_view state : states)
    for (ModuleTensors& module : modules_with(checkpoint, {&state, 1})) detail::decode_bitsandbytes4(module, state);
  static constexpr std::string_view of_int8[] = {"SCB"};
  for (ModuleTensors& module : modules_with(checkpoint, of_int8)) detail::decode_bitsandbytes8(module);
  static constexpr std::string_view parts[] = {"weight.absmax", "weight.quant_map", "weight.nested_absmax",
                                               "weight.nested_quant_map", "weight_format"};
  require_none_left(checkpoint, parts);
}

}  // namespace qwen3vl
