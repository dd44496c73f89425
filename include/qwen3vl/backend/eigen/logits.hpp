/// Operations on logits, which are f32 whatever Scalar is.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/eigen/reference.hpp"

namespace qwen3vl {

/// The lowest index among equals; NaN is never larger.
template <class Scalar>
void argmax(Context<Reference<Scalar>>&, eigen::In<float, dynamic, dynamic> logits,
            eigen::Out<std::int32_t, dynamic> ids) {
  for (index_t r = 0; r < logits.rows(); ++r) {
    const auto row = logits[r].span();
    ids(r) = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }
}

/// log(sum(exp(logits))) - logits[label], 0 for the label -100. In double: sums are as long as the vocabulary.
template <class Scalar>
void cross_entropy(Context<Reference<Scalar>>&, eigen::In<float, dynamic, dynamic> logits,
                   eigen::In<std::int32_t, dynamic> labels, eigen::Out<float, dynamic> losses) {
  for (index_t r = 0; r < logits.rows(); ++r) {
    if (labels(r) == -100) {
      losses(r) = 0.0f;
      continue;
    }
    const Eigen::ArrayXd row = as_eigen(logits[r]).template cast<double>();
    const double highest = row.maxCoeff();
    losses(r) = static_cast<float>(std::log((row - highest).exp().sum()) + highest - row(labels(r)));
  }
}

}  // namespace qwen3vl
