/// Strings that end an answer (StopStringCriteria of transformers).
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/processing/tokenizer/tokenizer.hpp"

namespace qwen3vl {

/// A stopping criterion for GenerateOptions::stopping_criteria: true once the last token of an answer completes one of
/// the strings, possibly in the middle of that token. Only the answer is searched, not the prompt; special tokens count
/// as their text. It examines the last token and as much before it as the longest string spans, so a whole answer takes
/// linear time, and keeps no state between calls.
class StopStrings {
 public:
  /// Throws Error if a string is empty, which would end every answer before it begins.
  StopStrings(Tokenizer tokenizer, std::vector<std::string> strings)
      : tokenizer_(std::move(tokenizer)), strings_(std::move(strings)) {
    for (const std::string& string : strings_) {
      if (string.empty()) fail("a stop string is empty");
      longest_ = std::max(longest_, string.size());
    }
  }

  bool operator()(index_t /*row*/, std::span<const TokenId> new_tokens) const {
    if (new_tokens.empty() || strings_.empty()) return false;
    const std::string_view last = tokenizer_.bytes_or_nothing(new_tokens.back());
    if (last.empty()) return false;
    std::size_t first = new_tokens.size() - 1, before = 0;
    while (first > 0 && before + 1 < longest_) before += tokenizer_.bytes_or_nothing(new_tokens[--first]).size();
    std::string text;
    for (const TokenId id : new_tokens.subspan(first)) text += tokenizer_.bytes_or_nothing(id);
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
  Tokenizer tokenizer_;
  std::vector<std::string> strings_;
  std::size_t longest_ = 0;
};

}  // namespace qwen3vl
