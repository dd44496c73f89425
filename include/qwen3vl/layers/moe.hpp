/// The sparse feed-forward block of mixture-of-experts variants: a router chooses experts for each token.
#pragma once

#include "qwen3vl/config/config.hpp"
#include "qwen3vl/layers/linear.hpp"

namespace qwen3vl {

/// E gated feed-forwards; each token gets the weighted sum of its chosen experts (Qwen3VLMoeTextExperts).
template <Variant V, Backend B, class P>
class Experts {
  static constexpr index_t hidden = V::config.text.hidden_size;
  static constexpr index_t count = V::config.text.moe.num_experts;
  static constexpr index_t inner = V::config.text.moe.moe_intermediate_size;
  static constexpr index_t top_k = V::config.text.moe.num_experts_per_tok;
  using A = activation_t<B, P>;

  typename B::template Experts<typename P::Weight, count, 2 * inner, hidden, Packing::gate_up> gate_up_proj_;
  typename B::template Experts<typename P::Weight, count, hidden, inner, Packing::plain> down_proj_;

 public:
  /// Fused tensors: [E, hidden, 2 * inner] and [E, inner, hidden] on the Hub, with the last two axes swapped as
  /// transformers 5 saves them. load_parameters tells the two apart.
  template <class F>
  void parameters(F&& f) {
    f(gate_up_proj_, Parts{"gate_up_proj"});
    f(down_proj_, Parts{"down_proj"});
  }

  /// hidden_states += sum over chosen experts of weight * expert(x); x, hidden_states [tokens, hidden].
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x,
                  View<const std::int32_t, B, dynamic, top_k> experts, View<const float, B, dynamic, top_k> weights,
                  View<A, B, dynamic, hidden> hidden_states) const {
    expert_mlp<top_k>(ctx, x, experts, weights, gate_up_proj_, down_proj_, hidden_states);
  }
};

/// Router and experts (Qwen3VLMoeTextSparseMoeBlock). The chosen probabilities are always normalised to a sum of one,
/// as transformers also ignores `norm_topk_prob`.
template <Variant V, Backend B, class P>
class SparseMoeBlock {
  static constexpr index_t hidden = V::config.text.hidden_size;
  static constexpr index_t count = V::config.text.moe.num_experts;
  static constexpr index_t top_k = V::config.text.moe.num_experts_per_tok;
  using A = activation_t<B, P>;

  Linear<hidden, count, B, P, false, Packing::plain, router_weight_t<P>> gate_;
  Experts<V, B, P> experts_;

 public:
  template <class F>
  void parameters(F&& f) {
    visit("gate.", gate_, f);
    visit("experts.", experts_, f);
  }

  /// hidden_states += moe(x); both [tokens, hidden]. `observe_router` gets the logits [tokens, E], before the softmax.
  template <class Observer>
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x, View<A, B, dynamic, hidden> hidden_states,
                  Observer&& observe_router) const {
    auto logits = ctx.template scratch<A, dynamic, count>(x.rows());              // [tokens, E]
    auto experts = ctx.template scratch<std::int32_t, dynamic, top_k>(x.rows());  // [tokens, top_k]
    auto weights = ctx.template scratch<float, dynamic, top_k>(x.rows());         // [tokens, top_k]
    gate_(ctx, x, logits);
    observe_router(logits);
    route<count, top_k>(ctx, logits, experts, weights);
    experts_(ctx, x, experts, weights, hidden_states);
  }
};

}  // namespace qwen3vl
