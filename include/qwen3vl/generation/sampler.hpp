/// Chooses a token from processed scores.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/generation/logits/logits_processors.hpp"

namespace qwen3vl {
namespace detail {

/// The index of the best score, the lowest among equals. Throws Error if the scores are not usable: NaN or +infinity,
/// or every token removed.
inline std::size_t best_score(std::span<const float> scores) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!(scores[i] < std::numeric_limits<float>::infinity()))
      fail("the score of token ", i, " is ", scores[i], "; the weights or a logits processor are broken");
    if (scores[i] > scores[best]) best = i;
  }
  if (scores.empty() || scores[best] == removed_score)
    fail("no token is left to choose from; loosen the logits processors");
  return best;
}

}  // namespace detail

/// Greedy (the best score, the lowest id among equals) or random by probability. Random choices depend only on the seed
/// and the scores: std::mt19937_64 is portable, and no std:: distribution is used.
class Sampler {
 public:
  /// `stream` distinguishes the rows of a batch, so that equal prompts get different answers.
  explicit Sampler(const GenerationConfig& config, std::uint64_t stream = 0) : do_sample_(config.do_sample) {
    if (!do_sample_) return;
    const std::uint64_t seed =
        config.seed ? *config.seed : (std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}();
    std::seed_seq sequence{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32),
                           static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)};
    generator_.seed(sequence);
  }

  /// Throws Error if the scores are not usable: NaN or +infinity, or every token removed.
  TokenId operator()(std::span<const float> scores) {
    const std::size_t best = detail::best_score(scores);
    return do_sample_ ? draw(scores, scores[best]) : static_cast<TokenId>(best);
  }

  /// The next random number, uniform in [0, 1): 53 random bits. Each random choice uses one.
  double uniform() { return static_cast<double>(generator_() >> 11) * 0x1.0p-53; }

  /// Draws `count` different ones of `scores` by probability, without replacement, as torch.multinomial of their
  /// softmax does, best first. If too few have a probability above 0, the best of the others fill up.
  std::vector<std::size_t> draw_different(std::span<const float> scores, std::size_t count) {
    const float highest = scores[detail::best_score(scores)];
    std::vector<std::pair<std::size_t, double>> left;
    for (std::size_t i = 0; i < scores.size(); ++i)
      if (const double weight = std::exp(static_cast<double>(scores[i]) - static_cast<double>(highest)); weight > 0.0)
        left.emplace_back(i, weight);
    std::vector<std::size_t> chosen;
    while (chosen.size() < count && !left.empty()) {
      double total = 0.0;
      for (const auto& [i, weight] : left) total += weight;
      double rest = uniform() * total;
      std::size_t at = 0;
      while (at + 1 < left.size() && rest >= left[at].second) rest -= left[at++].second;
      chosen.push_back(left[at].first);
      left.erase(left.begin() + static_cast<std::ptrdiff_t>(at));
    }
    const auto better = [&](std::size_t a, std::size_t b) {
      return std::pair(-scores[a], a) < std::pair(-scores[b], b);
    };
    if (chosen.size() < count) {
      std::vector<std::size_t> others;
      for (std::size_t i = 0; i < scores.size(); ++i)
        if (std::ranges::find(chosen, i) == chosen.end()) others.push_back(i);
      const auto missing = static_cast<std::ptrdiff_t>(std::min(count - chosen.size(), others.size()));
      std::ranges::partial_sort(others, others.begin() + missing, better);
      chosen.insert(chosen.end(), others.begin(), others.begin() + missing);
    }
    std::ranges::sort(chosen, better);
    return chosen;
  }

 private:
  TokenId draw(std::span<const float> scores, float highest) {
    weights_.clear();
    double total = 0.0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (scores[i] == removed_score) continue;
      total += std::exp(static_cast<double>(scores[i]) - static_cast<double>(highest));
      weights_.emplace_back(static_cast<TokenId>(i), total);
    }
    const auto chosen = std::ranges::upper_bound(weights_, uniform() * total, {}, &std::pair<TokenId, double>::second);
    return chosen == weights_.end() ? weights_.back().first : chosen->first;
  }

  bool do_sample_;
  std::mt19937_64 generator_;
  std::vector<std::pair<TokenId, double>> weights_;
};

}  // namespace qwen3vl
