/// Beam search and beam sampling (GenerationMixin._beam_search of transformers 5).
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/generation/answers.hpp"
#include "qwen3vl/generation/guidance.hpp"
#include "qwen3vl/generation/prompt_run.hpp"

namespace qwen3vl::detail {

/// The score of a beam that does not exist: as in the reference, lower than all real ones, but finite so that
/// arithmetic on it is valid.
inline constexpr float no_beam = -1e9f;

/// Makes sequence first + i of `cache` what first + sources[i] was. All are equal in their first `shared` tokens. The
/// first use of a sequence moves it without a copy; only further uses are copied.
template <class Cache>
void reorder_sequences(Cache& cache, index_t first, std::span<const index_t> sources, index_t shared) {
  const auto count = sources.size();
  std::vector<index_t> keeper(count, -1);  // the place that a source moves to: its own if that is one of its uses
  for (std::size_t i = 0; i < count; ++i)
    if (sources[i] == static_cast<index_t>(i)) keeper[i] = sources[i];
  for (std::size_t i = 0; i < count; ++i)
    if (index_t& of_source = keeper[static_cast<std::size_t>(sources[i])]; of_source < 0)
      of_source = static_cast<index_t>(i);
  std::vector<index_t> place(count), holds(count);  // place of each old sequence; sequence at each place
  for (std::size_t i = 0; i < count; ++i) place[i] = holds[i] = static_cast<index_t>(i);
  for (std::size_t source = 0; source < count; ++source) {
    const index_t from = place[source], to = keeper[source];
    if (to < 0 || to == from) continue;
    cache.swap_sequences(first + from, first + to);
    const index_t other = holds[static_cast<std::size_t>(to)];
    std::swap(holds[static_cast<std::size_t>(from)], holds[static_cast<std::size_t>(to)]);
    place[source] = to;
    place[static_cast<std::size_t>(other)] = from;
  }
  for (std::size_t i = 0; i < count; ++i)
    if (const index_t from = keeper[static_cast<std::size_t>(sources[i])]; from != static_cast<index_t>(i))
      cache.copy_sequence(first + static_cast<index_t>(i), cache, first + from, shared);
}

template <class Model>
class BeamSearch {
  static constexpr auto vocab = static_cast<std::size_t>(PromptRun<Model>::vocab);

  /// The search for one prompt.
  struct Search {
    std::vector<Answer> running;   // num_beams, best first
    std::vector<Answer> finished;  // at most num_beams, best first; scores with the length penalty
    std::vector<index_t> sources;  // the beam of the previous step that each running one continues
    bool done = false;
  };

  const GenerationSettings& settings_;
  PromptRun<Model>& run_;
  GenerateOutput& output_;
  const std::size_t beams_;
  const std::size_t candidates_;  // per step: enough that num_beams continue, whichever are eos tokens
  std::vector<Search> searches_;
  std::vector<Sampler> samplers_;
  std::vector<Answer> answers_;
  std::optional<Guidance<Model>> guidance_;
  KeptScores logits_, scores_;  // of each beam, on request

 public:
  BeamSearch(const GenerationSettings& settings, PromptRun<Model>& run, GenerateOutput& output)
      : settings_(settings),
        run_(run),
        output_(output),
        beams_(static_cast<std::size_t>(settings.config.num_beams)),
        candidates_(std::max<std::size_t>(2, 1 + settings.config.eos_token_id.size()) * beams_),
        logits_(static_cast<std::size_t>(run.sequences())),
        scores_(static_cast<std::size_t>(run.sequences())) {
    if (settings.options.streamer) fail("a streamer does not go with beam search: beams change until the end");
    for (const auto& prompt : run.prompts()) {
      Answer begin(prompt.ids);
      begin.score = no_beam;
      Search& search = searches_.emplace_back();
      search.running.assign(beams_, begin);
      search.running.front().score = 0.0f;  // only its tokens compete in the first step
      samplers_.emplace_back(settings.config, static_cast<std::uint64_t>(searches_.size() - 1));
    }
  }

  /// The best num_return_sequences answers to each prompt.
  std::vector<Answer>& operator()() {
    std::vector<float> prompt_logits = run_.prefill(settings_.options);
    guidance_.emplace(settings_, run_);
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> logits(beams_ * vocab);
    for (std::size_t b = 0; b < searches_.size(); ++b) {
      const auto own = std::span(prompt_logits).subspan(b * vocab, vocab);
      for (std::size_t j = 0; j < beams_; ++j)
        std::ranges::copy(own, logits.begin() + static_cast<std::ptrdiff_t>(j * vocab));
      advance(b, logits);
    }
    while (!std::ranges::all_of(searches_, &Search::done)) step();
    output_.timings.decode_seconds = seconds_since(start);
    for (Search& search : searches_)
      for (std::size_t j = 0; j < static_cast<std::size_t>(settings_.config.num_return_sequences); ++j)
        answers_.push_back(std::move(search.finished.at(j)));
    if (settings_.config.output_logits) output_.logits = logits_.cube(static_cast<index_t>(vocab));
    if (settings_.config.output_scores) output_.scores = scores_.cube(static_cast<index_t>(vocab));
    return answers_;
  }

 private:
  void step() {
    std::vector<std::vector<TokenId>> tokens(searches_.size() * beams_);
    for (std::size_t b = 0; b < searches_.size(); ++b) {
      const Search& search = searches_[b];
      if (search.done) continue;
      const auto first = static_cast<index_t>(b * beams_);
      reorder_sequences(run_.cache(), first, search.sources, run_.prompt_length(first));
      for (std::size_t j = 0; j < beams_; ++j) tokens[b * beams_ + j].push_back(search.running[j].history.back());
    }
    std::vector<float> logits = run_.append(tokens);
    guidance_->append(tokens);
    std::size_t row = 0;
    for (std::size_t b = 0; b < searches_.size(); ++b) {
      if (searches_[b].done) continue;
      advance(b, std::span(logits).subspan(row * vocab, beams_ * vocab));
      row += beams_;
    }
  }

  /// One more token for the beams of prompt b, from logits [num_beams, vocab_size], which are changed.
  void advance(std::size_t b, std::span<float> logits) {
    Search& search = searches_[b];
    accumulate(b, logits);
    const std::vector<std::size_t> chosen = settings_.config.do_sample
                                                ? samplers_[b].draw_different(logits, candidates_)
                                                : best_scores(logits, candidates_);
    std::vector<Answer> running;
    search.sources.clear();
    const bool full = search.finished.size() == beams_;
    const bool closed = full && settings_.config.early_stopping == EarlyStopping::yes;
    bool any_goes_on = false;
    for (std::size_t rank = 0; rank < chosen.size(); ++rank) {
      const std::size_t source = chosen[rank] / vocab;
      const Answer& before = search.running[source];
      const auto token = static_cast<TokenId>(chosen[rank] % vocab);
      Answer next = before;
      next.history.push_back(token);
      next.transition_scores.push_back(logits[chosen[rank]] - before.score);
      next.beam_indices.push_back(static_cast<index_t>(b * beams_ + source));
      next.score = logits[chosen[rank]];
      next.finished = settings_.ends(static_cast<index_t>(b) * settings_.config.num_return_sequences, next);
      if (!next.finished) {
        any_goes_on = true;
        if (running.size() == beams_) continue;
        search.sources.push_back(static_cast<index_t>(source));
        running.push_back(std::move(next));
      } else if (rank < beams_ && !closed) {
        // Only the best num_beams may finish; the other candidates can only continue.
        next.score /= penalty(next.count());
        finish(search, std::move(next));
      }
    }
    search.done = !any_goes_on || stops(search, running);
    if (search.done) return;
    // Fewer than num_beams continue only if stopping criteria ended the rest; dead beams fill their places.
    while (running.size() < beams_) {
      running.push_back(running.front());
      running.back().score = no_beam;
      search.sources.push_back(search.sources.front());
    }
    search.running = std::move(running);
  }

  /// Logits of prompt b's beams become log-probabilities, are processed, then added to each beam's score.
  void accumulate(std::size_t b, std::span<float> logits) {
    std::vector<LogitsRow> rows;
    for (std::size_t j = 0; j < beams_; ++j) {
      const auto own = logits.subspan(j * vocab, vocab);
      const Answer& beam = searches_[b].running[j];
      if (settings_.config.output_logits) logits_.keep(b * beams_ + j, own);
      if (settings_.config.remove_invalid_values && softmax_maximum(own) == removed_score) {
        std::ranges::fill(own, std::numeric_limits<float>::quiet_NaN());  // as log_softmax of one broken score
      } else {
        best_score(own);  // throws if no score is usable
      }
      log_softmax(own);
      (*guidance_)(b * beams_ + j, own);
      rows.push_back(
          {.ids = beam.history, .prompt_tokens = beam.prompt_tokens, .scores = own, .prompt = static_cast<index_t>(b)});
    }
    settings_.processors(rows);
    for (std::size_t j = 0; j < beams_; ++j) {
      if (settings_.config.output_scores) scores_.keep(b * beams_ + j, rows[j].scores);
      for (float& score : rows[j].scores) score += searches_[b].running[j].score;
    }
    best_score(logits);  // throws if no usable score is left
  }

  void finish(Search& search, Answer answer) const {
    const auto place = std::ranges::find_if(search.finished, [&](const Answer& a) { return a.score < answer.score; });
    search.finished.insert(place, std::move(answer));
    if (search.finished.size() > beams_) search.finished.pop_back();
  }

  /// Whether the running beams can stop (_check_early_stop_heuristic).
  bool stops(const Search& search, std::span<const Answer> running) const {
    if (search.finished.size() < beams_) return false;
    if (settings_.config.early_stopping == EarlyStopping::yes) return true;
    const bool to_the_end =
        settings_.config.early_stopping == EarlyStopping::never && settings_.config.length_penalty > 0.0f;
    const float best = running.front().score /
                       penalty(to_the_end ? static_cast<std::size_t>(settings_.token_limit) : running.front().count());
    return !(best > search.finished.back().score);
  }

  float penalty(std::size_t length) const {
    return static_cast<float>(
        std::pow(static_cast<double>(length), static_cast<double>(settings_.config.length_penalty)));
  }
};

}  // namespace qwen3vl::detail
