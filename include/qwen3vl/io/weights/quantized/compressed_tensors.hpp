/// Weights of compressed-tensors checkpoints: `pack-quantized` (integers of 1 to 8 bits in words of 32),
/// `int-quantized` and `float-quantized` (a byte each), `nvfp4-pack-quantized`, `mxfp4-pack-quantized` and
/// `mxfp8-quantized`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/quantized/compressed_tensors_config.hpp"
#include "qwen3vl/io/weights/quantized/float8_matrix.hpp"
#include "qwen3vl/io/weights/quantized/group_of_column.hpp"
#include "qwen3vl/io/weights/quantized/module_tensors.hpp"
#include "qwen3vl/io/weights/quantized/rows/float4_rows.hpp"
#include "qwen3vl/io/weights/quantized/rows/integer_rows.hpp"

namespace qwen3vl {
namespace detail {

/// The columns of a scale, and the shape that the scales of a matrix have.
struct ScaleShape {
  index_t group;
  std::vector<index_t> shape;
};
inline ScaleShape scale_shape(const CompressedScheme& scheme, index_t rows, index_t columns) {
  using enum CompressedScheme::Strategy;
  if (scheme.strategy == tensor) return {columns, {1}};
  if (scheme.strategy == channel) return {columns, {rows, 1}};
  return {scheme.group_size, {rows, (columns + scheme.group_size - 1) / scheme.group_size}};
}

constexpr std::initializer_list<DType> float_scales = {DType::f32, DType::bf16, DType::f16};

/// Older files have zero points of symmetric weights, too: zeros, or an Error.
inline void require_no_zero_points(const ModuleTensors& module) {
  const StoredTensor* const zeros = module.find("weight_zero_point");
  if (zeros != nullptr && std::ranges::any_of(zeros->bytes, [](std::byte byte) { return byte != std::byte{0}; }))
    module.wrong("weight_zero_point", "zeros, since its scheme says symmetric");
}

inline void decode_integers(ModuleTensors& module, const CompressedScheme& scheme,
                            std::span<const std::string_view> unused) {
  if (scheme.is_float || scheme.strategy == CompressedScheme::Strategy::block)
    fail(module.place(), " holds integers, but its scheme '", shown(scheme.name), "' says ",
         scheme.is_float ? "float" : "blocks");
  const bool packed = module.find("weight_packed") != nullptr;
  const std::string_view name = packed ? "weight_packed" : "weight";
  const StoredTensor& weight = module.need_matrix(name, {packed ? DType::i32 : DType::i8});
  IntegerParts parts{.rows = weight.shape[0], .columns = weight.shape[1], .bits = scheme.num_bits};
  if (packed) {
    std::int64_t shape[2];
    const StoredTensor& stored = module.need_shape("weight_shape", {DType::i64, DType::i32}, {2});
    read_int64s(stored, shape);
    if (shape[0] != weight.shape[0] || shape[1] < 1 || shape[1] > weight.shape[1] * 32 ||
        packed_words(shape[1], parts.bits) != weight.shape[1])
      fail(module.place(), " has a weight_shape of ", shape_text(shape), " and a weight_packed of ",
           shape_text(weight.shape), ", which do not fit ", parts.bits, " bits");
    parts.columns = shape[1];
    parts.integers = {.data = weight.bytes.data(), .bits = parts.bits, .across_stride = weight.shape[1]};
  } else {
    parts.bits = 8;
    parts.layout = IntegerParts::Layout::signed_bytes;
    parts.integers = {.data = weight.bytes.data()};
  }
  const ScaleShape scales = scale_shape(scheme, parts.rows, parts.columns);
  const StoredTensor* scale = &module.need("weight_scale", float_scales);
  if (scale->size() != 1 || scales.shape.size() != 1)
    scale = &module.need_shape("weight_scale", float_scales, scales.shape);
  const index_t groups = scales.shape.size() == 1 ? 1 : scales.shape[1];
  const bool one = scales.shape.size() == 1;
  parts.group = scales.group;
  parts.scales = ScaleGrid(*scale, one ? 0 : groups, one ? 0 : 1);
  parts.memory = {weight.bytes, scale->bytes};
  if (scheme.symmetric) {
    require_no_zero_points(module);
  } else if (packed && !one) {
    const StoredTensor& zeros =
        module.need_shape("weight_zero_point", {DType::i32}, {packed_words(parts.rows, parts.bits), groups});
    parts.zeros = {.data = zeros.bytes.data(), .bits = parts.bits, .along_stride = groups, .across_stride = 1};
    parts.memory.push_back(zeros.bytes);
  } else {
    const StoredTensor* zeros = &module.need("weight_zero_point", {DType::i8});
    if (zeros->size() != 1 || !one) zeros = &module.need_shape("weight_zero_point", {DType::i8}, scales.shape);
    parts.zeros = {.data = zeros->bytes.data(), .along_stride = one ? 0 : groups, .across_stride = one ? 0 : 1};
    parts.zeros_are_signed_bytes = true;
    parts.memory.push_back(zeros->bytes);
  }
  parts.group_of_column = group_of_column(module, "weight_g_idx", parts.columns, groups);
  parts.type_name = concat("int", parts.bits, scheme.symmetric ? " " : " with zero points ",
                           one           ? "by tensors"
                           : groups == 1 ? "by rows"
                                         : concat(parts.group));
  module.replace(std::make_shared<IntegerRows>(std::move(parts)),
                 {name, "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"}, unused);
}

inline void decode_float8(ModuleTensors& module, const CompressedScheme& scheme, const std::string& place,
                          std::span<const std::string_view> unused) {
  if (!scheme.is_float || scheme.num_bits != 8 || !scheme.symmetric)
    fail(module.place(), " holds F8_E4M3, but its scheme '", shown(scheme.name), "' says ",
         scheme.symmetric ? "" : "asymmetric ", scheme.is_float ? "float" : "int", scheme.num_bits);
  require_no_zero_points(module);
  using enum CompressedScheme::Strategy;
  Float8Blocks blocks;
  if (scheme.strategy == channel) blocks = {1, 0};
  if (scheme.strategy == group) blocks = {1, scheme.group_size};
  if (scheme.strategy == block) blocks = {scheme.block_rows, scheme.block_columns};
  const StoredTensor& weight = module.need_matrix("weight", {DType::f8_e4m3});
  const StoredTensor& scale = module.need("weight_scale", {DType::f32, DType::bf16, DType::f16, DType::u8});
  auto rows = float8_matrix(place, weight, scale, blocks);
  module.replace(std::move(rows), {"weight", "weight_scale", "weight_zero_point"}, unused);
}

inline void decode_float4(ModuleTensors& module, const CompressedScheme& scheme,
                          std::span<const std::string_view> unused) {
  using enum CompressedScheme::Strategy;
  if (!scheme.is_float || scheme.num_bits != 4 || !scheme.symmetric || scheme.strategy != group ||
      scheme.group_size % 2 != 0)
    fail(module.place(), " holds FP4, but its scheme '", shown(scheme.name), "' does not say symmetric float4 groups");
  const StoredTensor& weight = module.need_matrix("weight_packed", {DType::u8});
  Float4Parts parts{
      .rows = weight.shape[0], .columns = weight.shape[1] * 2, .numbers = weight.bytes, .group = scheme.group_size};
  if (parts.columns % parts.group != 0)
    module.wrong("weight_packed", concat("half a multiple of ", parts.group, " columns"));
  const index_t groups = parts.columns / parts.group;
  const StoredTensor& scale = module.need_shape(
      "weight_scale", {DType::f8_e4m3, DType::u8, DType::f32, DType::bf16, DType::f16}, {parts.rows, groups});
  parts.scales = ScaleGrid(scale, groups, 1);
  if (module.find("weight_global_scale") != nullptr)
    parts.divisor = module.number("weight_global_scale");
  else if (scale.dtype == DType::f8_e4m3)
    fail(module.place(), " has no weight_global_scale");
  parts.type_name = scale.dtype == DType::u8 ? "MXFP4" : "NVFP4";
  parts.memory = {weight.bytes, scale.bytes};
  module.replace(std::make_shared<Float4Rows>(std::move(parts)),
                 {"weight_packed", "weight_scale", "weight_global_scale"}, unused);
}

}  // namespace detail

/// Replaces what is stored compressed by rows. Activations, keys and values stay as they are, so that their scales are
/// not used. Throws Error that names the tensor.
inline void decode_compressed_tensors(Checkpoint& checkpoint, const CompressedTensorsConfig& config) {
  static constexpr std::string_view of_weight[] = {"weight_packed", "weight_scale", "weight_zero_point",
                                                   "weight_shape",  "weight_g_idx", "weight_global_scale"};
  static constexpr std::string_view of_activations[] = {
      "input_scale", "input_zero_point", "input_global_scale", "output_scale", "output_zero_point", "k_scale",
      "v_scale",     "q_scale",          "k_zero_point",       "v_zero_point", "q_zero_point"};
  for (ModuleTensors& module : modules_with(checkpoint, of_weight)) {
    if (config.empty()) fail(module.place(), " has no scheme: the config_groups are empty");
    const CompressedScheme& scheme = config.scheme_of(module.name());
    const StoredTensor* const packed = module.find("weight_packed");
    const StoredTensor* const weight = module.find("weight");
    const DType type = packed != nullptr ? packed->dtype : weight != nullptr ? weight->dtype : DType::f64;
    if (packed != nullptr && type == DType::u8) {
      detail::decode_float4(module, scheme, of_activations);
    } else if (packed != nullptr || type == DType::i8) {
      detail::decode_integers(module, scheme, of_activations);
    } else if (type == DType::f8_e4m3) {
      detail::decode_float8(module, scheme, checkpoint.name(), of_activations);
    } else if (weight != nullptr) {
      module.wrong("weight", "I8 or F8_E4M3, since it has scales; plain weights that are to be rounded are not read");
    } else {
      fail(module.place(), " has neither weight_packed nor weight");
    }
  }
  require_none_left(checkpoint, of_weight);
  for (const std::string& name : checkpoint.names())
    for (const std::string_view rest : of_activations)
      if (name.ends_with(concat(".", rest))) checkpoint.erase(name);
}

}  // namespace qwen3vl
