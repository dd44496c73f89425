/// Score functions in the attention kernels: they travel with the keys, so that a kernel without one is what it was.
#pragma once

#include <cmath>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/tensor/score.hpp"

namespace qwen3vl::cuda {

/// A source of keys (or a cache) with the function that changes their scores.
template <class Keys, class Score>
struct ScoredKeys : Keys {
  Score score;
};
template <class Keys>
inline constexpr bool has_score = false;
template <class Keys, class Score>
inline constexpr bool has_score<ScoredKeys<Keys, Score>> = true;

/// `keys` as they are for PlainScores.
template <class Keys, class Score>
auto with_score(const Keys& keys, const Score& score) {
  if constexpr (changes_scores<Score>) {
    return ScoredKeys<Keys, Score>{keys, score};
  } else {
    return keys;
  }
}

/// The product of a query and a key after the score function: again as a product, times sqrt(D). It keeps the kernels'
/// scales.
template <int D, class Keys>
__device__ __forceinline__ float changed_product(const Keys& keys, float product, const ScorePlace& place) {
  const float root = sqrtf(static_cast<float>(D));
  return keys.score(product * (1.0f / root), place) * root;
}

}  // namespace qwen3vl::cuda
