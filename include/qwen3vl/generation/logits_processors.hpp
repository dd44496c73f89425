/// Changes to the scores before a token is chosen, with the names and the order of transformers.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <unordered_set>
#include <utility>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"

namespace qwen3vl {

/// Changes scores [vocab_size] in place; `ids` are the prompt's and the generated tokens so far. A removed token gets
/// -infinity.
using LogitsProcessor = std::function<void(std::span<const TokenId> ids, std::span<float> scores)>;

inline constexpr float removed_score = -std::numeric_limits<float>::infinity();

/// Makes tokens that have occurred less likely: positive scores are divided by the penalty, negative ones multiplied.
struct RepetitionPenaltyLogitsProcessor {
  float penalty;
  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    std::unordered_set<TokenId> seen;
    for (const TokenId id : ids) {
      if (id < 0 || static_cast<std::size_t>(id) >= scores.size() || !seen.insert(id).second) continue;
      float& score = scores[static_cast<std::size_t>(id)];
      score = score < 0.0f ? score * penalty : score / penalty;
    }
  }
};

/// Removes tokens that would complete a run of `size` tokens that has occurred before.
struct NoRepeatNGramLogitsProcessor {
  index_t size;
  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    const auto n = static_cast<std::size_t>(size);
    if (ids.size() + 1 < n) return;
    const auto tail = ids.last(n - 1);
    for (std::size_t i = 0; i + n <= ids.size(); ++i) {
      const TokenId next = ids[i + n - 1];
      if (std::ranges::equal(ids.subspan(i, n - 1), tail) && next >= 0 &&
          static_cast<std::size_t>(next) < scores.size())
        scores[static_cast<std::size_t>(next)] = removed_score;
    }
  }
};

struct TemperatureLogitsWarper {
  float temperature;
  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    for (float& score : scores) score /= temperature;
  }
};

/// Keeps the k best tokens, and all that tie with the k-th.
struct TopKLogitsWarper {
  index_t top_k;
  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    const std::size_t k = std::min(static_cast<std::size_t>(top_k), scores.size());
    if (k == 0 || k == scores.size()) return;
    std::vector<float> sorted(scores.begin(), scores.end());
    std::ranges::nth_element(sorted, sorted.begin() + static_cast<std::ptrdiff_t>(k - 1), std::greater<>());
    const float kth = sorted[k - 1];
    for (float& score : scores)
      if (score < kth) score = removed_score;
  }
};

namespace detail {

/// Indexes of the tokens that are left, by ascending score; among equals the lower index first, as a stable sort gives.
inline std::vector<std::size_t> ascending_finite(std::span<const float> scores) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (scores[i] != removed_score) order.push_back(i);
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return scores[a] < scores[b]; });
  return order;
}

/// softmax of the scores at `order`, in that order.
inline std::vector<double> probabilities(std::span<const float> scores, const std::vector<std::size_t>& order) {
  std::vector<double> p;
  p.reserve(order.size());
  if (order.empty()) return p;
  float highest = removed_score;
  for (const std::size_t i : order) highest = std::max(highest, scores[i]);
  double total = 0.0;
  for (const std::size_t i : order) {
    p.push_back(std::exp(static_cast<double>(scores[i]) - static_cast<double>(highest)));
    total += p.back();
  }
  for (double& value : p) value /= total;
  return p;
}

}  // namespace detail

/// Keeps the smallest set of best tokens whose probabilities reach top_p: in ascending order, tokens are removed while
/// the sum up to and including them is at most 1 - top_p. The best token always stays.
struct TopPLogitsWarper {
  float top_p;
  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    const auto order = detail::ascending_finite(scores);
    const auto p = detail::probabilities(scores, order);
    double sum = 0.0;
    for (std::size_t i = 0; i + 1 < order.size(); ++i) {
      sum += p[i];
      if (sum > 1.0 - static_cast<double>(top_p)) break;
      scores[order[i]] = removed_score;
    }
  }
};

/// Removes tokens less likely than min_p times the likeliest.
struct MinPLogitsWarper {
  float min_p;
  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    // p < min_p * p_max is score < highest + log(min_p): no softmax needed.
    const float highest = *std::ranges::max_element(scores);
    if (highest == removed_score) return;
    for (float& score : scores)
      if (std::exp(static_cast<double>(score) - static_cast<double>(highest)) < static_cast<double>(min_p))
        score = removed_score;
  }
};

/// The processors that a GenerationConfig asks for, in transformers' order, then the caller's own.
class LogitsProcessorList {
 public:
  LogitsProcessorList() = default;
  explicit LogitsProcessorList(const GenerationConfig& config) {
    if (config.repetition_penalty != 1.0f) push_back(RepetitionPenaltyLogitsProcessor{config.repetition_penalty});
    if (config.no_repeat_ngram_size > 0) push_back(NoRepeatNGramLogitsProcessor{config.no_repeat_ngram_size});
    if (!config.do_sample) return;
    if (config.temperature != 1.0f) push_back(TemperatureLogitsWarper{config.temperature});
    if (config.top_k != 0) push_back(TopKLogitsWarper{config.top_k});
    if (config.top_p < 1.0f) push_back(TopPLogitsWarper{config.top_p});
    if (config.min_p > 0.0f) push_back(MinPLogitsWarper{config.min_p});
  }

  void push_back(LogitsProcessor processor) { processors_.push_back(std::move(processor)); }
  std::size_t size() const { return processors_.size(); }

  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    for (const LogitsProcessor& processor : processors_) processor(ids, scores);
  }

 private:
  std::vector<LogitsProcessor> processors_;
};

}  // namespace qwen3vl
