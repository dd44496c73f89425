/// The type of logits processors, and shared helpers.
#pragma once

#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Changes scores [vocab_size] in place; `ids` are the prompt's and the generated tokens of one row so far, without
/// padding. A removed token gets -infinity. NaN and +infinity mean that the model's computation failed; processors
/// leave them for the sampler to report.
using LogitsProcessor = std::function<void(std::span<const TokenId> ids, std::span<float> scores)>;

inline constexpr float removed_score = -std::numeric_limits<float>::infinity();

namespace detail {

/// The index of a sequence's token in the scores. Throws Error if it is out of range.
inline std::size_t score_index(TokenId id, std::span<const float> scores, std::string_view processor) {
  if (id < 0 || static_cast<std::size_t>(id) >= scores.size())
    fail(processor, ": the sequence holds token ", id, ", the vocabulary has ", scores.size());
  return static_cast<std::size_t>(id);
}

/// The highest score; removed_score if softmax is undefined: no token is left, or a score is NaN or +infinity.
inline float softmax_maximum(std::span<const float> scores) {
  float highest = removed_score;
  bool broken = false;
  for (const float score : scores) {
    broken |= !(score < std::numeric_limits<float>::infinity());
    highest = score > highest ? score : highest;
  }
  return broken ? removed_score : highest;
}

}  // namespace detail

}  // namespace qwen3vl
