/// Text from tokens while they are being generated.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"

namespace qwen3vl {

/// Takes ids one at a time and returns text as soon as it is complete; concatenated, this is `decode(ids)`. Like
/// tokenizers' DecodeStream, it holds back text that would end in U+FFFD, because the next token may complete that
/// character. Work and memory are linear in the tokens.
class TokenStream {
  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  std::string text_;  // held back, valid UTF-8
  std::string tail_;  // at most three bytes of an incomplete character

 public:
  explicit TokenStream(Tokenizer tokenizer, bool skip_special_tokens = false)
      : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

  /// The text that `id` completes, often "". Ids are treated as by `Tokenizer::decode`.
  std::string push(TokenId id) {
    if (skip_special_tokens_ && tokenizer_.is_special(id)) return {};
    const std::string_view bytes = tokenizer_.bytes_or_nothing(id);
    if (bytes.empty()) return {};
    tail_ += bytes;
    tail_.erase(0, utf8::append_lossy(text_, tail_, true));
    if (!tail_.empty() || text_.ends_with(utf8::replacement)) return {};
    return std::exchange(text_, {});
  }

  /// Returns the rest, incomplete bytes as U+FFFD, and resets the stream.
  std::string flush() {
    utf8::append_lossy(text_, tail_);
    tail_.clear();
    return std::exchange(text_, {});
  }
};

}  // namespace qwen3vl
