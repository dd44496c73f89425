/// Greedy search and sampling on a backend that samples on its device: as generation/sampling.hpp, with the same random
/// numbers and so the same tokens, but only ids reach the host.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/generation/answers.hpp"
#include "qwen3vl/generation/decode_pass.hpp"
#include "qwen3vl/generation/prompt_run.hpp"

namespace qwen3vl::detail {

template <class Model>
class DeviceSampling {
  using B = typename Model::BackendType;
  static constexpr index_t vocab = Model::vocab_size;

  const GenerationSettings& settings_;
  PromptRun<Model>& run_;
  GenerateOutput& output_;
  const SamplingSettings choice_;
  std::vector<Answer> answers_;
  std::vector<Sampler> samplers_;

 public:
  /// Whether nothing requires logits or layers on the host: no processors beyond the sampling warpers, nothing but
  /// tokens as results, no prompt lookup, no guidance.
  static bool takes(const GenerationSettings& settings, const Model& model) {
    const auto on_device = [](const std::string& name) {
      return name == TemperatureLogitsWarper::name || name == TopKLogitsWarper::name ||
             name == TopPLogitsWarper::name || name == MinPLogitsWarper::name;
    };
    return DecodePass<Model>::takes(model) && std::ranges::all_of(settings.processors.names(), on_device) &&
           !settings.config.output_logits && !settings.wants_transition_scores() && !settings.wants_layers() &&
           settings.config.prompt_lookup_num_tokens == 0 && settings.config.guidance_scale == 1.0f &&
           settings.options.negative_prompt_ids.empty();
  }

  DeviceSampling(const GenerationSettings& settings, PromptRun<Model>& run, GenerateOutput& output)
      : settings_(settings), run_(run), output_(output), choice_(choice(settings.config)) {
    for (index_t s = 0; s < run.sequences(); ++s) {
      answers_.emplace_back(run.prompt_of(s).ids);
      samplers_.emplace_back(settings.config, static_cast<std::uint64_t>(s));
    }
  }

  /// The answers, one for each sequence of the run.
  std::vector<Answer>& operator()() {
    std::vector<TokenId> first(answers_.size());
    run_.prefill(settings_.options, [&](std::span<const index_t> ready, auto logits) {
      for (index_t copy = 0; copy < run_.copies(); ++copy) {  // all answers to a prompt start from its logits
        std::vector<index_t> rows;
        for (const index_t b : ready) rows.push_back(b * run_.copies() + copy);
        const std::vector<TokenId> ids = choose(rows, logits);
        for (std::size_t i = 0; i < rows.size(); ++i) first[static_cast<std::size_t>(rows[i])] = ids[i];
      }
    });
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t s = 0; s < answers_.size(); ++s) settings_.accept(answers_[s], static_cast<index_t>(s), first[s]);
    decode();
    output_.timings.decode_seconds = seconds_since(start);
    return answers_;
  }

 private:
  static SamplingSettings choice(const GenerationConfig& config) {
    if (!config.do_sample) return {};
    return {.do_sample = 1,
            .top_k = static_cast<std::int32_t>(std::min<index_t>(config.top_k, vocab)),
            .temperature = config.temperature,
            .top_p = config.top_p,
            .min_p = config.min_p};
  }

  double uniform(index_t s) {
    return settings_.config.do_sample ? samplers_[static_cast<std::size_t>(s)].uniform() : 0.0;
  }

  /// The first tokens of some sequences, from their prompts' logits [sequences, vocab_size].
  std::vector<TokenId> choose(const std::vector<index_t>& sequences, View<const float, B, dynamic, vocab> logits) {
    Context<B>& ctx = run_.model().context();
    std::vector<double> numbers;
    for (const index_t s : sequences) numbers.push_back(uniform(s));
    const auto uniforms = upload<double>(ctx, numbers);
    const auto settings = upload<SamplingSettings>(ctx, std::vector<SamplingSettings>(sequences.size(), choice_));
    Tensor<TokenId, B, dynamic> ids(logits.rows());
    sample(ctx, logits, settings, uniforms, ids);
    std::vector<TokenId> chosen = download<TokenId>(ctx, ids.view());
    for (std::size_t i = 0; i < chosen.size(); ++i)
      if (chosen[i] < 0)
        best_score(download_floats(ctx, logits.slice(static_cast<index_t>(i), 1)));  // throws the reason
    return chosen;
  }

  void decode() {
    const auto is_live = [&](index_t s) { return !answers_[static_cast<std::size_t>(s)].finished; };
    std::vector<index_t> live;
    std::vector<DecodeRow> rows;
    std::vector<double> uniforms;
    std::vector<TokenId> last;
    std::optional<DecodePass<Model>> pass;
    while (std::ranges::any_of(answers_, [](const Answer& answer) { return !answer.finished; })) {
      if (live.empty() || !std::ranges::all_of(live, is_live)) {
        live.clear();
        rows.clear();
        for (index_t s = 0; s < run_.sequences(); ++s) {
          if (!is_live(s)) continue;
          live.push_back(s);
          DecodeRow& row = rows.emplace_back();
          row.sequence = s;
          row.token = answers_[static_cast<std::size_t>(s)].history.back();
          for (std::size_t axis = 0; axis < 3; ++axis) row.positions[axis] = run_.next_position(s, axis);
        }
        if (!pass) pass.emplace(run_.model(), run_.cache(), static_cast<index_t>(live.size()));
        pass->begin(rows, choice_);
      }
      uniforms.clear();
      last.clear();
      for (const index_t s : live) {
        uniforms.push_back(uniform(s));
        last.push_back(answers_[static_cast<std::size_t>(s)].history.back());
      }
      const std::span<const TokenId> ids = (*pass)(uniforms);
      run_.appended(live, last);
      for (std::size_t i = 0; i < live.size(); ++i)
        settings_.accept(answers_[static_cast<std::size_t>(live[i])], live[i], ids[i]);
    }
  }
};

}  // namespace qwen3vl::detail
