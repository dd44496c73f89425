/// Classifier-free guidance (UnbatchedClassifierFreeGuidanceLogitsProcessor of transformers): each answer is also
/// computed behind another prompt, and its scores are moved away from what the model would say there.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/generation/answers.hpp"
#include "qwen3vl/generation/logits/logits_processor.hpp"
#include "qwen3vl/generation/prompt_run.hpp"

namespace qwen3vl::detail {

/// Does nothing if guidance_scale is 1.
template <class Model>
class Guidance {
  static constexpr auto vocab = static_cast<std::size_t>(PromptRun<Model>::vocab);

 public:
  /// Throws Error for negative prompts that do not fit.
  Guidance(const GenerationSettings& settings, PromptRun<Model>& run)
      : scale_(settings.config.guidance_scale),
        sequences_(static_cast<std::size_t>(run.sequences())),
        copies_(static_cast<std::size_t>(run.copies())) {
    if (!on()) {
      if (!settings.options.negative_prompt_ids.empty())
        fail("negative_prompt_ids are given, and guidance_scale is 1, which does not use them");
      return;
    }
    const Media none;
    run_.emplace(run.model(),
                 GenerationPrompts{
                     .tokens = other_prompts(settings.options.negative_prompt_ids, run), .padded = {}, .media = none},
                 nullptr, run.copies(), timings_);
    const std::vector<float> of_prompts = run_->prefill({.prefill_chunk = settings.options.prefill_chunk});
    for (std::size_t s = 0; s < sequences_; ++s) {
      const auto first = of_prompts.begin() + static_cast<std::ptrdiff_t>(s / copies_ * vocab);
      logits_.insert(logits_.end(), first, first + static_cast<std::ptrdiff_t>(vocab));
      rows_.push_back(s);
    }
  }

  bool on() const { return scale_ != 1.0f; }

  /// Appends tokens[s], one or none, to each sequence. As in the reference, sequences do not follow the beams that
  /// continue another one.
  void append(std::span<const std::vector<TokenId>> tokens) {
    if (!on()) return;
    logits_ = run_->append(tokens);
    std::size_t row = 0;
    for (std::size_t s = 0; s < sequences_; ++s) {
      rows_[s] = row;
      row += tokens[s].size();
    }
  }

  /// Logits of a sequence become guided log-probabilities.
  void operator()(std::size_t sequence, std::span<float> scores) {
    if (!on()) return;
    const auto other = std::span(logits_).subspan(rows_[sequence] * vocab, vocab);
    log_softmax(scores);
    log_softmax(other);
    for (std::size_t i = 0; i < vocab; ++i) scores[i] = scale_ * (scores[i] - other[i]) + other[i];
  }

 private:
  static PromptTokens other_prompts(const std::vector<std::vector<TokenId>>& given, const PromptRun<Model>& run) {
    const auto& prompts = run.prompts();
    if (!given.empty() && given.size() != prompts.size())
      fail("there are ", given.size(), " negative_prompt_ids to ", prompts.size(), " prompts; give one to each");
    PromptTokens tokens;
    for (std::size_t b = 0; b < prompts.size(); ++b) {
      const std::vector<TokenId> own = given.empty() ? std::vector<TokenId>{prompts[b].ids.back()} : given[b];
      if (own.empty()) fail("the negative_prompt_ids of prompt ", b, " are empty");
      for (const TokenId id : own)
        if (id < 0 || static_cast<std::size_t>(id) >= vocab)
          fail("the negative_prompt_ids of prompt ", b, " have token ", id, ", the vocabulary has ", vocab);
      tokens.ids.insert(tokens.ids.end(), own.begin(), own.end());
      tokens.rows.append(static_cast<index_t>(own.size()));
    }
    return tokens;
  }

  float scale_;
  std::size_t sequences_, copies_;
  GenerationTimings timings_;  // of no interest
  std::optional<PromptRun<Model>> run_;
  std::vector<float> logits_;      // of the last pass
  std::vector<std::size_t> rows_;  // of each sequence in them
};

}  // namespace qwen3vl::detail
