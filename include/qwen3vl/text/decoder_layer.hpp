/// A layer of the text model (Qwen3VLTextDecoderLayer, Qwen3VLMoeTextDecoderLayer).
#pragma once

#include "qwen3vl/layers/attention.hpp"
#include "qwen3vl/layers/linear.hpp"
#include "qwen3vl/layers/mlp.hpp"
#include "qwen3vl/layers/moe.hpp"
#include "qwen3vl/layers/norm.hpp"

namespace qwen3vl {

/// The cache type of a variant: keys (normalised and rotated) and values of all layers, for a batch of sequences.
template <Variant V, Backend B, class P>
using KvCache = typename B::template KvCache<typename P::Kv, V::config.text.num_hidden_layers,
                                             V::config.text.num_key_value_heads, V::config.text.head_dim>;

/// Shared by all layers of one forward pass: rotary tables and sequence bounds.
template <Variant V, Backend B>
struct TextPositions {
  static constexpr index_t frequencies = V::config.text.head_dim / 2;
  View<const float, B, dynamic, frequencies> cos;  ///< [tokens, head_dim / 2]
  View<const float, B, dynamic, frequencies> sin;  ///< [tokens, head_dim / 2]
  const Segments& sequences;
};

/// An observer is called with a layer's intermediate results; this one ignores them.
struct NoObserver {
  /// The fused queries, keys and values [tokens, (heads + 2 kv) * head_dim] after rotation; the cache already holds the
  /// new keys.
  void queries(const auto& /*qkv*/) const {}
  /// Router logits [tokens, num_experts] before the softmax; only in layers with experts.
  void router(const auto& /*logits*/) const {}
};

/// Self-attention with QK-norm and interleaved MRoPE (Qwen3VLTextAttention).
template <Variant V, Backend B, class P>
class TextAttention {
  static constexpr TextConfig text = V::config.text;
  static constexpr index_t hidden = text.hidden_size;
  static constexpr index_t heads = text.num_attention_heads;
  static constexpr index_t kv_heads = text.num_key_value_heads;
  static constexpr index_t head_dim = text.head_dim;
  static constexpr index_t qkv_size = (heads + 2 * kv_heads) * head_dim;
  using A = activation_t<B, P>;

  Linear<hidden, qkv_size, B, P, text.attention_bias> qkv_;
  RmsNorm<head_dim, B, P> q_norm_;
  RmsNorm<head_dim, B, P> k_norm_;
  Linear<heads * head_dim, hidden, B, P, text.attention_bias> o_proj_;

 public:
  template <class F>
  void parameters(F&& f) {
    constexpr index_t kv = kv_heads * head_dim;
    qkv_.fused_parameters(f, {{"q_proj", heads * head_dim}, {"k_proj", kv}, {"v_proj", kv}});
    visit("q_norm.", q_norm_, f);
    visit("k_norm.", k_norm_, f);
    visit("o_proj.", o_proj_, f);
  }

  /// hidden_states += attention(x); both [tokens, hidden]. Keys and values of x are appended to `cache` (one layer of
  /// it, prepared). `policy`: see layers/attention.hpp.
  template <class CacheLayer, class Observer>
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x, const TextPositions<V, B>& positions, float eps,
                  CacheLayer cache, View<A, B, dynamic, hidden> hidden_states, const Observer& observer,
                  const attention_t<P>& policy = {}) const {
    auto qkv = ctx.template scratch<A, dynamic, qkv_size>(x.rows());  // [tokens, (heads + 2 kv) * head_dim]
    auto attended = ctx.template scratch<A, dynamic, heads * head_dim>(x.rows());  // [tokens, heads * head_dim]
    qkv_(ctx, x, qkv);
    qk_norm_rope<heads, kv_heads, head_dim>(ctx, qkv, q_norm_.weight(), k_norm_.weight(), eps, positions.cos,
                                            positions.sin, positions.sequences, cache);
    observer.queries(qkv);
#ifndef __CUDACC__  // nvcc 13 rejects requirements that name local variables
    static_assert(
        requires { policy.template causal<heads, kv_heads, head_dim>(ctx, qkv, positions.sequences, cache, attended); },
        "the attention policy of this precision lacks causal<H, K, D>(ctx, qkv, sequences, cache, out)");
#endif
    policy.template causal<heads, kv_heads, head_dim>(ctx, qkv, positions.sequences, cache, attended);
    o_proj_(ctx, attended, hidden_states, epilogue::Add{});
  }

  /// The same for tokens that may attend to nothing, whose attended values are 0: only the bias is added.
  void operator()(Context<B>& ctx, View<A, B, dynamic, hidden> hidden_states) const {
    if constexpr (text.attention_bias) {
      const Tensor<A, B, dynamic, heads * head_dim> zeros(hidden_states.rows());
      o_proj_(ctx, zeros, hidden_states, epilogue::Add{});
    }
  }
};

/// A layer of the text model, with a dense feed-forward or, if `sparse`, a mixture of experts: h +=
/// attention(input_layernorm(h)), then h += mlp(post_attention_layernorm(h)). h is [tokens, hidden], changed in place;
/// keys and values are appended to the cache, the parameters are constant.
template <Variant V, Backend B, class P, bool sparse = false>
class DecoderLayer {
  static constexpr index_t hidden = V::config.text.hidden_size;
  using A = activation_t<B, P>;

  RmsNorm<hidden, B, P> input_layernorm_;
  TextAttention<V, B, P> self_attn_;
  RmsNorm<hidden, B, P> post_attention_layernorm_;
  std::conditional_t<sparse, SparseMoeBlock<V, B, P>, SwiGluMlp<V, B, P>> mlp_;

 public:
  template <class F>
  void parameters(F&& f) {
    visit("input_layernorm.", input_layernorm_, f);
    visit("self_attn.", self_attn_, f);
    visit("post_attention_layernorm.", post_attention_layernorm_, f);
    visit("mlp.", mlp_, f);
  }

  /// hidden_states [tokens, hidden], in place. See TextAttention for `cache` and `policy`, NoObserver for `observer`.
  template <class CacheLayer, class Observer = NoObserver>
  void operator()(Context<B>& ctx, View<A, B, dynamic, hidden> hidden_states, const TextPositions<V, B>& positions,
                  float eps, CacheLayer cache, const Observer& observer = {}, const attention_t<P>& policy = {}) const {
    auto normed = ctx.template scratch<A, dynamic, hidden>(hidden_states.rows());  // [tokens, hidden]
    input_layernorm_(ctx, hidden_states, eps, normed);
    self_attn_(ctx, normed, positions, eps, cache, hidden_states, observer, policy);
    feed_forward(ctx, hidden_states, normed, eps, observer);
  }

  /// The same for tokens that may attend to nothing.
  template <class Observer>
  void operator()(Context<B>& ctx, View<A, B, dynamic, hidden> hidden_states, float eps,
                  const Observer& observer) const {
    auto normed = ctx.template scratch<A, dynamic, hidden>(hidden_states.rows());  // [tokens, hidden]
    self_attn_(ctx, hidden_states);
    feed_forward(ctx, hidden_states, normed, eps, observer);
  }

 private:
  template <class Observer>
  void feed_forward(Context<B>& ctx, View<A, B, dynamic, hidden> hidden_states, View<A, B, dynamic, hidden> normed,
                    float eps, const Observer& observer) const {
    post_attention_layernorm_(ctx, hidden_states, eps, normed);
    if constexpr (sparse) {
      mlp_(ctx, normed, hidden_states, [&](const auto& logits) { observer.router(logits); });
    } else {
      mlp_(ctx, normed, hidden_states);
    }
  }
};

}  // namespace qwen3vl
