/// Changes to the scores before a token is chosen, with the names and the order of transformers.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/generation/logits/logits_processor.hpp"
#include "qwen3vl/generation/logits/logits_warpers.hpp"

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

/// Removes the eos tokens until the answer has `minimum` tokens.
class MinNewTokensLengthLogitsProcessor {
 public:
  static constexpr std::string_view name = "MinNewTokensLengthLogitsProcessor";

  MinNewTokensLengthLogitsProcessor(index_t minimum, std::vector<TokenId> eos)
      : minimum_(static_cast<std::size_t>(minimum)), eos_(std::move(eos)) {
    if (minimum < 0) fail("min_new_tokens is ", minimum, "; give 0 to turn it off");
  }

  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    if (ids.size() - prompt_tokens >= minimum_) return;
    // An eos token that the vocabulary lacks cannot be chosen either.
    for (const TokenId id : eos_)
      if (id >= 0 && static_cast<std::size_t>(id) < scores.size()) scores[static_cast<std::size_t>(id)] = removed_score;
  }

 private:
  std::size_t minimum_;
  std::vector<TokenId> eos_;
};

/// Removes tokens that would complete a run of `size` tokens that has occurred before.
class NoRepeatNGramLogitsProcessor {
 public:
  static constexpr std::string_view name = "NoRepeatNGramLogitsProcessor";

  explicit NoRepeatNGramLogitsProcessor(index_t size) : size_(static_cast<std::size_t>(size)) {
    if (size < 1) fail("no_repeat_ngram_size is ", size, "; a run has at least 1 token");
  }

  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    if (ids.size() < size_) return;
    const auto tail = ids.last(size_ - 1);
    for (std::size_t i = 0; i + size_ <= ids.size(); ++i) {
      if (!std::equal(tail.begin(), tail.end(), ids.begin() + static_cast<std::ptrdiff_t>(i))) continue;
      scores[detail::score_index(ids[i + size_ - 1], scores, name)] = removed_score;
    }
  }

 private:
  std::size_t size_;
};

/// The processors of a GenerationConfig, in transformers' order, then the caller's own.
class LogitsProcessorList {
  using Function = std::function<void(std::span<const TokenId>, std::size_t, std::span<float>)>;

 public:
  LogitsProcessorList() = default;
  /// `prompt_length` is that of the padded prompt, for min_length. Throws Error for values out of range.
  explicit LogitsProcessorList(const GenerationConfig& config, index_t prompt_length = 0) {
    if (config.repetition_penalty != 1.0f) push_back(RepetitionPenaltyLogitsProcessor(config.repetition_penalty));
    if (config.presence_penalty != 0.0f || config.frequency_penalty != 0.0f)
      push_back(PresenceFrequencyPenaltyLogitsProcessor(config.presence_penalty, config.frequency_penalty));
    if (config.no_repeat_ngram_size != 0) push_back(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size));
    if (const index_t minimum = config.token_minimum(prompt_length); minimum > 0 && !config.eos_token_id.empty())
      push_back(MinNewTokensLengthLogitsProcessor(minimum, config.eos_token_id));
    if (!config.do_sample) return;
    // A beam must keep a token to continue with, whichever eos tokens are kept.
    const std::size_t keep = config.num_beams > 1 ? std::max<std::size_t>(2, config.eos_token_id.size() + 1) : 1;
    if (config.temperature != 1.0f) push_back(TemperatureLogitsWarper(config.temperature));
    if (config.top_k != 0) push_back(TopKLogitsWarper(config.top_k, keep));
    if (config.top_p != 1.0f) push_back(TopPLogitsWarper(config.top_p, keep));
    if (config.min_p != 0.0f) push_back(MinPLogitsWarper(config.min_p, keep));
  }

  /// Appends a processor, (ids, scores) or (ids, prompt_tokens, scores); it sees the scores that earlier ones left.
  /// Throws Error for an empty function.
  template <class Processor>
  requires(std::constructible_from<LogitsProcessor, Processor> ||
           std::constructible_from<Function, Processor>) void push_back(Processor&& processor) {
    if constexpr (std::constructible_from<Function, Processor>) {
      add(Function(std::forward<Processor>(processor)));
    } else {
      LogitsProcessor function(std::forward<Processor>(processor));
      if (!function) fail("a logits processor is an empty function");
      add([function = std::move(function)](std::span<const TokenId> ids, std::size_t, std::span<float> scores) {
        function(ids, scores);
      });
    }
    if constexpr (requires { std::string(std::remove_cvref_t<Processor>::name); }) {
      names_.emplace_back(std::remove_cvref_t<Processor>::name);
    } else {
      names_.emplace_back("custom");
    }
  }

  std::size_t size() const { return processors_.size(); }
  /// The classes in order; "custom" for functions.
  const std::vector<std::string>& names() const { return names_; }

  /// The first `prompt_tokens` of `ids` are the prompt's.
  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    for (const Function& processor : processors_) processor(ids, prompt_tokens, scores);
  }
  void operator()(std::span<const TokenId> ids, std::span<float> scores) const { (*this)(ids, ids.size(), scores); }

 private:
  void add(Function function) {
    if (!function) fail("a logits processor is an empty function");
    processors_.push_back(std::move(function));
  }

  std::vector<Function> processors_;
  std::vector<std::string> names_;
};

}  // namespace qwen3vl
