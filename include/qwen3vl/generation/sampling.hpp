/// Greedy search and sampling, token by token or with prompt lookup.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/generation/answers.hpp"
#include "qwen3vl/generation/guidance.hpp"
#include "qwen3vl/generation/prompt_lookup.hpp"
#include "qwen3vl/generation/prompt_run.hpp"

namespace qwen3vl::detail {

template <class Model>
class Sampling {
  static constexpr auto vocab = static_cast<std::size_t>(PromptRun<Model>::vocab);

  const GenerationSettings& settings_;
  PromptRun<Model>& run_;
  GenerateOutput& output_;
  std::vector<Answer> answers_;
  std::vector<Sampler> samplers_;
  std::optional<Guidance<Model>> guidance_;
  KeptScores logits_, scores_;  // on request

 public:
  Sampling(const GenerationSettings& settings, PromptRun<Model>& run, GenerateOutput& output)
      : settings_(settings),
        run_(run),
        output_(output),
        logits_(static_cast<std::size_t>(run.sequences())),
        scores_(static_cast<std::size_t>(run.sequences())) {
    for (index_t s = 0; s < run.sequences(); ++s) {
      answers_.emplace_back(run.prompt_of(s).ids);
      samplers_.emplace_back(settings.config, static_cast<std::uint64_t>(s));
    }
  }

  /// The answers, one for each sequence of the run.
  std::vector<Answer>& operator()() {
    std::vector<float> logits = run_.prefill(settings_.options);
    guidance_.emplace(settings_, run_);
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> scores(vocab);
    for (std::size_t s = 0; s < answers_.size(); ++s) {  // all answers to a prompt start from its logits
      const auto b = s / static_cast<std::size_t>(run_.copies());
      std::copy_n(logits.begin() + static_cast<std::ptrdiff_t>(b * vocab), vocab, scores.begin());
      choose(s, scores);
    }
    while (std::ranges::any_of(answers_, [](const Answer& answer) { return !answer.finished; })) step();
    output_.timings.decode_seconds = seconds_since(start);
    if (settings_.config.output_logits) output_.logits = logits_.cube(static_cast<index_t>(vocab));
    if (settings_.config.output_scores) output_.scores = scores_.cube(static_cast<index_t>(vocab));
    return answers_;
  }

 private:
  /// One pass of the model, with one new token or more for each unfinished answer.
  void step() {
    std::vector<std::vector<TokenId>> tokens(answers_.size());
    for (std::size_t s = 0; s < answers_.size(); ++s) {
      if (answers_[s].finished) continue;
      tokens[s].push_back(answers_[s].history.back());
      const std::vector<TokenId> guess = candidates(answers_[s]);
      tokens[s].insert(tokens[s].end(), guess.begin(), guess.end());
    }
    std::vector<float> logits = run_.append(tokens);
    guidance_->append(tokens);
    std::size_t row = 0;
    for (std::size_t s = 0; s < answers_.size(); ++s) {
      Answer& answer = answers_[s];
      const auto& own = tokens[s];
      for (std::size_t i = 0; i < own.size(); ++i) {
        choose(s, std::span(logits).subspan((row + i) * vocab, vocab));
        // Logits after a wrong guess are meaningless.
        if (answer.finished || i + 1 == own.size() || answer.history.back() != own[i + 1]) break;
      }
      row += own.size();
      // The last token is computed with the next pass.
      if (!own.empty()) run_.keep(static_cast<index_t>(s), static_cast<index_t>(answer.count()) - 1);
    }
  }

  std::vector<TokenId> candidates(const Answer& answer) const {
    const GenerationConfig& config = settings_.config;
    // A pass gives one token more than was guessed.
    const index_t most =
        std::min(config.prompt_lookup_num_tokens, settings_.token_limit - static_cast<index_t>(answer.count()) - 1);
    std::vector<TokenId> guess = prompt_lookup_candidates(answer.history, most, config.max_matching_ngram_size);
    const auto eos = std::ranges::find_if(guess, [&](TokenId token) { return settings_.is_eos(token); });
    if (eos != guess.end()) guess.erase(eos + 1, guess.end());
    return guess;
  }

  /// Chooses the next token of answer s; changes `scores`.
  void choose(std::size_t s, std::span<float> scores) {
    Answer& answer = answers_[s];
    if (settings_.config.output_logits) logits_.keep(s, scores);
    (*guidance_)(s, scores);
    const LogitsRow row{.ids = answer.history,
                        .prompt_tokens = answer.prompt_tokens,
                        .scores = scores,
                        .prompt = static_cast<index_t>(s) / run_.copies()};
    settings_.processors(std::span(&row, 1));
    if (settings_.config.output_scores) scores_.keep(s, scores);
    const TokenId token = samplers_[s](scores);
    if (settings_.wants_transition_scores()) {
      const float highest = *std::ranges::max_element(scores);
      const double chosen = static_cast<double>(scores[static_cast<std::size_t>(token)]);
      answer.transition_scores.push_back(static_cast<float>(chosen - log_sum_exp(scores, highest)));
      answer.score += answer.transition_scores.back();
    }
    settings_.accept(answer, static_cast<index_t>(s), token);
  }
};

}  // namespace qwen3vl::detail
