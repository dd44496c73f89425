/// How answers are watermarked; names and defaults of transformers.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// What the tokens preferred at a place ("green" ones) depend on.
enum class SeedingScheme {
  lefthash,  ///< the token before it
  selfhash,  ///< the token itself and context_width - 1 tokens before it
};

/// Green tokens get a higher score (https://huggingface.co/papers/2306.04634); WatermarkDetector finds them.
struct WatermarkingConfig {
  double greenlist_ratio = 0.25;        ///< share of the vocabulary that is green, between 0 and 1
  float bias = 2.0f;                    ///< added to the scores of green tokens
  std::int64_t hashing_key = 15485863;  ///< the secret, at least 0
  SeedingScheme seeding_scheme = SeedingScheme::lefthash;
  index_t context_width = 1;

  bool operator==(const WatermarkingConfig&) const = default;

  /// Throws Error for values that make no sense.
  void validate() const {
    if (!(greenlist_ratio > 0.0 && greenlist_ratio < 1.0))
      fail("watermarking_config.greenlist_ratio is ", greenlist_ratio, "; it must be between 0 and 1");
    if (!Range{}.has(static_cast<double>(bias))) fail("watermarking_config.bias is ", bias, "; it must be finite");
    if (hashing_key < 0) fail("watermarking_config.hashing_key is ", hashing_key, "; it must be at least 0");
    if (context_width < 1) fail("watermarking_config.context_width is ", context_width, "; it must be at least 1");
  }
};

/// Tournament sampling of SynthID (https://www.nature.com/articles/s41586-024-08025-4). As in transformers, it cannot
/// be written in generation_config.json.
struct SynthIDTextWatermarkingConfig {
  index_t ngram_len = 5;             ///< tokens that a choice depends on, itself included
  std::vector<std::int64_t> keys{};  ///< one for each round
  index_t context_history_size = 1024;
  std::int64_t sampling_table_seed = 0;
  index_t sampling_table_size = 65536;
  bool skip_first_ngram_calls = false;
  bool debug_mode = false;  ///< takes all scores to be equal, to test the watermark

  bool operator==(const SynthIDTextWatermarkingConfig&) const = default;

  /// Throws Error for values that make no sense.
  void validate() const {
    if (ngram_len < 2 || ngram_len > 1024)
      fail("watermarking_config.ngram_len is ", ngram_len, "; it must be from 2 to 1024");
    if (keys.empty()) fail("watermarking_config.keys are missing");
    if (context_history_size < 1)
      fail("watermarking_config.context_history_size is ", context_history_size, "; it must be at least 1");
    if (sampling_table_seed < 0)
      fail("watermarking_config.sampling_table_seed is ", sampling_table_seed, "; it must be at least 0");
    if (sampling_table_size < 1 || sampling_table_size > index_t{1} << 24)
      fail("watermarking_config.sampling_table_size is ", sampling_table_size, "; it must be from 1 to 16777216");
  }
};

using AnyWatermarkingConfig = std::variant<WatermarkingConfig, SynthIDTextWatermarkingConfig>;

}  // namespace qwen3vl
