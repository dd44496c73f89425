/// When a sequence ends, and who is told of its tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/tensor/token_id.hpp"

namespace qwen3vl {

/// Why a sequence ended: with an eos token (which it keeps), at max_new_tokens, or because the streamer said so.
enum class FinishReason { stop, length, cancelled };

/// The name as HTTP APIs of language models write it.
constexpr std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "unknown";
}

/// Called with each new token as soon as it is chosen, with the row of the batch that it belongs to. Returns whether
/// that row should go on.
using Streamer = std::function<bool(std::int64_t row, TokenId token)>;

/// eos_token_id and max_new_tokens (EosTokenCriteria and MaxLengthCriteria).
class StoppingCriteria {
 public:
  explicit StoppingCriteria(const GenerationConfig& config)
      : eos_token_id_(config.eos_token_id), max_new_tokens_(config.max_new_tokens) {}

  /// Whether a sequence ends with `token`, the `generated`-th new one (counted from 1), and why. An eos token at the
  /// limit counts as stop.
  std::optional<FinishReason> operator()(TokenId token, std::int64_t generated) const {
    if (is_eos(token)) return FinishReason::stop;
    if (generated >= max_new_tokens_) return FinishReason::length;
    return std::nullopt;
  }

  bool is_eos(TokenId token) const {
    return std::find(eos_token_id_.begin(), eos_token_id_.end(), token) != eos_token_id_.end();
  }

 private:
  std::vector<TokenId> eos_token_id_;
  std::int64_t max_new_tokens_;
};

}  // namespace qwen3vl
