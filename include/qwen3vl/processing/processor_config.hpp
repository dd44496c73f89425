/// What a processor needs to know of a checkpoint beside its tokenizer and picture settings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/json/json_text.hpp"

namespace qwen3vl {

/// Settings from tokenizer_config.json and config.json; each has a default, since checkpoints differ in what they have.
struct ProcessorConfig {
  std::string pad_token = "<|endoftext|>";
  PaddingSide padding_side = PaddingSide::left;
  std::optional<TokenId> image_token_id;  ///< checked against the tokenizer
  std::optional<TokenId> video_token_id;

  /// Reads the two files where they exist. Throws Error naming the file and field of a fault.
  static ProcessorConfig from_pretrained(const std::filesystem::path& folder) {
    ProcessorConfig config;
    const auto tokenizer = read(folder / "tokenizer_config.json");
    if (const auto pad = tokenizer.find("pad_token"); pad != tokenizer.end() && !pad->is_null()) {
      // A string, or the description of an added token.
      const auto& text = pad->is_object() && pad->contains("content") ? (*pad)["content"] : *pad;
      if (!text.is_string()) fail(path_text(folder, "tokenizer_config.json"), ": pad_token must be a string");
      config.pad_token = text.get<std::string>();
    }
    if (const auto side = tokenizer.find("padding_side"); side != tokenizer.end() && !side->is_null()) {
      if (*side != "left" && *side != "right") {
        fail(path_text(folder, "tokenizer_config.json"), ": padding_side must be left or right");
      }
      config.padding_side = *side == "left" ? PaddingSide::left : PaddingSide::right;
    }
    const auto model = read(folder / "config.json");
    config.image_token_id = token_id(model, "image_token_id", folder);
    config.video_token_id = token_id(model, "video_token_id", folder);
    return config;
  }

 private:
  static std::string path_text(const std::filesystem::path& folder, const char* name) {
    return (folder / name).string();
  }

  static nlohmann::ordered_json read(const std::filesystem::path& path) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) return nlohmann::ordered_json::object();
    auto json = parse_ordered_json(read_text_file(path, max_json_bytes), path.string());
    if (!json.is_object()) fail(path.string(), ": must be an object, is ", json.type_name());
    return json;
  }

  static std::optional<TokenId> token_id(const nlohmann::ordered_json& config, const char* key,
                                         const std::filesystem::path& folder) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) return std::nullopt;
    const bool fits = found->is_number_unsigned() && found->get<std::uint64_t>() <= std::numeric_limits<TokenId>::max();
    if (!fits) fail(path_text(folder, "config.json"), ": ", key, " must be a token's number");
    return found->get<TokenId>();
  }
};

}  // namespace qwen3vl
