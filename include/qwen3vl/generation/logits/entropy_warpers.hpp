/// Logits processors of sampling that go by probabilities and entropy: top-h, typical-p, epsilon and eta cutoffs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/generation/logits/logits_processor.hpp"

namespace qwen3vl {

namespace detail {

/// Entropy of the softmax of `scores`, of which the best is `highest` and their log_sum_exp is `log_sum`.
inline double entropy(std::span<const float> scores, double log_sum) {
  double sum = 0.0;
  for (const float score : scores) {
    const double log_probability = static_cast<double>(score) - log_sum;
    if (score != removed_score) sum -= log_probability * std::exp(log_probability);
  }
  return sum;
}

/// Removes tokens less likely than `cutoff`; the best `min_tokens_to_keep`, and all that tie with the last of them,
/// stay.
inline void remove_unlikely(double cutoff, double log_sum, std::size_t min_tokens_to_keep, std::span<float> scores) {
  const float kept = worst_of_best(scores, min_tokens_to_keep);
  for (float& score : scores)
    if (score < kept && std::exp(static_cast<double>(score) - log_sum) < cutoff) score = removed_score;
}

}  // namespace detail

/// Keeps the best tokens, in order, while their part of the entropy is at most top_h of the whole, and the best one.
/// Only the best 100 tokens count (https://arxiv.org/abs/2509.02510).
class TopHLogitsWarper {
 public:
  static constexpr std::string_view name = "TopHLogitsWarper";

  explicit TopHLogitsWarper(float top_h) : top_h_(static_cast<double>(top_h)) {
    if (!(top_h > 0.0f && top_h <= 1.0f)) fail("top_h is ", top_h, "; it must be > 0 and <= 1");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    if (detail::softmax_maximum(scores) == removed_score) return;
    const std::vector<std::size_t> best = detail::best_scores(scores, 100);
    std::vector<float> own;
    own.reserve(best.size());
    for (const std::size_t i : best) own.push_back(scores[i]);
    const double log_sum = detail::log_sum_exp(own, own.front());
    const double limit = top_h_ * detail::entropy(own, log_sum);
    std::ranges::fill(scores, removed_score);
    double sum = 0.0;
    for (std::size_t i = 0; i < best.size(); ++i) {
      if (own[i] == removed_score) break;
      const double log_probability = static_cast<double>(own[i]) - log_sum;
      sum -= log_probability * std::exp(log_probability);
      if (i > 0 && sum > limit) break;
      scores[best[i]] = own[i];
    }
  }

 private:
  double top_h_;
};

/// Keeps the tokens whose information, -log p, is nearest to the entropy, until their probabilities reach `mass`
/// (https://huggingface.co/papers/2202.00666), and at least `min_tokens_to_keep`.
class TypicalLogitsWarper {
 public:
  static constexpr std::string_view name = "TypicalLogitsWarper";

  explicit TypicalLogitsWarper(float mass, std::size_t min_tokens_to_keep = 1)
      : mass_(static_cast<double>(mass)), min_tokens_to_keep_(min_tokens_to_keep) {
    if (!(mass > 0.0f && mass < 1.0f)) fail("typical_p is ", mass, "; it must be between 0 and 1");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    const float highest = detail::softmax_maximum(scores);
    if (highest == removed_score) return;
    const double log_sum = detail::log_sum_exp(scores, highest), entropy = detail::entropy(scores, log_sum);
    struct Candidate {
      float distance;  // of its information from the entropy
      double probability;
      std::size_t id;
    };
    std::vector<Candidate> candidates;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] == removed_score) continue;
      const double log_probability = static_cast<double>(scores[i]) - log_sum;
      candidates.push_back({static_cast<float>(std::abs(-log_probability - entropy)), std::exp(log_probability), i});
    }
    std::ranges::stable_sort(candidates, {}, &Candidate::distance);
    double sum = 0.0;
    std::size_t last = 0;  // the one that reaches the mass
    while (last < candidates.size() && (sum += candidates[last].probability) < mass_) ++last;
    if (last >= candidates.size()) return;
    for (std::size_t i = min_tokens_to_keep_; i < candidates.size(); ++i)
      if (candidates[i].distance > candidates[last].distance) scores[candidates[i].id] = removed_score;
  }

 private:
  double mass_;
  std::size_t min_tokens_to_keep_;
};

/// Removes tokens less likely than `epsilon`; the best `min_tokens_to_keep` stay.
class EpsilonLogitsWarper {
 public:
  static constexpr std::string_view name = "EpsilonLogitsWarper";

  explicit EpsilonLogitsWarper(float epsilon, std::size_t min_tokens_to_keep = 1)
      : epsilon_(static_cast<double>(epsilon)), min_tokens_to_keep_(min_tokens_to_keep) {
    if (!(epsilon > 0.0f && epsilon < 1.0f)) fail("epsilon_cutoff is ", epsilon, "; it must be between 0 and 1");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    const float highest = detail::softmax_maximum(scores);
    if (highest == removed_score) return;
    detail::remove_unlikely(epsilon_, detail::log_sum_exp(scores, highest), min_tokens_to_keep_, scores);
  }

 private:
  double epsilon_;
  std::size_t min_tokens_to_keep_;
};

/// Removes tokens less likely than `epsilon` and than sqrt(epsilon) * exp(-entropy)
/// (https://huggingface.co/papers/2210.15191); the best `min_tokens_to_keep` stay.
class EtaLogitsWarper {
 public:
  static constexpr std::string_view name = "EtaLogitsWarper";

  explicit EtaLogitsWarper(float epsilon, std::size_t min_tokens_to_keep = 1)
      : epsilon_(static_cast<double>(epsilon)), min_tokens_to_keep_(min_tokens_to_keep) {
    if (!(epsilon > 0.0f && epsilon < 1.0f)) fail("eta_cutoff is ", epsilon, "; it must be between 0 and 1");
  }

  void operator()(std::span<const TokenId>, std::span<float> scores) const {
    const float highest = detail::softmax_maximum(scores);
    if (highest == removed_score) return;
    const double log_sum = detail::log_sum_exp(scores, highest);
    const double eta = std::min(epsilon_, std::sqrt(epsilon_) * std::exp(-detail::entropy(scores, log_sum)));
    detail::remove_unlikely(eta, log_sum, min_tokens_to_keep_, scores);
  }

 private:
  double epsilon_;
  std::size_t min_tokens_to_keep_;
};

}  // namespace qwen3vl
