/// RMS norm and layer norm.
#pragma once

#include <cmath>
#include <numeric>

#include "qwen3vl/backend/host/expressions.hpp"

namespace qwen3vl {
namespace eigen {

/// The sum of f(numbers) over a row, in up to 64 sums side by side: Eigen's own sum() has two packets of them, 1.3
/// times as slow with AVX2 (rows of 1024).
template <class Scalar, index_t D, class F>
Scalar sum(View<const Scalar, Host, D> row, const F& f) {
  constexpr index_t lanes = std::gcd(D, index_t{64});
  const auto parts = as_eigen(row.template reshape<D / lanes, lanes>()).array();
  Eigen::Array<Scalar, 1, static_cast<int>(lanes)> sums = f(parts.row(0));
  for (index_t i = 1; i < D / lanes; ++i) sums += f(parts.row(i));
  return sums.sum();
}

/// y = x / sqrt(mean(x^2) + eps) * weight for one row; y may be x.
template <class Scalar, index_t D>
void rms_norm_row(View<const Scalar, Host, D> x, View<const float, Host, D> weight, float eps,
                  View<Scalar, Host, D> y) {
  const Scalar squares = sum(x, [](const auto& part) { return part.square(); });
  const Scalar scale = 1 / std::sqrt(squares / D + static_cast<Scalar>(eps));
  as_eigen(y).array() = as_eigen(x).array() * scale * widened<Scalar>(as_eigen(weight).array());
}

}  // namespace eigen

template <HostBackend B, index_t D>
void rms_norm(Context<B>& ctx, eigen::In<eigen::scalar_t<B>, dynamic, D> x, View<const float, Host, D> weight,
              float eps, eigen::Out<eigen::scalar_t<B>, dynamic, D> y) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("rms_norm", x.rows(), D, D, 4); });
  eigen::for_rows(ctx, x.rows(), x.size(), [&](index_t row) { eigen::rms_norm_row(x[row], weight, eps, y[row]); });
}

/// y = (x - mean) / sqrt(var + eps) * weight + bias
template <HostBackend B, index_t D>
void layer_norm(Context<B>& ctx, eigen::In<eigen::scalar_t<B>, dynamic, D> x, View<const float, Host, D> weight,
                View<const float, Host, D> bias, float eps, eigen::Out<eigen::scalar_t<B>, dynamic, D> y) {
  using Scalar = eigen::scalar_t<B>;
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("layer_norm", x.rows(), D, D, 7); });
  const auto w = eigen::widened<Scalar>(as_eigen(weight).array());
  const auto b = eigen::widened<Scalar>(as_eigen(bias).array());
  eigen::for_rows(ctx, x.rows(), x.size(), [&](index_t row) {
    const Scalar mean = eigen::sum(x[row], [](const auto& part) { return part; }) / D;
    // Two passes: subtracting the mean first keeps rows with a large mean accurate.
    const Scalar squares = eigen::sum(x[row], [mean](const auto& part) { return (part - mean).square(); });
    const Scalar scale = 1 / std::sqrt(squares / D + static_cast<Scalar>(eps));
    as_eigen(y[row]).array() = (as_eigen(x[row]).array() - mean) * scale * w + b;
  });
}

}  // namespace qwen3vl
