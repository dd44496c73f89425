/// Activations as 16-bit integers, for products with blocks of integers (block_product.hpp, stored_blocks_product.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "qwen3vl/backend/cpu/simd/integer_simd.hpp"
#include "qwen3vl/backend/cpu/weights/block_format.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::cpu_kernels {

/// Rounds x to integers and returns their scale. The integers are as large as 16 bits and `largest_sum`, the limit of
/// the sum of their magnitudes, allow, so that an outlier coarsens its 256 columns only where 16 bits do not suffice.
/// The order of summation does not depend on the vector width, so the integers are the same on every instruction set.
QWEN3VL_INLINE float round_to_integers(const float* x, index_t columns, float largest_sum, std::int32_t* rounded) {
  constexpr int lanes = 16, vectors = lanes / simd::width;
  Floats sums[vectors] = {}, largest[vectors] = {};
  for (index_t k = 0; k < columns; k += lanes)
    simd::unroll<vectors>([&](auto v) {
      const Floats value = simd::load(x + k + v * simd::width), magnitude = simd::max(value, -value);
      sums[v] += magnitude;
      largest[v] = simd::max(largest[v], magnitude);
    });
  float lane_sums[lanes], lane_largest[lanes];
  std::memcpy(lane_sums, sums, sizeof sums);
  std::memcpy(lane_largest, largest, sizeof largest);
  for (int step = lanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) {
      lane_sums[i] += lane_sums[i + step];
      lane_largest[i] = std::max(lane_largest[i], lane_largest[i + step]);
    }
  const float sum = lane_sums[0];
  if (!(sum <= std::numeric_limits<float>::max()) || sum == 0.0f) {
    // All zeros, or a value that is not finite; the result is then not finite either.
    std::fill_n(rounded, columns / 2, 0);
    return sum == 0.0f ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float factor = std::min(1e30f, std::min(32767.0f / lane_largest[0], largest_sum / sum));
  for (index_t k = 0; k < columns; k += simd::width) {
    const auto n = __builtin_convertvector(simd::to_nearest(simd::load(x + k) * factor), simd::HalfShorts);
    std::memcpy(rounded + k / 2, &n, sizeof n);
  }
  return 1.0f / factor;
}

/// The same of superblock s of a row x of `columns` columns: `padded` of them, those beyond the row's end zeros.
QWEN3VL_INLINE float round_superblock(const float* x, index_t columns, index_t s, index_t padded, float largest_sum,
                                      std::int32_t* rounded) {
  const index_t first = s * superblock_columns, own = std::min(superblock_columns, columns - first);
  if (padded == own) return round_to_integers(x + first, padded, largest_sum, rounded);
  float copy[superblock_columns];
  std::copy_n(x + first, own, copy);
  std::fill(copy + own, copy + padded, 0.0f);
  return round_to_integers(copy, padded, largest_sum, rounded);
}

/// The sum of the 32 integers of a block.
QWEN3VL_INLINE std::int32_t sum_of_block(const std::int32_t* pairs_of_block) {
  Ints sums = {};
  for (index_t k = 0; k < block_columns / 2; k += simd::width)
    sums = simd::dot_pairs(sums, simd::load_shorts(pairs_of_block + k), simd::splat_pair(0x00010001));
  std::int32_t total = 0;
  for (int i = 0; i < simd::width; ++i) total += sums[i];
  return total;
}

/// Adds one superblock to a row's sum. Shared by both kernels, so that they round alike.
QWEN3VL_INLINE Floats add_superblock(Floats sum, Ints integers, Floats weight_scale, std::int32_t row_scale) {
  return sum + simd::to_floats(integers) * (weight_scale * simd::splat(std::bit_cast<float>(row_scale)));
}

}  // namespace qwen3vl::cpu_kernels
