/// What a tokenizer_config.json adds to a tokenizer.json.
#pragma once

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/json/json_fields.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_file.hpp"

namespace qwen3vl {

/// Reads one entry of `added_tokens` (or of `added_tokens_decoder`, without its id); `where` names it.
inline AddedToken read_added_token(const nlohmann::json& entry, const std::string& where) {
  if (!entry.is_object()) fail(where, ": must be an object");
  AddedToken token;
  token.content = json_string(entry, "content", where);
  token.special = json_bool(entry, "special", false, where);
  token.lstrip = json_bool(entry, "lstrip", false, where);
  token.rstrip = json_bool(entry, "rstrip", false, where);
  token.single_word = json_bool(entry, "single_word", false, where);
  token.normalized = json_bool(entry, "normalized", !token.special, where);
  if (token.content.empty()) fail(where, ".content: must not be empty");
  if (token.content.size() > 1024) fail(where, ".content: longer than 1024 bytes");
  return token;
}

/// Checks the id of an added token.
template <class Number>
TokenId added_token_id(Number id, const std::string& where) {
  if (id < 0 || id > TokenizerFile::max_id) fail(where, ": the id is ", id, ", must lie in 0..", TokenizerFile::max_id);
  return static_cast<TokenId>(id);
}

/// Special tokens and padding. The defaults are those of Qwen2Tokenizer.
struct TokenizerSettings {
  std::string path = "the defaults of Qwen2Tokenizer";  ///< for messages
  bool explicit_eos = false, explicit_pad = false;      ///< given by the file, so they must exist
  std::optional<std::string> eos_token = "<|endoftext|>";
  std::optional<std::string> pad_token = "<|endoftext|>";
  PaddingSide padding_side = PaddingSide::right;
  std::vector<AddedToken> added_tokens;  ///< `added_tokens_decoder`

  /// Reads a tokenizer_config.json. Throws Error naming the field at fault.
  static TokenizerSettings read(const std::filesystem::path& path) {
    TokenizerSettings settings;
    settings.path = path.string();
    const TokenizerFile file = TokenizerFile::read(path);  // for its limits; a config has no model
    const nlohmann::json& json = file.rest;
    const std::string where = settings.path + ": tokenizer_config";
    read_token(json, "eos_token", where, settings.eos_token, settings.explicit_eos);
    read_token(json, "pad_token", where, settings.pad_token, settings.explicit_pad);
    if (const auto side = json.find("padding_side"); side != json.end() && !side->is_null()) {
      if (*side != "left" && *side != "right") fail(where, ".padding_side: must be \"left\" or \"right\"");
      settings.padding_side = *side == "left" ? PaddingSide::left : PaddingSide::right;
    }
    if (json_bool(json, "split_special_tokens", false, where))
      fail(where, ".split_special_tokens: true is unsupported");
    if (const auto list = json.find("added_tokens_decoder"); list != json.end() && !list->is_null()) {
      if (!list->is_object()) fail(where, ".added_tokens_decoder: must be an object");
      for (const auto& [key, entry] : list->items()) {
        const std::string at = where + ".added_tokens_decoder[" + utf8::quoted(key) + "]";
        std::int64_t id = -1;
        const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
        if (error != std::errc() || end != key.data() + key.size()) fail(at, ": the key must be an id");
        settings.added_tokens.push_back(read_added_token(entry, at));
        settings.added_tokens.back().id = added_token_id(id, at);
      }
    }
    return settings;
  }

 private:
  // A string, an added token as an object, or null for none.
  static void read_token(const nlohmann::json& json, const char* key, const std::string& where,
                         std::optional<std::string>& token, bool& given) {
    const auto at = json.find(key);
    if (at == json.end()) return;
    given = true;
    if (at->is_null()) {
      token.reset();
    } else if (at->is_object()) {
      token = json_string(*at, "content", where + "." + key);
    } else {
      token = json_string(json, key, where);
    }
  }
};

}  // namespace qwen3vl
