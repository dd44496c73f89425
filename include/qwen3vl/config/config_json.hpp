/// Reading config.json, in the style of transformers 4.57 (`rope_theta`, `rope_scaling`) and of 5.x
/// (`rope_parameters`). Missing fields get transformers' defaults (Qwen3VLConfig, Qwen3VLTextConfig,
/// Qwen3VLVisionConfig and their Moe twins). Layers never include this header.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/config/fields.hpp"
#include "qwen3vl/config/runtime_config.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace qwen3vl {

/// Both halves of a config.json.
struct CheckpointConfig {
  ModelConfig model;
  RuntimeConfig runtime;
};

namespace detail {

/// Positions, likewise far above every model.
inline constexpr Range length_range = within(1, 0x1p40);

/// Upper bound of a size, far above every model, so that sums, products and loops over accepted sizes neither overflow
/// nor run forever.
inline int largest_size(std::string_view name) {
  if (name == "in_channels") return 16;
  if (name == "spatial_merge_size" || name == "temporal_patch_size") return 64;
  if (name == "patch_size") return 1024;
  if (name == "depth" || name == "num_hidden_layers" || name == "head_dim") return 4096;
  if (name == "num_heads" || name == "num_attention_heads" || name == "num_key_value_heads") return 4096;
  if (name == "hidden_size" || name == "out_hidden_size") return 1 << 18;
  return 1 << 24;
}

inline void read_field(const JsonFields& from, std::string_view name, int& value) {
  from.read(name, value, within(0, largest_size(name)));
}
inline void read_field(const JsonFields& from, std::string_view name, bool& value) { from.read(name, value); }
inline void read_field(const JsonFields& from, std::string_view name, Activation& value) {
  std::string text(name_of(value));
  from.read(name, text);
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::gelu_pytorch_tanh})
    if (text == name_of(activation)) {
      value = activation;
      return;
    }
  from.wrong(name, "one of silu, gelu, gelu_pytorch_tanh");
}
template <std::size_t N>
void read_field(const JsonFields& from, std::string_view name, IndexList<N>& value) {
  const nlohmann::json* const list = from.find(name);
  if (list == nullptr) return;
  if (!list->is_array() || list->size() > N) from.wrong(name, concat("a list of at most ", N, " layer indexes"));
  value = {};
  for (const auto& item : *list) value.push_back(static_cast<int>(from.integer(name, item, at_least(0))));
}
inline void read_field(const JsonFields& from, std::string_view name, int (&value)[3]) {
  const nlohmann::json* const list = from.find(name);
  if (list == nullptr) return;
  if (!list->is_array() || list->size() != 3) from.wrong(name, "a list of three sizes");
  for (std::size_t i = 0; i < 3; ++i) value[i] = static_cast<int>(from.integer(name, (*list)[i], within(0, 1 << 20)));
}

/// The share of a head that rotates. 'proportional' uses it; transformers ignores it where the type is 'default', and
/// with every other type fails when it runs.
inline void read_partial_rotary_factor(const JsonFields& text, const JsonFields& scaling, RopeParameters& rope,
                                       const Warn& warn) {
  const JsonFields& from = scaling.has("partial_rotary_factor") ? scaling : text;
  from.read("partial_rotary_factor", rope.partial_rotary_factor, within(0, 1));
  if (rope.partial_rotary_factor == 1.0 || rope.rope_type == "proportional") return;
  if (rope.rope_type != "default")
    from.wrong("partial_rotary_factor", concat("1: with the rope_type '", rope.rope_type, "' transformers fails, too"));
  if (warn)
    warn(
        concat(from.place("partial_rotary_factor"), " has no effect with the rope_type 'default', as in transformers"));
  rope.partial_rotary_factor = 1.0;
}

/// `rope_scaling` if it is not empty, else `rope_parameters`; a `rope_theta` inside takes precedence over one beside
/// it. This is transformers' order for files that have both.
inline JsonFields rope_section(const JsonFields& config) {
  const bool old_style = config.has("rope_scaling") && !config.find("rope_scaling")->empty();
  return config.section(old_style ? "rope_scaling" : "rope_parameters");
}
inline void read_rope(const JsonFields& text, std::int64_t max_position_embeddings, RopeParameters& rope,
                      int (&mrope_section)[3], const Warn& warn) {
  text.read("rope_theta", rope.rope_theta);
  const JsonFields scaling = rope_section(text);
  scaling.read("type", rope.rope_type);  // the older name
  scaling.read("rope_type", rope.rope_type);
  if (rope.rope_type == "mrope") rope.rope_type = "default";
  rope.rope_type = shown(rope.rope_type);  // it stands in messages
  read_partial_rotary_factor(text, scaling, rope, warn);
  scaling.read("rope_theta", rope.rope_theta);
  if (!(rope.rope_theta > 0)) fail(text.place("rope_theta"), " must be positive");
  read_field(scaling, "mrope_section", mrope_section);
  rope.has_factor = scaling.has("factor");
  scaling.read("factor", rope.factor);
  if (!(rope.factor > 0)) scaling.wrong("factor", "a positive number");
  rope.has_attention_factor = scaling.has("attention_factor");
  scaling.read("attention_factor", rope.attention_factor);
  scaling.read("beta_fast", rope.beta_fast);
  scaling.read("beta_slow", rope.beta_slow);
  if (rope.beta_fast == 0.0) rope.beta_fast = 32.0;  // "beta_fast or 32" in Python
  if (rope.beta_slow == 0.0) rope.beta_slow = 1.0;
  scaling.read("mscale", rope.mscale);
  scaling.read("mscale_all_dim", rope.mscale_all_dim);
  scaling.read("truncate", rope.truncate);
  scaling.read("low_freq_factor", rope.low_freq_factor);
  scaling.read("high_freq_factor", rope.high_freq_factor);
  scaling.read("original_max_position_embeddings", rope.original_max_position_embeddings, length_range);
  // Counts before the one inside.
  text.read("original_max_position_embeddings", rope.original_max_position_embeddings, length_range);
  scaling.read("short_factor", rope.short_factor, 0, 4096);
  scaling.read("long_factor", rope.long_factor, 0, 4096);
  // Only YaRN takes an explicit null for what the lengths say; a factor that is missing is an error there, too.
  if (rope.rope_type == "yarn" && scaling.is_null("factor")) {
    const auto longest = static_cast<double>(max_position_embeddings);
    const std::int64_t original = rope.original_max_position_embeddings;
    rope.has_factor = true;
    rope.factor = original > 0 ? longest / static_cast<double>(original) : 1.0;
  }
}

/// The vision tower's: rotation is that of rows and columns, whatever else stands there.
inline void read_vision_rope(const JsonFields& vision, double& rope_theta, const Warn& warn) {
  vision.read("rope_theta", rope_theta);
  const JsonFields rope = rope_section(vision);
  std::string type = "axial";
  rope.read("type", type);
  rope.read("rope_type", type);
  if (type != "axial" && type != "default") rope.wrong(rope.has("rope_type") ? "rope_type" : "type", "axial");
  rope.read("rope_theta", rope_theta);
  if (!(rope_theta > 0)) fail(rope.place("rope_theta"), " must be positive");
  for (const JsonFields* const section : {&vision, &rope})
    if (section->has("partial_rotary_factor") && warn)
      warn(concat(section->place("partial_rotary_factor"), " has no effect in the vision tower, as in transformers"));
}

/// Whether a config describes a mixture of experts. As in transformers, model_type alone says which model it is. Throws
/// Error for every other model than these two.
inline bool is_moe_config(const JsonFields& top, const Warn& warn) {
  std::string type;
  top.read("model_type", type);
  if (type.empty()) fail(top.where(), " has no model_type; qwen3vl runs qwen3_vl and qwen3_vl_moe");
  if (type != "qwen3_vl" && type != "qwen3_vl_moe")
    fail(top.where(), " describes a '", shown(type), "' model; qwen3vl runs qwen3_vl and qwen3_vl_moe");
  const bool moe = type == "qwen3_vl_moe";
  if (!top.has("architectures")) return moe;
  // The base model saves itself under its own name.
  const std::string whole = moe ? "Qwen3VLMoeForConditionalGeneration" : "Qwen3VLForConditionalGeneration";
  const std::string base = moe ? "Qwen3VLMoeModel" : "Qwen3VLModel";
  const nlohmann::json& all = *top.find("architectures");
  bool known = all.empty();
  if (!all.is_array()) top.wrong("architectures", "a list of names");
  for (const nlohmann::json& name : all) {
    if (!name.is_string()) top.wrong("architectures", "a list of names");
    known = known || name == whole || name == base;
  }
  if (!known && warn)
    warn(concat(top.place("architectures"), " is ", shown(all.dump(-1, ' ', true), 60), "; the model is read as ",
                whole, ", which its model_type says, as in transformers"));
  return moe;
}

}  // namespace detail

/// Reads a config that has been parsed; `file` is for messages. Throws Error.
inline CheckpointConfig config_from_json(const nlohmann::json& json, const std::string& file,
                                         const Warn& warn = print_warning) {
  const JsonFields top(json, file);
  const bool moe = detail::is_moe_config(top, warn);
  if (top.has("transformers_weights"))
    fail(top.place("transformers_weights"),
         " names another weight file, which is not read; rename that to model.safetensors, or its index to "
         "model.safetensors.index.json, and take the field out");
  CheckpointConfig config;
  TextConfig& text = config.model.text;
  if (moe) {
    text = {.hidden_size = 2048,
            .intermediate_size = 5632,
            .num_hidden_layers = 24,
            .num_attention_heads = 16,
            .num_key_value_heads = 16};
    text.moe = {.num_experts = 60, .num_experts_per_tok = 4, .moe_intermediate_size = 1408};
  }
  const JsonFields text_section = top.section("text_config"), vision_section = top.section("vision_config");
  for_each_field(
      [&](std::string_view section, std::string_view name, auto& value) {
        if (name == "mrope_section") return;  // inside the rope parameters
        const JsonFields& from = section == "vision_config" ? vision_section
                                 : section == "text_config" ? text_section
                                                            : top;
        detail::read_field(from, name, value);
      },
      moe, config.model);
  if (moe) detail::read_field(text_section, "num_local_experts", text.moe.num_experts);  // the name of transformers 5
  // An explicit null is not the same as a missing field. Dense models default to heads of 128, mixtures of experts to
  // an equal share of hidden_size.
  if (text_section.is_null("num_key_value_heads")) text.num_key_value_heads = text.num_attention_heads;
  if ((text_section.is_null("head_dim") || (moe && !text_section.has("head_dim"))) && text.num_attention_heads > 0)
    text.head_dim = text.hidden_size / text.num_attention_heads;

  RuntimeConfig& runtime = config.runtime;
  text_section.read("max_position_embeddings", runtime.max_position_embeddings, detail::length_range);
  detail::read_rope(text_section, runtime.max_position_embeddings, runtime.rope, text.mrope_section, warn);
  text_section.read("rms_norm_eps", runtime.rms_norm_eps, within(0, 1));
  text_section.read("router_aux_loss_coef", runtime.router_aux_loss_coef);
  if (moe) text_section.read("output_router_logits", runtime.output_router_logits);
  detail::read_vision_rope(vision_section, runtime.vision_rope_theta, warn);
  top.read("image_token_id", runtime.tokens.image_token_id, at_least(0));
  top.read("video_token_id", runtime.tokens.video_token_id, at_least(0));
  top.read("vision_start_token_id", runtime.tokens.vision_start_token_id, at_least(0));
  top.read("vision_end_token_id", runtime.tokens.vision_end_token_id, at_least(0));
  text_section.read("eos_token_id", runtime.eos_token_id, at_least(0));
  text_section.read("bos_token_id", runtime.bos_token_id, at_least(-1));
  text_section.read("pad_token_id", runtime.pad_token_id, at_least(-1));

  if (const char* problem = validate(config.model)) fail(file, ": ", problem);
  return config;
}

/// Reads a config.json. Throws Error that names file and field.
inline CheckpointConfig read_config(const std::filesystem::path& path, const Warn& warn = print_warning) {
  return config_from_json(read_json_file(path), path.string(), warn);
}

}  // namespace qwen3vl
