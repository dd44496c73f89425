/// Products with weights: linear(), the embedding and the mixture of experts.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/eigen/matrix.hpp"

namespace qwen3vl {
namespace eigen {

/// silu(z) = z / (1 + exp(-z))
template <class Z>
auto silu(const Z& z) {
  return z / (1 + (-z).exp());
}
/// z (1 + erf(z / sqrt 2)) / 2, through erfc, which stays accurate where erf is close to -1.
template <class Scalar>
Array<Scalar> activate(const Array<Scalar>& z, epilogue::Gelu) {
  return z / 2 * (-z / std::numbers::sqrt2_v<Scalar>).unaryExpr([](Scalar v) { return std::erfc(v); });
}
/// z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2
template <class Scalar>
Array<Scalar> activate(const Array<Scalar>& z, epilogue::GeluTanh) {
  const Scalar root = std::sqrt(2 / std::numbers::pi_v<Scalar>);
  return z / 2 * (1 + (root * (z + Scalar(0.044715) * z.cube())).unaryExpr([](Scalar v) { return std::tanh(v); }));
}

}  // namespace eigen

/// y = epilogue(x weight^T + bias), output by output. y is Scalar, or float (logits).
template <class Scalar, class W, index_t N, index_t K, Packing packing, class Y, index_t Width, class E>
void linear(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, K> x,
            const ReferenceMatrix<W, N, K, packing>& weight, eigen::In<float, N> bias, View<Y, Host, dynamic, Width> y,
            E epilogue) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  static_assert((packing == Packing::gate_up) == gated,
                "epilogue::SwiGlu goes with Packing::gate_up, the others with Packing::plain");
  static_assert(Width == epilogue::width<E, N>, "y is as wide as the weight has rows; with SwiGlu half of that");
  if (x.rows() == 0) return;
  // A row's sums must not depend on the other rows: lazyProduct computes each coefficient independently.
  const auto z = [&](index_t n) -> eigen::Array<Scalar> {
    return as_eigen(x).lazyProduct(weight.template row<Scalar>(n)).array() +
           (bias.data() == nullptr ? Scalar(0) : static_cast<Scalar>(bias(n)));
  };
  auto result = as_eigen(y).array();
  for (index_t n = 0; n < Width; ++n) {
    if constexpr (gated) {
      const eigen::Array<Scalar> gate = z(n), up = z(Width + n);
      result.col(n) = (eigen::silu(gate) * up).template cast<Y>();
    } else if constexpr (std::is_same_v<E, epilogue::Add>) {
      result.col(n) += z(n).template cast<Y>();
    } else if constexpr (std::is_same_v<E, epilogue::Store>) {
      result.col(n) = z(n).template cast<Y>();
    } else {
      result.col(n) = eigen::activate(z(n), epilogue).template cast<Y>();
    }
  }
}

/// y[i] = table[ids[i]]
template <class Scalar, class W, index_t N, index_t K>
void embedding(Context<Reference<Scalar>>&, eigen::In<std::int32_t, dynamic> ids,
               const ReferenceMatrix<W, N, K, Packing::plain>& table, eigen::Out<Scalar, dynamic, K> y) {
  for (index_t i = 0; i < ids.rows(); ++i) as_eigen(y).row(i) = table.template row<Scalar>(ids(i)).transpose();
}

/// y[t] += sum_j weights[t, j] down_e(swiglu(gate_up_e(x[t]))), e = experts[t, j]
template <index_t TopK, class Scalar, class W, index_t E, index_t N, index_t D, index_t I>
void expert_mlp(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, D> x,
                eigen::In<std::int32_t, dynamic, TopK> experts, eigen::In<float, dynamic, TopK> weights,
                const ReferenceExperts<W, E, N, D, Packing::gate_up>& gate_up,
                const ReferenceExperts<W, E, D, I, Packing::plain>& down, eigen::Out<Scalar, dynamic, D> y) {
  static_assert(N == 2 * I, "an expert has as many gates as ups");
  const auto product = []<index_t Rows, index_t Columns, Packing packing>(
                           const ReferenceMatrix<W, Rows, Columns, packing>& weight, const eigen::Vector<Scalar>& v) {
    eigen::Array<Scalar> result(Rows);
    for (index_t n = 0; n < Rows; ++n) result(n) = weight.template row<Scalar>(n).dot(v);
    return result;
  };
  for (index_t t = 0; t < x.rows(); ++t)
    for (index_t j = 0; j < TopK; ++j) {
      const index_t e = experts(t, j);
      const eigen::Array<Scalar> z = product(gate_up[e], as_eigen(x[t]));
      const eigen::Vector<Scalar> activated = eigen::silu(z.head(I)) * z.tail(I);
      as_eigen(y[t]).array() += static_cast<Scalar>(weights(t, j)) * product(down[e], activated);
    }
}

}  // namespace qwen3vl
