/// What a processor needs to know about a checkpoint besides its tokenizer and image settings.
#pragma once

#include <optional>
#include <string>

#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_settings.hpp"

namespace qwen3vl {

/// Settings from tokenizer_config.json and config.json; each has a default, since not every checkpoint has them.
struct ProcessorConfig {
  std::string pad_token = "<|endoftext|>";
  PaddingSide padding_side = PaddingSide::left;  ///< because generation needs it
  std::optional<TokenId> image_token_id;         ///< checked against the tokenizer
  std::optional<TokenId> video_token_id;

  /// The token ids are read from config.json, if there is one. Throws Error naming file and field.
  static ProcessorConfig from_pretrained(const CheckpointFiles& files, const TokenizerSettings& settings) {
    ProcessorConfig config;
    if (settings.pad_token) config.pad_token = *settings.pad_token;
    if (settings.padding_side) config.padding_side = *settings.padding_side;
    const nlohmann::json* const json = files.json("config.json");
    if (json == nullptr) return config;
    const JsonFields fields(*json, files.place_of("config.json"));
    fields.read("image_token_id", config.image_token_id, at_least(0));
    fields.read("video_token_id", config.video_token_id, at_least(0));
    return config;
  }
};

}  // namespace qwen3vl
