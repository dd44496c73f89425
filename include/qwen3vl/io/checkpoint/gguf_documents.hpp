/// What the metadata of GGUF files say, as the JSON files that a checkpoint of the Hub has, to be read by what reads
/// those. What a file does not say is left to the readers' defaults, which are transformers', but for a few settings
/// that are the same in all released checkpoints and that transformers' classes have otherwise.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/checkpoint/gguf_pair.hpp"

namespace qwen3vl::detail {

/// A FLOAT32 of a file as the decimal number that it was made from: 1e-6, not 9.99999997e-7.
inline double shortest(double value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<float>(value)).ptr;
  double decimal = 0.0;
  std::from_chars(digits, end, decimal);
  return static_cast<double>(static_cast<float>(value)) == value ? decimal : value;
}

/// The JSON files that a pair stands for.
class GgufDocuments {
  using Json = nlohmann::json;

 public:
  explicit GgufDocuments(const GgufPair& pair)
      : pair_(pair), text_(pair.text.metadata()), vision_(pair.vision().metadata()) {}

  /// config.json
  Json config() const {
    const bool moe = pair_.architecture() == "qwen3vlmoe";
    Json json = {{"model_type", moe ? "qwen3_vl_moe" : "qwen3_vl"},
                 {"architectures", {moe ? "Qwen3VLMoeForConditionalGeneration" : "Qwen3VLForConditionalGeneration"}},
                 {"text_config", text_config(moe)},
                 {"vision_config", vision_config()},
                 {"tie_word_embeddings", pair_.text.find("output.weight") == nullptr}};
    for (const auto& [key, token] :
         {std::pair("image_token_id", "<|image_pad|>"), std::pair("video_token_id", "<|video_pad|>"),
          std::pair("vision_start_token_id", "<|vision_start|>"), std::pair("vision_end_token_id", "<|vision_end|>")})
      if (const auto id = token_id(token)) json[key] = *id;
    return json;
  }

  /// generation_config.json. A file has one eos token, or Ollama's list; the models were released with the end of a
  /// message and the end of a text, which are in every vocabulary and with which llama.cpp stops, too.
  Json generation_config() const {
    Json json = Json::object(), eos = Json::array();
    const auto add = [&](std::int64_t id) {
      if (std::ranges::find(eos, Json(id)) == eos.end()) eos.push_back(id);
    };
    for (const char* const name : {"eos", "eot"})
      if (const auto id = special_token(name)) add(*id);
    if (text_.has("tokenizer.ggml.eos_token_ids"))
      for (const std::int64_t id : text_.integers("tokenizer.ggml.eos_token_ids", std::int64_t{0}, last_token()))
        add(id);
    for (const char* const token : {"<|im_end|>", "<|endoftext|>"})
      if (const auto id = token_id(token)) add(*id);
    if (!eos.empty()) json["eos_token_id"] = eos;
    for (const auto& [key, name] : {std::pair("bos_token_id", "bos"), std::pair("pad_token_id", "padding")})
      if (const auto id = special_token(name)) json[key] = *id;
    const auto sampling = [&](const char* key, const char* name) {
      if (const std::string stored = concat("general.sampling.", name); text_.has(stored)) {
        json[key] = shortest(text_.number(stored));
        json["do_sample"] = true;
      }
    };
    sampling("temperature", "temp");
    sampling("top_p", "top_p");
    sampling("min_p", "min_p");
    sampling("repetition_penalty", "penalty_repeat");
    if (text_.has("general.sampling.top_k"))
      json["top_k"] = text_.integer("general.sampling.top_k", std::int64_t{0}, std::int64_t{1} << 30);
    return json;
  }

  /// preprocessor_config.json
  Json image_settings(const Warn& warn) const {
    // Not in llama.cpp's files: the numbers of all released checkpoints.
    Json json = frame_settings(65536, 16777216, warn);
    json["image_processor_type"] = "Qwen2VLImageProcessorFast";
    for (const auto& [edge, keys] : {std::pair("shortest_edge", std::array{"image_min_pixels", "shortest_edge"}),
                                     std::pair("longest_edge", std::array{"image_max_pixels", "longest_edge"})})
      for (const char* const key : keys)
        if (const std::string stored = pair_.vision_key(key); vision_.has(stored))
          json["size"][edge] = vision_.integer(stored, std::int64_t{0}, std::int64_t{1} << 31);
    return json;
  }

  /// video_preprocessor_config.json
  Json video_settings() const {
    Json json = frame_settings(4096, 25165824, {});  // likewise
    json["video_processor_type"] = "Qwen3VLVideoProcessor";
    return json;
  }

  /// tokenizer_config.json, with the chat template. A beginning token is in every file; Qwen's tokenizer has none.
  Json tokenizer_config(const Warn& warn) const {
    Json json = {{"tokenizer_class", "Qwen2Tokenizer"}};
    for (const char* const adds : {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"})
      if (warn && text_.has(adds) && text_.boolean(adds))
        warn(concat(pair_.text.name(), ": ", adds, " has no effect: Qwen's tokenizer adds no tokens to a text"));
    const std::vector<std::string_view> tokens = text_.strings("tokenizer.ggml.tokens");
    for (const auto& [key, name] : {std::pair("eos_token", "eos"), std::pair("pad_token", "padding")})
      if (const auto id = special_token(name)) json[key] = tokens[static_cast<std::size_t>(*id)];
    constexpr std::string_view key = "tokenizer.chat_template";
    Json templates = Json::object();
    if (text_.has("tokenizer.chat_templates"))
      for (const std::string_view name : text_.strings("tokenizer.chat_templates"))
        if (const std::string stored = concat(key, ".", name); text_.has(stored))
          templates[std::string(name)] = text_.string(stored);
    if (text_.has(key)) templates["default"] = text_.string(key);
    if (templates.size() == 1 && templates.contains("default")) {
      json["chat_template"] = templates["default"];
    } else if (!templates.empty()) {
      json["chat_template"] = templates;
    }
    return json;
  }

 private:
  static constexpr std::int64_t most = std::int64_t{1} << 40;

  std::string key(std::string_view name) const { return concat(pair_.architecture(), ".", name); }

  static void copy_integer(const GgufMetadata& from, const std::string& key, Json& to, const char* name) {
    if (from.has(key)) to[name] = from.integer(key, std::int64_t{0}, most);
  }

  Json text_config(bool moe) const {
    Json json = {{"model_type", moe ? "qwen3_vl_moe_text" : "qwen3_vl_text"}};
    for (const auto& [stored, name] :
         {std::pair("embedding_length", "hidden_size"), std::pair("feed_forward_length", "intermediate_size"),
          std::pair("block_count", "num_hidden_layers"), std::pair("attention.head_count", "num_attention_heads"),
          std::pair("attention.head_count_kv", "num_key_value_heads"), std::pair("attention.key_length", "head_dim"),
          std::pair("context_length", "max_position_embeddings")})
      copy_integer(text_, key(stored), json, name);
    json["num_hidden_layers"] = text_.integer(key("block_count"), std::int64_t{1}, std::int64_t{4096});
    if (!json.contains("head_dim") && json.contains("num_attention_heads") && json["num_attention_heads"] != 0)
      json["head_dim"] = text_.integer(key("embedding_length"), std::int64_t{1}, most) /
                         json["num_attention_heads"].get<std::int64_t>();
    if (const StoredTensor* const table = pair_.text.find("token_embd.weight"); table && !table->shape.empty())
      json["vocab_size"] = table->shape[0];
    json["attention_bias"] = pair_.text.find("blk.0.attn_q.bias") != nullptr || pair_.text.find("blk.0.attn_qkv.bias");
    if (const std::string eps = key("attention.layer_norm_rms_epsilon"); text_.has(eps))
      json["rms_norm_eps"] = shortest(text_.number(eps));
    if (moe) add_experts(json);
    add_rope(json);
    for (const auto& [field, name] :
         {std::pair("bos_token_id", "bos"), std::pair("eos_token_id", "eos"), std::pair("pad_token_id", "padding")})
      if (const auto id = special_token(name)) json[field] = *id;
    return json;
  }

  void add_experts(Json& json) const {
    copy_integer(text_, key("expert_count"), json, "num_experts");
    copy_integer(text_, key("expert_used_count"), json, "num_experts_per_tok");
    copy_integer(text_, key("expert_feed_forward_length"), json, "moe_intermediate_size");
    Json dense = Json::array();
    const auto layers = json["num_hidden_layers"].get<std::int64_t>();
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      const StoredTensor* const down = pair_.text.find(concat("blk.", layer, ".ffn_down_exps.weight"));
      if (down == nullptr) {
        dense.push_back(layer);
      } else if (down->shape.size() == 3 && !json.contains("moe_intermediate_size")) {
        json["moe_intermediate_size"] = down->shape[2];  // Ollama's files do not say
      }
    }
    json["mlp_only_layers"] = dense;
    json["decoder_sparse_step"] = 1;
  }

  void add_rope(Json& json) const {
    if (const std::string base = key("rope.freq_base"); text_.has(base))
      json["rope_theta"] = shortest(text_.number(base));
    Json rope = {{"rope_type", "default"}};
    for (const char* const name : {"rope.dimension_sections", "rope.mrope_section"})
      if (text_.has(key(name))) {
        std::vector<std::int64_t> sections = text_.integers(key(name), std::int64_t{0}, most);
        if (sections.size() > 3) sections.resize(3);  // llama.cpp writes a fourth, 0
        rope["mrope_section"] = sections;
      }
    if (text_.has(key("rope.scaling.type"))) {
      const std::string_view type = text_.string(key("rope.scaling.type"));
      if (type != "none" && type != "linear" && type != "yarn")
        fail(pair_.text.name(), ": ", key("rope.scaling.type"), " is '", shown(type), "', wanted none, linear or yarn");
      if (type != "none") rope["rope_type"] = type;
      const auto copy = [&](std::string_view stored, const char* name) {
        if (const std::string full = key(concat("rope.scaling.", stored)); text_.has(full))
          rope[name] = shortest(text_.number(full));
      };
      copy("factor", "factor");
      copy("yarn_attn_factor", "attention_factor");
      copy("yarn_beta_fast", "beta_fast");
      copy("yarn_beta_slow", "beta_slow");
      copy_integer(text_, key("rope.scaling.original_context_length"), rope, "original_max_position_embeddings");
    }
    json["rope_scaling"] = rope;
  }

  /// The epsilon of a file's tower is that of its text model, by a converter's mistake; transformers has a fixed one.
  Json vision_config() const {
    const GgufFile& file = pair_.vision();
    Json json = {{"model_type", pair_.architecture() == "qwen3vlmoe" ? "qwen3_vl_moe" : "qwen3_vl"}};
    for (const auto& [stored, name] :
         {std::pair("block_count", "depth"), std::pair("embedding_length", "hidden_size"),
          std::pair("feed_forward_length", "intermediate_size"), std::pair("attention.head_count", "num_heads"),
          std::pair("patch_size", "patch_size"), std::pair("spatial_merge_size", "spatial_merge_size"),
          std::pair("temporal_patch_size", "temporal_patch_size"), std::pair("num_channels", "in_channels")})
      copy_integer(vision_, pair_.vision_key(stored), json, name);
    const auto extent = [&](std::initializer_list<const char*> names, std::size_t axis, const char* field) {
      for (const char* const name : names)
        if (const StoredTensor* const tensor = file.find(name); tensor != nullptr && tensor->shape.size() > axis)
          json[field] = tensor->shape[axis];
    };
    extent({"v.blk.0.ffn_up.weight", "v.blk.0.mlp.linear_fc1.weight"}, 0, "intermediate_size");
    extent({"v.position_embd.weight", "v.pos_embed.weight"}, 0, "num_position_embeddings");
    extent({"mm.2.weight", "v.merger.linear_fc2.weight"}, 0, "out_hidden_size");
    extent({"v.patch_embd.weight"}, 1, "in_channels");
    if (pair_.tower) json["temporal_patch_size"] = file.find("v.patch_embd.weight.1") != nullptr ? 2 : 1;
    Json deepstack = Json::array();
    if (const std::string flags = pair_.vision_key("is_deepstack_layers"); vision_.has(flags)) {
      const std::vector<bool> is_deepstack = vision_.booleans(flags);
      for (std::size_t i = 0; i < is_deepstack.size(); ++i)
        if (is_deepstack[i]) deepstack.push_back(i);
    } else if (const std::string indexes = pair_.vision_key("deepstack_visual_indexes"); vision_.has(indexes)) {
      deepstack = vision_.integers(indexes, std::int64_t{0}, most);
    }
    json["deepstack_visual_indexes"] = deepstack;
    if (vision_.has("clip.use_silu") && vision_.boolean("clip.use_silu")) json["hidden_act"] = "silu";
    check_together(json);
    return json;
  }

  /// A tower of another model is found now, by its name, not by the shapes of its weights.
  void check_together(const Json& vision) const {
    if (!pair_.tower) return;
    const auto hidden = text_.integer(key("embedding_length"), std::int64_t{1}, most);
    if (vision.contains("out_hidden_size") && vision["out_hidden_size"] != hidden)
      fail(pair_.tower->name(), " is the vision tower of another model than ", pair_.text.name(),
           ": it makes vectors of ", vision["out_hidden_size"].get<std::int64_t>(), " numbers, the text model takes ",
           hidden);
    const std::string layers = key("n_deepstack_layers");
    if (text_.has(layers) &&
        std::cmp_not_equal(text_.integer(layers, std::int64_t{0}, most), vision["deepstack_visual_indexes"].size()))
      fail(pair_.tower->name(), " is the vision tower of another model than ", pair_.text.name(), ": it has ",
           vision["deepstack_visual_indexes"].size(), " DeepStack mergers, ", layers, " is ",
           text_.integer(layers, std::int64_t{0}, most));
  }

  Json frame_settings(std::int64_t shortest_edge, std::int64_t longest_edge, const Warn& warn) const {
    const Json vision = vision_config();
    Json json = {{"size", {{"shortest_edge", shortest_edge}, {"longest_edge", longest_edge}}},
                 {"image_mean", {0.5, 0.5, 0.5}},
                 {"image_std", {0.5, 0.5, 0.5}},
                 {"processor_class", "Qwen3VLProcessor"}};
    for (const auto& [from, to] : {std::pair("patch_size", "patch_size"), std::pair("spatial_merge_size", "merge_size"),
                                   std::pair("temporal_patch_size", "temporal_patch_size")})
      if (vision.contains(from)) json[to] = vision[from];
    // transformers' class has the numbers of CLIP, which a converter wrote where it found no settings. No Qwen3-VL has
    // them.
    constexpr double clip_mean[] = {0.48145466, 0.4578275, 0.40821073},
                     clip_std[] = {0.26862954, 0.26130258, 0.27577711};
    const std::string mean = pair_.vision_key("image_mean"), deviation = pair_.vision_key("image_std");
    if (!vision_.has(mean) || !vision_.has(deviation)) return json;
    const std::vector<double> means = vision_.numbers(mean), deviations = vision_.numbers(deviation);
    const auto same = [](double a, double b) { return std::abs(a - b) < 1e-6; };
    if (std::ranges::equal(means, clip_mean, same) && std::ranges::equal(deviations, clip_std, same)) {
      if (warn)
        warn(concat(pair_.vision().name(), ": ", mean, " and ", deviation,
                    " are those of CLIP, which its converter took for want of the model's; 0.5 is used, as in every "
                    "released Qwen3-VL"));
      return json;
    }
    json["image_mean"] = decimal(means);
    json["image_std"] = decimal(deviations);
    return json;
  }
  static std::vector<double> decimal(std::vector<double> values) {
    std::ranges::transform(values, values.begin(), [](double value) { return shortest(value); });
    return values;
  }

  std::int64_t last_token() const {
    const GgufValue* const tokens = text_.find("tokenizer.ggml.tokens");
    return tokens == nullptr || tokens->count == 0 ? 0 : static_cast<std::int64_t>(tokens->count) - 1;
  }
  /// "eos", "bos", "padding", ...
  std::optional<std::int64_t> special_token(std::string_view name) const {
    const std::string stored = concat("tokenizer.ggml.", name, "_token_id");
    if (!text_.has(stored)) return std::nullopt;
    return text_.integer(stored, std::int64_t{0}, last_token());
  }
  std::optional<std::int64_t> token_id(std::string_view token) const {
    if (tokens_.empty()) tokens_ = text_.strings("tokenizer.ggml.tokens");
    const auto found = std::ranges::find(tokens_, token);
    return found == tokens_.end() ? std::nullopt : std::optional<std::int64_t>(found - tokens_.begin());
  }

  const GgufPair& pair_;
  const GgufMetadata &text_, &vision_;
  mutable std::vector<std::string_view> tokens_;
};

}  // namespace qwen3vl::detail
