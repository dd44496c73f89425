/// Answers while they grow: when they end, and how they are given back.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/inputs/token_id.hpp"

namespace qwen3vl::detail {

/// One answer on its way.
struct Answer {
  explicit Answer(const std::vector<TokenId>& prompt) : history(prompt), prompt_tokens(prompt.size()) {}

  std::vector<TokenId> history;  // the prompt's real tokens, then the new ones
  std::size_t prompt_tokens;
  std::vector<float> transition_scores;  // of the new tokens, where they are wanted
  std::vector<index_t> beam_indices;     // of a search: the row that each new token was chosen from
  float score = 0.0f;
  std::optional<FinishReason> finished;

  std::span<const TokenId> new_tokens() const { return std::span(history).subspan(prompt_tokens); }
  std::size_t count() const { return history.size() - prompt_tokens; }
};

/// The settings of a call, merged with the checkpoint's.
struct GenerationSettings {
  const GenerateOptions& options;
  const GenerationConfig config;
  const index_t token_limit;
  const LogitsProcessorList processors;
  const StopStrings stop_strings;
  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  GenerationSettings(const GenerateOptions& given, const GenerationConfig& defaults, index_t prompt_length)
      : options(given),
        config(given.applied_to(defaults)),
        token_limit(config.token_limit(prompt_length)),
        processors(all_processors(given, config, prompt_length)),
        stop_strings(strings(given, config)) {
    for (const StoppingCriterion& criterion : options.stopping_criteria)
      if (!criterion) fail("a stopping criterion is an empty function");
  }

  bool wants_layers() const { return config.output_attentions || config.output_hidden_states; }
  bool wants_transition_scores() const { return config.output_scores || options.output_transition_scores; }

  bool is_eos(TokenId token) const {
    return std::ranges::find(config.eos_token_id, token) != config.eos_token_id.end();
  }

  /// Why an answer ends with its last token, if it does.
  std::optional<FinishReason> ends(index_t row, const Answer& answer) const {
    if (is_eos(answer.history.back())) return FinishReason::stop;
    if (stop_strings.ends(answer.history)) return FinishReason::stop_criterion;
    for (const StoppingCriterion& criterion : options.stopping_criteria)
      if (criterion(row, answer.new_tokens())) return FinishReason::stop_criterion;
    if (static_cast<index_t>(answer.count()) >= token_limit) return FinishReason::length;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    if (config.max_time && passed.count() > static_cast<double>(*config.max_time)) return FinishReason::time;
    return std::nullopt;
  }

  /// Appends a chosen token to an answer, and ends it if a limit, a criterion or the streamer says so.
  void accept(Answer& answer, index_t row, TokenId token) const {
    answer.history.push_back(token);
    answer.finished = ends(row, answer);
    if (options.streamer && !options.streamer(row, token) && !answer.finished)
      answer.finished = FinishReason::cancelled;
  }

 private:
  static LogitsProcessorList all_processors(const GenerateOptions& options, const GenerationConfig& config,
                                            index_t prompt_length) {
    config.validate(prompt_length);
    LogitsProcessorList list(config, prompt_length,
                             {.before_warpers = options.logits_processors,
                              .after_warpers = options.logits_warpers,
                              .prefix_allowed_tokens_fn = options.prefix_allowed_tokens_fn});
    if (options.thinking_budget) {
      options.thinking_budget->validate();
      list.push_back(*options.thinking_budget);
    }
    return list;
  }

  static StopStrings strings(const GenerateOptions& options, const GenerationConfig& config) {
    if (!config.stop_strings.empty() && !options.tokenizer)
      fail("stop_strings need the tokenizer; give GenerateOptions::tokenizer, such as processor.tokenizer()");
    return StopStrings(options.tokenizer, config.stop_strings);
  }
};

/// Rows of scores kept step by step.
class KeptScores {
 public:
  explicit KeptScores(std::size_t rows) : rows_(rows) {}

  void keep(std::size_t row, std::span<const float> scores) { rows_[row].emplace_back(scores.begin(), scores.end()); }

  /// [rows, steps, vocab_size], zeros behind rows that ended early.
  HostCube<float> cube(index_t vocab_size) const {
    std::size_t longest = 0;
    for (const auto& row : rows_) longest = std::max(longest, row.size());
    HostCube<float> all(static_cast<index_t>(rows_.size()), static_cast<index_t>(longest), vocab_size);
    for (std::size_t r = 0; r < rows_.size(); ++r)
      for (std::size_t step = 0; step < rows_[r].size(); ++step)
        std::ranges::copy(rows_[r][step], &all(static_cast<index_t>(r), static_cast<index_t>(step), index_t{0}));
    return all;
  }

 private:
  std::vector<std::vector<std::vector<float>>> rows_;
};

/// Prompts [B, S], then the new tokens of the R answers, then pad tokens.
inline HostMatrix<TokenId> sequences_of(const HostMatrix<TokenId>& prompts,
                                        std::span<const std::vector<TokenId>> new_tokens, TokenId pad) {
  std::size_t longest = 0;
  for (const auto& own : new_tokens) longest = std::max(longest, own.size());
  const auto rows = static_cast<index_t>(new_tokens.size());
  const index_t length = prompts.extent(1), copies = rows / prompts.rows();
  HostMatrix<TokenId> sequences(rows, length + static_cast<index_t>(longest));
  for (index_t r = 0; r < rows; ++r) {
    const auto to = sequences[r].span();
    std::ranges::fill(to, pad);
    std::ranges::copy(prompts[r / copies].span(), to.begin());
    std::ranges::copy(new_tokens[static_cast<std::size_t>(r)], to.begin() + length);
  }
  return sequences;
}

}  // namespace qwen3vl::detail
