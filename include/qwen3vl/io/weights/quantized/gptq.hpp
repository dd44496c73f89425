/// Weights of GPTQ checkpoints (quant_method "gptq"; AutoGPTQ, GPTQModel): words of integers along the columns of a
/// weight, for each row next to each other.
///
///   qweight [columns * bits / 32, rows], qzeros [groups, rows * bits / 32], scales [groups, rows], g_idx [columns]
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/python_pattern.hpp"
#include "qwen3vl/io/weights/quantized/group_of_column.hpp"
#include "qwen3vl/io/weights/quantized/module_tensors.hpp"
#include "qwen3vl/io/weights/quantized/quantization_fields.hpp"
#include "qwen3vl/io/weights/quantized/rows/integer_rows.hpp"

namespace qwen3vl {

/// What counts of the settings (transformers' GPTQConfig, GPTQModel's QuantizeConfig).
struct GptqConfig {
  struct Sizes {
    int bits = 4;
    index_t group_size = 128;  ///< columns; -1: all
  };
  /// GPTQModel's `dynamic`: other sizes for some modules.
  struct Exception {
    PythonPattern pattern;
    Sizes sizes;
  };

  Sizes sizes;
  bool zeros_are_one_less = true;  ///< format "gptq", not "gptq_v2"
  std::vector<Exception> dynamic;
  mutable std::int64_t steps_left = PythonPattern::steps_of_all;

  const Sizes& sizes_of(std::string_view module) const {
    for (const Exception& exception : dynamic)
      if (exception.pattern.matches_start(module, &steps_left)) return exception.sizes;
    return sizes;
  }
};

namespace detail {

/// Settings of how weights were rounded, of where, and of programs that run them.
inline constexpr std::string_view unused_gptq_fields[] = {"desc_act",
                                                          "sym",
                                                          "act_group_aware",
                                                          "true_sequential",
                                                          "static_groups",
                                                          "damp_percent",
                                                          "damp_auto_increment",
                                                          "mse",
                                                          "gptaq",
                                                          "gptaq_alpha",
                                                          "hyb_act",
                                                          "parallel_packing",
                                                          "meta",
                                                          "backend",
                                                          "batch_size",
                                                          "block_name_to_quantize",
                                                          "cache_block_outputs",
                                                          "dataset",
                                                          "exllama_config",
                                                          "max_input_length",
                                                          "model_seqlen",
                                                          "module_name_preceding_first_block",
                                                          "modules_in_block_to_quantize",
                                                          "modules_to_not_convert",
                                                          "pad_token_id",
                                                          "tokenizer",
                                                          "use_cuda_fp16",
                                                          "use_exllama",
                                                          "disable_exllama",
                                                          "lm_head",
                                                          "model_name_or_path",
                                                          "model_file_base_name",
                                                          "do_fuse",
                                                          "fuse_max_seq_len",
                                                          "modules_to_fuse",
                                                          "offload_to_disk",
                                                          "offload_to_disk_path",
                                                          "pack_impl",
                                                          "device",
                                                          "v2",
                                                          "v2_alpha",
                                                          "v2_memory_device",
                                                          "hessian",
                                                          "failsafe",
                                                          "compute_device_filter",
                                                          "wait_for_submodule_finalizers",
                                                          "auto_forward_data_parallel",
                                                          "vram_strategy",
                                                          "gc_mode",
                                                          "moe",
                                                          "provider"};

inline void read_gptq_sizes(const JsonFields& fields, GptqConfig::Sizes& sizes) {
  fields.read("bits", sizes.bits, within(2, 8));
  if (sizes.bits != 2 && sizes.bits != 3 && sizes.bits != 4 && sizes.bits != 8) fields.wrong("bits", "2, 3, 4 or 8");
  fields.read("group_size", sizes.group_size, at_least(-1));
  if (sizes.group_size == 0) fields.wrong("group_size", "-1 or at least 1");
}

}  // namespace detail

inline GptqConfig read_gptq_config(const JsonFields& fields) {
  static constexpr std::string_view used[] = {"quant_method",      "bits",       "group_size", "format",
                                              "checkpoint_format", "pack_dtype", "dynamic",    "is_marlin_format",
                                              "rotation",          "adapter"};
  detail::require_known(fields, used, detail::unused_gptq_fields);
  detail::require_unset(fields, {"is_marlin_format", "rotation", "adapter"});
  detail::one_of(fields, "pack_dtype", {"int32"});
  GptqConfig config;
  detail::read_gptq_sizes(fields, config.sizes);
  const char* const format = fields.has("checkpoint_format") ? "checkpoint_format" : "format";
  config.zeros_are_one_less = detail::one_of(fields, format, {"gptq", "gptq_v2"}) == "gptq";
  const JsonFields exceptions = fields.section("dynamic");
  for (const auto& [name, value] : exceptions.object().items()) {
    if (name.starts_with("-:")) continue;  // not quantised, as its tensors show
    const JsonFields own(value, exceptions.place(detail::shown(name)), ".");
    static constexpr std::string_view sizes[] = {"bits", "group_size"};
    detail::require_known(own, sizes, detail::unused_gptq_fields);
    GptqConfig::Sizes other = config.sizes;
    detail::read_gptq_sizes(own, other);
    const std::string_view pattern = name.starts_with("+:") ? std::string_view(name).substr(2) : std::string_view(name);
    config.dynamic.push_back({PythonPattern(pattern, exceptions.where()), other});
  }
  return config;
}

/// Replaces what GPTQ stores by rows. Throws Error that names the tensor.
inline void decode_gptq(Checkpoint& checkpoint, const GptqConfig& config) {
  static constexpr std::string_view tensors[] = {"qweight", "qzeros", "scales", "g_idx"};
  for (ModuleTensors& module : modules_with(checkpoint, tensors)) {
    const GptqConfig::Sizes& sizes = config.sizes_of(module.name());
    const StoredTensor& weight = module.need_matrix("qweight", {DType::i32});
    const index_t rows = weight.shape[1], words = weight.shape[0], columns = words * 32 / sizes.bits;
    if (words * 32 % sizes.bits != 0 || rows * sizes.bits % 32 != 0)
      module.wrong("qweight", concat("words of 32 bits that ", sizes.bits, " bits fill"));
    const index_t group = sizes.group_size < 0 ? columns : sizes.group_size;
    const index_t groups = (columns + group - 1) / group;
    const StoredTensor& zeros = module.need_shape("qzeros", {DType::i32}, {groups, rows * sizes.bits / 32});
    const StoredTensor& scales = module.need_shape("scales", {DType::f16, DType::bf16, DType::f32}, {groups, rows});
    IntegerParts parts{.rows = rows, .columns = columns, .bits = sizes.bits};
    parts.integers = {.data = weight.bytes.data(), .bits = sizes.bits, .along_stride = rows, .across_stride = 1};
    parts.group = group;
    parts.scales = ScaleGrid(scales, 1, rows);
    parts.zeros = {.data = zeros.bytes.data(), .bits = sizes.bits, .across_stride = zeros.shape[1]};
    parts.added_to_zeros = config.zeros_are_one_less ? 1 : 0;
    parts.group_of_column = group_of_column(module, "g_idx", columns, groups);
    parts.type_name = concat("GPTQ int", sizes.bits, " ", group);
    parts.memory = {weight.bytes, zeros.bytes, scales.bytes};
    module.replace(std::make_shared<IntegerRows>(std::move(parts)), {"qweight", "qzeros", "scales", "g_idx"});
  }
}

}  // namespace qwen3vl
