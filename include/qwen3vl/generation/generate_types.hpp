/// Options and result of generate().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/config/generation_config.hpp"
#include "qwen3vl/generation/logits/logits_processors.hpp"
#include "qwen3vl/generation/logits/thinking_budget.hpp"
#include "qwen3vl/generation/sampler.hpp"
#include "qwen3vl/generation/stop_strings.hpp"
#include "qwen3vl/tensor/host.hpp"

namespace qwen3vl {

/// Why a row ended.
enum class FinishReason {
  stop,            ///< an eos token
  stop_criterion,  ///< a stopping criterion, such as a stop string
  length,          ///< max_new_tokens or max_length
  time,            ///< max_time
  cancelled,       ///< the streamer said so
};

constexpr const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::stop_criterion:
      return "stop_criterion";
    case FinishReason::length:
      return "length";
    case FinishReason::time:
      return "time";
    default:
      return "cancelled";
  }
}

/// Whether a row ends after `new_tokens`, everything generated for it so far; called after each token. `row` is that of
/// the output; in beam search, where candidates have no row yet, the first row of their prompt.
using StoppingCriterion = std::function<bool(index_t row, std::span<const TokenId> new_tokens)>;

/// Arguments of generate(). What is not set comes from the model's generation_config, as in transformers; those that it
/// has are explained in for_each_generation_option.
/// (Members of a base class could not be named in `{.max_new_tokens = 9}`, so GenerationConfig's stand here again.)
struct GenerateOptions {
  std::optional<index_t> max_new_tokens{};
  std::optional<index_t> max_length{};
  std::optional<index_t> min_new_tokens{};
  std::optional<index_t> min_length{};
  std::optional<float> max_time{};
  std::optional<std::vector<std::string>> stop_strings{};
  std::optional<bool> do_sample{};
  std::optional<float> temperature{};
  std::optional<float> top_h{};
  std::optional<index_t> top_k{};
  std::optional<float> top_p{};
  std::optional<float> min_p{};
  std::optional<float> typical_p{};
  std::optional<float> epsilon_cutoff{};
  std::optional<float> eta_cutoff{};
  std::optional<float> repetition_penalty{};
  std::optional<float> encoder_repetition_penalty{};
  std::optional<float> presence_penalty{};
  std::optional<float> frequency_penalty{};
  std::optional<index_t> no_repeat_ngram_size{};
  std::optional<index_t> encoder_no_repeat_ngram_size{};
  std::optional<index_t> num_beams{};
  std::optional<float> length_penalty{};
  std::optional<EarlyStopping> early_stopping{};
  std::optional<index_t> num_return_sequences{};
  std::optional<index_t> prompt_lookup_num_tokens{};
  std::optional<index_t> max_matching_ngram_size{};
  std::optional<std::vector<TokenId>> eos_token_id{};
  std::optional<TokenId> pad_token_id{};
  std::optional<TokenId> bos_token_id{};
  std::optional<std::uint64_t> seed{};
  std::optional<std::vector<SequenceBias>> sequence_bias{};
  std::optional<std::vector<std::vector<TokenId>>> bad_words_ids{};
  std::optional<std::vector<TokenId>> suppress_tokens{};
  std::optional<std::vector<TokenId>> begin_suppress_tokens{};
  std::optional<TokenId> forced_bos_token_id{};
  std::optional<std::vector<TokenId>> forced_eos_token_id{};
  std::optional<LengthDecay> exponential_decay_length_penalty{};
  std::optional<bool> remove_invalid_values{};
  std::optional<bool> renormalize_logits{};
  std::optional<float> guidance_scale{};
  std::optional<AnyWatermarkingConfig> watermarking_config{};
  std::optional<bool> token_healing{};
  /// Called with every new token (eos too) of a row as it is chosen; false ends the row. Not with beam search.
  std::function<bool(index_t row, TokenId token)> streamer{};
  std::vector<LogitsProcessor> logits_processors{};  ///< the caller's own, before temperature, top-k and the others
  std::vector<LogitsProcessor> logits_warpers{};     ///< the caller's own, behind them
  PrefixAllowedTokens prefix_allowed_tokens_fn{};    ///< which tokens may come next
  std::vector<StoppingCriterion> stopping_criteria{};
  TokenText tokenizer{};                            ///< the checkpoint's; stop_strings need it
  std::optional<ThinkingBudget> thinking_budget{};  ///< comes after all other logits processors
  /// For guidance_scale: a prompt of text for each row; without, it is the last token of the row's prompt.
  std::vector<std::vector<TokenId>> negative_prompt_ids{};
  std::optional<bool> output_logits{};
  std::optional<bool> output_scores{};
  std::optional<bool> output_attentions{};
  std::optional<bool> output_hidden_states{};
  bool output_transition_scores = false;  ///< of output_scores, only what belongs to the chosen tokens
  /// Prompt tokens of a row that are computed at once; bounds the memory of activations, does not change the result.
  index_t prefill_chunk = 512;
  /// Called before each chunk of the prompts and after the last one, with the tokens of a row computed so far and
  /// those of the longest row. May throw Cancelled, which then leaves generate().
  std::function<void(index_t done, index_t total)> prefill_progress{};

  /// `config` with what is set here.
  GenerationConfig applied_to(GenerationConfig config) const {
    for_each_generation_option(
        [](const GenerationOption&, const auto& option, auto& member) {
          if (option) member = *option;
        },
        *this, config);
    return config;
  }
};

/// How long the parts took, and of how many tokens.
struct GenerationTimings {
  index_t prompt_tokens = 0;     ///< of all rows, images included
  index_t computed_tokens = 0;   ///< of them not in the prompt cache
  index_t computed_patches = 0;  ///< of images and videos: those that went through the vision tower
  index_t new_tokens = 0;
  index_t decode_passes = 0;     ///< passes of the model after the prompt
  double vision_seconds = 0.0;   ///< vision tower
  double prefill_seconds = 0.0;  ///< text model over the prompt, and the first new token
  double decode_seconds = 0.0;   ///< all further tokens
};

/// Rows R = B * num_return_sequences: answer j to prompt b is row b * num_return_sequences + j. Sampled answers are in
/// the order in which they were drawn, those of a beam search begin with the best.
struct GenerateOutput {
  HostMatrix<TokenId> sequences;  ///< [R, S + n]: prompts (S = 0: inputs_embeds alone), new tokens, padding
  std::vector<std::vector<TokenId>> new_tokens;  ///< of each row, its eos included
  std::vector<FinishReason> finish_reasons;      ///< of each row
  /// With output_logits: [R, n, vocab_size]; of beams [B * num_beams, steps, vocab_size], the rows of beam_indices.
  /// Zeros behind finished rows.
  HostCube<float> logits;
  HostCube<float> scores;  ///< with output_scores: the same after the logits processors
  /// Of beams: the row of scores and logits that each new token was chosen from.
  std::vector<std::vector<index_t>> beam_indices;
  /// With output_scores or output_transition_scores: log-probability of each new token, under the scores that it was
  /// chosen from (after the logits processors), as compute_transition_scores of the reference: of beams as they are,
  /// else normalised.
  std::vector<std::vector<float>> transition_scores;
  /// [R] of beams always: the sum of transition scores / length ^ length_penalty. Else with transition scores: their
  /// sum.
  std::vector<float> sequences_scores;
  /// With output_attentions, attentions[step][layer] [rows, heads, queries, keys]; with output_hidden_states,
  /// hidden_states[step][layer] [rows, queries, hidden_size]: the embedding, the output of each layer but the last, and
  /// that of the final norm. Rows are those of `logits`. Step 0 has the S columns of the prompts as queries (with a
  /// prompt cache, from the first one on that was computed), step k > 0 new token k - 1; keys are the S + k columns up
  /// to there. Zeros where padded, cached or ended.
  std::vector<std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>>> attentions;
  std::vector<std::vector<HostCube<float>>> hidden_states;
  GenerationTimings timings;
};

}  // namespace qwen3vl
