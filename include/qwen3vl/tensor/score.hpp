/// Score functions: how attention may change its scores before the softmax, as FlexAttention's score_mod does.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Where a score stands. Queries and keys are counted from the first token of their sequence, cached ones included, or
/// of their segment.
struct ScorePlace {
  std::int32_t sequence;  ///< or segment, of the batch
  std::int32_t head;      ///< the query's, of `heads`
  std::int32_t heads;
  std::int32_t query;
  std::int32_t key;
};

/// The same from sizes, which are at most 2^31 - 1.
constexpr ScorePlace score_place(index_t sequence, index_t head, index_t heads, index_t query, index_t key = 0) {
  return {static_cast<std::int32_t>(sequence), static_cast<std::int32_t>(head), static_cast<std::int32_t>(heads),
          static_cast<std::int32_t>(query), static_cast<std::int32_t>(key)};
}

/// Scores as they are: operations compile as if there were no score function.
struct PlainScores {};
template <class F>
inline constexpr bool changes_scores = !std::is_same_v<F, PlainScores>;

/// PlainScores, or a functor `float operator()(float score, ScorePlace place) const` that gives the score to use for
/// `score`, q k / sqrt(head_dim). -infinity gives the key a weight of zero (its value must be finite); a query without
/// any key left is NaN. It is copied to kernels, so it has only values and pointers to the backend's memory; for CUDA
/// it is marked QWEN3VL_HOST_DEVICE (base/host_device.hpp). It is called once for each query and key that attend to one
/// another. The CPU calls it in a loop over keys, which the compiler vectorises if the functor has neither branches nor
/// calls of the C library.
template <class F>
concept ScoreFunction = !changes_scores<F> ||
                        (std::is_trivially_copyable_v<F> && std::is_invocable_r_v<float, const F&, float, ScorePlace>);

}  // namespace qwen3vl
