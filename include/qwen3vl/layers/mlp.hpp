/// The two feed-forward blocks: gated (text) and plain (vision).
#pragma once

#include <type_traits>

#include "qwen3vl/config/config.hpp"
#include "qwen3vl/layers/linear.hpp"

namespace qwen3vl {

/// The decoder's feed-forward block, down(silu(gate(x)) * up(x))  (Qwen3VLTextMLP).
/// Gate and up are one product of width 2 * inner, so that x is read once.
template <Variant V, Backend B, class P>
class SwiGluMlp {
  static constexpr index_t hidden = V::config.text.hidden_size;
  static constexpr index_t inner = V::config.text.intermediate_size;
  using A = activation_t<B, P>;

  Linear<hidden, 2 * inner, B, P, false, Packing::gate_up> gate_up_;
  Linear<inner, hidden, B, P> down_;

 public:
  template <class F>
  void parameters(F&& f) {
    gate_up_.fused_parameters(f, {{"gate_proj", inner}, {"up_proj", inner}});
    visit("down_proj.", down_, f);
  }

  /// hidden_states += mlp(x); both [tokens, hidden].
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x,
                  View<A, B, dynamic, hidden> hidden_states) const {
    auto activated = ctx.template scratch<A, dynamic, inner>(x.rows());  // [tokens, inner]
    gate_up_(ctx, x, activated, epilogue::SwiGlu{});
    down_(ctx, activated, hidden_states, epilogue::Add{});
  }
};

namespace epilogue {
/// The epilogue that applies an activation of config.json.
template <Activation activation>
using For = std::conditional_t<activation == Activation::gelu, Gelu, GeluTanh>;
}  // namespace epilogue

/// The vision block's feed-forward, fc2(act(fc1(x)))  (Qwen3VLVisionMLP).
template <Variant V, Backend B, class P>
class VisionMlp {
  static constexpr index_t hidden = V::config.vision.hidden_size;
  static constexpr index_t inner = V::config.vision.intermediate_size;
  using A = activation_t<B, P>;

  VisionLinear<hidden, inner, B, P, true> fc1_;
  VisionLinear<inner, hidden, B, P, true> fc2_;

 public:
  template <class F>
  void parameters(F&& f) {
    visit("linear_fc1.", fc1_, f);
    visit("linear_fc2.", fc2_, f);
  }

  /// hidden_states += mlp(x); both [patches, hidden].
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x,
                  View<A, B, dynamic, hidden> hidden_states) const {
    auto activated = ctx.template scratch<A, dynamic, inner>(x.rows());  // [patches, inner]
    fc1_(ctx, x, activated, epilogue::For<V::config.vision.hidden_act>{});
    fc2_(ctx, activated, hidden_states, epilogue::Add{});
  }
};

}  // namespace qwen3vl
