/// Settings of compressed-tensors checkpoints (quant_method "compressed-tensors"; LLM Compressor writes them).
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/python_pattern.hpp"
#include "qwen3vl/io/weights/quantized/quantization_fields.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// How the weights of some modules are quantised (compressed_tensors.quantization: QuantizationArgs).
struct CompressedScheme {
  enum class Strategy { tensor, channel, group, block };

  std::string name;  ///< of its group of the settings
  int num_bits = 8;
  bool is_float = false, symmetric = true;
  Strategy strategy = Strategy::tensor;
  index_t group_size = 0, block_rows = 0, block_columns = 0;
};

/// Schemes and the modules that they are for.
class CompressedTensorsConfig {
 public:
  /// Throws Error that names the field.
  explicit CompressedTensorsConfig(const JsonFields& fields) {
    static constexpr std::string_view used[] = {"quant_method",     "format",          "config_groups",
                                                "transform_config", "sparsity_config", "moe_sparsity_config"};
    // Which modules are quantised is seen from their tensors. Keys and values are not rounded here.
    static constexpr std::string_view unused[] = {
        "ignore",  "kv_cache_scheme", "quantization_status", "global_compression_ratio",
        "version", "dequantize",      "run_compressed",      "use_optimized_inference"};
    detail::require_known(fields, used, unused);
    if (fields.has("format")) read_format(fields);
    if (const JsonFields sparsity = fields.section("sparsity_config"); sparsity.has("format"))
      detail::one_of(sparsity, "format", {"dense"});
    if (const JsonFields transforms = fields.section("transform_config"); !transforms.object().empty())
      detail::require_unset(transforms, {"config_groups"});
    detail::require_unset(fields, {"moe_sparsity_config"});
    const JsonFields groups = fields.section("config_groups");
    for (const auto& [name, group] : groups.object().items()) {
      if (!group.is_object()) groups.wrong(name, "an object: names of schemes are not read");
      read_group(JsonFields(group, groups.place(detail::shown(name)), "."), name);
    }
    std::ranges::sort(patterns_, {}, &Pattern::text);
  }

  bool empty() const { return schemes_.empty(); }
  /// The scheme of a module; as in compressed-tensors a full name counts first, then a pattern, then a class. A file
  /// with one scheme has it for all modules with such tensors. Throws Error if there is none.
  const CompressedScheme& scheme_of(std::string_view module) const {
    if (schemes_.size() == 1) return schemes_.front();
    if (const auto found = by_name_.find(module); found != by_name_.end()) return schemes_[found->second];
    for (const Pattern& pattern : patterns_)
      if (pattern.pattern.matches_start(module, &steps_)) return schemes_[pattern.scheme];
    const bool is_embedding = module.ends_with("embed_tokens") || module.ends_with("pos_embed");
    if (const auto found = by_name_.find(is_embedding ? "Embedding" : "Linear"); found != by_name_.end())
      return schemes_[found->second];
    fail("the config_groups have no scheme for ", detail::shown(module));
  }

 private:
  struct Pattern {
    std::string text;
    PythonPattern pattern;
    std::size_t scheme;
  };

  static void read_format(const JsonFields& fields) {
    detail::one_of(fields, "format",
                   {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "nvfp4-pack-quantized",
                    "mxfp4-pack-quantized", "mxfp8-quantized", "mixed-precision", "dense"});
  }

  void read_group(const JsonFields& group, const std::string& name) {
    static constexpr std::string_view used[] = {"targets", "weights", "format"};
    static constexpr std::string_view unused[] = {"input_activations", "output_activations"};
    detail::require_known(group, used, unused);
    if (group.has("format")) read_format(group);
    if (!group.has("weights")) return;
    schemes_.push_back(read_weights(group.section("weights"), name));
    const std::size_t scheme = schemes_.size() - 1;
    for (const std::string& target : detail::strings(group, "targets")) {
      const bool is_pattern = target.starts_with("re:");
      const auto same = [&](const Pattern& pattern) { return pattern.text == target; };
      if (is_pattern ? std::ranges::any_of(patterns_, same) : by_name_.contains(target))
        fail(group.place("targets"), " has ", detail::shown(target), ", as another group has");
      if (is_pattern) {
        patterns_.push_back(
            {target, PythonPattern(std::string_view(target).substr(3), group.place("targets")), scheme});
      } else {
        by_name_.emplace(target, scheme);
      }
    }
  }

  static CompressedScheme read_weights(const JsonFields& weights, const std::string& name) {
    static constexpr std::string_view used[] = {"num_bits",        "type",   "symmetric", "strategy", "group_size",
                                                "block_structure", "dynamic"};
    static constexpr std::string_view unused[] = {"actorder", "scale_dtype", "zp_dtype", "observer", "observer_kwargs"};
    detail::require_known(weights, used, unused);
    CompressedScheme scheme{.name = name};
    weights.read("num_bits", scheme.num_bits, within(1, 8));
    scheme.is_float = detail::one_of(weights, "type", {"int", "float"}) == "float";
    if (scheme.is_float && scheme.num_bits != 8 && scheme.num_bits != 4) weights.wrong("num_bits", "4 or 8 of float");
    scheme.symmetric = weights.boolean("symmetric", true);
    detail::require_unset(weights, {"dynamic"});
    std::int64_t group_size = 0;
    weights.read("group_size", group_size, at_least(-1));
    const std::string usual = group_size > 0 ? "group" : group_size < 0 ? "channel" : "tensor";
    const std::string strategy =
        weights.has("strategy")
            ? detail::one_of(weights, "strategy", {"tensor", "channel", "group", "tensor_group", "block"})
            : usual;
    using enum CompressedScheme::Strategy;
    if (strategy == "channel") scheme.strategy = channel;
    if (strategy == "group" || strategy == "tensor_group") {
      scheme.strategy = group;
      if (group_size < 1) fail(weights.place("group_size"), " is missing, wanted the columns of a group");
      scheme.group_size = group_size;
    }
    if (strategy == "block") {
      scheme.strategy = block;
      const nlohmann::json* const given = weights.find("block_structure");
      if (given == nullptr) fail(weights.place("block_structure"), " is missing, wanted two sizes");
      nlohmann::json size = *given;
      if (given->is_string()) {  // the older form, "128x128"
        const std::string text = given->get<std::string>();
        size = nlohmann::json::parse(
            "[" + std::string(text).replace(std::min(text.find('x'), text.size()), 1, ",") + "]", nullptr, false);
      }
      if (!size.is_array() || size.size() != 2) weights.wrong("block_structure", "two sizes");
      scheme.block_rows = weights.integer("block_structure", size[0], at_least(1));
      scheme.block_columns = weights.integer("block_structure", size[1], at_least(1));
    }
    return scheme;
  }

  std::vector<CompressedScheme> schemes_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::vector<Pattern> patterns_;
  mutable std::int64_t steps_ = PythonPattern::steps_of_all;
};

}  // namespace qwen3vl
