/// Runs a batch of prompts through the model: positions, images, prefill in chunks, and then further tokens of any
/// number of answers to each prompt. Shared by greedy search, sampling and beam search.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/generation/prompt_cache.hpp"
#include "qwen3vl/generation/step_outputs.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl::detail {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The prompts of a call.
struct GenerationPrompts {
  PromptTokens tokens;  // without ids if there are only embeddings
  PackedTokens padded;  // their places in the padded prompts
  const Media& media;
  const ModelInputs* inputs = nullptr;  // of their embeddings and positions, if these are given
};

/// B prompts with `copies` sequences each, which share the prompt's computation: sequence b * copies + j continues
/// prompt b.
template <class Model>
class PromptRun {
  using V = typename Model::VariantType;
  using B = typename Model::BackendType;
  static constexpr index_t merge = V::config.vision.spatial_merge_size;

 public:
  static constexpr index_t vocab = Model::vocab_size;
  using Cache = typename Model::Cache;

  /// A prompt without its padding.
  struct Prompt {
    std::vector<TokenId> ids;  // empty if only embeddings are given
    index_t length = 0;
    std::int32_t next_position[3] = {0, 0, 0};

    std::int32_t largest_next() const { return *std::ranges::max_element(next_position); }
  };

  /// `prompts` are used only during construction. `outputs`, if given, gets what the layers record.
  PromptRun(Model& model, const GenerationPrompts& prompts, PromptCache<Model>* prompt_cache, index_t copies,
            GenerationTimings& timings, StepOutputs<Model>* outputs = nullptr)
      : model_(model), prompt_cache_(prompt_cache), copies_(copies), timings_(timings), outputs_(outputs) {
    prepare(prompts);
  }

  const std::vector<Prompt>& prompts() const { return prompts_; }
  index_t copies() const { return copies_; }
  index_t sequences() const { return copies_ * static_cast<index_t>(prompts_.size()); }
  const Prompt& prompt_of(index_t sequence) const { return prompts_[static_cast<std::size_t>(sequence / copies_)]; }
  /// The keys and values of the sequences, after prefill().
  Cache& cache() { return own_cache_ ? *own_cache_ : prompt_cache_->cache(); }

  /// Computes the prompts, prefill_chunk tokens of each at a time to bound the memory for activations, and copies the
  /// keys and values to all sequences of a prompt. Returns the logits [B, vocab_size] that follow the prompts.
  std::vector<float> prefill(const GenerateOptions& options) {
    std::vector<float> all(prompts_.size() * static_cast<std::size_t>(vocab));
    prefill(options, [&](std::span<const index_t> ready, View<const float, B, dynamic, vocab> logits) {
      const std::vector<float> host = download_floats(model_.context(), logits);
      for (std::size_t i = 0; i < ready.size(); ++i)
        std::copy_n(host.data() + static_cast<index_t>(i) * vocab, vocab, all.data() + ready[i] * vocab);
    });
    return all;
  }

  /// The same, but take(prompts, logits [prompts, vocab_size]) receives the logits in the backend's memory, for some
  /// prompts at a time.
  template <class Take>
  void prefill(const GenerateOptions& options, Take&& take) {
    const auto start = std::chrono::steady_clock::now();
    const index_t chunk = std::max<index_t>(1, options.prefill_chunk), longest = batch_.sequences.longest();
    const auto count = static_cast<index_t>(prompts_.size());
    if (prompt_cache_ == nullptr) own_cache_.emplace(count * copies_);
    // A prompt is computed in its first sequence and copied to the others.
    Cache& cache = prompt_cache_ != nullptr ? prompt_cache_->cache() : *own_cache_;
    const index_t stride = prompt_cache_ != nullptr ? 1 : copies_;
    if (outputs_ != nullptr) {
      std::vector<index_t> cached;
      for (index_t b = 0; b < count; ++b) cached.push_back(cache.length(b * stride));
      outputs_->begin(cached);
    }
    if constexpr (requires { cache.reserve(model_.context(), index_t{}, index_t{}); })
      for (index_t b = 0; b < count; ++b)
        cache.reserve(model_.context(), b * stride, cache.length(b * stride) + batch_.sequences.length(b));
    for (index_t from = 0; from < longest; from += chunk) {
      if (options.prefill_progress) options.prefill_progress(from, longest);
      std::vector<index_t> ready;
      const TokenBatch part = chunk_of_prompts(from, chunk, stride, cache.sequences(), ready);
      std::vector<std::int32_t> last_rows;
      last_rows.reserve(ready.size());
      for (const index_t b : ready)
        last_rows.push_back(static_cast<std::int32_t>(part.sequences.offset(b * stride + 1)) - 1);
      run(part, cache, copies_ / stride, last_rows,
          [&](View<const float, B, dynamic, vocab> logits) { take(ready, logits); });
      if (prompt_cache_ != nullptr)
        for (index_t b = 0; b < count; ++b)
          prompt_cache_->append(std::span(part.ids).subspan(static_cast<std::size_t>(part.sequences.offset(b)),
                                                            static_cast<std::size_t>(part.sequences.length(b))),
                                b);
    }
    if (options.prefill_progress) options.prefill_progress(longest, longest);
    if (prompt_cache_ != nullptr && copies_ > 1) own_cache_.emplace(count * copies_);
    for (index_t b = 0; b < count; ++b)
      for (index_t j = &cache == &this->cache() ? 1 : 0; j < copies_; ++j)
        this->cache().copy_sequence(b * copies_ + j, cache, b * stride);
    if (outputs_ != nullptr) outputs_->share();
    features_.reset();
    timings_.prefill_seconds = seconds_since(start);
  }

  /// One pass of the model: appends tokens[s], which may be empty, to each sequence s. Returns the logits [all tokens,
  /// vocab_size] that follow each of these tokens.
  std::vector<float> append(std::span<const std::vector<TokenId>> tokens) {
    TokenBatch part;
    index_t furthest = 0;  // most new tokens of any sequence, these included
    for (index_t s = 0; s < sequences(); ++s) {
      const auto& own = tokens[static_cast<std::size_t>(s)];
      part.sequences.append(static_cast<index_t>(own.size()));
      part.ids.insert(part.ids.end(), own.begin(), own.end());
      if (!own.empty()) furthest = std::max(furthest, new_tokens(s) + static_cast<index_t>(own.size()));
    }
    while (part.sequences.count() < cache().sequences()) part.sequences.append(0);
    // The reference keeps computing finished rows, which matters to rope types that depend on the longest position.
    for (const Prompt& prompt : prompts_)
      part.longest_position =
          std::max(part.longest_position, prompt.largest_next() + static_cast<std::int32_t>(furthest) - 1);
    for (std::size_t axis = 0; axis < 3; ++axis)
      for (index_t s = 0; s < sequences(); ++s)
        for (std::size_t i = 0; i < tokens[static_cast<std::size_t>(s)].size(); ++i)
          part.positions.push_back(next_position(s, axis) + static_cast<std::int32_t>(i));
    std::vector<std::int32_t> rows;
    for (index_t i = 0; i < part.tokens(); ++i) rows.push_back(static_cast<std::int32_t>(i));
    std::vector<float> result;
    run(part, cache(), 1, rows, [&](auto logits) { result = download_floats(model_.context(), logits); });
    ++timings_.decode_passes;
    if (answers_are_cached())
      for (index_t s = 0; s < sequences(); ++s) prompt_cache_->append(tokens[static_cast<std::size_t>(s)], s);
    return result;
  }

  /// The position of the next token of a sequence on an axis.
  std::int32_t next_position(index_t sequence, std::size_t axis) {
    return prompt_of(sequence).next_position[axis] + static_cast<std::int32_t>(new_tokens(sequence));
  }
  /// Records a pass that has appended a token to some sequences of the cache; append() does so itself.
  void appended(std::span<const index_t> sequences, std::span<const TokenId> ids) {
    ++timings_.decode_passes;
    if (answers_are_cached())
      for (std::size_t i = 0; i < ids.size(); ++i) prompt_cache_->append(ids.subspan(i, 1), sequences[i]);
  }
  Model& model() { return model_; }

  /// Truncates a sequence to the prompt and its first `count` new tokens.
  void keep(index_t sequence, index_t count) {
    const index_t length = prompt_length(sequence) + count;
    if (length >= cache().length(sequence)) return;
    if (answers_are_cached()) {
      prompt_cache_->truncate(length, sequence);
    } else {
      cache().truncate(sequence, length);
    }
  }

  index_t prompt_length(index_t sequence) const { return prompt_of(sequence).length; }

 private:
  /// Whether answers grow in the prompt cache.
  bool answers_are_cached() const { return prompt_cache_ != nullptr && !own_cache_; }
  /// Tokens in the cache beyond the prompt.
  index_t new_tokens(index_t sequence) { return cache().length(sequence) - prompt_length(sequence); }

  /// Positions, features and the tokens left to compute.
  void prepare(const GenerationPrompts& prompts) {
    const PromptTokens& tokens = prompts.tokens;
    const Media& media = prompts.media;
    if (tokens.batch_size() == 0) fail("the prompt is empty; generation needs at least one token");
    const ModelInputs* const inputs = prompts.inputs;
    const bool embedded = inputs != nullptr && inputs->inputs_embeds.allocated();
    batch_ = token_batch(tokens, positions_of(prompts), vocab,
                         embedded ? gather(prompts.padded, inputs->inputs_embeds) : HostMatrix<float>{});
    if (inputs != nullptr && inputs->position_ids.allocated())
      batch_.longest_position = longest_position(inputs->position_ids);
    for (index_t b = 0; b < tokens.batch_size(); ++b) {
      Prompt& prompt = prompts_.emplace_back();
      prompt.length = tokens.rows.length(b);
      if (prompt.length == 0) fail("row ", b, " of the batch has no real token");
      if (!tokens.ids.empty()) prompt.ids.assign(tokens.row(b).begin(), tokens.row(b).end());
      for (index_t axis = 0; axis < 3; ++axis)
        prompt.next_position[axis] =
            batch_.positions[static_cast<std::size_t>(axis * batch_.tokens() + tokens.rows.offset(b + 1) - 1)] + 1;
    }
    timings_.prompt_tokens = batch_.tokens();

    const auto start = std::chrono::steady_clock::now();
    if (prompt_cache_ != nullptr) {
      drop_cached(tokens, media);
    } else {
      features_ = model_.get_visual_features(media);
      timings_.computed_patches = media.pixel_values.rows() + media.pixel_values_videos.rows();
      check_features(batch_.feature_rows, features_ ? features_->pooler_output.rows() : 0);
    }
    if constexpr (requires { model_.context().backend().synchronize(); })
      if (features_) model_.context().backend().synchronize();  // a device has only been started
    timings_.vision_seconds = seconds_since(start);
    timings_.computed_tokens = batch_.tokens();
  }

  /// [3, tokens]: as given; of embeddings alone, the places of the tokens. Unlike a plain forward, generation counts
  /// only real tokens, with and without images.
  static std::vector<std::int32_t> positions_of(const GenerationPrompts& prompts) {
    const PromptTokens& tokens = prompts.tokens;
    if (prompts.inputs != nullptr && prompts.inputs->position_ids.allocated())
      return pack_positions(prompts.padded, prompts.inputs->position_ids, 0);
    if (!tokens.ids.empty()) return get_rope_index(tokens, merge).position_ids;
    return get_rope_index(PromptTokens{.ids = {}, .rows = tokens.rows, .spans = {}}, merge).position_ids;
  }

  /// Reduces the prompts to what the cache does not hold, with the features of their images and videos.
  void drop_cached(const PromptTokens& tokens, const Media& media) {
    std::vector<MediaSpan> spans = tokens.spans;
    const auto pixels = pixels_of(spans, media);
    identify(spans, pixels);
    prompt_cache_->widen(tokens.batch_size());
    std::vector<MediaSpan> wanted;
    std::vector<std::span<const float>> their_pixels;
    std::vector<index_t> left;  // packed indices
    Segments sequences;
    std::ranges::fill(batch_.feature_rows, -1);
    std::int32_t feature_row = 0;
    std::size_t next = 0;  // of spans, which are in the order of their tokens
    for (index_t b = 0; b < tokens.batch_size(); ++b) {
      const index_t first = tokens.rows.offset(b), count = tokens.rows.length(b);
      const std::size_t of_row = next;
      std::vector<MediaSpan> own;
      for (; next < spans.size() && spans[next].row == b; ++next) own.emplace_back(spans[next]).begin -= first;
      const index_t kept = prompt_cache_->reuse(tokens.row(b), own, b);
      for (index_t i = kept; i < count; ++i) left.push_back(first + i);
      sequences.append(count - kept);
      for (std::size_t i = 0; i < own.size(); ++i) {
        if (own[i].begin < kept) continue;
        wanted.push_back(spans[of_row + i]);
        their_pixels.push_back(pixels[of_row + i]);
        for (index_t j = own[i].begin; j < own[i].end(); ++j)
          batch_.feature_rows[static_cast<std::size_t>(first + j)] = feature_row++;
      }
    }
    TokenBatch rest = taken(left);
    rest.sequences = std::move(sequences);
    batch_ = std::move(rest);
    if (!wanted.empty())
      features_ = prompt_cache_->features().of(model_, wanted, their_pixels, timings_.computed_patches);
  }

  /// Some of the tokens left to compute, without their sequences.
  TokenBatch taken(std::span<const index_t> packed) const {
    TokenBatch part;
    part.longest_position = batch_.longest_position;
    for (const index_t i : packed) {
      if (!batch_.ids.empty()) part.ids.push_back(batch_.ids[static_cast<std::size_t>(i)]);
      part.feature_rows.push_back(batch_.feature_rows[static_cast<std::size_t>(i)]);
    }
    if (batch_.inputs_embeds.allocated()) {
      part.inputs_embeds = HostMatrix<float>(static_cast<index_t>(packed.size()), batch_.inputs_embeds.extent(1));
      for (std::size_t i = 0; i < packed.size(); ++i)
        std::ranges::copy(batch_.inputs_embeds[packed[i]].span(), part.inputs_embeds[static_cast<index_t>(i)].data());
    }
    for (index_t axis = 0; axis < 3; ++axis)
      for (const index_t i : packed)
        part.positions.push_back(batch_.positions[static_cast<std::size_t>(axis * batch_.tokens() + i)]);
    return part;
  }

  /// Tokens [from, from + chunk) of all prompts, for a cache of `sequences`, of which each prompt has `stride`; `ready`
  /// receives the prompts that end with it.
  TokenBatch chunk_of_prompts(index_t from, index_t chunk, index_t stride, index_t sequences,
                              std::vector<index_t>& ready) const {
    const Segments& whole = batch_.sequences;
    std::vector<index_t> packed;
    Segments own;
    for (index_t b = 0; b < whole.count(); ++b) {
      const index_t count = std::clamp<index_t>(whole.length(b) - from, 0, chunk);
      for (index_t i = 0; i < count; ++i) packed.push_back(whole.offset(b) + from + i);
      own.append(count);
      for (index_t j = 1; j < stride; ++j) own.append(0);
      if (count > 0 && from + count == whole.length(b)) ready.push_back(b);
    }
    while (own.count() < sequences) own.append(0);
    TokenBatch part = taken(packed);
    part.sequences = std::move(own);
    return part;
  }

  /// Appends `part` to `cache`, whose sequences stand for `rows_each` rows of the output; take(logits [rows,
  /// vocab_size]) receives those that follow some of its tokens, if any.
  template <class Take>
  void run(const TokenBatch& part, Cache& cache, index_t rows_each, const std::vector<std::int32_t>& rows,
           Take&& take) {
    auto logits = model_.context().template scratch<float, dynamic, vocab>(static_cast<index_t>(rows.size()));
    const auto compute = [&](typename StepOutputs<Model>::Record* record) {
      model_.next_logits(part, features_ ? &*features_ : nullptr, cache, rows, logits, record);
    };
    if (outputs_ == nullptr) {
      compute(nullptr);
    } else {
      std::vector<index_t> before;
      for (index_t s = 0; s < cache.sequences(); ++s) before.push_back(cache.length(s));
      auto record = outputs_->record();
      compute(&record);
      outputs_->add(model_.context(), record, part.sequences, before, rows_each);
    }
    if (!rows.empty()) take(View<const float, B, dynamic, vocab>(logits));
  }

  Model& model_;
  PromptCache<Model>* prompt_cache_;
  const index_t copies_;
  GenerationTimings& timings_;
  StepOutputs<Model>* outputs_;
  std::vector<Prompt> prompts_;
  TokenBatch batch_;                                  // the prompts' tokens left to compute
  std::optional<typename Model::Features> features_;  // of their images and videos
  std::optional<Cache> own_cache_;                    // empty if the prompt cache's is used
};

}  // namespace qwen3vl::detail
