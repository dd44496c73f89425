/// RMS norm of the text model and layer norm of the vision tower.
#pragma once

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/layers/parameters.hpp"

namespace qwen3vl {

/// x / sqrt(mean(x^2) + eps) * weight (Qwen3VLTextRMSNorm). eps comes from the checkpoint, so it is an argument.
template <index_t D, Backend B, class P>
class RmsNorm {
  using A = activation_t<B, P>;
  Tensor<float, B, D> weight_;

 public:
  template <class F>
  void parameters(F&& f) {
    f(weight_, Parts{"weight"});
  }

  /// x, y [rows, D]; y may be x.
  void operator()(Context<B>& ctx, View<const A, B, dynamic, D> x, float eps, View<A, B, dynamic, D> y) const {
    rms_norm(ctx, x, weight_.view(), eps, y);
  }

  View<const float, B, D> weight() const { return weight_; }
};

/// (x - mean) / sqrt(var + 1e-6) * weight + bias. The reference hard-codes eps; the config has no field for it.
template <index_t D, Backend B, class P>
class LayerNorm {
  using A = activation_t<B, P>;
  static constexpr float eps = 1e-6f;
  Tensor<float, B, D> weight_;
  Tensor<float, B, D> bias_;

 public:
  template <class F>
  void parameters(F&& f) {
    f(weight_, Parts{"weight"});
    f(bias_, Parts{"bias"});
  }

  /// x, y [rows, D]; y may be x.
  void operator()(Context<B>& ctx, View<const A, B, dynamic, D> x, View<A, B, dynamic, D> y) const {
    layer_norm(ctx, x, weight_.view(), bias_.view(), eps, y);
  }
};

}  // namespace qwen3vl
