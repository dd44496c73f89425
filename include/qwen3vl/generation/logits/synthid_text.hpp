/// The watermark of SynthID: what a text's tokens are worth, and sampling towards a high worth
/// (SynthIDTextWatermarkLogitsProcessor of transformers, with its random numbers on a CPU).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/config/watermarking_config.hpp"
#include "qwen3vl/generation/logits/logits_processor.hpp"
#include "qwen3vl/generation/logits/torch_random.hpp"

namespace qwen3vl {

/// Plays a tournament for each key: tokens with the value 1 gain probability, those with 0 lose it. Values depend on
/// the key and on the last ngram_len tokens of the answer. A context that has occurred before is left alone.
class SynthIDTextWatermarkLogitsProcessor {
 public:
  static constexpr std::string_view name = "SynthIDTextWatermarkLogitsProcessor";

  /// Throws Error for values that make no sense.
  explicit SynthIDTextWatermarkLogitsProcessor(SynthIDTextWatermarkingConfig config) : config_(std::move(config)) {
    config_.validate();
    std::mt19937 generator = detail::torch_generator(static_cast<std::uint64_t>(config_.sampling_table_seed));
    auto table = std::make_shared<std::vector<std::uint8_t>>(static_cast<std::size_t>(config_.sampling_table_size));
    for (std::uint8_t& value : *table) value = static_cast<std::uint8_t>(generator() % 2);
    table_ = std::move(table);
  }

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    if (config_.debug_mode) std::ranges::fill(scores, 1.0f);
    const auto answer = ids.subspan(prompt_tokens);
    if (config_.skip_first_ngram_calls && answer.size() + 1 < ngram_len()) return;
    const float highest = detail::softmax_maximum(scores);
    if (highest == removed_score) return;
    const std::uint64_t context = context_hash(answer);
    if (has_occurred(context, answer)) return;
    std::vector<float> probabilities(scores.size());
    const double log_sum = detail::log_sum_exp(scores, highest);
    for (std::size_t i = 0; i < scores.size(); ++i)
      probabilities[i] = static_cast<float>(std::exp(static_cast<double>(scores[i]) - log_sum));
    std::vector<std::uint64_t> hashes(scores.size());
    for (std::size_t i = 0; i < scores.size(); ++i) hashes[i] = accumulate(context, i);
    std::vector<float> values(scores.size());
    for (const std::int64_t key : config_.keys) {
      double mass = 0.0;
      for (std::size_t i = 0; i < scores.size(); ++i) {
        if (probabilities[i] == 0.0f) continue;
        values[i] = value(accumulate(hashes[i], static_cast<std::uint64_t>(key)));
        mass += static_cast<double>(values[i]) * static_cast<double>(probabilities[i]);
      }
      for (std::size_t i = 0; i < scores.size(); ++i) probabilities[i] *= 1.0f + values[i] - static_cast<float>(mass);
    }
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const float logarithm = std::log(probabilities[i]);
      scores[i] = std::isfinite(logarithm) ? logarithm : std::numeric_limits<float>::lowest();
    }
  }

  /// The values [ids - ngram_len + 1][keys] of the tokens of a text, from which detectors tell whether it is
  /// watermarked: their mean is 0.5 without.
  std::vector<std::vector<std::uint8_t>> compute_g_values(std::span<const TokenId> ids) const {
    std::vector<std::vector<std::uint8_t>> all;
    for (std::size_t i = 0; i + ngram_len() <= ids.size(); ++i) {
      std::uint64_t hash = 1;
      for (const TokenId id : ids.subspan(i, ngram_len())) hash = accumulate(hash, static_cast<std::uint64_t>(id));
      auto& of_token = all.emplace_back();
      for (const std::int64_t key : config_.keys)
        of_token.push_back(static_cast<std::uint8_t>(value(accumulate(hash, static_cast<std::uint64_t>(key)))));
    }
    return all;
  }

 private:
  std::size_t ngram_len() const { return static_cast<std::size_t>(config_.ngram_len); }

  /// A linear congruential generator over the data; wraps.
  static std::uint64_t accumulate(std::uint64_t hash, std::uint64_t data) {
    return (hash + data) * 6364136223846793005u + 1u;
  }

  /// Of the last ngram_len - 1 tokens of the answer, with zeros before it.
  std::uint64_t context_hash(std::span<const TokenId> answer) const {
    std::uint64_t hash = 1;
    for (std::size_t back = ngram_len() - 1; back > 0; --back)
      hash = accumulate(hash, back <= answer.size() ? static_cast<std::uint64_t>(answer[answer.size() - back]) : 0);
    return hash;
  }

  bool has_occurred(std::uint64_t context, std::span<const TokenId> answer) const {
    const std::size_t first = config_.skip_first_ngram_calls ? ngram_len() - 1 : 0;
    const auto remembered = static_cast<std::size_t>(config_.context_history_size);
    const std::size_t begin = std::max(first, answer.size() > remembered ? answer.size() - remembered : 0);
    for (std::size_t length = begin; length < answer.size(); ++length)
      if (context_hash(answer.first(length)) == context) return true;
    return false;
  }

  float value(std::uint64_t hash) const {
    const auto size = static_cast<std::int64_t>(table_->size());
    const std::int64_t remainder = static_cast<std::int64_t>(hash) % size;
    return static_cast<float>((*table_)[static_cast<std::size_t>(remainder < 0 ? remainder + size : remainder)]);
  }

  SynthIDTextWatermarkingConfig config_;
  std::shared_ptr<const std::vector<std::uint8_t>> table_;
};

inline SynthIDTextWatermarkLogitsProcessor watermark_processor(const SynthIDTextWatermarkingConfig& config) {
  return SynthIDTextWatermarkLogitsProcessor(config);
}

}  // namespace qwen3vl
