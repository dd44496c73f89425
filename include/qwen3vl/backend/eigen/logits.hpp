/// The best token of each row of logits, which are f32 for every Scalar.
#pragma once

#include <algorithm>
#include <cstdint>

#include "qwen3vl/backend/eigen/reference.hpp"

namespace qwen3vl {

/// The lowest index among equals; NaN never compares larger.
template <class Scalar>
void argmax(Context<Reference<Scalar>>&, eigen::In<float, dynamic, dynamic> logits,
            eigen::Out<std::int32_t, dynamic> ids) {
  for (index_t r = 0; r < logits.rows(); ++r) {
    const auto row = logits[r].span();
    ids(r) = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }
}

}  // namespace qwen3vl
