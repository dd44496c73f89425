/// All changes to the scores before a token is chosen, with the names and the order of transformers.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/generation/logits/entropy_warpers.hpp"
#include "qwen3vl/generation/logits/logits_processor.hpp"
#include "qwen3vl/generation/logits/logits_warpers.hpp"
#include "qwen3vl/generation/logits/repetition.hpp"
#include "qwen3vl/generation/logits/synthid_text.hpp"
#include "qwen3vl/generation/logits/token_processors.hpp"
#include "qwen3vl/generation/logits/watermark.hpp"

namespace qwen3vl {

/// The caller's own processors.
struct OwnProcessors {
  std::span<const LogitsProcessor> before_warpers{};
  std::span<const LogitsProcessor> after_warpers{};
  PrefixAllowedTokens prefix_allowed_tokens_fn{};
};

/// The processors of a GenerationConfig and the caller's own, in transformers' order (_get_logits_processor).
class LogitsProcessorList {
  using Function = std::function<void(std::span<const LogitsRow>)>;
  using PromptFunction = std::function<void(std::span<const TokenId>, std::size_t, std::span<float>)>;

 public:
  LogitsProcessorList() = default;
  /// `prompt_length` is that of the padded prompt, in which lengths are counted. Throws Error for values out of range.
  explicit LogitsProcessorList(const GenerationConfig& config, index_t prompt_length = 0,
                               const OwnProcessors& own = {}) {
    const PromptPadding padding{.longest = prompt_length, .token = config.padding_token()};
    if (!config.sequence_bias.empty()) push_back(SequenceBiasLogitsProcessor(config.sequence_bias));
    if (config.encoder_repetition_penalty != 1.0f)
      push_back(EncoderRepetitionPenaltyLogitsProcessor(config.encoder_repetition_penalty, padding));
    if (config.repetition_penalty != 1.0f) push_back(RepetitionPenaltyLogitsProcessor(config.repetition_penalty));
    if (config.presence_penalty != 0.0f || config.frequency_penalty != 0.0f)
      push_back(PresenceFrequencyPenaltyLogitsProcessor(config.presence_penalty, config.frequency_penalty));
    if (config.no_repeat_ngram_size != 0) push_back(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size));
    if (config.encoder_no_repeat_ngram_size != 0)
      push_back(EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, padding));
    if (!config.bad_words_ids.empty()) push_back(NoBadWordsLogitsProcessor(config.bad_words_ids, config.eos_token_id));
    if (const index_t minimum = config.token_minimum(prompt_length); minimum > 0 && !config.eos_token_id.empty())
      push_back(MinNewTokensLengthLogitsProcessor(minimum, config.eos_token_id));
    if (own.prefix_allowed_tokens_fn) push_back(PrefixConstrainedLogitsProcessor(own.prefix_allowed_tokens_fn));
    if (config.forced_bos_token_id && prompt_length == 1)
      push_back(ForcedBOSTokenLogitsProcessor(*config.forced_bos_token_id));
    if (!config.forced_eos_token_id.empty())
      push_back(ForcedEOSTokenLogitsProcessor(config.token_limit(prompt_length), config.forced_eos_token_id));
    if (config.remove_invalid_values) push_back(InfNanRemoveLogitsProcessor());
    if (config.exponential_decay_length_penalty)
      push_back(ExponentialDecayLengthPenalty(*config.exponential_decay_length_penalty, config.eos_token_id));
    if (!config.suppress_tokens.empty()) push_back(SuppressTokensLogitsProcessor(config.suppress_tokens));
    if (!config.begin_suppress_tokens.empty())
      push_back(SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens,
                                                     prompt_length == 1 && config.forced_bos_token_id ? 1 : 0));
    for (const LogitsProcessor& processor : own.before_warpers) push_back(processor);
    if (config.do_sample) add_warpers(config);
    for (const LogitsProcessor& processor : own.after_warpers) push_back(processor);
    if (config.watermarking_config)
      std::visit([this](const auto& watermark) { push_back(watermark_processor(watermark)); },
                 *config.watermarking_config);
    if (config.renormalize_logits) push_back(LogitNormalization());
  }

  /// Appends a processor, (ids, scores), (ids, prompt_tokens, scores) or (rows of one prompt); it sees the scores that
  /// earlier ones left. Throws Error for an empty function.
  template <class Processor>
  requires(std::constructible_from<LogitsProcessor, Processor> || std::constructible_from<PromptFunction, Processor> ||
           std::constructible_from<Function, Processor>) void push_back(Processor&& processor) {
    using Own = std::conditional_t<
        std::constructible_from<Function, Processor>, Function,
        std::conditional_t<std::constructible_from<PromptFunction, Processor>, PromptFunction, LogitsProcessor>>;
    Own function(std::forward<Processor>(processor));
    if (!function) fail("a logits processor is an empty function");
    if constexpr (std::is_same_v<Own, Function>) {
      processors_.push_back(std::move(function));
    } else {
      processors_.push_back([function = std::move(function)](std::span<const LogitsRow> rows) {
        for (const LogitsRow& row : rows) {
          if constexpr (std::is_same_v<Own, PromptFunction>) {
            function(row.ids, row.prompt_tokens, row.scores);
          } else {
            function(row.ids, row.scores);
          }
        }
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

  /// Changes the scores of rows that belong to one prompt, such as its beams.
  void operator()(std::span<const LogitsRow> rows) const {
    for (const Function& processor : processors_) processor(rows);
  }
  /// The first `prompt_tokens` of `ids` are the prompt's.
  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    const LogitsRow row{.ids = ids, .prompt_tokens = prompt_tokens, .scores = scores};
    (*this)(std::span(&row, 1));
  }
  void operator()(std::span<const TokenId> ids, std::span<float> scores) const { (*this)(ids, ids.size(), scores); }

 private:
  void add_warpers(const GenerationConfig& config) {
    // A beam must keep a token to continue with, whichever eos tokens are kept.
    const std::size_t keep = config.num_beams > 1 ? std::max<std::size_t>(2, config.eos_token_id.size() + 1) : 1;
    const auto is_on = [](float cutoff) { return cutoff > 0.0f && cutoff < 1.0f; };
    if (config.temperature != 1.0f) push_back(TemperatureLogitsWarper(config.temperature));
    if (config.top_h) push_back(TopHLogitsWarper(*config.top_h));
    if (config.top_k != 0) push_back(TopKLogitsWarper(config.top_k, keep));
    if (config.top_p != 1.0f) push_back(TopPLogitsWarper(config.top_p, keep));
    if (config.min_p != 0.0f) push_back(MinPLogitsWarper(config.min_p, keep));
    if (config.typical_p != 1.0f) push_back(TypicalLogitsWarper(config.typical_p, keep));
    if (is_on(config.epsilon_cutoff)) push_back(EpsilonLogitsWarper(config.epsilon_cutoff, keep));
    if (is_on(config.eta_cutoff)) push_back(EtaLogitsWarper(config.eta_cutoff, keep));
  }

  std::vector<Function> processors_;
  std::vector<std::string> names_;
};

}  // namespace qwen3vl
