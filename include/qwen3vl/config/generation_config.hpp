/// How tokens are chosen: the fields of generation_config.json, with transformers' names and defaults.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "qwen3vl/error.hpp"
#include "qwen3vl/tensor/extents.hpp"
#include "qwen3vl/tensor/token_id.hpp"

namespace qwen3vl {

struct GenerationConfig {
  std::optional<index_t> max_new_tokens{};  ///< see token_limit()
  bool do_sample = false;                   ///< false: greedy, and temperature, top-k, top-p and min-p are not used
  float temperature = 1.0f;
  index_t top_k = 50;                ///< 0: off
  float top_p = 1.0f;                ///< 1: off
  float min_p = 0.0f;                ///< 0: off
  float repetition_penalty = 1.0f;   ///< 1: off
  index_t no_repeat_ngram_size = 0;  ///< 0: off
  index_t num_beams = 1;
  std::vector<TokenId> eos_token_id{};
  std::optional<TokenId> pad_token_id{};
  std::optional<TokenId> bos_token_id{};
  std::optional<std::uint64_t> seed{};  ///< of the sampler; none: a new one for every call

  /// max_new_tokens, else 20 as in transformers: too short for most answers, so that callers notice.
  index_t token_limit() const { return max_new_tokens.value_or(20); }

  /// Fills finished rows: pad_token_id, else the first eos token, else 0.
  TokenId padding_token() const { return pad_token_id.value_or(eos_token_id.empty() ? 0 : eos_token_id.front()); }

  /// Throws Error for values that make no sense.
  void validate() const {
    if (token_limit() < 1) fail("max_new_tokens is ", token_limit(), "; give at least 1");
    if (num_beams != 1) fail("num_beams is ", num_beams, "; beam search is not supported yet");
    if (!(repetition_penalty > 0.0f) || !std::isfinite(repetition_penalty))
      fail("repetition_penalty is ", repetition_penalty, "; it must be positive");
    if (no_repeat_ngram_size < 0) fail("no_repeat_ngram_size is ", no_repeat_ngram_size, "; give 0 to turn it off");
    if (!do_sample) return;
    if (!(temperature > 0.0f) || !std::isfinite(temperature))
      fail("temperature is ", temperature, "; sampling needs a positive one (do_sample = false is greedy)");
    if (top_k < 0) fail("top_k is ", top_k, "; give 0 to turn it off");
    if (!(top_p >= 0.0f && top_p <= 1.0f)) fail("top_p is ", top_p, "; it must be from 0 to 1");
    if (!(min_p >= 0.0f && min_p <= 1.0f)) fail("min_p is ", min_p, "; it must be from 0 to 1");
  }
};

}  // namespace qwen3vl
