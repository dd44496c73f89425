/// Logits processors about tokens that have occurred before.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/generation/logits/logits_processor.hpp"

namespace qwen3vl {

/// Makes tokens that have occurred less likely (a penalty above 1) or more likely (below): negative scores are
/// multiplied by it, others divided, once per token however often it has occurred.
class RepetitionPenaltyLogitsProcessor {
 public:
  static constexpr std::string_view name = "RepetitionPenaltyLogitsProcessor";

  explicit RepetitionPenaltyLogitsProcessor(float penalty) : penalty_(penalty) {
    if (!(penalty > 0.0f)) fail("repetition_penalty is ", penalty, "; it must be positive");
  }

  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    std::vector<bool> seen(scores.size(), false);
    for (const TokenId id : ids) {
      const std::size_t i = detail::score_index(id, scores, name);
      if (seen[i]) continue;
      seen[i] = true;
      scores[i] = scores[i] < 0.0f ? scores[i] * penalty_ : scores[i] / penalty_;
    }
  }

 private:
  float penalty_;
};

/// Lowers the scores of tokens in the answer (not the prompt): once by `presence`, and by `frequency` per occurrence.
/// From the OpenAI API, applied where vLLM does: after the repetition penalty. transformers has no counterpart.
class PresenceFrequencyPenaltyLogitsProcessor {
 public:
  static constexpr std::string_view name = "PresenceFrequencyPenaltyLogitsProcessor";

  PresenceFrequencyPenaltyLogitsProcessor(float presence, float frequency)
      : presence_(presence), frequency_(frequency) {
    if (!std::isfinite(presence) || !std::isfinite(frequency))
      fail("presence_penalty is ", presence, ", frequency_penalty ", frequency, "; they must be finite");
  }

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    std::vector<TokenId> answer(ids.begin() + static_cast<std::ptrdiff_t>(prompt_tokens), ids.end());
    std::ranges::sort(answer);
    for (auto at = answer.begin(); at != answer.end();) {
      const auto next = std::upper_bound(at, answer.end(), *at);
      scores[detail::score_index(*at, scores, name)] -= presence_ + frequency_ * static_cast<float>(next - at);
      at = next;
    }
  }

 private:
  float presence_, frequency_;
};

namespace detail {

/// Removes the tokens that follow the end of `ids` in runs of `size` tokens of `text`.
inline void remove_repeated_ngrams(std::span<const TokenId> text, std::span<const TokenId> ids, std::size_t size,
                                   std::span<float> scores, std::string_view processor) {
  if (ids.size() + 1 < size) return;
  const auto tail = ids.last(size - 1);
  for (std::size_t i = 0; i + size <= text.size(); ++i) {
    if (!std::equal(tail.begin(), tail.end(), text.begin() + static_cast<std::ptrdiff_t>(i))) continue;
    scores[score_index(text[i + size - 1], scores, processor)] = removed_score;
  }
}

}  // namespace detail

/// Removes tokens that would complete a run of `size` tokens that has occurred before.
class NoRepeatNGramLogitsProcessor {
 public:
  static constexpr std::string_view name = "NoRepeatNGramLogitsProcessor";

  explicit NoRepeatNGramLogitsProcessor(index_t size) : size_(static_cast<std::size_t>(size)) {
    if (size < 1) fail("no_repeat_ngram_size is ", size, "; a run has at least 1 token");
  }

  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    detail::remove_repeated_ngrams(ids, ids, size_, scores, name);
  }

 private:
  std::size_t size_;
};

/// The padding that transformers counts to the prompt in what it calls the encoder's input: its token, in rows that are
/// shorter than the longest.
struct PromptPadding {
  index_t longest = 0;  ///< tokens of the padded prompt
  TokenId token = 0;

  bool in(std::size_t prompt_tokens) const { return prompt_tokens < static_cast<std::size_t>(longest); }
};

/// Makes the tokens of the prompt more likely (a penalty above 1) or less likely (below): as
/// RepetitionPenaltyLogitsProcessor with the inverse, of the prompt only.
class EncoderRepetitionPenaltyLogitsProcessor {
 public:
  static constexpr std::string_view name = "EncoderRepetitionPenaltyLogitsProcessor";

  explicit EncoderRepetitionPenaltyLogitsProcessor(float penalty, PromptPadding padding = {})
      : inverse_(inverse(penalty)), padding_(padding) {}

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    std::vector<TokenId> prompt(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(prompt_tokens));
    if (padding_.in(prompt_tokens) && padding_.token >= 0) prompt.push_back(padding_.token);
    inverse_(prompt, scores);
  }

 private:
  static float inverse(float penalty) {
    if (!(penalty > 0.0f)) fail("encoder_repetition_penalty is ", penalty, "; it must be positive");
    return 1.0f / penalty;
  }

  RepetitionPenaltyLogitsProcessor inverse_;
  PromptPadding padding_;
};

/// Removes tokens that would complete a run of `size` tokens of the prompt.
class EncoderNoRepeatNGramLogitsProcessor {
 public:
  static constexpr std::string_view name = "EncoderNoRepeatNGramLogitsProcessor";

  explicit EncoderNoRepeatNGramLogitsProcessor(index_t size, PromptPadding padding = {})
      : size_(static_cast<std::size_t>(size)), padding_(padding) {
    if (size < 1) fail("encoder_no_repeat_ngram_size is ", size, "; a run has at least 1 token");
  }

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    detail::remove_repeated_ngrams(ids.first(prompt_tokens), ids, size_, scores, name);
    // Longer runs with padding follow a pad token, and nothing follows that in an answer.
    if (size_ == 1 && padding_.in(prompt_tokens)) detail::remove_tokens({&padding_.token, 1}, scores);
  }

 private:
  std::size_t size_;
  PromptPadding padding_;
};

}  // namespace qwen3vl
