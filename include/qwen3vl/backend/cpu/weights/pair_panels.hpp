/// Panels of bf16 weights with pairs of neighbouring columns side by side, the operand layout of the processor's bf16
/// dot products and AMX tiles. Used for bf16_dot weights where there are dot products, and for all bf16 weights where
/// there are tiles.
#pragma once

#include <algorithm>
#include <cstring>

#include "qwen3vl/backend/cpu/simd/pair_simd.hpp"
#include "qwen3vl/backend/cpu/weights/panel.hpp"

#if QWEN3VL_HAS_BF16_DOT

namespace qwen3vl::cpu_kernels {

/// A panel is bf16 [pairs][panel_rows][2]. K is padded with zero columns to whole pairs, and to whole tiles if the
/// processor has tiles.
template <index_t K>
struct PairPanels {
  using Element = bf16;
  static constexpr index_t pairs = ((K + 1) / 2 + pair_granule - 1) / pair_granule * pair_granule;
  static constexpr index_t size = pairs * 2 * panel_rows;
  /// Offset of a pair.
  static constexpr index_t offset(index_t step) { return step * 2 * panel_rows; }

  static void pad(bf16* panel) {
    for (index_t k = K; k < 2 * pairs; ++k)
      for (index_t r = 0; r < panel_rows; ++r) panel[place(k, r)] = bf16(0.0f);
  }

  template <class Stored>
  static void pack(const std::byte* from, index_t rows, index_t lane, bf16* to) {
    index_t done = 0;
    if constexpr (std::is_same_v<Stored, bf16>)
      if (rows % simd::width == 0) done = pack_whole_blocks(from, rows, to + 2 * lane);
    // In short stretches of columns, so that reads and writes both stay within the cache.
    for (index_t k0 = done; k0 < K; k0 += block)
      for (index_t r = 0; r < rows; ++r) {
        Stored values[block];
        const index_t columns = std::min(block, K - k0);
        std::memcpy(values, from + static_cast<std::size_t>(r * K + k0) * sizeof(Stored),
                    static_cast<std::size_t>(columns) * sizeof(Stored));
        bf16* const row = to + place(k0, lane + r);
        for (index_t k = 0; k < columns; ++k) row[place(k, 0)] = converted<bf16>(values[k]);
      }
  }

  template <class Stored>
  static void pack_transposed(const std::byte* from, index_t stride, index_t rows, index_t lane, bf16* to) {
    for (index_t k = 0; k < K; ++k) {
      Stored values[panel_rows];
      std::memcpy(values, from + static_cast<std::size_t>(k * stride) * sizeof(Stored),
                  static_cast<std::size_t>(rows) * sizeof(Stored));
      bf16* const column = to + place(k, lane);
      for (index_t r = 0; r < rows; ++r) column[2 * r] = converted<bf16>(values[r]);
    }
  }

  static void read_row(const bf16* panel, index_t lane, float* row) {
    for (index_t k = 0; k < K; ++k) row[k] = static_cast<float>(panel[place(k, lane)]);
  }

 private:
  static constexpr index_t block = 32;
  static_assert(block % 2 == 0);

  static constexpr index_t place(index_t k, index_t lane) { return k / 2 * 2 * panel_rows + 2 * lane + k % 2; }

  /// Transposes blocks of 16 rows and 16 pairs of columns without conversion. Returns the number of columns done; fewer
  /// than a block remain.
  static index_t pack_whole_blocks(const std::byte* from, index_t rows, bf16* to) {
    constexpr index_t whole = K / block * block;
    for (index_t k = 0; k < whole; k += block)
      for (index_t row = 0; row < rows; row += simd::width)
        simd::transpose_words(from + (row * K + k) * 2, K * 2, to + k * panel_rows + 2 * row, 2 * panel_rows * 2);
    return whole;
  }
};

}  // namespace qwen3vl::cpu_kernels

#endif
