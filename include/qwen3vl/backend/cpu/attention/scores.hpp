/// Score functions in the attention kernels, whose scores are exponents of two: scores times log2 e.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numbers>

#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/tensor/extents.hpp"
#include "qwen3vl/tensor/score.hpp"

namespace qwen3vl::cpu_kernels {

/// Where the scores of some rows stand: row r of all is head r % group of token r / group, counted from those of
/// `first`.
struct RowPlaces {
  ScorePlace first;
  index_t begin, group;

  ScorePlace of(index_t row, index_t key) const {
    return score_place(first.sequence, first.head + (begin + row) % group, first.heads,
                       first.query + (begin + row) / group, key);
  }
};

/// Applies `function` to the scores of one query with `count` keys from place.key on.
template <class Score>
QWEN3VL_INLINE void change_scores(const Score& function, ScorePlace place, index_t count, float* scores) {
  const auto keys = static_cast<std::int32_t>(count);
  const Score changed = function;  // a copy, which the stores below cannot change
  for (std::int32_t i = 0; i < keys; ++i)
    scores[i] = changed(scores[i] * std::numbers::ln2_v<float>,
                        ScorePlace{place.sequence, place.head, place.heads, place.query, place.key + i}) *
                std::numbers::log2e_v<float>;
}

/// What is subtracted from scores whose maximum is `highest`. Score functions may have masked all of them so far.
template <class Score>
QWEN3VL_INLINE float softmax_shift(float highest) {
  if constexpr (!changes_scores<Score>) {
    return highest;
  } else {
    return std::max(highest, std::numeric_limits<float>::lowest());
  }
}

/// 2^(scores - shift); exactly zero for scores that a function has masked.
template <class Score>
QWEN3VL_INLINE simd::Floats softmax_weights(simd::Floats scores, simd::Floats shift) {
  const simd::Floats weights = simd::exp2_negative(scores - shift);
  if constexpr (!changes_scores<Score>) {
    return weights;
  } else {
    return scores == simd::splat(-std::numeric_limits<float>::infinity()) ? simd::Floats{} : weights;
  }
}

}  // namespace qwen3vl::cpu_kernels
