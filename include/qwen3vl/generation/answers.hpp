/// Answers while they grow: when they end, and how they are given back.
#pragma once

#include <algorithm>
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

  GenerationSettings(const GenerateOptions& given, const GenerationConfig& defaults, index_t prompt_length)
      : options(given),
        config(given.applied_to(defaults)),
        token_limit(config.token_limit(prompt_length)),
        processors(all_processors(given, config, prompt_length)) {
    for (const StoppingCriterion& criterion : options.stopping_criteria)
      if (!criterion) fail("a stopping criterion is an empty function");
  }

  bool is_eos(TokenId token) const {
    return std::ranges::find(config.eos_token_id, token) != config.eos_token_id.end();
  }

  /// Why an answer ends with its last token, if it does.
  std::optional<FinishReason> ends(index_t row, std::span<const TokenId> new_tokens) const {
    if (is_eos(new_tokens.back())) return FinishReason::stop;
    for (const StoppingCriterion& criterion : options.stopping_criteria)
      if (criterion(row, new_tokens)) return FinishReason::stop_criterion;
    if (static_cast<index_t>(new_tokens.size()) >= token_limit) return FinishReason::length;
    return std::nullopt;
  }

  /// Appends a chosen token to an answer, and ends it if a limit, a criterion or the streamer says so.
  void accept(Answer& answer, index_t row, TokenId token) const {
    answer.history.push_back(token);
    answer.finished = ends(row, answer.new_tokens());
    if (options.streamer && !options.streamer(row, token) && !answer.finished)
      answer.finished = FinishReason::cancelled;
  }

 private:
  static LogitsProcessorList all_processors(const GenerateOptions& options, const GenerationConfig& config,
                                            index_t prompt_length) {
    config.validate(prompt_length);
    LogitsProcessorList list(config, prompt_length);
    for (const auto& processor : options.logits_processors) list.push_back(processor);
    if (options.thinking_budget) {
      options.thinking_budget->validate();
      list.push_back(*options.thinking_budget);
    }
    return list;
  }
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
