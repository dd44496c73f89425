/// The backend contract: the operations every backend implements, their shapes, and their accuracy.
///
/// A backend is a class B with types for weights and caches, and a set of operations: free functions in namespace
/// qwen3vl whose first argument is `Context<B>&`, overloaded on B. Layers are written once, against these operations.
/// Each is described in `OperationsCheck` below, next to the call that must compile; the types are in
/// backend/contract/storage.hpp.
///
/// A = B::Activation<P>, the type of activations. Batches are packed: `tokens` counts the rows of all sequences
/// together and Segments says where each begins. Outputs never overlap inputs unless noted.
///
/// Accuracy: sums in f32 or better; the error against exact arithmetic on the same (already rounded) operands is within
/// a small multiple of eps(A) * sum |a_i b_i| for products, and of eps(A) * |y| elsewhere. tests/backend/ checks both.
///
/// The weight type W is float, bf16, bf16_dot, q8, q4, q8_dot, q4_dot, stored, fp8 or fp8_blocks (see precision.hpp).
/// Products with bf16_dot weights may round activations to bf16. Products with block weights (q8, q4, and the blocks of
/// integers that `stored` keeps) may round activations, in groups of 256 columns of a row: each by at most max(2^-16 of
/// the largest, 2^-10 of the mean magnitude in its group). Those with q8_dot and q4_dot weights may round them in
/// groups of 32 columns: each by at most 1 / 254 of the largest in its group. With fp8 weights, linear() of more than
/// eight rows may round activations to e4m3: each by at most 2^-4 of itself or 2^-10 / 448 of the largest in its row.
/// Results are judged against the rounded weights, which `embedding` returns exactly.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/contract/storage.hpp"
#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/score.hpp"
#include "qwen3vl/tensor/segments.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

/// What `linear` does with z = x weight^T + bias, [tokens, N].
namespace epilogue {
struct Store {};     ///< y = z
struct Add {};       ///< y += z, the residual connection
struct Gelu {};      ///< y = z * (1 + erf(z / sqrt 2)) / 2
struct GeluTanh {};  ///< y = the tanh approximation of it (gelu_pytorch_tanh)
struct SwiGlu {};    ///< y = silu(z[:, :N/2]) * z[:, N/2:], y is [tokens, N / 2]; the weight has Packing::gate_up

/// Width of y for a weight of N rows.
template <class E, index_t N>
inline constexpr index_t width = std::same_as<E, SwiGlu> ? N / 2 : N;
}  // namespace epilogue

/// Type of activations of backend B under precision P.
template <class B, class P>
using activation_t = typename B::template Activation<P>;

namespace detail {

/// The small sizes with which `Backend` checks every operation.
template <class B>
struct OpsProbe {
  using A = activation_t<B, F32>;
  static constexpr index_t heads = 2, kv_heads = 1, dim = 8, n = 16, k = 8;
  Context<B>& ctx;
  View<const A, B, dynamic, k> x;
  View<A, B, dynamic, k> x_mutable;
  View<A, B, dynamic, n> y;
  const typename B::template Matrix<float, n, k, Packing::plain>& weight;
  const typename B::template Matrix<float, 2 * n, k, Packing::gate_up>& gate_up;
  const typename B::template Experts<float, 4, 2 * n, k, Packing::gate_up>& experts_gate_up;
  const typename B::template Experts<float, 4, k, n, Packing::plain>& experts_down;
  View<const A, B, dynamic, 4> router_logits;
  View<std::int32_t, B, dynamic, 2> chosen;
  View<float, B, dynamic, 2> chosen_weights;
  View<const float, B, k> norm;
  View<const float, B, dim> head_norm;
  View<const float, B, n> bias;
  View<const float, B, 2 * n> gate_up_bias;
  View<const float, B, dynamic, dim / 2> cos;
  View<float, B, dynamic, dim / 2> cos_mutable;
  View<A, B, dynamic, 3 * heads * dim> vision_qkv;
  View<A, B, dynamic, (heads + 2 * kv_heads) * dim> text_qkv;
  View<A, B, dynamic, heads * dim> attended;
  View<const std::int32_t, B, dynamic> index;
  View<std::int32_t, B, dynamic> index_mutable;
  View<const std::int32_t, B, 3, dynamic> positions;
  View<const std::int32_t, B, dynamic, 4> corners;
  View<const float, B, dynamic, 4> corner_weights;
  View<const float, B, dynamic, k> table;
  View<const float, B, dim / 2> inv_freq;
  View<const float, B, dynamic, dynamic> logits;
  View<float, B, heads, dynamic, dynamic> weights;
  struct Score {
    float operator()(float score, ScorePlace) const { return score; }
  } score;
  const Segments& segments;
  View<float, Host, dynamic, k> host;
  View<const float, Host, dynamic, k> host_const;
  typename B::template KvCache<float, 1, kv_heads, dim>& cache;
};

/// The operations, one per function, so that the first line of a compile error names what is missing or does not fit.
template <class B>
struct OperationsCheck {
  using Probe = OpsProbe<B>;

  /// linear(ctx, x, weight, bias, y, epilogue)
  ///   x [tokens, K], weight N x K, bias [N] or a null view; y = epilogue(x weight^T + bias); see `epilogue`.
  static_assert(
      requires(Probe p) {
        linear(p.ctx, p.x, p.weight, p.bias, p.y, epilogue::Store{});
        linear(p.ctx, p.x, p.weight, p.bias, p.y, epilogue::Add{});
        linear(p.ctx, p.x, p.weight, p.bias, p.y, epilogue::Gelu{});
        linear(p.ctx, p.x, p.weight, p.bias, p.y, epilogue::GeluTanh{});
        linear(p.ctx, p.x, p.gate_up, p.gate_up_bias, p.y, epilogue::SwiGlu{});
      },
      "this backend lacks the operation `linear` of backend/contract/ops.hpp");

  /// route<E, TopK>(ctx, logits, experts, weights)
  ///   logits [tokens, E]; experts int32 and weights f32 [tokens, TopK]: the TopK largest of softmax(logits), in
  ///   descending order (the lowest index among equals), divided by their sum.
  static_assert(
      requires(Probe p) { route<4, 2>(p.ctx, p.router_logits, p.chosen, p.chosen_weights); },
      "this backend lacks the operation `route` of backend/contract/ops.hpp");

  /// expert_mlp<TopK>(ctx, x, experts, weights, gate_up, down, y)
  ///   x, y [tokens, D]; experts and weights [tokens, TopK], an expert at most once per token; gate_up E matrices of
  ///   2 I x D with Packing::gate_up, down of D x I: y[t] += sum_j weights[t, j] down_e(swiglu(gate_up_e(x[t]))),
  ///   e = experts[t, j]. A token's result does not depend on the other tokens.
  static_assert(
      requires(Probe p) {
        expert_mlp<2>(p.ctx, p.x, p.chosen, p.chosen_weights, p.experts_gate_up, p.experts_down, p.x_mutable);
      },
      "this backend lacks the operation `expert_mlp` of backend/contract/ops.hpp");

  /// rms_norm(ctx, x, weight, eps, y)
  ///   x, y [tokens, D], weight [D]: y = x / sqrt(mean(x^2) + eps) * weight. y may be x.
  static_assert(
      requires(Probe p) { rms_norm(p.ctx, p.x, p.norm, 1e-6f, p.x_mutable); },
      "this backend lacks the operation `rms_norm` of backend/contract/ops.hpp");

  /// layer_norm(ctx, x, weight, bias, eps, y)
  ///   x, y [rows, D]: y = (x - mean) / sqrt(var + eps) * weight + bias, var divided by D. y may be x.
  static_assert(
      requires(Probe p) { layer_norm(p.ctx, p.x, p.norm, p.norm, 1e-6f, p.x_mutable); },
      "this backend lacks the operation `layer_norm` of backend/contract/ops.hpp");

  /// rope_tables<S0, S1, S2>(ctx, position_ids, inv_freq, scaling, cos, sin)
  ///   position_ids int32 [3, tokens]; inv_freq [F], F = S0 + S1 + S2; cos, sin [tokens, F]. Interleaved MRoPE:
  ///   frequency i rotates by the height position if i % 3 == 1 and i < 3 * S1, the width position if i % 3 == 2 and i
  ///   < 3 * S2, else the temporal one; cos and sin are multiplied by `scaling`.
  static_assert(
      requires(Probe p) { rope_tables<2, 1, 1>(p.ctx, p.positions, p.inv_freq, 1.0f, p.cos_mutable, p.cos_mutable); },
      "this backend lacks the operation `rope_tables` of backend/contract/ops.hpp");

  /// rotate_qk<H, D>(ctx, qkv, cos, sin)
  ///   qkv [tokens, 3 * H * D], as [3, H, D] per token; cos, sin [tokens, D / 2]. Queries and keys are rotated in
  ///   place: (a, b) = (x[i], x[i + D/2]) becomes (a cos - b sin, b cos + a sin).
  static_assert(
      requires(Probe p) { rotate_qk<2, 8>(p.ctx, p.vision_qkv, p.cos, p.cos); },
      "this backend lacks the operation `rotate_qk` of backend/contract/ops.hpp");

  /// qk_norm_rope<H, K, D>(ctx, qkv, q_norm, k_norm, eps, cos, sin, segments, cache_layer)
  ///   qkv [tokens, (H + 2 K) * D]: H queries, K keys, K values per token. Each query and key head is RMS-normalised
  ///   with its weight [D], then rotated; queries stay in place, keys and values go into the cache at the prepared
  ///   places.
  static_assert(
      requires(Probe p) {
        qk_norm_rope<2, 1, 8>(p.ctx, p.text_qkv, p.head_norm, p.head_norm, 1e-6f, p.cos, p.cos, p.segments,
                              p.cache.layer(0));
      },
      "this backend lacks the operation `qk_norm_rope` of backend/contract/ops.hpp");

  /// attention<H, D>(ctx, qkv, segments, out, score = PlainScores{})
  ///   Not causal; each segment by itself. qkv [tokens, 3 * H * D], out [tokens, H * D]; scores scaled by 1 / sqrt(D),
  ///   then changed by the function `score`: see tensor/score.hpp.
  static_assert(
      requires(Probe p) {
        attention<2, 8>(p.ctx, p.vision_qkv, p.segments, p.attended);
        attention<2, 8>(p.ctx, p.vision_qkv, p.segments, p.attended, p.score);
      },
      "this backend lacks the operation `attention` of backend/contract/ops.hpp");

  /// causal_attention<H, K, D>(ctx, qkv, segments, cache_layer, out, score = PlainScores{})
  ///   The queries of sequence s are its newest rows: the q-th of n sees the first length(s) + q + 1 cached tokens. qkv
  ///   [tokens, (H + 2 K) * D] (only queries are read), out [tokens, H * D]. Head h uses key head h / (H / K).
  static_assert(
      requires(Probe p) {
        causal_attention<2, 1, 8>(p.ctx, p.text_qkv, p.segments, p.cache.layer(0), p.attended);
        causal_attention<2, 1, 8>(p.ctx, p.text_qkv, p.segments, p.cache.layer(0), p.attended, p.score);
      },
      "this backend lacks the operation `causal_attention` of backend/contract/ops.hpp");

  /// attention_weights<H, D>(ctx, qkv, segments, s, weights, score = PlainScores{})
  /// attention_weights<H, K, D>(ctx, qkv, segments, cache_layer, s, weights, score = PlainScores{})
  ///   The softmax weights of `attention` and `causal_attention` for segment or sequence s: f32 [H, n, n] and
  ///   [H, new tokens, all tokens], zero where masked. For inspection, not for speed.
  static_assert(
      requires(Probe p) {
        attention_weights<2, 8>(p.ctx, p.vision_qkv, p.segments, index_t{0}, p.weights);
        attention_weights<2, 8>(p.ctx, p.vision_qkv, p.segments, index_t{0}, p.weights, p.score);
        attention_weights<2, 1, 8>(p.ctx, p.text_qkv, p.segments, p.cache.layer(0), index_t{0}, p.weights);
        attention_weights<2, 1, 8>(p.ctx, p.text_qkv, p.segments, p.cache.layer(0), index_t{0}, p.weights, p.score);
      },
      "this backend lacks the operation `attention_weights` of backend/contract/ops.hpp");

  /// weighted_values<H, D>(ctx, weights, qkv, segments, s, out)
  /// weighted_values<H, K, D>(ctx, weights, segments, cache_layer, s, out)
  ///   The second half of both: rows of segment or sequence s of out [tokens, H * D] are sum_k weights[h, q, k] v[k].
  static_assert(
      requires(Probe p) {
        weighted_values<2, 8>(p.ctx, p.weights, p.vision_qkv, p.segments, index_t{0}, p.attended);
        weighted_values<2, 1, 8>(p.ctx, p.weights, p.segments, p.cache.layer(0), index_t{0}, p.attended);
      },
      "this backend lacks the operation `weighted_values` of backend/contract/ops.hpp");

  /// embedding(ctx, ids, table, y)
  ///   ids int32 [tokens] (checked by the caller), table a Matrix of `vocab` rows, y [tokens, D].
  static_assert(
      requires(Probe p) { embedding(p.ctx, p.index, p.weight, p.x_mutable); },
      "this backend lacks the operation `embedding` of backend/contract/ops.hpp");

  /// interpolate_add(ctx, table, indices, weights, y)
  ///   table f32 [P, D], indices int32 [rows, 4], weights f32 [rows, 4]:
  ///   y[r] += sum_j weights[r, j] table[indices[r, j]].
  static_assert(
      requires(Probe p) { interpolate_add(p.ctx, p.table, p.corners, p.corner_weights, p.x_mutable); },
      "this backend lacks the operation `interpolate_add` of backend/contract/ops.hpp");

  /// scatter_rows(ctx, rows, index, y)   y[index[i]] = rows[i]; rows [n, D], index int32 [n] without repetition
  static_assert(
      requires(Probe p) { scatter_rows(p.ctx, p.x, p.index, p.x_mutable); },
      "this backend lacks the operation `scatter_rows` of backend/contract/ops.hpp");

  /// add_rows(ctx, rows, index, y)   y[index[i]] += rows[i]; likewise
  static_assert(
      requires(Probe p) { add_rows(p.ctx, p.x, p.index, p.x_mutable); },
      "this backend lacks the operation `add_rows` of backend/contract/ops.hpp");

  /// gather_rows(ctx, x, index, y)   y[i] = x[index[i]]
  static_assert(
      requires(Probe p) { gather_rows(p.ctx, p.x, p.index, p.x_mutable); },
      "this backend lacks the operation `gather_rows` of backend/contract/ops.hpp");

  /// copy_rows(ctx, x, y)   y[i] = x[i], x and y [n, D]
  static_assert(
      requires(Probe p) { copy_rows(p.ctx, p.x, p.x_mutable); },
      "this backend lacks the operation `copy_rows` of backend/contract/ops.hpp");

  /// argmax(ctx, logits, ids)   logits f32 [n, V]; ids int32 [n], the lowest index among equals
  static_assert(
      requires(Probe p) { argmax(p.ctx, p.logits, p.index_mutable); },
      "this backend lacks the operation `argmax` of backend/contract/ops.hpp");

  /// copy_to_host(ctx, from, to)
  ///   Same sizes, `to` in Host memory; A converts to float. Complete when it returns.
  static_assert(
      requires(Probe p) { copy_to_host(p.ctx, p.x, p.host); },
      "this backend lacks the operation `copy_to_host` of backend/contract/ops.hpp");

  /// copy_from_host(ctx, from, to)
  ///   Same sizes, `from` in Host memory; float converts to A. `from` may be reused when it returns.
  static_assert(
      requires(Probe p) { copy_from_host(p.ctx, p.host_const, p.x_mutable); },
      "this backend lacks the operation `copy_from_host` of backend/contract/ops.hpp");
};

/// Operations are checked first: a new backend starts with them.
template <class B>
struct ContractCheck {
  OperationsCheck<B> operations;
  StorageCheck<B> storage;
};
struct NoContract {};

/// Hard errors as in VariantCheck, so that the first line says what is wrong.
template <class B>
struct BackendCheck {
  static constexpr bool has_memory = MemorySpace<memory_t<B>> && requires { B::is_host; };
  static_assert(has_memory, "this type is no backend: it lacks is_host or Memory (backend/contract/ops.hpp)");
  static constexpr bool holds = sizeof(std::conditional_t<has_memory, ContractCheck<B>, NoContract>) > 0;
};

}  // namespace detail

/// A class with `Memory` (the memory space of its tensors: tensor/tensor.hpp), `is_host`, `Activation<P>`, and all that
/// detail::OperationsCheck and detail::StorageCheck list. Anything else is a compile error whose first line names what
/// is missing.
template <class B>
concept Backend = detail::BackendCheck<B>::holds;

}  // namespace qwen3vl
