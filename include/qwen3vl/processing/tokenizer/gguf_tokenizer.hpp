/// The tokenizer in a GGUF file, as the tokenizer.json that it was made from.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/io/weights/gguf.hpp"
#include "qwen3vl/processing/tokenizer/qwen_words.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer_file.hpp"

namespace qwen3vl {
namespace detail {

/// Values of tokenizer.ggml.token_type.
enum class GgufTokenType { normal = 1, unknown, control, user_defined, unused, byte };

/// llama.cpp's converter takes every added token that looks like "<|...|>" for a control token. These are none in
/// Qwen's tokenizer_config.json (`special` is false), so that skip_special_tokens keeps them.
inline constexpr std::string_view not_special[] = {"<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
                                                   "<|fim_pad|>",    "<|repo_name|>",  "<|file_sep|>"};

/// The parts of a tokenizer.json that a GGUF file does not have, because "qwen2" stands for them.
inline nlohmann::json qwen_tokenizer_json() {
  const nlohmann::json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const nlohmann::json split = {
      {"type", "Split"}, {"pattern", {{"Regex", qwen_pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"version", "1.0"},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {split, byte_level}}}},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"ignore_merges", false}, {"vocab", nullptr}, {"merges", nullptr}}},
          {"added_tokens", nlohmann::json::array()}};
}

}  // namespace detail

/// Reads the vocabulary, merges and added tokens of a model. Throws Error for another tokenizer than Qwen's byte-level
/// BPE, and for lists that do not fit each other.
inline TokenizerFile tokenizer_of_gguf(const GgufFile& gguf) {
  using detail::GgufTokenType;
  const GgufMetadata& metadata = gguf.metadata();
  const auto require = [&](std::string_view key, std::string_view wanted) {
    if (const std::string_view found = metadata.string(key); found != wanted)
      fail(gguf.name(), ": ", key, " is '", detail::shown(found), "'; only Qwen's, '", wanted, "', is supported");
  };
  require("tokenizer.ggml.model", "gpt2");
  require("tokenizer.ggml.pre", "qwen2");
  TokenizerFile file;
  file.path = gguf.name();
  file.rest = detail::qwen_tokenizer_json();
  const auto store = [&](std::string_view text) {
    if (text.size() > TokenizerFile::max_bytes - file.strings.size())
      fail(gguf.name(), ": the tokens and merges have more than ", TokenizerFile::max_bytes,
           " bytes (TokenizerFile::max_bytes)");
    const TokenizerFile::Text piece{static_cast<std::uint32_t>(file.strings.size()),
                                    static_cast<std::uint32_t>(text.size())};
    file.strings += text;
    return piece;
  };

  const std::vector<std::string_view> tokens = metadata.strings("tokenizer.ggml.tokens");
  const std::vector<int> types = metadata.integers<int>("tokenizer.ggml.token_type");
  if (types.size() != tokens.size())
    fail(gguf.name(), " has ", tokens.size(), " tokens, but tokenizer.ggml.token_type has ", types.size(), " values");
  if (std::cmp_greater(tokens.size(), TokenizerFile::max_id))
    fail(gguf.name(), " has ", tokens.size(), " tokens, more than ", TokenizerFile::max_id);
  file.vocab.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const auto type = static_cast<GgufTokenType>(types[id]);
    // The rows of the embedding that are nobody's: unused, or Ollama's user-defined [PAD0], [PAD1], ...
    if (type == GgufTokenType::unused ||
        (type == GgufTokenType::user_defined && tokens[id].starts_with("[PAD") && tokens[id].ends_with(']')))
      continue;
    if (type == GgufTokenType::normal) {
      file.vocab.push_back({store(tokens[id]), static_cast<TokenId>(id)});
    } else if (type == GgufTokenType::control || type == GgufTokenType::user_defined) {
      const bool special = type == GgufTokenType::control &&
                           std::ranges::find(detail::not_special, tokens[id]) == std::end(detail::not_special);
      file.rest["added_tokens"].push_back({{"id", id},
                                           {"content", tokens[id]},
                                           {"special", special},
                                           {"normalized", false},
                                           {"lstrip", false},
                                           {"rstrip", false},
                                           {"single_word", false}});
    } else {
      fail(gguf.name(), ": token ", id, ", ", utf8::quoted(tokens[id]), ", is of type ", types[id],
           ", which a byte-level BPE does not have");
    }
  }
  std::vector<std::string_view> merges;  // a converter leaves out an empty list
  if (metadata.has("tokenizer.ggml.merges")) merges = metadata.strings("tokenizer.ggml.merges");
  if (std::cmp_greater(merges.size(), TokenizerFile::max_id))
    fail(gguf.name(), " has ", merges.size(), " merges, more than ", TokenizerFile::max_id);
  file.merges.reserve(merges.size());
  for (const std::string_view merge : merges) {
    const std::size_t space = merge.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == merge.size() ||
        merge.find(' ', space + 1) != std::string_view::npos)
      fail(gguf.name(), ": tokenizer.ggml.merges[", file.merges.size(), "] is ", utf8::quoted(merge),
           ", not two tokens with a space between");
    const auto left = store(merge.substr(0, space));
    file.merges.emplace_back(left, store(merge.substr(space + 1)));
  }
  return file;
}

}  // namespace qwen3vl
