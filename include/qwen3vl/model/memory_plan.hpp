/// Predicts the memory that a call of generate() will use, from the variant's sizes and the lengths alone, before
/// anything is loaded. Weights are summed over the parameter list; scratch memory and tensors are measured by running
/// the model over a backend that only counts (backend/counting/counting.hpp). The backend reports the cache's growth
/// and operation-internal scratch (backend/contract/operation_memory.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/backend/contract/decoding.hpp"
#include "qwen3vl/backend/counting/counting.hpp"
#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {

/// The lengths of a call.
struct MemoryRequest {
  index_t batch_size = 1;            ///< prompts computed together
  index_t sequences_per_prompt = 1;  ///< num_beams or num_return_sequences
  index_t prompt_tokens = 512;       ///< of each prompt, images and videos included
  index_t max_new_tokens = 128;
  index_t prefill_chunk = 512;         ///< GenerateOptions::prefill_chunk
  std::vector<GridThw> grid_thw{};     ///< images and videos of all prompts
  std::size_t stored_bytes = 2;        ///< per weight in the checkpoint's file: 2 for bf16 and f16, 4 for f32
  std::size_t source_image_bytes = 0;  ///< decoded images before resizing
};

/// Bytes: device memory for a backend on a device, host memory otherwise. `pixels` and `pinned` are always host bytes;
/// on a device they are excluded from the totals.
struct MemoryPlan {
  std::size_t weights = 0;
  std::size_t kv_cache = 0;     ///< keys and values at the end, including spare capacity
  std::size_t kv_copying = 0;   ///< peak of additional memory while the cache grows
  std::size_t activations = 0;  ///< scratch memory: the maximum over all passes, kept for the model's lifetime
  std::size_t decoding = 0;     ///< logits and scratch memory of recorded decoding passes
  std::size_t handle = 0;       ///< workspace of the backend's libraries
  std::size_t pinned = 0;       ///< on the host: buffers that copies to a device go through
  std::size_t pixels = 0;       ///< on the host: decoded images and their patches
  std::size_t features = 0;     ///< the vision tower's output, held until the prompt is computed
  std::size_t loading = 0;      ///< peak while loading beyond `weights`: stored tensors that are being packed
  /// Peak after loading: in the vision tower, during prefill or while decoding.
  std::size_t running = 0;
  /// Peak of loading and running.
  std::size_t peak = 0;
};

namespace detail {

/// Runs the passes of generate() over `Counting<B>` and reports their memory.
template <class Model>
class CountedModel {
  using V = typename Model::VariantType;
  using B = typename Model::BackendType;
  using Counted = ForConditionalGeneration<V, Counting<B>, typename Model::PrecisionType>;

 public:
  explicit CountedModel(Model& model)
      : counting_{model.context().backend()}, counted_(counting_, model.config()), before_(CountingMemory::held) {}

  /// Runs the vision tower and keeps its features.
  void vision(std::span<const GridThw> grids) {
    CountingMemory::most = CountingMemory::held;
    if (grids.empty()) return;
    const View<const float, Host, dynamic, dynamic> pixels(nullptr, total_patches(grids), V::config.vision.patch_dim());
    features_ = counted_.model().visual().forward(counted_.context(), pixels, grids);
  }

  /// Appends segments.length(s) tokens to each sequence s, which already has `past`. `visual` of the tokens belong to
  /// images and videos, and `rows` of them get logits. Mirrors PromptRun.
  void append(const Segments& segments, index_t past, index_t visual, index_t rows) {
    CountingMemory::most = CountingMemory::held;
    const auto tokens = static_cast<std::size_t>(segments.total());
    TokenBatch batch{.ids = std::vector<TokenId>(tokens),
                     .positions = std::vector<std::int32_t>(3 * tokens),
                     .longest_position = static_cast<std::int32_t>(past + segments.longest() - 1),
                     .sequences = segments,
                     .feature_rows = std::vector<std::int32_t>(tokens, -1)};
    std::fill_n(batch.feature_rows.begin(), visual, 0);
    typename Counted::Cache cache(segments.count(), past);
    auto logits = counted_.context().template scratch<float, dynamic, Counted::vocab_size>(rows);
    counted_.next_logits(batch, &features_, cache, std::vector<std::int32_t>(static_cast<std::size_t>(rows)), logits);
  }

  /// The same as in DecodePass, with logits for every token and separate scratch memory. Returns the bytes of both.
  std::size_t decode(const Segments& segments, index_t past) {
    Context<Counting<B>> ctx(counting_);
    const index_t rows = segments.total();
    typename Counted::Cache cache(segments.count(), past);
    const View<const TokenId, Counting<B>, dynamic> ids(nullptr, rows);
    const View<const std::int32_t, Counting<B>, 3, dynamic> positions(nullptr, rows);
    const View<float, Counting<B>, dynamic, Counted::vocab_size> logits(nullptr, rows);
    counted_.next_logits(ctx, ids, positions, segments, cache, logits);
    return ctx.workspace().peak_bytes() + static_cast<std::size_t>(logits.size()) * sizeof(float);
  }

  /// Peak of the model's scratch memory so far.
  std::size_t scratch() { return counted_.context().workspace().peak_bytes(); }
  /// Peak tensor memory of the last vision() or append(), features included.
  std::size_t tensors() const { return CountingMemory::most - before_; }
  std::size_t features() const { return CountingMemory::held - before_; }

 private:
  Counting<B> counting_;
  Counted counted_;
  std::size_t before_;
  typename Counted::Features features_;
};

}  // namespace detail

/// The memory that `model` will use for `request`. The model need not be loaded: only its parameter list, config and
/// backend handle are used. (One whose weights are kept as stored has to be loaded; its activations are then an upper
/// bound.) The program itself, its tokenizer and thread stacks are not counted.
template <class Model>
MemoryPlan plan_memory(Model& model, const MemoryRequest& request) {
  using V = typename Model::VariantType;
  using B = typename Model::BackendType;
  constexpr VisionConfig vision = V::config.vision;
  const B& backend = model.context().backend();
  if (request.batch_size < 1 || request.sequences_per_prompt < 1 || request.prompt_tokens < 1 ||
      request.max_new_tokens < 1)
    fail("a memory plan needs at least one prompt of one token, one sequence and one new token");
  if (constexpr index_t most = 0x7fffffff; request.batch_size > most || request.sequences_per_prompt > most ||
                                           request.prompt_tokens > most || request.max_new_tokens > most)
    fail("a memory plan takes numbers of prompts, sequences and tokens up to ", most);

  MemoryPlan plan;
  std::size_t loading_peak = 0;
  model.parameters([&](auto& parameter, Parts parts) {
    const ParameterShape shape = parameter_shape(parameter);
    detail::complete(parts, shape);
    plan.weights += parameter.bytes();
    using Parameter = std::remove_reference_t<decltype(parameter)>;
    if constexpr (detail::ExpectsRows<Parameter> || detail::ExpectsExperts<Parameter>)
      if (parameter.bytes() == 0)
        fail("weights of precision ", Model::PrecisionType::name, " are as large as the checkpoint stores them, which ",
             "a plan does not know; load the model first, or plan with another precision");
    std::size_t stored = 0;  // a part's pages are released before the next one is read
    for (const Part& part : parts)
      stored =
          std::max(stored, static_cast<std::size_t>(part.rows * shape.columns * std::max<index_t>(1, shape.experts)) *
                               request.stored_bytes);
    if constexpr (!B::is_host) stored = 0;
    loading_peak = std::max(loading_peak, plan.weights + stored);
    for (const Part& part : parts)  // scratch memory is kept
      plan.activations =
          std::max(plan.activations, OperationMemory<B>::load(backend, parameter, part.rows, request.stored_bytes));
  });
  plan.handle = OperationMemory<B>::handle(backend);
  plan.pinned = OperationMemory<B>::pinned(backend);
  plan.loading = loading_peak - std::min(plan.weights, loading_peak);

  const index_t patches = total_patches(request.grid_thw), visual_tokens = patches / vision.merge_unit();
  plan.pixels = static_cast<std::size_t>(patches * vision.patch_dim()) * sizeof(float) + request.source_image_bytes;
  detail::CountedModel<Model> counted(model);
  counted.vision(request.grid_thw);
  plan.features = counted.features();
  plan.activations = std::max(plan.activations, counted.scratch());
  const std::size_t always = plan.weights + plan.handle + (B::is_host ? plan.pixels : 0);
  // The host copy of the patches' rotary tables during the upload.
  const std::size_t tables = B::is_host ? static_cast<std::size_t>(patches * vision.head_dim()) * sizeof(float) : 0;
  const std::size_t vision_peak = always + counted.tensors() + tables + plan.activations;

  // The prompt, chunk by chunk; all sequences have one length. A prompt is computed in its first sequence.
  typename OperationMemory<B>::template CacheGrowth<typename Model::Cache> cache(request.batch_size,
                                                                                 request.sequences_per_prompt);
  if constexpr (requires { cache.reserve(request.prompt_tokens); }) cache.reserve(request.prompt_tokens);
  const index_t chunk = std::max<index_t>(1, request.prefill_chunk);
  std::size_t prefill_peak = 0;
  for (index_t from = 0; from < request.prompt_tokens; from += chunk) {
    const index_t count = std::min(chunk, request.prompt_tokens - from);
    Segments segments;
    for (index_t b = 0; b < request.batch_size; ++b)
      for (index_t j = 0; j < request.sequences_per_prompt; ++j) segments.append(j == 0 ? count : 0);
    const bool last = from + count == request.prompt_tokens;
    counted.append(segments, from, std::min(visual_tokens, count * request.batch_size), last ? request.batch_size : 0);
    cache.prompt(from + count);
    plan.kv_copying = std::max(plan.kv_copying, cache.copying());
    prefill_peak = std::max(prefill_peak, counted.tensors() + cache.bytes() + cache.copying());
  }
  plan.activations = std::max(plan.activations, counted.scratch());
  prefill_peak += always + plan.activations;

  // New tokens: the last one is never fed back. The longest pass uses the most scratch memory.
  const index_t sequences = request.batch_size * request.sequences_per_prompt;
  cache.share();
  std::size_t decode_peak = cache.bytes();
  const index_t longest = request.prompt_tokens + request.max_new_tokens - 1;
  for (index_t length = request.prompt_tokens + 1; length <= longest; ++length) {
    cache.grow(length);
    plan.kv_copying = std::max(plan.kv_copying, cache.copying());
    decode_peak = std::max(decode_peak, cache.bytes() + cache.copying());
  }
  if (longest > request.prompt_tokens) {
    Segments segments;
    for (index_t s = 0; s < sequences; ++s) segments.append(1);
    if constexpr (DecodesOnDevice<B>) {
      plan.decoding = counted.decode(segments, longest - 1);
    } else {
      counted.append(segments, longest - 1, 0, sequences);
      plan.activations = std::max(plan.activations, counted.scratch());
    }
  }
  decode_peak += always + plan.activations + plan.decoding;
  plan.kv_cache = cache.bytes();
  plan.running = std::max({vision_peak, prefill_peak, decode_peak});
  plan.peak = std::max(loading_peak, plan.running);
  return plan;
}

}  // namespace qwen3vl
