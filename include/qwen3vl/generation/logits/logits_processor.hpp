/// The type of logits processors, and shared helpers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Changes scores [vocab_size] in place; `ids` are the prompt's and the generated tokens of one row so far, without
/// padding. A removed token gets -infinity. NaN and +infinity mean that the model's computation failed; processors
/// leave them for the sampler to report.
using LogitsProcessor = std::function<void(std::span<const TokenId> ids, std::span<float> scores)>;

/// One row of scores [vocab_size], and what stands before it.
struct LogitsRow {
  std::span<const TokenId> ids;  ///< as above; the first `prompt_tokens` are the prompt's
  std::size_t prompt_tokens = 0;
  std::span<float> scores;
  index_t prompt = 0;  ///< number of the prompt in the batch

  std::span<const TokenId> prompt_ids() const { return ids.first(prompt_tokens); }
  std::span<const TokenId> new_ids() const { return ids.subspan(prompt_tokens); }
};

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

/// Removes the tokens of a list; what the vocabulary lacks cannot be chosen either.
inline void remove_tokens(std::span<const TokenId> ids, std::span<float> scores) {
  for (const TokenId id : ids)
    if (id >= 0 && static_cast<std::size_t>(id) < scores.size()) scores[static_cast<std::size_t>(id)] = removed_score;
}

/// log(sum(exp(scores))), of scores with a best one.
inline double log_sum_exp(std::span<const float> scores, float highest) {
  double sum = 0.0;
  for (const float score : scores)
    if (score != removed_score) sum += std::exp(static_cast<double>(score) - static_cast<double>(highest));
  return std::log(sum) + static_cast<double>(highest);
}

/// Scores become log-probabilities. Broken ones stay.
inline void log_softmax(std::span<float> scores) {
  const float highest = softmax_maximum(scores);
  if (highest == removed_score) return;
  const double sum = log_sum_exp(scores, highest);
  for (float& score : scores) score = static_cast<float>(static_cast<double>(score) - sum);
}

/// The `count` best of `scores`, best first, the lowest index among equals (torch.topk).
inline std::vector<std::size_t> best_scores(std::span<const float> scores, std::size_t count) {
  const auto better = [&](std::size_t a, std::size_t b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  };
  count = std::min(count, scores.size());
  if (count == 0) return {};
  std::vector<std::size_t> best;  // cut to `count` whenever it has twice as many
  const auto cut = [&] {
    std::ranges::sort(best, better);
    best.resize(std::min(best.size(), count));
  };
  float worst = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (best.size() >= count && !(scores[i] > worst)) continue;
    best.push_back(i);
    if (best.size() < 2 * count && best.size() != count) continue;
    cut();
    worst = scores[best.back()];
  }
  cut();
  return best;
}

/// The score of the last of them.
inline float worst_of_best(std::span<const float> scores, std::size_t count) {
  return scores[best_scores(scores, count).back()];
}

}  // namespace detail

}  // namespace qwen3vl
