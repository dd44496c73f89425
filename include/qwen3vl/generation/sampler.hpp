/// Choosing a token from processed scores.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "qwen3vl/generation/logits_processors.hpp"

namespace qwen3vl {

/// Greedy (the best score, the lowest id among equals) or random by probability. Random choices depend only on the seed
/// and the scores: std::mt19937_64 is the same everywhere, and no std:: distribution is used.
class Sampler {
 public:
  /// `stream` tells the rows of a batch apart, so that equal prompts get different answers.
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
    std::size_t best = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (!(scores[i] < std::numeric_limits<float>::infinity()))
        fail("the score of token ", i, " is ", scores[i], "; the weights or a logits processor are broken");
      if (scores[i] > scores[best]) best = i;
    }
    if (scores.empty() || scores[best] == removed_score)
      fail("no token is left to choose from; loosen the logits processors");
    return do_sample_ ? draw(scores, scores[best]) : static_cast<TokenId>(best);
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
    // 53 random bits are a uniform number in [0, 1).
    const double uniform = static_cast<double>(generator_() >> 11) * 0x1.0p-53 * total;
    const auto chosen = std::ranges::upper_bound(weights_, uniform, {}, &std::pair<TokenId, double>::second);
    return chosen == weights_.end() ? weights_.back().first : chosen->first;
  }

  bool do_sample_;
  std::mt19937_64 generator_;
  std::vector<std::pair<TokenId, double>> weights_;
};

}  // namespace qwen3vl
