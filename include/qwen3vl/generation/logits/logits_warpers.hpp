/// The logits processors of sampling: temperature, top-k, top-p, min-p.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <string_view>
#include <tuple>
#include <vector>

#include "qwen3vl/generation/logits/logits_processor.hpp"

namespace qwen3vl {

/// Divides the scores: below 1 favours likely tokens, above 1 unlikely ones.
class TemperatureLogitsWarper {
 public:
  static constexpr std::string_view name = "TemperatureLogitsWarper";

  explicit TemperatureLogitsWarper(float temperature) : temperature_(temperature) {
    if (!(temperature > 0.0f))
      fail("temperature is ", temperature, "; sampling needs a positive one (do_sample = false is greedy)");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    for (float& score : scores) score /= temperature_;
  }

 private:
  float temperature_;
};

/// Keeps the k best tokens and all that tie with the k-th.
class TopKLogitsWarper {
 public:
  static constexpr std::string_view name = "TopKLogitsWarper";

  explicit TopKLogitsWarper(index_t top_k, std::size_t min_tokens_to_keep = 1)
      : top_k_(std::max(static_cast<std::size_t>(top_k), min_tokens_to_keep)) {
    if (top_k < 1) fail("top_k is ", top_k, "; give at least 1");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    if (top_k_ >= scores.size()) return;
    // The k-th score in one pass: a score enters the buffer if it beats the current k-th, which few do; a full buffer
    // is cut to its k best. NaN, which selection algorithms cannot handle, never enters.
    const std::size_t capacity = std::max<std::size_t>(2 * top_k_, 64);
    std::vector<float> buffer;
    buffer.reserve(capacity);
    float kth = removed_score;
    const auto cut = [&] {
      std::nth_element(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(top_k_ - 1), buffer.end(),
                       std::greater<>());
      buffer.resize(top_k_);
      kth = buffer.back();
    };
    for (const float score : scores) {
      if (!(score > kth)) continue;
      buffer.push_back(score);
      if (buffer.size() == capacity) cut();
    }
    if (buffer.size() < top_k_) return;  // the others are removed already
    cut();
    for (float& score : scores)
      if (score < kth) score = removed_score;
  }

 private:
  std::size_t top_k_;
};

/// Keeps the smallest set of best tokens whose probabilities reach top_p: in ascending order, tokens are removed while
/// the sum up to and including them is at most 1 - top_p. The best `min_tokens_to_keep` always stay. Among equal scores
/// the lower id is removed first.
class TopPLogitsWarper {
 public:
  static constexpr std::string_view name = "TopPLogitsWarper";

  explicit TopPLogitsWarper(float top_p, std::size_t min_tokens_to_keep = 1)
      : limit_(1.0 - static_cast<double>(top_p)), min_tokens_to_keep_(min_tokens_to_keep) {
    if (!(top_p >= 0.0f && top_p <= 1.0f)) fail("top_p is ", top_p, "; it must be from 0 to 1");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    const float highest = detail::softmax_maximum(scores);
    if (highest == removed_score) return;
    std::vector<Candidate> candidates;
    double total = 0.0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] == removed_score) continue;
      candidates.push_back({scores[i], std::exp(scores[i] - highest), i});
      total += candidates.back().weight;
    }
    // Only the threshold between removed and kept is needed, not the order on either side. Bisection finds it in linear
    // time: the lower half, its upper end included, is removed as a whole if its sum allows; otherwise the threshold is
    // inside.
    if (candidates.size() <= min_tokens_to_keep_) return;
    auto first = candidates.begin(), last = candidates.end() - static_cast<std::ptrdiff_t>(min_tokens_to_keep_);
    std::nth_element(first, last, candidates.end());  // the best ones, which stay
    double removed = 0.0;                             // weight of the tokens before `first`
    while (first != last) {
      const auto middle = first + (last - first) / 2;
      std::nth_element(first, middle, last);
      double sum = removed;
      for (auto it = first; it <= middle; ++it) sum += it->weight;
      if (sum <= limit_ * total) {
        first = middle + 1;
        removed = sum;
      } else {
        last = middle;
      }
    }
    for (auto it = candidates.begin(); it != first; ++it) scores[it->id] = removed_score;
  }

 private:
  struct Candidate {
    float score;
    float weight;  // its probability, times the sum of all weights
    std::size_t id;

    bool operator<(const Candidate& other) const { return std::tie(score, id) < std::tie(other.score, other.id); }
  };

  double limit_;
  std::size_t min_tokens_to_keep_;
};

/// Removes tokens less likely than min_p times the most likely one; the best `min_tokens_to_keep` stay.
class MinPLogitsWarper {
 public:
  static constexpr std::string_view name = "MinPLogitsWarper";

  explicit MinPLogitsWarper(float min_p, std::size_t min_tokens_to_keep = 1)
      : min_p_(min_p), min_tokens_to_keep_(min_tokens_to_keep) {
    if (!(min_p >= 0.0f && min_p <= 1.0f)) fail("min_p is ", min_p, "; it must be from 0 to 1");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    const float highest = detail::softmax_maximum(scores);
    if (highest == removed_score) return;
    // Ties with the last one to keep stay.
    const float kept = min_tokens_to_keep_ > 1 ? detail::worst_of_best(scores, min_tokens_to_keep_) : highest;
    for (float& score : scores)
      if (score < kept && score != removed_score && std::exp(score - highest) < min_p_) score = removed_score;
  }

 private:
  float min_p_;
  std::size_t min_tokens_to_keep_;
};

}  // namespace qwen3vl
