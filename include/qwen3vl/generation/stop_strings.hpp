/// Strings that end an answer (StopStringCriteria of transformers).
#pragma once

#include <algorithm>
#include <concepts>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// The bytes of tokens: of a Tokenizer, or of anything with its bytes_or_nothing.
class TokenText {
 public:
  TokenText() = default;
  template <class Tokenizer>
  requires requires(const Tokenizer& tokenizer) {
    { tokenizer.bytes_or_nothing(TokenId{}) } -> std::same_as<std::string_view>;
  }
  TokenText(Tokenizer tokenizer)  // NOLINT(google-explicit-constructor): a tokenizer is one
      : bytes_([tokenizer = std::move(tokenizer)](TokenId id) { return tokenizer.bytes_or_nothing(id); }) {}

  explicit operator bool() const { return static_cast<bool>(bytes_); }
  std::string_view operator()(TokenId id) const { return bytes_(id); }

 private:
  std::function<std::string_view(TokenId)> bytes_;
};

/// A stopping criterion for GenerateOptions::stopping_criteria: true once the last token of an answer completes one of
/// the strings, possibly in the middle of that token. Only the answer is searched, not the prompt (GenerateOptions::
/// stop_strings may begin in it, as in transformers); special tokens count as their text. It examines the last token
/// and as much before it as the longest string spans, so a whole answer takes linear time, and keeps no state between
/// calls.
class StopStrings {
 public:
  /// Throws Error if a string is empty, which would end every answer before it begins.
  StopStrings(TokenText tokenizer, std::vector<std::string> strings)
      : tokenizer_(std::move(tokenizer)), strings_(std::move(strings)) {
    if (!tokenizer_ && !strings_.empty()) fail("stop strings need a tokenizer");
    for (const std::string& string : strings_) {
      if (string.empty()) fail("a stop string is empty");
      longest_ = std::max(longest_, string.size());
    }
  }

  bool operator()(index_t /*row*/, std::span<const TokenId> new_tokens) const { return ends(new_tokens); }

  /// Whether the last of `ids` completes one of the strings.
  bool ends(std::span<const TokenId> ids) const {
    if (ids.empty() || strings_.empty()) return false;
    const std::string_view last = tokenizer_(ids.back());
    if (last.empty()) return false;
    std::size_t first = ids.size() - 1, before = 0;
    while (first > 0 && before + 1 < longest_) before += tokenizer_(ids[--first]).size();
    std::string text;
    for (const TokenId id : ids.subspan(first)) text += tokenizer_(id);
    return std::ranges::any_of(strings_, [&](const std::string& string) {
      // An occurrence that ends before the last token has been reported before.
      const std::size_t from = before + 1 > string.size() ? before + 1 - string.size() : 0;
      return text.find(string, from) != std::string::npos;
    });
  }

  /// `text` up to the first stop string in it. Answers hold the string that ended them, as in transformers.
  std::string_view cut(std::string_view text) const {
    std::size_t end = text.size();
    for (const std::string& string : strings_) end = std::min(end, text.find(string));
    return text.substr(0, end);
  }

 private:
  TokenText tokenizer_;
  std::vector<std::string> strings_;
  std::size_t longest_ = 0;
};

}  // namespace qwen3vl
