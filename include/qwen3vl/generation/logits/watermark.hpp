/// The watermark of green tokens: writing and finding it (WatermarkLogitsProcessor and WatermarkDetector of
/// transformers, with its random numbers on a CPU).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/config/watermarking_config.hpp"
#include "qwen3vl/generation/logits/logits_processor.hpp"
#include "qwen3vl/generation/logits/torch_random.hpp"

namespace qwen3vl {

/// Adds a bias to the scores of the tokens that are green after `ids`.
class WatermarkLogitsProcessor {
  static constexpr std::size_t table_size = 1'000'003;

 public:
  static constexpr std::string_view name = "WatermarkLogitsProcessor";

  /// Throws Error for values that make no sense.
  explicit WatermarkLogitsProcessor(WatermarkingConfig config) : config_(config) {
    config_.validate();
    if (config_.seeding_scheme == SeedingScheme::lefthash) return;
    std::mt19937 generator = detail::torch_generator(static_cast<std::uint64_t>(config_.hashing_key));
    table_ =
        std::make_shared<const std::vector<std::int32_t>>(detail::torch_randperm(table_size, table_size, generator));
  }

  const WatermarkingConfig& config() const { return config_; }

  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    if (ids.size() < static_cast<std::size_t>(config_.context_width)) return;
    std::vector<TokenId> green;
    if (config_.seeding_scheme == SeedingScheme::lefthash) {
      green = green_ids(ids, scores.size());
    } else {
      // As many candidates as the reference tries, for the sake of time.
      std::vector<TokenId> sequence(ids.begin(), ids.end());
      for (const std::size_t candidate : detail::best_scores(scores, 40)) {
        sequence.push_back(static_cast<TokenId>(candidate));
        if (is_green(sequence, sequence.back(), scores.size())) green.push_back(sequence.back());
        sequence.pop_back();
      }
    }
    for (const TokenId id : green) scores[static_cast<std::size_t>(id)] += config_.bias;
  }

  /// Whether `token` is green; `seeding` are the tokens up to it (selfhash) or before it (lefthash), at least one.
  bool is_green(std::span<const TokenId> seeding, TokenId token, std::size_t vocab_size) const {
    const std::vector<TokenId> green = green_ids(seeding, vocab_size);
    return std::ranges::find(green, token) != green.end();
  }

 private:
  std::vector<TokenId> green_ids(std::span<const TokenId> seeding, std::size_t vocab_size) const {
    std::mt19937 generator = detail::torch_generator(seed(seeding));
    const auto count = static_cast<std::size_t>(static_cast<double>(vocab_size) * config_.greenlist_ratio);
    return detail::torch_randperm(vocab_size, count, generator);
  }

  /// The seed of the permutation whose first values are green, modulo 2^64 - 1.
  std::uint64_t seed(std::span<const TokenId> ids) const {
    const auto key = static_cast<std::uint64_t>(config_.hashing_key);
    const auto last = static_cast<std::uint64_t>(ids.back());
    if (config_.seeding_scheme == SeedingScheme::lefthash) {
      // The exact product has up to 94 bits: high * 2^64 + low is congruent to high + low.
      const std::uint64_t upper = (key >> 32) * last, lower = (key & 0xffffffffu) * last;
      const std::uint64_t low = (upper << 32) + lower;
      const std::uint64_t high = (upper >> 32) + (low < lower ? 1 : 0);
      const std::uint64_t sum = low + high;
      const std::uint64_t remainder = sum + (sum < low ? 1 : 0);
      return remainder == std::numeric_limits<std::uint64_t>::max() ? 0 : remainder;
    }
    const auto hash = [&](std::uint64_t id) { return static_cast<std::uint64_t>((*table_)[id % table_size]) + 1; };
    auto smallest = std::numeric_limits<std::int64_t>::max();
    const auto width = std::min(ids.size(), static_cast<std::size_t>(config_.context_width));
    for (const TokenId id : ids.last(width))  // products wrap, as those of 64-bit tensors do
      smallest = std::min(smallest, static_cast<std::int64_t>(key * hash(static_cast<std::uint64_t>(id)) * hash(last)));
    const auto bits = static_cast<std::uint64_t>(smallest);
    return smallest < 0 ? bits - 1 : bits;
  }

  WatermarkingConfig config_;
  std::shared_ptr<const std::vector<std::int32_t>> table_;
};

inline WatermarkLogitsProcessor watermark_processor(const WatermarkingConfig& config) {
  return WatermarkLogitsProcessor(config);
}

/// What a detector found in one text.
struct WatermarkDetectorOutput {
  index_t num_tokens_scored = 0;
  index_t num_green_tokens = 0;
  double green_fraction = 0.0;
  double z_score = 0.0;  ///< standard deviations between the green tokens and those expected without a watermark
  double p_value = 0.0;
  bool prediction = false;  ///< whether z_score is above the threshold
  double confidence = 0.0;  ///< 1 - p_value
};

/// Finds the watermark of a WatermarkingConfig, which must be the one that the text was written with.
class WatermarkDetector {
 public:
  /// `vocab_size` is that of the model. `bos_token_id` is skipped at the beginning of a text. With
  /// `ignore_repeated_ngrams`, equal runs of tokens count once.
  WatermarkDetector(std::size_t vocab_size, WatermarkingConfig config, std::optional<TokenId> bos_token_id = {},
                    bool ignore_repeated_ngrams = false)
      : vocab_size_(vocab_size),
        processor_(config),
        bos_token_id_(bos_token_id),
        ignore_repeated_ngrams_(ignore_repeated_ngrams) {}

  /// `ids` are those of a text, best without its prompt. Throws Error if they are too few.
  WatermarkDetectorOutput operator()(std::span<const TokenId> ids, double z_threshold = 3.0) const {
    if (!ids.empty() && bos_token_id_ && ids.front() == *bos_token_id_) ids = ids.subspan(1);
    const WatermarkingConfig& config = processor_.config();
    if (static_cast<index_t>(ids.size()) <= config.context_width)
      fail("a watermark with a context of ", config.context_width, " tokens cannot be found in ", ids.size(),
           "; it takes one more");
    const bool selfhash = config.seeding_scheme == SeedingScheme::selfhash;
    const std::size_t size = static_cast<std::size_t>(config.context_width) + (selfhash ? 0 : 1);
    std::map<std::vector<TokenId>, index_t> ngrams;  // how often each occurs
    for (std::size_t i = 0; i + size <= ids.size(); ++i) {
      const auto ngram = ids.subspan(i, size);
      ++ngrams[{ngram.begin(), ngram.end()}];
    }
    WatermarkDetectorOutput output;
    for (const auto& [ngram, count] : ngrams) {
      const index_t weight = ignore_repeated_ngrams_ ? 1 : count;
      const auto seeding = std::span(ngram).first(selfhash ? size : size - 1);
      output.num_tokens_scored += weight;
      if (processor_.is_green(seeding, ngram.back(), vocab_size_)) output.num_green_tokens += weight;
    }
    const auto scored = static_cast<double>(output.num_tokens_scored),
               green = static_cast<double>(output.num_green_tokens);
    const double ratio = config.greenlist_ratio;
    output.green_fraction = green / scored;
    output.z_score = (green - ratio * scored) / std::sqrt(scored * ratio * (1.0 - ratio));
    output.p_value = 0.5 * std::erfc(output.z_score / std::sqrt(2.0));
    output.prediction = output.z_score > z_threshold;
    output.confidence = 1.0 - output.p_value;
    return output;
  }

 private:
  std::size_t vocab_size_;
  WatermarkLogitsProcessor processor_;
  std::optional<TokenId> bos_token_id_;
  bool ignore_repeated_ngrams_;
};

}  // namespace qwen3vl
