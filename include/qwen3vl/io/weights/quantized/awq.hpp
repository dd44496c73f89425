/// Weights of AWQ checkpoints (quant_method "awq", version "gemm"; AutoAWQ): eight rows of a weight in a word, in the
/// order that its kernels want.
///
///   qweight [columns, rows / 8], qzeros [groups, rows / 8], scales [groups, rows]
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/quantized/gptq.hpp"

namespace qwen3vl {

/// What counts of the settings (transformers' AwqConfig).
struct AwqConfig {
  index_t group_size = 128;  ///< columns; -1: all
  bool zero_point = true;
};

inline AwqConfig read_awq_config(const JsonFields& fields) {
  static constexpr std::string_view used[] = {"quant_method", "bits",     "w_bit",  "group_size",        "q_group_size",
                                              "zero_point",   "version",  "format", "checkpoint_format", "pack_dtype",
                                              "dynamic",      "rotation", "adapter"};
  detail::require_known(fields, used, detail::unused_gptq_fields);
  detail::require_unset(fields, {"dynamic", "rotation", "adapter"});
  detail::one_of(fields, "pack_dtype", {"int32"});
  for (const char* const name : {"version", "format", "checkpoint_format"}) detail::one_of(fields, name, {"gemm"});
  for (const char* const name : {"bits", "w_bit"}) {
    int bits = 4;
    fields.read(name, bits, within(1, 8));
    if (bits != 4) fields.wrong(name, "4");
  }
  AwqConfig config;
  for (const char* const name : {"q_group_size", "group_size"}) {
    fields.read(name, config.group_size, at_least(-1));
    if (config.group_size == 0) fields.wrong(name, "-1 or at least 1");
  }
  fields.read("zero_point", config.zero_point);
  return config;
}

/// Replaces what AWQ stores by rows. Throws Error that names the tensor.
inline void decode_awq(Checkpoint& checkpoint, const AwqConfig& config) {
  static constexpr std::string_view tensors[] = {"qweight", "qzeros", "scales"};
  for (ModuleTensors& module : modules_with(checkpoint, tensors)) {
    const StoredTensor& weight = module.need_matrix("qweight", {DType::i32});
    const index_t columns = weight.shape[0], rows = weight.shape[1] * 8;
    const index_t group = config.group_size < 0 ? columns : config.group_size;
    const index_t groups = (columns + group - 1) / group;
    const StoredTensor& scales = module.need_shape("scales", {DType::f16, DType::bf16, DType::f32}, {groups, rows});
    IntegerParts parts{.rows = rows, .columns = columns, .bits = 4, .layout = IntegerParts::Layout::rows};
    parts.integers = {.data = weight.bytes.data(), .bits = 4, .across_stride = rows / 8, .is_awq = true};
    parts.group = group;
    parts.scales = ScaleGrid(scales, 1, rows);
    parts.memory = {weight.bytes, scales.bytes};
    if (config.zero_point || module.find("qzeros") != nullptr) {
      const StoredTensor& zeros = module.need_shape("qzeros", {DType::i32}, {groups, rows / 8});
      parts.zeros = {.data = zeros.bytes.data(), .bits = 4, .across_stride = rows / 8, .is_awq = true};
      parts.memory.push_back(zeros.bytes);
    }
    parts.type_name = concat("AWQ int4 ", group);
    module.replace(std::make_shared<IntegerRows>(std::move(parts)), {"qweight", "qzeros", "scales"});
  }
}

}  // namespace qwen3vl
