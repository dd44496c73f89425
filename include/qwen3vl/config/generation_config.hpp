/// How tokens are chosen: the fields of generation_config.json, with transformers' names and defaults.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/config/watermarking_config.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// When beam search stops looking for better answers, once it has num_beams of them.
enum class EarlyStopping {
  no,     ///< when the best unfinished beam, at its present length, is no better than the worst finished (False)
  yes,    ///< at once (True)
  never,  ///< when no unfinished beam can become better, by the length that favours it ("never")
};

/// A run of tokens, and what is added to the score of its last one where the others stand before.
struct SequenceBias {
  std::vector<TokenId> ids{};
  float bias = 0.0f;

  bool operator==(const SequenceBias&) const = default;
};

/// After `start_index` new tokens the scores of eos tokens grow by |score| * (decay_factor ^ further tokens - 1).
struct LengthDecay {
  index_t start_index = 0;
  float decay_factor = 1.0f;

  bool operator==(const LengthDecay&) const = default;
};

/// A setting of generation_config.json that generate() cannot follow.
struct RefusedSetting {
  /// Where it has no meaning, transformers runs, too.
  enum class When { always, greedy_top_k, one_beam, beams };

  std::string name, value;  ///< the field, and its value as JSON
  std::string message;
  When when = When::always;
};

/// What is set here is explained in for_each_generation_option.
struct GenerationConfig {
  std::optional<index_t> max_new_tokens{};
  std::optional<index_t> max_length{};
  std::optional<index_t> min_new_tokens{};
  index_t min_length = 0;
  std::optional<float> max_time{};
  std::vector<std::string> stop_strings{};
  bool do_sample = false;
  float temperature = 1.0f;
  std::optional<float> top_h{};
  index_t top_k = 50;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float epsilon_cutoff = 0.0f;
  float eta_cutoff = 0.0f;
  float repetition_penalty = 1.0f;
  float encoder_repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  index_t no_repeat_ngram_size = 0;
  index_t encoder_no_repeat_ngram_size = 0;
  index_t num_beams = 1;
  float length_penalty = 1.0f;
  EarlyStopping early_stopping = EarlyStopping::no;
  index_t num_return_sequences = 1;
  index_t prompt_lookup_num_tokens = 0;
  index_t max_matching_ngram_size = 2;
  std::vector<TokenId> eos_token_id{};
  std::optional<TokenId> pad_token_id{};
  std::optional<TokenId> bos_token_id{};
  std::optional<std::uint64_t> seed{};
  std::vector<SequenceBias> sequence_bias{};
  std::vector<std::vector<TokenId>> bad_words_ids{};
  std::vector<TokenId> suppress_tokens{};
  std::vector<TokenId> begin_suppress_tokens{};
  std::optional<TokenId> forced_bos_token_id{};
  std::vector<TokenId> forced_eos_token_id{};
  std::optional<LengthDecay> exponential_decay_length_penalty{};
  bool remove_invalid_values = false;
  bool renormalize_logits = false;
  float guidance_scale = 1.0f;
  std::optional<AnyWatermarkingConfig> watermarking_config{};
  bool token_healing = false;
  bool output_logits = false;
  bool output_scores = false;
  bool output_attentions = false;
  bool output_hidden_states = false;
  /// No option: what reading generation_config.json found and generate() cannot do; validate() throws it.
  std::vector<RefusedSetting> refused{};

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
  void validate(index_t prompt_length = 0) const;
};

/// When an option counts. Where it does not, checkpoints leave it in all states. `of_file`: checked where a file is
/// read, not in a call, which may fill with any id.
enum class OptionUse { always, sampling, prompt_lookup, no_max_new_tokens, of_file };

struct GenerationOption : Option {
  OptionUse use = OptionUse::always;
  Range of_file = range;  ///< what a file may have, where a call can still say less
};

/// Calls f(GenerationOption, member...) for every option of generation; `o` are any number of structs with members of
/// these names, as GenerationConfig and GenerateOptions, whose members are passed together.
template <class F, class... Options>
void for_each_generation_option(F&& f, Options&... o) {
  using Entry = GenerationOption;
  constexpr OptionUse always = OptionUse::always, sampling = OptionUse::sampling, lookup = OptionUse::prompt_lookup;
  constexpr Range any, natural = at_least(0), positive = at_least(1), length = within(1, 0x1p31 - 1),
                       share = within(0, 1), penalty = within(-2, 2);
  constexpr Range above_zero_to_one{.lowest = above_zero.lowest, .highest = 1};
  // Each beam has a separate cache: more than this is a mistake and would end in a failing allocation.
  constexpr Range answers = within(1, 1024);
  f(Entry{{"max_new_tokens", length, "Length limit of an answer"}}, o.max_new_tokens...);
  f(Entry{{"max_length", length, "The same with the padded prompt; max_new_tokens goes first"},
          OptionUse::no_max_new_tokens},
    o.max_length...);
  f(Entry{{"min_new_tokens", natural, "No end before so many tokens"}}, o.min_new_tokens...);
  f(Entry{{"min_length", natural, "The same with the padded prompt; min_new_tokens goes first"}}, o.min_length...);
  f(Entry{{"max_time", any, "No further token after so many seconds, the prompt included"}}, o.max_time...);
  f(Entry{{"stop_strings", any,
           "A text or a list; each ends an answer, in which it stays, and may begin in the prompt. Needs a tokenizer"}},
    o.stop_strings...);
  f(Entry{{"do_sample", any, "Sample; false: greedy, or beam search"}}, o.do_sample...);
  f(Entry{{"temperature", natural, "0 is greedy; above, sampling"}, sampling}, o.temperature...);
  f(Entry{{"top_h", above_zero_to_one, "Sample among the likeliest that make up H of the entropy of the best 100"},
          sampling},
    o.top_h...);
  f(Entry{{"top_k", natural, "Sample among the K best (0: all)"}, sampling}, o.top_k...);
  f(Entry{{"top_p", share, "Sample among the likeliest that make up P"}, sampling}, o.top_p...);
  f(Entry{{"min_p", share, "Sample among those of at least P times the likeliest"}, sampling}, o.min_p...);
  f(Entry{{"typical_p", above_zero_to_one,
           "Sample among those whose information is nearest to the expected and that make up P"},
          sampling},
    o.typical_p...);
  f(Entry{{"epsilon_cutoff", share, "Sample among those of at least this probability (0 or 1: all)"}, sampling},
    o.epsilon_cutoff...);
  f(Entry{{"eta_cutoff", share, "The same, or less where the entropy is high (0 or 1: all)"}, sampling},
    o.eta_cutoff...);
  f(Entry{{"seed", natural, "Makes sampling repeatable; without, each call has its own"}}, o.seed...);
  f(Entry{{"repetition_penalty", above_zero, "Above 1: what has occurred, prompt included, is less likely"}},
    o.repetition_penalty...);
  f(Entry{{"encoder_repetition_penalty", above_zero, "Above 1: what is in the prompt is more likely"}},
    o.encoder_repetition_penalty...);
  f(Entry{{"presence_penalty", penalty, "Taken off the score of tokens that the answer has"}}, o.presence_penalty...);
  f(Entry{{"frequency_penalty", penalty, "The same, for each time"}}, o.frequency_penalty...);
  f(Entry{{"no_repeat_ngram_size", natural, "No run of N tokens occurs twice"}}, o.no_repeat_ngram_size...);
  f(Entry{{"encoder_no_repeat_ngram_size", natural, "No run of N tokens of the prompt occurs again"}},
    o.encoder_no_repeat_ngram_size...);
  f(Entry{{"num_beams", answers, "Beam search over N beams"}, always, positive}, o.num_beams...);
  f(Entry{{"length_penalty", any, "Beam search: above 0 prefers longer answers"}}, o.length_penalty...);
  f(Entry{{"early_stopping", any,
           "Beam search ends with enough answers (true), when better ones are unlikely (false) or impossible (never)"}},
    o.early_stopping...);
  f(Entry{{"num_return_sequences", answers, "Answers to one prompt, with their scores"}, always, positive},
    o.num_return_sequences...);
  f(Entry{{"prompt_lookup_num_tokens", natural,
           "Guess up to N tokens from what was said before; the answer stays that of greedy decoding"}},
    o.prompt_lookup_num_tokens...);
  f(Entry{{"max_matching_ngram_size", positive, "Words of up to N tokens to find such guesses by"}, lookup},
    o.max_matching_ngram_size...);
  f(Entry{{"eos_token_id", natural, "One id or a list; each ends an answer"}}, o.eos_token_id...);
  f(Entry{{"pad_token_id", natural, "Fills finished rows; else the first eos token, else 0"}, OptionUse::of_file},
    o.pad_token_id...);
  f(Entry{{"bos_token_id", natural, "Read, and not used"}, OptionUse::of_file}, o.bos_token_id...);
  f(Entry{{"sequence_bias", any,
           "A list of [token ids, bias]: what is added to the score of a token that completes the run"}},
    o.sequence_bias...);
  f(Entry{{"bad_words_ids", any, "A list of runs of tokens that do not occur; eos tokens alone are ignored"}},
    o.bad_words_ids...);
  f(Entry{{"suppress_tokens", natural, "Tokens that are not chosen"}}, o.suppress_tokens...);
  f(Entry{{"begin_suppress_tokens", natural, "Tokens that no answer begins with"}}, o.begin_suppress_tokens...);
  f(Entry{{"forced_bos_token_id", natural, "The first new token if the padded prompt has one token"}},
    o.forced_bos_token_id...);
  f(Entry{{"forced_eos_token_id", natural, "One id or a list; the last token where an answer reaches the limit"}},
    o.forced_eos_token_id...);
  f(Entry{{"exponential_decay_length_penalty", any,
           "[start_index, decay_factor]: after so many tokens the scores of eos tokens grow"}},
    o.exponential_decay_length_penalty...);
  f(Entry{{"remove_invalid_values", any, "NaN counts as 0, infinities as the largest numbers"}},
    o.remove_invalid_values...);
  f(Entry{{"renormalize_logits", any, "Scores become log-probabilities again after all processors"}},
    o.renormalize_logits...);
  f(Entry{{"guidance_scale", any,
           "Not 1: away from the answer to another prompt (negative_prompt_ids, else the prompt's last token) by so "
           "much"}},
    o.guidance_scale...);
  f(Entry{{"watermarking_config", any,
           "greenlist_ratio, bias, hashing_key, seeding_scheme, context_width: marks answers for WatermarkDetector"}},
    o.watermarking_config...);
  f(Entry{{"token_healing", any, "Text prompts: the last token may become one that begins with it. Needs a tokenizer"}},
    o.token_healing...);
  f(Entry{{"output_logits", any, "Keep the raw logits of every step"}}, o.output_logits...);
  f(Entry{{"output_scores", any, "Keep the processed scores of every step, and those of the chosen tokens"}},
    o.output_scores...);
  f(Entry{{"output_attentions", any, "Keep the attention weights of every step"}}, o.output_attentions...);
  f(Entry{{"output_hidden_states", any, "Keep the hidden states of every step"}}, o.output_hidden_states...);
}

namespace detail {

/// Whether a run has this setting.
inline bool applies(RefusedSetting::When when, const GenerationConfig& config) {
  switch (when) {
    case RefusedSetting::When::greedy_top_k:
      return config.num_beams == 1 && !config.do_sample && config.top_k > 1;
    case RefusedSetting::When::one_beam:
      return config.num_beams == 1;
    case RefusedSetting::When::beams:
      return config.num_beams > 1;
    default:
      return true;
  }
}

/// Forcing tokens that are suppressed would leave none.
inline void check_forced(std::string_view name, const std::vector<TokenId>& forced,
                         const std::vector<TokenId>& suppressed) {
  const auto is_suppressed = [&](TokenId id) { return std::ranges::find(suppressed, id) != suppressed.end(); };
  if (!forced.empty() && std::ranges::all_of(forced, is_suppressed))
    fail(name, " has only tokens that suppress_tokens has, too (", forced.front(),
         "); leave them out of one of the two");
  for (const TokenId id : forced)
    if (id < 0) fail(name, " is ", id, "; a token id is at least 0");
}

}  // namespace detail

inline void GenerationConfig::validate(index_t prompt_length) const {
  for_each_generation_option(
      [&](const GenerationOption& option, const auto& value) {
        if (option.use == OptionUse::sampling && !do_sample) return;
        if (option.use == OptionUse::no_max_new_tokens && max_new_tokens) return;
        if (option.use == OptionUse::of_file) return;
        if (option.use == OptionUse::prompt_lookup && prompt_lookup_num_tokens == 0) return;
        check_option(option, value);
      },
      *this);
  if (do_sample && temperature == 0.0f)
    fail("temperature is 0; sampling needs a positive one (do_sample = false is greedy)");
  if (token_limit(prompt_length) < 1)
    fail("max_length is ", *max_length, ", the prompt alone has ", prompt_length,
         " tokens; raise it, or give max_new_tokens, which does not count the prompt");
  if (num_beams > 1 && num_return_sequences > num_beams)
    fail("num_return_sequences is ", num_return_sequences, ", num_beams ", num_beams,
         "; a search has no more answers than beams");
  if (num_beams == 1 && !do_sample && num_return_sequences > 1)
    fail("num_return_sequences is ", num_return_sequences,
         " without sampling: all answers would be the same; set do_sample, or num_beams");
  if (num_beams > 1 && prompt_lookup_num_tokens > 0)
    fail("prompt_lookup_num_tokens does not go with beam search; set num_beams to 1, or leave it out");
  if (guidance_scale != 1.0f && prompt_lookup_num_tokens > 0)
    fail("prompt_lookup_num_tokens does not go with guidance_scale; leave one of them out");
  detail::check_forced("forced_eos_token_id", forced_eos_token_id, suppress_tokens);
  if (forced_bos_token_id) detail::check_forced("forced_bos_token_id", {*forced_bos_token_id}, suppress_tokens);
  if (exponential_decay_length_penalty && eos_token_id.empty())
    fail("exponential_decay_length_penalty makes eos tokens likelier, and there are none; set eos_token_id");
  if (watermarking_config) std::visit([](const auto& watermark) { watermark.validate(); }, *watermarking_config);
  for (const RefusedSetting& setting : refused)
    if (detail::applies(setting.when, *this)) fail(setting.message);
}

}  // namespace qwen3vl
