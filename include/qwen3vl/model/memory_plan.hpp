/// How much memory a call of generate() will take, from the variant's sizes and the lengths alone, before anything is
/// loaded. Weights are read off the parameter list, the rest follows the layers' own tensors; what operations take
/// inside is the backend's word (backend/contract/operation_memory.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/backend/contract/decoding.hpp"
#include "qwen3vl/backend/contract/operation_memory.hpp"
#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

namespace qwen3vl {

/// The lengths of a call.
struct MemoryRequest {
  index_t batch_size = 1;            ///< prompts that are computed together
  index_t sequences_per_prompt = 1;  ///< num_beams or num_return_sequences
  index_t prompt_tokens = 512;       ///< of each prompt, those of pictures and clips included
  index_t max_new_tokens = 128;
  index_t prefill_chunk = 512;         ///< GenerateOptions::prefill_chunk
  std::vector<GridThw> grid_thw{};     ///< pictures and clips of all prompts
  std::size_t stored_bytes = 2;        ///< of a weight in the checkpoint's file: 2 for bf16 and f16, 4 for f32
  std::size_t source_image_bytes = 0;  ///< of pictures as they were decoded, before they are resized
};

/// Bytes. Those of a backend whose memory is not the host's are the device's, but for `pixels` and `pinned`, which are
/// then in no sum.
struct MemoryPlan {
  std::size_t weights = 0;
  std::size_t kv_cache = 0;     ///< keys and values at the end, with what the cache keeps in reserve
  std::size_t kv_copying = 0;   ///< the most that growing the cache holds besides
  std::size_t activations = 0;  ///< scratch memory: the most of any pass, kept until the model goes
  std::size_t decoding = 0;     ///< logits and scratch memory of passes that a backend repeats by itself
  std::size_t handle = 0;       ///< workspace of the backend's libraries
  std::size_t pinned = 0;       ///< on the host: buffers that copies to a device go through
  std::size_t pixels = 0;       ///< on the host: decoded pictures and the patches cut from them
  std::size_t features = 0;     ///< what the vision tower gives, until the prompt is computed
  std::size_t loading = 0;      ///< a stored tensor beside the weights packed so far, at its worst; see peak()
  /// The most at one time after loading: in the vision tower, while the prompt is computed, or while decoding.
  std::size_t running = 0;
  /// The most at one time at all: while loading, in the vision tower, while the prompt is computed, or while decoding.
  std::size_t peak = 0;
};

namespace detail {

/// Adds up scratch memory as layers take it.
template <class B, class P>
struct ScratchSizes {
  using A = activation_t<B, P>;
  using Memory = OperationMemory<B>;

  template <class T = A>
  static std::size_t of(index_t count) {
    return Workspace<B>::rounded(static_cast<std::size_t>(count) * sizeof(T));
  }
};

/// The peak of the text model's scratch memory in one pass: PromptRun::run, next_logits, TextModel, DecoderLayer.
/// `pictures`: rows of the pass that are of pictures; `rows`: logits wanted.
template <Variant V, class B, class P>
std::size_t text_scratch(const B& backend, const Segments& segments, index_t past, index_t pictures, index_t rows) {
  using Sizes = ScratchSizes<B, P>;
  using Memory = OperationMemory<B>;
  constexpr TextConfig text = V::config.text;
  constexpr index_t hidden = text.hidden_size, heads = text.num_attention_heads, kv = text.num_key_value_heads;
  constexpr index_t head_dim = text.head_dim, qkv = (heads + 2 * kv) * head_dim, inner = text.intermediate_size;
  using W = typename P::Weight;
  const index_t tokens = segments.total();

  const std::size_t attention =
      Sizes::of(tokens * qkv) + Sizes::of(tokens * heads * head_dim) +
      std::max({Memory::template linear<W, qkv, hidden, Packing::plain>(backend, tokens),
                Memory::template causal_attention<typename Sizes::A, heads, kv, head_dim>(backend, segments, past),
                Memory::template linear<W, hidden, heads * head_dim, Packing::plain>(backend, tokens)});
  std::size_t feed_forward = 0;
  bool any_dense = false, any_sparse = false;
  for (int i = 0; i < text.num_hidden_layers; ++i) (text.is_sparse(i) ? any_sparse : any_dense) = true;
  if (any_dense)
    feed_forward = Sizes::of(tokens * inner) +
                   std::max(Memory::template linear<W, 2 * inner, hidden, Packing::gate_up>(backend, tokens),
                            Memory::template linear<W, hidden, inner, Packing::plain>(backend, tokens));
  if constexpr (text.moe.num_experts > 0) {
    constexpr index_t experts = text.moe.num_experts, top_k = text.moe.num_experts_per_tok;
    constexpr index_t size = text.moe.moe_intermediate_size;
    const std::size_t sparse =
        Sizes::of(tokens * experts) + Sizes::template of<std::int32_t>(tokens * top_k) +
        Sizes::template of<float>(tokens * top_k) +
        std::max(Memory::template linear<router_weight_t<P>, experts, hidden, Packing::plain>(backend, tokens),
                 Memory::template expert_mlp<W, top_k, experts, size, hidden>(backend, tokens));
    if (any_sparse) feed_forward = std::max(feed_forward, sparse);
  }
  const std::size_t layers = Sizes::of(pictures * hidden) + 2 * Sizes::template of<float>(tokens * head_dim / 2) +
                             Sizes::of(tokens * hidden) + std::max(attention, feed_forward);
  const std::size_t head =
      rows == 0 ? 0
                : Sizes::of(rows * hidden) +
                      Memory::template linear<head_weight_t<P>, text.vocab_size, hidden, Packing::plain>(backend, rows);
  return Sizes::template of<float>(rows * text.vocab_size) + Sizes::of(tokens * hidden) + std::max(layers, head);
}

/// The same of the vision tower: VisionModel, VisionBlock, PatchMerger.
template <Variant V, class B, class P>
std::size_t vision_scratch(const B& backend, std::span<const GridThw> grids) {
  using Sizes = ScratchSizes<B, P>;
  using Memory = OperationMemory<B>;
  using W = vision_weight_t<P>;
  constexpr VisionConfig vision = V::config.vision;
  constexpr index_t hidden = vision.hidden_size, inner = vision.intermediate_size, patch = vision.patch_dim();
  constexpr index_t group = hidden * vision.merge_unit();
  Segments frames;
  for (const GridThw& grid : grids)
    for (index_t frame = 0; frame < grid.t; ++frame) frames.append(grid.h * grid.w);
  const index_t patches = frames.total(), tokens = patches / vision.merge_unit();
  if (patches == 0) return 0;

  const bool copied = !B::is_host || !std::is_same_v<typename Sizes::A, float>;
  const std::size_t embed = Sizes::of(copied ? patches * patch : 0) +
                            Memory::template linear<W, hidden, patch, Packing::plain>(backend, patches);
  const std::size_t attention =
      Sizes::of(patches * 3 * hidden) + Sizes::of(patches * hidden) +
      std::max({Memory::template linear<W, 3 * hidden, hidden, Packing::plain>(backend, patches),
                Memory::template attention<vision.num_heads, vision.head_dim()>(backend, frames),
                Memory::template linear<W, hidden, hidden, Packing::plain>(backend, patches)});
  const std::size_t mlp = Sizes::of(patches * inner) +
                          std::max(Memory::template linear<W, inner, hidden, Packing::plain>(backend, patches),
                                   Memory::template linear<W, hidden, inner, Packing::plain>(backend, patches));
  const std::size_t merger =
      2 * Sizes::of(tokens * group) +
      std::max(Memory::template linear<W, group, group, Packing::plain>(backend, tokens),
               Memory::template linear<W, vision.out_hidden_size, group, Packing::plain>(backend, tokens));
  const std::size_t block = Sizes::of(patches * hidden) + std::max(attention, mlp);
  return Sizes::of(patches * hidden) + std::max({embed, block, merger});
}

}  // namespace detail

/// What `model` will take for `request`. The model need not be loaded: only its parameter list and its backend's handle
/// are looked at. The program itself, its tokenizer and its threads' stacks are not in it.
template <class Model>
MemoryPlan plan_memory(Model& model, const MemoryRequest& request) {
  using V = typename Model::VariantType;
  using B = typename Model::BackendType;
  using P = typename Model::PrecisionType;
  using A = activation_t<B, P>;
  constexpr VisionConfig vision = V::config.vision;
  constexpr index_t hidden = V::config.text.hidden_size;
  const B& backend = model.context().backend();
  if (request.batch_size < 1 || request.sequences_per_prompt < 1 || request.prompt_tokens < 1 ||
      request.max_new_tokens < 1)
    fail("a memory plan needs at least one prompt of one token, one sequence and one new token");

  MemoryPlan plan;
  std::size_t loading_peak = 0;
  model.parameters([&](auto& parameter, Parts parts) {
    const ParameterShape shape = parameter_shape(parameter);
    detail::complete(parts, shape);
    plan.weights += parameter.bytes();
    std::size_t stored = 0;  // pages of a part go before the next one is read
    for (const Part& part : parts)
      stored =
          std::max(stored, static_cast<std::size_t>(part.rows * shape.columns * std::max<index_t>(1, shape.experts)) *
                               request.stored_bytes);
    if constexpr (!B::is_host) stored = 0;
    loading_peak = std::max(loading_peak, plan.weights + stored);
    for (const Part& part : parts)  // scratch memory stays
      plan.activations =
          std::max(plan.activations, OperationMemory<B>::load(backend, parameter, part.rows, request.stored_bytes));
  });
  plan.handle = OperationMemory<B>::handle(backend);
  plan.pinned = OperationMemory<B>::pinned(backend);
  plan.loading = loading_peak - std::min(plan.weights, loading_peak);

  index_t patches = 0;
  for (const GridThw& grid : request.grid_thw) patches += grid.patches();
  const index_t picture_tokens = patches / vision.merge_unit();
  constexpr auto copies_of_features = static_cast<index_t>(1 + vision.deepstack_visual_indexes.size());
  plan.pixels = static_cast<std::size_t>(patches * vision.patch_dim()) * sizeof(float) + request.source_image_bytes;
  plan.features = static_cast<std::size_t>(copies_of_features * picture_tokens * vision.out_hidden_size) * sizeof(A);
  const std::size_t pixels = B::is_host ? plan.pixels : 0;
  // Rotary tables of the patches, as they are computed and as the backend has them.
  const std::size_t tables =
      static_cast<std::size_t>(patches * vision.head_dim()) * sizeof(float) * (B::is_host ? 2 : 1);
  plan.activations = std::max(plan.activations, detail::vision_scratch<V, B, P>(backend, request.grid_thw));
  const std::size_t always = plan.weights + plan.handle + pixels;
  const std::size_t vision_peak = always + plan.features + tables + plan.activations;

  // The prompt, chunk by chunk; all sequences are of one length. A prompt is computed in its first sequence.
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
    const index_t pictures = std::min(picture_tokens, count * request.batch_size);
    const bool last = from + count == request.prompt_tokens;
    plan.activations = std::max(plan.activations, detail::text_scratch<V, B, P>(backend, segments, from, pictures,
                                                                                last ? request.batch_size : 0));
    cache.prompt(from + count);
    plan.kv_copying = std::max(plan.kv_copying, cache.copying());
    // The DeepStack rows of the chunk are copied out of the features.
    const std::size_t taken = static_cast<std::size_t>((copies_of_features - 1) * pictures * hidden) * sizeof(A);
    prefill_peak = std::max(prefill_peak, taken + cache.bytes() + cache.copying());
  }
  prefill_peak += always + plan.features + plan.activations;

  // New tokens: the last one is never computed. Scratch memory grows with the length.
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
      // In scratch memory of its own, with logits outside of it.
      plan.decoding = static_cast<std::size_t>(sequences * Model::vocab_size) * sizeof(float) +
                      detail::text_scratch<V, B, P>(backend, segments, longest - 1, 0, 0);
    } else {
      plan.activations =
          std::max(plan.activations, detail::text_scratch<V, B, P>(backend, segments, longest - 1, 0, sequences));
    }
  }
  decode_peak += always + plan.activations + plan.decoding;
  plan.kv_cache = cache.bytes();
  plan.running = std::max({vision_peak, prefill_peak, decode_peak});
  plan.peak = std::max(loading_peak, plan.running);
  return plan;
}

}  // namespace qwen3vl
