/// Writing config.json and generation_config.json, in the style of transformers 5.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/config/config_json.hpp"
#include "qwen3vl/config/generation_config.hpp"

namespace qwen3vl {
namespace detail {

/// The version whose format is written.
inline constexpr const char* written_version = "5.24.0";

/// The shortest number that is read as this float again: 0.8, not 0.800000011920929; and 2.0, not 2, since transformers
/// refuses integers for some.
inline nlohmann::json shortest(float value) { return nlohmann::json::parse(concat(value)).get<double>(); }

inline nlohmann::json field_json(int value) { return value; }
inline nlohmann::json field_json(bool value) { return value; }
inline nlohmann::json field_json(Activation value) { return name_of(value); }
inline nlohmann::json field_json(const int (&list)[3]) { return list; }
template <std::size_t N>
nlohmann::json field_json(const IndexList<N>& list) {
  return std::vector<int>(list.begin(), list.end());
}

/// An id, null where there is none; one of several as a list.
inline nlohmann::json token_json(std::int32_t id) { return id < 0 ? nlohmann::json() : nlohmann::json(id); }
inline nlohmann::json tokens_json(const std::vector<std::int32_t>& ids) {
  if (ids.empty()) return {};
  return ids.size() == 1 ? nlohmann::json(ids.front()) : nlohmann::json(ids);
}

/// A setting of generation as the file has it; detail::read_setting reads it back.
template <class T>
nlohmann::json setting_json(const T& value) {
  return value;
}
inline nlohmann::json setting_json(float value) { return shortest(value); }
inline nlohmann::json setting_json(EarlyStopping value) {
  return value == EarlyStopping::never ? nlohmann::json("never") : nlohmann::json(value == EarlyStopping::yes);
}
inline nlohmann::json setting_json(const LengthDecay& decay) {
  return nlohmann::json::array({decay.start_index, shortest(decay.decay_factor)});
}
inline nlohmann::json setting_json(const std::vector<SequenceBias>& biases) {
  nlohmann::json list = nlohmann::json::array();
  for (const SequenceBias& one : biases) list.push_back(nlohmann::json::array({one.ids, shortest(one.bias)}));
  return list;
}
inline nlohmann::json setting_json(const AnyWatermarkingConfig& any) {
  const auto* const config = std::get_if<WatermarkingConfig>(&any);
  if (config == nullptr) fail("watermarking_config: SynthID cannot be written in generation_config.json");
  return {{"greenlist_ratio", config->greenlist_ratio},
          {"bias", shortest(config->bias)},
          {"hashing_key", config->hashing_key},
          {"seeding_scheme", config->seeding_scheme == SeedingScheme::selfhash ? "selfhash" : "lefthash"},
          {"context_width", config->context_width}};
}
template <class T>
nlohmann::json setting_json(const std::optional<T>& value) {
  return value ? setting_json(*value) : nlohmann::json();
}

/// What a rope type does not use is left out.
inline nlohmann::json rope_json(const RopeParameters& rope, const int (&mrope_section)[3]) {
  nlohmann::json json{{"rope_type", rope.rope_type},
                      {"rope_theta", rope.rope_theta},
                      {"mrope_section", mrope_section},
                      {"mrope_interleaved", true}};
  const auto put = [&](const char* name, bool has, const auto& value) {
    if (has) json[name] = value;
  };
  put("factor", rope.has_factor, rope.factor);
  put("attention_factor", rope.has_attention_factor, rope.attention_factor);
  put("partial_rotary_factor", rope.partial_rotary_factor != 1.0, rope.partial_rotary_factor);
  if (rope.rope_type == "yarn") {
    put("beta_fast", true, rope.beta_fast);
    put("beta_slow", true, rope.beta_slow);
    put("truncate", true, rope.truncate);
    put("mscale", rope.mscale != 0.0, rope.mscale);
    put("mscale_all_dim", rope.mscale_all_dim != 0.0, rope.mscale_all_dim);
  }
  put("low_freq_factor", rope.low_freq_factor != 0.0, rope.low_freq_factor);
  put("high_freq_factor", rope.high_freq_factor != 0.0, rope.high_freq_factor);
  put("original_max_position_embeddings", rope.original_max_position_embeddings > 0,
      rope.original_max_position_embeddings);
  put("short_factor", !rope.short_factor.empty(), rope.short_factor);
  put("long_factor", !rope.long_factor.empty(), rope.long_factor);
  return json;
}

}  // namespace detail

/// The config.json of a model; config_from_json reads it back. `dtype`: the name of its weights' type in PyTorch, such
/// as "bfloat16". Fields without a meaning here (dropout, initialisation) are left out; transformers has defaults.
inline nlohmann::json config_to_json(const CheckpointConfig& config, std::string_view dtype) {
  const bool moe = config.model.text.moe.num_experts > 0;
  const std::string type = moe ? "qwen3_vl_moe" : "qwen3_vl";
  const RuntimeConfig& runtime = config.runtime;
  nlohmann::json top{
      {"architectures", {moe ? "Qwen3VLMoeForConditionalGeneration" : "Qwen3VLForConditionalGeneration"}},
      {"model_type", type},
      {"dtype", dtype},
      {"transformers_version", detail::written_version},
      {"image_token_id", runtime.tokens.image_token_id},
      {"video_token_id", runtime.tokens.video_token_id},
      {"vision_start_token_id", runtime.tokens.vision_start_token_id},
      {"vision_end_token_id", runtime.tokens.vision_end_token_id}};
  nlohmann::json& text = top["text_config"] = {{"model_type", type + "_text"}, {"dtype", dtype}};
  top["vision_config"] = {{"model_type", type + "_vision"}, {"dtype", dtype}};
  for_each_field(
      [&](std::string_view section, std::string_view name, const auto& value) {
        if (name == "mrope_section") return;  // inside the rope parameters
        if (name == "num_experts") name = "num_local_experts";
        (section.empty() ? top : top[std::string(section)])[std::string(name)] = detail::field_json(value);
      },
      moe, config.model);
  text["rope_parameters"] = detail::rope_json(runtime.rope, config.model.text.mrope_section);
  text["max_position_embeddings"] = runtime.max_position_embeddings;
  text["rms_norm_eps"] = detail::shortest(runtime.rms_norm_eps);
  if (moe) {
    text["router_aux_loss_coef"] = runtime.router_aux_loss_coef;
    text["output_router_logits"] = runtime.output_router_logits;
  }
  text["eos_token_id"] = detail::tokens_json(runtime.eos_token_id);
  text["bos_token_id"] = detail::token_json(runtime.bos_token_id);
  text["pad_token_id"] = detail::token_json(runtime.pad_token_id);
  top["vision_config"]["rope_parameters"] = {{"rope_type", "axial"}, {"rope_theta", runtime.vision_rope_theta}};
  return top;
}

/// A generation_config.json with what differs from the defaults; generation_config_from_json reads it back.
inline nlohmann::json generation_config_to_json(const GenerationConfig& config) {
  nlohmann::json json{{"transformers_version", detail::written_version}};
  const GenerationConfig defaults;
  for_each_generation_option(
      [&]<class T>(const GenerationOption& option, const T& value, const T& usual) {
        if (value == usual) return;
        nlohmann::json& field = json[std::string(option.name)] = detail::setting_json(value);
        // transformers takes one id without a list where tokens end an answer, not where they are suppressed.
        if (option.name.ends_with("eos_token_id") && field.is_array() && field.size() == 1)
          field = nlohmann::json(field[0]);
      },
      config, defaults);
  // What generate() cannot follow is kept for who can.
  for (const RefusedSetting& setting : config.refused) json[setting.name] = nlohmann::json::parse(setting.value);
  json.erase("seed");  // an argument of a call, not of a file
  return json;
}

}  // namespace qwen3vl
