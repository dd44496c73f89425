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
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_file.hpp"

namespace qwen3vl {

/// Reads one entry of `added_tokens` (or of `added_tokens_decoder`, without its id); `where` names it.
inline AddedToken read_added_token(const nlohmann::json& entry, const std::string& where) {
  const JsonFields fields(entry, where, ".");
  AddedToken token;
  token.content = fields.string("content");
  fields.read("special", token.special);
  fields.read("lstrip", token.lstrip);
  fields.read("rstrip", token.rstrip);
  fields.read("single_word", token.single_word);
  token.normalized = fields.boolean("normalized", !token.special);
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

/// Special tokens, padding and the chat template. The defaults are those of Qwen2Tokenizer.
struct TokenizerSettings {
  std::string path = "the defaults of Qwen2Tokenizer";  ///< for messages
  bool explicit_eos = false, explicit_pad = false;      ///< given by the file, so they must exist
  std::optional<std::string> eos_token = "<|endoftext|>";
  std::optional<std::string> pad_token = "<|endoftext|>";
  std::optional<PaddingSide> padding_side;  ///< if the file says
  TruncationSide truncation_side = TruncationSide::right;
  std::optional<std::int64_t> model_max_length;  ///< none where the file has one too large to mean anything
  bool split_special_tokens = false;
  std::vector<AddedToken> added_tokens;  ///< `added_tokens_decoder`
  /// `bos_token`, `eos_token` and so on with their texts, as chat templates see them (special_tokens_map).
  std::map<std::string, std::string> special_tokens = {
      {"eos_token", "<|endoftext|>"}, {"pad_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}};
  /// What counts as a control token beside special ones (sanitize_control_tokens); none: what the chat template has.
  std::optional<std::vector<std::string>> chat_control_tokens;
  nlohmann::json chat_template;  ///< as it is in the file; null if there is none

  /// The tokenizer_config.json of a checkpoint, or the defaults if there is none. Throws Error.
  static TokenizerSettings from_pretrained(const CheckpointFiles& files) {
    const std::string name = "tokenizer_config.json";
    if (files.gguf() != nullptr) return from_json(*files.json(name), files.place_of(name));
    const auto path = files.path() / name;
    std::error_code ignored;
    return std::filesystem::exists(path, ignored) ? read(path) : TokenizerSettings();
  }

  /// Reads a tokenizer_config.json. Throws Error naming the field at fault.
  static TokenizerSettings read(const std::filesystem::path& path) {
    return from_json(TokenizerFile::read(path).rest, path.string());  // for its limits; a config has no model
  }

  /// The same of one that has been parsed; `path` is for messages.
  static TokenizerSettings from_json(const nlohmann::json& json, const std::string& path) {
    TokenizerSettings settings;
    settings.path = path;
    const JsonFields fields(json, settings.path);
    settings.explicit_eos = read_token(fields, "eos_token", settings.eos_token);
    settings.explicit_pad = read_token(fields, "pad_token", settings.pad_token);
    for (const char* name :
         {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
      std::optional<std::string> token;
      if (read_token(fields, name, token)) settings.special_tokens.erase(name);
      if (token) settings.special_tokens[name] = *token;
    }
    if (const nlohmann::json* const list = fields.find("chat_control_tokens")) {
      const auto is_text = [](const nlohmann::json& token) { return token.is_string(); };
      if (!list->is_array() || !std::all_of(list->begin(), list->end(), is_text))
        fields.wrong("chat_control_tokens", "a list of strings");
      settings.chat_control_tokens = list->get<std::vector<std::string>>();
    }
    if (const nlohmann::json* const side = fields.find("padding_side")) {
      if (*side != "left" && *side != "right") fields.wrong("padding_side", "left or right");
      settings.padding_side = *side == "left" ? PaddingSide::left : PaddingSide::right;
    }
    if (const nlohmann::json* const source = fields.find("chat_template")) settings.chat_template = *source;
    if (const nlohmann::json* const side = fields.find("truncation_side")) {
      if (*side != "left" && *side != "right") fields.wrong("truncation_side", "left or right");
      settings.truncation_side = *side == "left" ? TruncationSide::left : TruncationSide::right;
    }
    double longest = 1e30;  // "none" in transformers
    fields.read("model_max_length", longest, at_least(1));
    if (longest < 1e15) settings.model_max_length = static_cast<std::int64_t>(longest);
    fields.read("split_special_tokens", settings.split_special_tokens);
    if (const nlohmann::json* const list = fields.find("added_tokens_decoder")) {
      if (!list->is_object()) fields.wrong("added_tokens_decoder", "an object");
      for (const auto& [key, entry] : list->items()) {
        const std::string at = fields.place("added_tokens_decoder") + "[" + utf8::quoted(key) + "]";
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
  // A string, an added token as an object, or null for none; false if the file says nothing.
  static bool read_token(const JsonFields& fields, const char* key, std::optional<std::string>& token) {
    const nlohmann::json* const found = fields.find(key);
    if (found != nullptr) token = found->is_object() ? fields.section(key).string("content") : fields.string(key);
    if (fields.is_null(key)) token.reset();
    return found != nullptr || fields.is_null(key);
  }
};

}  // namespace qwen3vl
