/// Rows of 32-bit words as tiles: [words][tile_rows], so that an inner loop reads one word of every row from contiguous
/// memory. Squares of words are transposed in registers; writing word by word, each to a different line, took 9 to 17 %
/// of a product.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"

namespace qwen3vl::cpu_kernels {

/// Writes `words` words of each of `count` rows (1 to tile_rows) into a tile: word k of row r, row(r)[k], goes to
/// tile[k * tile_rows + r]. The lanes from `count` on are also written, with the numbers of another row.
template <class Word, class Row>
QWEN3VL_INLINE void put_in_tile(index_t words, index_t count, const Row& row, Word* tile) {
  static_assert(sizeof(Word) == sizeof(float));
  // Missing rows repeat the last one, which is cheaper than a branch.
  std::array<const Word*, tile_rows> from;
  for (index_t r = 0; r < tile_rows; ++r) from[static_cast<std::size_t>(r)] = row(std::min(r, count - 1));
  const index_t whole = words / simd::width * simd::width;
  for (index_t k = 0; k < whole; k += simd::width)
    simd::unroll<(tile_rows + simd::width - 1) / simd::width>([&](auto group) {
      constexpr int first = group * simd::width, rows = std::min(simd::width, tile_rows - first);
      Floats square[simd::width] = {};
      simd::unroll<rows>([&](auto r) { std::memcpy(&square[r], from[first + r] + k, sizeof(Floats)); });
      simd::transpose(square);
      simd::unroll<simd::width>([&](auto i) {
        Word* const to = tile + (k + i) * tile_rows + first;
        // A whole vector may write beyond its rows, over the place of the next words, which are written later.
        constexpr bool spills = rows < simd::width;
        if (!spills || (tile_rows < simd::width && k + i + 1 < words)) {
          std::memcpy(static_cast<void*>(to), &square[i], sizeof(Floats));
        } else {
          std::memcpy(static_cast<void*>(to), &square[i], rows * sizeof(Word));
        }
      });
    });
  for (index_t k = whole; k < words; ++k)
    for (index_t r = 0; r < tile_rows; ++r) tile[k * tile_rows + r] = from[static_cast<std::size_t>(r)][k];
}

}  // namespace qwen3vl::cpu_kernels
