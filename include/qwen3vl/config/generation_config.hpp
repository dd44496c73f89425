/// How tokens are chosen: the fields of generation_config.json, with transformers' names and defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// When beam search stops looking for better answers, once it has num_beams of them.
enum class EarlyStopping {
  no,     ///< when the best unfinished beam, at its present length, is no better than the worst finished (False)
  yes,    ///< at once (True)
  never,  ///< when no unfinished beam can become better, by the length that favours it ("never")
};

/// What is set here is explained in for_each_generation_option.
struct GenerationConfig {
  std::optional<index_t> max_new_tokens{};
  std::optional<index_t> max_length{};
  std::optional<index_t> min_new_tokens{};
  index_t min_length = 0;
  bool do_sample = false;
  float temperature = 1.0f;
  index_t top_k = 50;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  index_t no_repeat_ngram_size = 0;
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
  // Each beam has a separate cache: more than this is a mistake and would end in a failing allocation.
  constexpr Range answers = within(1, 1024);
  f(Entry{{"max_new_tokens", length, "Length limit of an answer"}}, o.max_new_tokens...);
  f(Entry{{"max_length", length, "The same with the padded prompt; max_new_tokens goes first"},
          OptionUse::no_max_new_tokens},
    o.max_length...);
  f(Entry{{"min_new_tokens", natural, "No end before so many tokens"}}, o.min_new_tokens...);
  f(Entry{{"min_length", natural, "The same with the padded prompt; min_new_tokens goes first"}}, o.min_length...);
  f(Entry{{"do_sample", any, "Sample; false: greedy, or beam search"}}, o.do_sample...);
  f(Entry{{"temperature", natural, "0 is greedy; above, sampling"}, sampling}, o.temperature...);
  f(Entry{{"top_k", natural, "Sample among the K best (0: all)"}, sampling}, o.top_k...);
  f(Entry{{"top_p", share, "Sample among the likeliest that make up P"}, sampling}, o.top_p...);
  f(Entry{{"min_p", share, "Sample among those of at least P times the likeliest"}, sampling}, o.min_p...);
  f(Entry{{"seed", natural, "Makes sampling repeatable; without, each call has its own"}}, o.seed...);
  f(Entry{{"repetition_penalty", above_zero, "Above 1: what has occurred, prompt included, is less likely"}},
    o.repetition_penalty...);
  f(Entry{{"presence_penalty", penalty, "Taken off the score of tokens that the answer has"}}, o.presence_penalty...);
  f(Entry{{"frequency_penalty", penalty, "The same, for each time"}}, o.frequency_penalty...);
  f(Entry{{"no_repeat_ngram_size", natural, "No run of N tokens occurs twice"}}, o.no_repeat_ngram_size...);
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
}

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
}

}  // namespace qwen3vl
