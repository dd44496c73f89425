/// The generation loop (GenerationMixin.generate): prompt in, tokens out, for a padded batch of prompts with pictures.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/generation/prompt_cache.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {
namespace detail {

/// One prompt on its way.
struct GenerationRow {
  std::vector<TokenId> history;  // the prompt's real tokens, then the generated ones
  std::int32_t next_position[3] = {0, 0, 0};
  std::optional<FinishReason> finished;
  index_t prompt_tokens = 0;
};

/// Where the pictures of a single prompt lie, in the order of image_grid_thw.
inline std::vector<PictureSpan> picture_spans(const ModelInputs& inputs, std::span<const std::int32_t> feature_rows,
                                              index_t merge) {
  std::vector<PictureSpan> spans;
  std::size_t token = 0;
  index_t patch = 0;
  for (const GridThw& grid : inputs.image_grid_thw) {
    while (token < feature_rows.size() && feature_rows[token] < 0) ++token;
    PictureSpan span{.begin = static_cast<index_t>(token), .end = static_cast<index_t>(token) + grid.tokens(merge)};
    const auto pixels = inputs.pixel_values.slice(patch, grid.patches());
    hash_picture(pixels.span(), grid, span.hash);
    spans.push_back(span);
    token = static_cast<std::size_t>(span.end);
    patch += grid.patches();
  }
  return spans;
}

/// The pictures from `first` on, as the only ones.
inline ModelInputs later_pictures(const ModelInputs& inputs, std::size_t first) {
  ModelInputs rest;
  index_t patch = 0;
  for (std::size_t i = 0; i < first; ++i) patch += inputs.image_grid_thw[i].patches();
  rest.image_grid_thw.assign(inputs.image_grid_thw.begin() + static_cast<std::ptrdiff_t>(first),
                             inputs.image_grid_thw.end());
  const index_t patches = inputs.pixel_values.rows() - patch;
  rest.pixel_values = HostMatrix<float>(patches, inputs.pixel_values.extent(1));
  std::ranges::copy(inputs.pixel_values.slice(patch, patches).span(), rest.pixel_values.data());
  return rest;
}

/// Generation of one batch, step by step.
template <class Model>
class Generation {
  using V = typename Model::VariantType;
  using B = typename Model::BackendType;
  using A = activation_t<B, typename Model::PrecisionType>;
  static constexpr index_t merge = V::config.vision.spatial_merge_size;
  static constexpr index_t vocab = Model::vocab_size;

  Model& model_;
  const ModelInputs& inputs_;
  const GenerateOptions& options_;
  const GenerationConfig config_;
  const LogitsProcessorList processors_;
  std::vector<GenerationRow> rows_;
  std::vector<Sampler> samplers_;
  TokenBatch prompt_;                                    // all rows' tokens that are left to compute
  std::optional<typename Model::Features> features_;     // of the pictures among them
  std::vector<std::vector<std::vector<float>>> logits_;  // [step][row], if asked for
  GenerateOutput output_;

 public:
  Generation(Model& model, const ModelInputs& inputs, const GenerateOptions& options)
      : model_(model),
        inputs_(inputs),
        options_(options),
        config_(options.applied_to(model.generation_config())),
        processors_(with_user_processors(config_, options)) {}

  GenerateOutput run(PromptCache<Model>* prompt_cache) {
    config_.validate();
    const index_t batch = inputs_.batch_size();
    if (prompt_cache != nullptr && batch != 1)
      fail("a prompt cache holds one conversation; the batch has ", batch, " rows");
    if (prompt_cache != nullptr && !inputs_.video_grid_thw.empty())
      fail("a prompt cache with videos is not supported yet");
    prepare(prompt_cache);
    std::optional<typename Model::Cache> own_cache;
    typename Model::Cache& cache = prompt_cache != nullptr ? prompt_cache->cache() : own_cache.emplace(batch);
    for (index_t b = 0; b < batch; ++b) samplers_.emplace_back(config_, static_cast<std::uint64_t>(b));

    prefill(cache, prompt_cache);
    const auto start = std::chrono::steady_clock::now();
    for (index_t step = 1; step < config_.token_limit() && unfinished(); ++step) decode(cache, prompt_cache);
    output_.timings.decode_seconds = seconds_since(start);
    collect();
    return std::move(output_);
  }

 private:
  static double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  static LogitsProcessorList with_user_processors(const GenerationConfig& config, const GenerateOptions& options) {
    LogitsProcessorList list(config);
    for (const auto& processor : options.logits_processors) list.push_back(processor);
    return list;
  }

  /// Positions, pictures and what is left to compute.
  void prepare(PromptCache<Model>* prompt_cache) {
    const index_t batch = inputs_.batch_size(), length = inputs_.length();
    if (batch == 0 || length == 0) fail("the prompt is empty; generation needs at least one token");
    const HostMatrix<std::uint8_t> own_types = types_if_absent(inputs_, model_.config().tokens);
    const HostMatrix<std::uint8_t>& types = own_types.allocated() ? own_types : inputs_.mm_token_type_ids;
    const PackedTokens packed = pack(batch, length, inputs_.attention_mask);
    prompt_.ids = gather<TokenId>(packed, inputs_.input_ids.span());
    check_ids(prompt_.ids, vocab);
    prompt_.feature_rows = feature_rows(packed, types, inputs_, merge);
    // Unlike a plain forward, generation counts real tokens only, with and without pictures.
    const RopeIndex index =
        get_rope_index(types, inputs_.image_grid_thw, inputs_.video_grid_thw, inputs_.attention_mask, merge);
    prompt_.positions = pack_positions(packed, index.position_ids, 0);
    prompt_.longest_position = longest_position(index.position_ids);
    prompt_.sequences = packed.sequences;

    const index_t tokens = packed.tokens();
    for (index_t b = 0; b < batch; ++b) {
      GenerationRow& row = rows_.emplace_back();
      row.prompt_tokens = packed.sequences.length(b);
      if (row.prompt_tokens == 0) fail("row ", b, " of the batch has no real token");
      const auto begin = prompt_.ids.begin() + packed.sequences.offset(b);
      row.history.assign(begin, begin + row.prompt_tokens);
      for (index_t axis = 0; axis < 3; ++axis)
        row.next_position[axis] =
            prompt_.positions[static_cast<std::size_t>(axis * tokens + packed.sequences.offset(b + 1) - 1)] + 1;
    }
    output_.timings.prompt_tokens = tokens;

    const auto start = std::chrono::steady_clock::now();
    if (prompt_cache != nullptr) {
      drop_cached(*prompt_cache);
    } else {
      features_ = model_.model().get_visual_features(model_.context(), inputs_);
    }
    output_.timings.vision_seconds = seconds_since(start);
    output_.timings.computed_tokens = prompt_.tokens();
  }

  /// Leaves of a single prompt what the cache does not hold, with its pictures.
  void drop_cached(PromptCache<Model>& prompt_cache) {
    const std::vector<PictureSpan> pictures = picture_spans(inputs_, prompt_.feature_rows, merge);
    const auto all = prompt_.tokens();
    const index_t kept = prompt_cache.reuse(prompt_.ids, pictures);
    const auto first = static_cast<std::size_t>(
        std::ranges::count_if(pictures, [&](const PictureSpan& picture) { return picture.begin < kept; }));
    std::int32_t cached_features = 0;
    for (std::size_t i = 0; i < first; ++i)
      cached_features += static_cast<std::int32_t>(pictures[i].end - pictures[i].begin);
    TokenBatch rest;
    rest.longest_position = prompt_.longest_position;
    rest.ids.assign(prompt_.ids.begin() + kept, prompt_.ids.end());
    for (index_t axis = 0; axis < 3; ++axis)
      rest.positions.insert(rest.positions.end(), prompt_.positions.begin() + axis * all + kept,
                            prompt_.positions.begin() + (axis + 1) * all);
    for (std::size_t i = static_cast<std::size_t>(kept); i < prompt_.feature_rows.size(); ++i)
      rest.feature_rows.push_back(prompt_.feature_rows[i] < 0 ? -1 : prompt_.feature_rows[i] - cached_features);
    rest.sequences.append(all - kept);
    prompt_ = std::move(rest);
    if (first < pictures.size())
      features_ = model_.model().get_visual_features(model_.context(), later_pictures(inputs_, first));
  }

  /// Computes the prompt in chunks, so that activations stay small however long it is, and samples the first tokens.
  void prefill(typename Model::Cache& cache, PromptCache<Model>* prompt_cache) {
    const auto start = std::chrono::steady_clock::now();
    const index_t chunk = std::max<index_t>(1, options_.prefill_chunk);
    const Segments whole = prompt_.sequences;
    const index_t all = prompt_.tokens();
    for (index_t from = 0; from < whole.longest(); from += chunk) {
      TokenBatch part;
      part.longest_position = prompt_.longest_position;
      std::vector<std::int32_t> last_rows;
      std::vector<std::size_t> ready;
      std::vector<index_t> taken;  // packed indexes
      for (index_t b = 0; b < whole.count(); ++b) {
        const index_t count = std::clamp<index_t>(whole.length(b) - from, 0, chunk);
        for (index_t i = 0; i < count; ++i) taken.push_back(whole.offset(b) + from + i);
        part.sequences.append(count);
        if (count > 0 && from + count == whole.length(b)) {
          last_rows.push_back(static_cast<std::int32_t>(taken.size()) - 1);
          ready.push_back(static_cast<std::size_t>(b));
        }
      }
      for (const index_t i : taken) {
        part.ids.push_back(prompt_.ids[static_cast<std::size_t>(i)]);
        part.feature_rows.push_back(prompt_.feature_rows[static_cast<std::size_t>(i)]);
      }
      for (index_t axis = 0; axis < 3; ++axis)
        for (const index_t i : taken)
          part.positions.push_back(prompt_.positions[static_cast<std::size_t>(axis * all + i)]);
      run_tokens(part, cache, prompt_cache, last_rows, ready);
    }
    output_.timings.prefill_seconds = seconds_since(start);
    features_.reset();
  }

  /// One more token for each unfinished row.
  void decode(typename Model::Cache& cache, PromptCache<Model>* prompt_cache) {
    TokenBatch part;
    std::vector<std::int32_t> last_rows;
    std::vector<std::size_t> ready;
    for (std::size_t b = 0; b < rows_.size(); ++b) {
      const bool active = !rows_[b].finished;
      part.sequences.append(active ? 1 : 0);
      if (!active) continue;
      last_rows.push_back(static_cast<std::int32_t>(ready.size()));
      ready.push_back(b);
      part.ids.push_back(rows_[b].history.back());
    }
    for (std::size_t axis = 0; axis < 3; ++axis)
      for (GenerationRow& row : rows_) {
        const std::int32_t position = row.next_position[axis]++;
        // The reference computes finished rows along, and rope types that look at the longest position see theirs.
        part.longest_position = std::max(part.longest_position, position);
        if (!row.finished) part.positions.push_back(position);
      }
    run_tokens(part, cache, prompt_cache, last_rows, ready);
  }

  /// Runs tokens and samples what follows the last ones of `ready`.
  void run_tokens(const TokenBatch& part, typename Model::Cache& cache, PromptCache<Model>* prompt_cache,
                  const std::vector<std::int32_t>& last_rows, const std::vector<std::size_t>& ready) {
    auto logits = model_.context().template scratch<A, dynamic, vocab>(static_cast<index_t>(ready.size()));
    model_.next_logits(part, features_ ? &*features_ : nullptr, cache, last_rows, logits);  // [ready, vocab_size]
    if (prompt_cache != nullptr) prompt_cache->append(part.ids);
    if (ready.empty()) return;
    std::vector<float> host = download_floats(model_.context(), logits);
    if (options_.output_logits) logits_.resize(std::max(logits_.size(), steps_of(ready) + 1));
    for (std::size_t i = 0; i < ready.size(); ++i) {
      const std::span<float> scores(host.data() + i * static_cast<std::size_t>(vocab), static_cast<std::size_t>(vocab));
      sample(ready[i], scores);
    }
  }
  std::size_t steps_of(const std::vector<std::size_t>& ready) const {
    std::size_t most = 0;
    for (const std::size_t b : ready)
      most = std::max(most, rows_[b].history.size() - static_cast<std::size_t>(rows_[b].prompt_tokens));
    return most;
  }

  void sample(std::size_t b, std::span<float> scores) {
    GenerationRow& row = rows_[b];
    if (options_.output_logits) {
      auto& step = logits_[row.history.size() - static_cast<std::size_t>(row.prompt_tokens)];
      step.resize(rows_.size());
      step[b].assign(scores.begin(), scores.end());
    }
    processors_(row.history, scores);
    const TokenId token = samplers_[b](scores);
    row.history.push_back(token);
    const auto generated = static_cast<index_t>(row.history.size()) - row.prompt_tokens;
    if (std::ranges::find(config_.eos_token_id, token) != config_.eos_token_id.end()) {
      row.finished = FinishReason::stop;
    } else if (generated >= config_.token_limit()) {
      row.finished = FinishReason::length;
    }
    if (options_.streamer && !options_.streamer(static_cast<index_t>(b), token) && !row.finished)
      row.finished = FinishReason::cancelled;
  }

  bool unfinished() const {
    return std::ranges::any_of(rows_, [](const GenerationRow& row) { return !row.finished; });
  }

  /// Sequences in the form of the input: prompts as they were padded, then the new tokens, then pad tokens.
  void collect() {
    const index_t batch = inputs_.batch_size(), length = inputs_.length();
    index_t longest = 0;
    for (const GenerationRow& row : rows_)
      longest = std::max(longest, static_cast<index_t>(row.history.size()) - row.prompt_tokens);
    const TokenId pad = config_.padding_token();
    output_.sequences = HostMatrix<TokenId>(batch, length + longest);
    for (index_t b = 0; b < batch; ++b) {
      const GenerationRow& row = rows_[static_cast<std::size_t>(b)];
      const std::span<const TokenId> generated =
          std::span(row.history).subspan(static_cast<std::size_t>(row.prompt_tokens));
      auto to = output_.sequences[b].span();
      std::ranges::fill(to, pad);
      std::ranges::copy(inputs_.input_ids[b].span(), to.begin());
      std::ranges::copy(generated, to.begin() + length);
      output_.new_tokens.emplace_back(generated.begin(), generated.end());
      output_.finish_reasons.push_back(row.finished.value_or(FinishReason::length));
      output_.timings.new_tokens += static_cast<index_t>(generated.size());
    }
    if (!options_.output_logits) return;
    output_.logits = HostCube<float>(batch, longest, vocab);
    for (index_t step = 0; step < longest; ++step)
      for (index_t b = 0; b < batch; ++b) {
        const auto& of_step = logits_[static_cast<std::size_t>(step)];
        if (static_cast<std::size_t>(b) < of_step.size())
          std::ranges::copy(of_step[static_cast<std::size_t>(b)], &output_.logits(b, step, 0));
      }
  }
};

}  // namespace detail

/// Generates from `inputs` with the model's generation_config, changed by `options`. What
/// `ForConditionalGeneration::generate` calls. With a `prompt_cache`, only tokens that it does not hold are computed.
template <class Model>
GenerateOutput run_generation(Model& model, const ModelInputs& inputs, const GenerateOptions& options,
                              PromptCache<Model>* prompt_cache = nullptr) {
  return detail::Generation<Model>(model, inputs, options).run(prompt_cache);
}

}  // namespace qwen3vl
