/// RMS norm and layer norm.
#pragma once

#include <cmath>

#include "qwen3vl/backend/eigen/reference.hpp"

namespace qwen3vl {
namespace eigen {

/// x / sqrt(mean(x^2) + eps) * weight for one row, in place.
template <class Scalar, index_t D>
void rms_norm_row(View<Scalar, Host, D> row, View<const float, Host, D> weight, float eps) {
  auto x = as_eigen(row).array();
  x *= widened<Scalar>(as_eigen(weight).array()) / std::sqrt(x.square().mean() + static_cast<Scalar>(eps));
}

}  // namespace eigen

template <class Scalar, index_t D>
void rms_norm(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, D> x, View<const float, Host, D> weight,
              float eps, eigen::Out<Scalar, dynamic, D> y) {
  as_eigen(y) = as_eigen(x);
  for (index_t row = 0; row < y.rows(); ++row) eigen::rms_norm_row(y[row], weight, eps);
}

/// y = (x - mean) / sqrt(var + eps) * weight + bias
template <class Scalar, index_t D>
void layer_norm(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, D> x, View<const float, Host, D> weight,
                View<const float, Host, D> bias, float eps, eigen::Out<Scalar, dynamic, D> y) {
  const auto w = eigen::widened<Scalar>(as_eigen(weight).array());
  const auto b = eigen::widened<Scalar>(as_eigen(bias).array());
  for (index_t row = 0; row < x.rows(); ++row) {
    const auto v = as_eigen(x[row]).array();
    const eigen::Array<Scalar> centered = v - v.mean();
    as_eigen(y[row]).array() = centered / std::sqrt(centered.square().mean() + static_cast<Scalar>(eps)) * w + b;
  }
}

}  // namespace qwen3vl
