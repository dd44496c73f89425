/// y = x weight^T + bias (torch.nn.Linear), with an epilogue applied before the result is stored.
#pragma once

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/layers/parameters.hpp"

namespace qwen3vl {

/// A linear map from K inputs to N outputs. `packing` is gate_up for the first half of a gated MLP.
/// `W` is the type of its weights, if not the precision's own.
template <index_t K, index_t N, Backend B, class P, bool has_bias = false, Packing packing = Packing::plain,
          class W = typename P::Weight>
class Linear {
  using A = activation_t<B, P>;
  typename B::template Matrix<W, N, K, packing> weight_;
  Tensor<float, B, N> bias_;

 public:
  /// Parameters stored by one torch.nn.Linear.
  template <class F>
  void parameters(F&& f) {
    f(weight_, Parts{"weight"});
    if constexpr (has_bias) f(bias_, Parts{"bias"});
  }

  /// Parameters stored by several torch.nn.Linear, with concatenated outputs: `layers` are their names and output
  /// sizes.
  template <class F>
  void fused_parameters(F&& f, const Parts& layers) {
    Parts weights, biases;
    for (const Part& layer : layers) {
      weights.emplace_back(layer.name + ".weight", layer.rows);
      biases.emplace_back(layer.name + ".bias", layer.rows);
    }
    f(weight_, std::move(weights));
    if constexpr (has_bias) f(bias_, std::move(biases));
  }

  /// x [tokens, K] to y [tokens, N] (N / 2 with epilogue::SwiGlu).
  template <class E = epilogue::Store>
  void operator()(Context<B>& ctx, View<const A, B, dynamic, K> x, View<A, B, dynamic, epilogue::width<E, N>> y,
                  E epilogue = {}) const {
    linear(ctx, x, weight_, bias_.view(), y, epilogue);
  }

  /// The packed weight, for a head that shares it with the embedding.
  const auto& weight() const { return weight_; }
};

/// A linear map of the vision tower.
template <index_t K, index_t N, Backend B, class P, bool has_bias = false>
using VisionLinear = Linear<K, N, B, P, has_bias, Packing::plain, vision_weight_t<P>>;

}  // namespace qwen3vl
