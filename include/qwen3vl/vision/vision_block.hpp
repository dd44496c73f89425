/// A layer of the vision tower (Qwen3VLVisionBlock).
#pragma once

#include "qwen3vl/layers/attention.hpp"
#include "qwen3vl/layers/linear.hpp"
#include "qwen3vl/layers/mlp.hpp"
#include "qwen3vl/layers/norm.hpp"

namespace qwen3vl {

/// Attention of the vision tower, with 2-D rotary positions (Qwen3VLVisionAttention).
template <Variant V, Backend B, class P>
class VisionAttention {
  static constexpr index_t hidden = V::config.vision.hidden_size;
  static constexpr index_t heads = V::config.vision.num_heads;
  static constexpr index_t head_dim = V::config.vision.head_dim();
  using A = activation_t<B, P>;

  VisionLinear<hidden, 3 * hidden, B, P, true> qkv_;
  VisionLinear<hidden, hidden, B, P, true> proj_;

 public:
  template <class F>
  void parameters(F&& f) {
    visit("qkv.", qkv_, f);
    visit("proj.", proj_, f);
  }

  /// hidden_states += attention(x); both [patches, hidden]. cos, sin [patches, head_dim / 2]. A segment is a frame.
  /// `observe_queries` gets queries, keys and values after rotation. `policy`: see layers/attention.hpp.
  template <class Observer>
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x, View<const float, B, dynamic, head_dim / 2> cos,
                  View<const float, B, dynamic, head_dim / 2> sin, const Segments& frames,
                  View<A, B, dynamic, hidden> hidden_states, Observer&& observe_queries,
                  const attention_t<P>& policy = {}) const {
    auto qkv = ctx.template scratch<A, dynamic, 3 * hidden>(x.rows());   // [patches, 3 * heads * head_dim]
    auto attended = ctx.template scratch<A, dynamic, hidden>(x.rows());  // [patches, heads * head_dim]
    qkv_(ctx, x, qkv);
    rotate_qk<heads, head_dim>(ctx, qkv, cos, sin);
    observe_queries(qkv);
#ifndef __CUDACC__  // nvcc 13 rejects requirements that name local variables
    static_assert(
        requires { policy.template segments<heads, head_dim>(ctx, qkv, frames, attended); },
        "the attention policy of this precision lacks segments<H, D>(ctx, qkv, frames, out)");
#endif
    policy.template segments<heads, head_dim>(ctx, qkv, frames, attended);
    proj_(ctx, attended, hidden_states, epilogue::Add{});
  }
};

/// A layer of the vision tower (Qwen3VLVisionBlock), on patches in merge-block order:
///   h += attention(norm1(h))   within each frame, with 2-D rotary positions
///   h += mlp(norm2(h))
/// h is [patches, hidden], changed in place. The parameters are constant; scratch memory comes from the context.
template <Variant V, Backend B, class P>
class VisionBlock {
  static constexpr index_t hidden = V::config.vision.hidden_size;
  static constexpr index_t head_dim = V::config.vision.head_dim();
  using A = activation_t<B, P>;

  LayerNorm<hidden, B, P> norm1_;
  VisionAttention<V, B, P> attn_;
  LayerNorm<hidden, B, P> norm2_;
  VisionMlp<V, B, P> mlp_;

 public:
  template <class F>
  void parameters(F&& f) {
    visit("norm1.", norm1_, f);
    visit("attn.", attn_, f);
    visit("norm2.", norm2_, f);
    visit("mlp.", mlp_, f);
  }

  /// hidden_states [patches, hidden], in place. See VisionAttention for `observe_queries` and `policy`.
  template <class Observer>
  void operator()(Context<B>& ctx, View<A, B, dynamic, hidden> hidden_states,
                  View<const float, B, dynamic, head_dim / 2> cos, View<const float, B, dynamic, head_dim / 2> sin,
                  const Segments& frames, Observer&& observe_queries, const attention_t<P>& policy = {}) const {
    auto normed = ctx.template scratch<A, dynamic, hidden>(hidden_states.rows());  // [patches, hidden]
    norm1_(ctx, hidden_states, normed);
    attn_(ctx, normed, cos, sin, frames, hidden_states, observe_queries, policy);
    norm2_(ctx, hidden_states, normed);
    mlp_(ctx, normed, hidden_states);
  }
};

}  // namespace qwen3vl
