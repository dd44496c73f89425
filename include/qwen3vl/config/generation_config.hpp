/// How tokens are chosen: the fields of generation_config.json, with transformers' names and defaults.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// When beam search stops looking for better answers, once it has num_beams of them.
enum class EarlyStopping {
  no,     ///< when the best unfinished beam, at its present length, is no better than the worst finished (False)
  yes,    ///< at once (True)
  never,  ///< when no unfinished beam can become better, by the length that favours it ("never")
};

struct GenerationConfig {
  std::optional<index_t> max_new_tokens{};  ///< see token_limit()
  std::optional<index_t> max_length{};      ///< with the padded prompt; max_new_tokens goes first
  std::optional<index_t> min_new_tokens{};  ///< no eos token before
  index_t min_length = 0;                   ///< with the padded prompt; min_new_tokens goes first
  bool do_sample = false;                   ///< false: greedy, and temperature, top-k, top-p and min-p are not used
  float temperature = 1.0f;
  index_t top_k = 50;                ///< 0: off
  float top_p = 1.0f;                ///< 1: off
  float min_p = 0.0f;                ///< 0: off
  float repetition_penalty = 1.0f;   ///< 1: off
  float presence_penalty = 0.0f;     ///< 0: off; -2 to 2, as OpenAI and vLLM have it
  float frequency_penalty = 0.0f;    ///< 0: off; -2 to 2
  index_t no_repeat_ngram_size = 0;  ///< 0: off
  index_t num_beams = 1;             ///< 1: off
  float length_penalty = 1.0f;       ///< of beams: their scores are divided by length ^ length_penalty
  EarlyStopping early_stopping = EarlyStopping::no;
  index_t num_return_sequences = 1;      ///< answers for each prompt: sampled ones, or the best beams
  index_t prompt_lookup_num_tokens = 0;  ///< 0: off; see generation/prompt_lookup.hpp
  index_t max_matching_ngram_size = 2;   ///< of prompt lookup
  std::vector<TokenId> eos_token_id{};
  std::optional<TokenId> pad_token_id{};
  std::optional<TokenId> bos_token_id{};
  std::optional<std::uint64_t> seed{};  ///< of the sampler; none: a new one for every call

  /// New tokens at most: max_new_tokens, else max_length less the padded prompt's length, else 20 as in transformers:
  /// too short for most answers, so that callers notice.
  index_t token_limit(index_t prompt_length = 0) const {
    return max_new_tokens.value_or(max_length ? *max_length - prompt_length : 20);
  }
  /// New tokens at least: min_new_tokens, else min_length less the padded prompt's length.
  index_t token_minimum(index_t prompt_length = 0) const {
    return min_new_tokens.value_or(min_length > prompt_length ? min_length - prompt_length : 0);
  }

  /// Fills finished rows: pad_token_id, else the first eos token, else 0.
  TokenId padding_token() const { return pad_token_id.value_or(eos_token_id.empty() ? 0 : eos_token_id.front()); }

  /// Throws Error for values that make no sense. The prompt's length is of the padded prompt.
  void validate(index_t prompt_length = 0) const {
    if (max_new_tokens && *max_new_tokens < 1) fail("max_new_tokens is ", *max_new_tokens, "; give at least 1");
    if (token_limit(prompt_length) < 1)
      fail("max_length is ", *max_length, ", the prompt alone has ", prompt_length,
           " tokens; raise it, or give max_new_tokens, which does not count the prompt");
    if (min_new_tokens && *min_new_tokens < 0) fail("min_new_tokens is ", *min_new_tokens, "; give 0 to turn it off");
    if (min_length < 0) fail("min_length is ", min_length, "; give 0 to turn it off");
    validate_beams();
    for (const auto& [name, penalty] :
         {std::pair{"presence_penalty", presence_penalty}, std::pair{"frequency_penalty", frequency_penalty}})
      if (!(penalty >= -2.0f && penalty <= 2.0f)) fail(name, " is ", penalty, "; it must be from -2 to 2");
    if (prompt_lookup_num_tokens < 0)
      fail("prompt_lookup_num_tokens is ", prompt_lookup_num_tokens, "; give 0 to turn it off");
    if (prompt_lookup_num_tokens > 0 && max_matching_ngram_size < 1)
      fail("max_matching_ngram_size is ", max_matching_ngram_size, "; give at least 1");
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

 private:
  void validate_beams() const {
    // Each beam has a cache of its own: more than this is a mistake, and would end in a failing allocation.
    constexpr index_t most = 1024;
    if (num_beams < 1 || num_beams > most) fail("num_beams is ", num_beams, "; give 1 (no beams) to ", most);
    if (num_return_sequences < 1 || num_return_sequences > most)
      fail("num_return_sequences is ", num_return_sequences, "; give 1 to ", most);
    if (num_beams > 1 && num_return_sequences > num_beams)
      fail("num_return_sequences is ", num_return_sequences, ", num_beams ", num_beams,
           "; a search has no more answers than beams");
    if (num_beams == 1 && !do_sample && num_return_sequences > 1)
      fail("num_return_sequences is ", num_return_sequences,
           " without sampling: all answers would be the same; set do_sample, or num_beams");
    if (num_beams > 1 && prompt_lookup_num_tokens > 0)
      fail("prompt_lookup_num_tokens does not go with beam search; set num_beams to 1, or leave it out");
    if (!std::isfinite(length_penalty)) fail("length_penalty is ", length_penalty, "; it must be a finite number");
  }
};

}  // namespace qwen3vl
