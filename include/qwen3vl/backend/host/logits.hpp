/// Choices among logits: the best token of a row, and the experts of a token.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/host/expressions.hpp"

namespace qwen3vl {

/// The lowest index among equals. NaN never compares larger, and a row that begins with NaN gives 0, as
/// std::max_element; callers that sample check for it.
template <HostBackend B>
void argmax(Context<B>& ctx, eigen::In<float, dynamic, dynamic> logits, eigen::Out<std::int32_t, dynamic> ids) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("argmax", logits.rows(), logits.extent(1), 1); });
  eigen::for_rows(ctx, logits.rows(), logits.size(), [&](index_t r) {
    const auto row = logits[r].span();
    // Finding the maximum, then its place, is ten times as fast as std::max_element, which no compiler vectorises.
    const float largest =
        std::isnan(row[0]) ? row[0] : as_eigen(logits[r]).template maxCoeff<Eigen::PropagateNumbers>();
    const auto place = std::find(row.begin(), row.end(), largest);
    ids(r) = place == row.end() ? 0 : static_cast<std::int32_t>(place - row.begin());
  });
}

/// The TopK largest of softmax(logits), the lowest index among equals, divided by their sum.
template <index_t E, index_t TopK, HostBackend B>
void route(Context<B>& ctx, eigen::In<eigen::scalar_t<B>, dynamic, E> logits,
           eigen::Out<std::int32_t, dynamic, TopK> experts, eigen::Out<float, dynamic, TopK> weights) {
  static_assert(TopK <= E, "more experts are chosen than there are");
  using Scalar = eigen::scalar_t<B>;
  const TraceScope scope(ctx.trace(), [&] { return traced::route(logits.rows(), E); });
  eigen::for_rows(ctx, logits.rows(), 4 * logits.size(), [&](index_t t) {
    const auto row = as_eigen(logits[t]).array();
    Eigen::Array<Scalar, static_cast<int>(E), 1> left = (row - row.maxCoeff()).exp();
    left /= left.sum();
    Eigen::Array<Scalar, static_cast<int>(TopK), 1> chosen;
    for (index_t j = 0; j < TopK; ++j) {
      // Comparisons with NaN are false, so even then TopK different experts are chosen.
      index_t best = -1;
      for (index_t e = 0; e < E; ++e)
        if (left(e) != -1 && (best < 0 || left(e) > left(best))) best = e;
      chosen(j) = left(best);
      left(best) = -1;  // taken
      experts(t, j) = static_cast<std::int32_t>(best);
    }
    as_eigen(weights[t]) = (chosen / chosen.sum()).template cast<float>().matrix();
  });
}

}  // namespace qwen3vl
