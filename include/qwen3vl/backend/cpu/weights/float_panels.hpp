/// Panels of float and bf16 weights, stored column by column, so that each step of the inner product reads `panel_rows`
/// contiguous weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "qwen3vl/backend/cpu/weights/panel.hpp"

namespace qwen3vl::cpu_kernels {

/// 16-bit weights that need no conversion.
template <class W, class Stored>
inline constexpr bool packs_by_vectors = std::is_same_v<Stored, W> && sizeof(W) == 2;

/// Packs the two halves of a panel of `columns` columns at once. Works on blocks one cache line of columns wide,
/// transposed as squares of vectors in registers, with non-temporal stores.
template <class W>
QWEN3VL_KERNEL void pack_float_halves(index_t columns, const std::byte* first, const std::byte* second, W* to) {
  constexpr index_t block = 32, bytes = sizeof(W);
  constexpr index_t ahead = 128;  // prefetch distance within a row, in bytes
  const index_t whole = columns / block * block;
  const auto row = [&](index_t r) { return (r < simd::width ? first : second) + r % simd::width * columns * bytes; };
  for (index_t k0 = 0; k0 < whole; k0 += block) {
    alignas(64) std::uint16_t rows[panel_rows][block], transposed[block][panel_rows];
    for (index_t r = 0; r < panel_rows; ++r) {
      std::memcpy(rows[r], row(r) + k0 * bytes, sizeof rows[r]);
      __builtin_prefetch(row(r) + k0 * bytes + ahead);
    }
    for (index_t r = 0; r < panel_rows; r += 8)
      for (index_t k = 0; k < block; k += 8) {
        simd::Octet square[8];
        simd::unroll<8>([&](auto i) { std::memcpy(&square[i], &rows[r + i][k], sizeof square[i]); });
        simd::transpose(square);
        simd::unroll<8>([&](auto i) { std::memcpy(&transposed[k + i][r], &square[i], sizeof square[i]); });
      }
    simd::stream<sizeof transposed>(to + k0 * panel_rows, transposed);
  }
  for (index_t r = 0; r < panel_rows; ++r)
    for (index_t k = whole; k < columns; ++k)
      std::memcpy(static_cast<void*>(to + k * panel_rows + r), row(r) + k * bytes, bytes);
  simd::stream_fence();
}

/// Packs `rows` rows of `columns` stored numbers into lanes [lane, lane + rows) of a panel.
template <class Stored, class W>
void pack_floats(index_t columns, const std::byte* from, index_t rows, index_t lane, W* to) {
  if constexpr (packs_by_vectors<W, Stored>)
    if (rows == panel_rows)
      return pack_float_halves(columns, from, from + simd::width * columns * static_cast<index_t>(sizeof(Stored)), to);
  // Through a small transposed block, so that reads and writes both follow cache lines.
  constexpr index_t block = 32;
  for (index_t k0 = 0; k0 < columns; k0 += block) {
    const index_t count = std::min(block, columns - k0);
    Stored values[panel_rows][block];
    for (index_t r = 0; r < rows; ++r)
      std::memcpy(values[r], from + static_cast<std::size_t>(r * columns + k0) * sizeof(Stored),
                  static_cast<std::size_t>(count) * sizeof(Stored));
    for (index_t k = 0; k < count; ++k)
      for (index_t r = 0; r < rows; ++r) to[(k0 + k) * panel_rows + lane + r] = converted<W>(values[r][k]);
  }
}

/// The same from a transposed matrix, whose columns are `stride` numbers apart: step k of a panel is a slice of stored
/// row k.
template <class Stored, class W>
void pack_floats_transposed(index_t columns, const std::byte* from, index_t stride, index_t rows, index_t lane, W* to) {
  for (index_t k = 0; k < columns; ++k) {
    Stored values[panel_rows];
    std::memcpy(values, from + static_cast<std::size_t>(k * stride) * sizeof(Stored),
                static_cast<std::size_t>(rows) * sizeof(Stored));
    for (index_t r = 0; r < rows; ++r) to[k * panel_rows + lane + r] = converted<W>(values[r]);
  }
}

template <class W>
void read_float_row(index_t columns, const W* panel, index_t lane, float* row) {
  for (index_t k = 0; k < columns; ++k) row[k] = static_cast<float>(panel[k * panel_rows + lane]);
}

/// A panel is W [K][panel_rows], W float or bf16.
template <class W, index_t K>
struct FloatPanels {
  using Element = W;
  static constexpr index_t size = K * panel_rows;
  static constexpr index_t offset(index_t step) { return step * panel_rows; }

  template <class Stored>
  static void pack(const std::byte* from, index_t rows, index_t lane, W* to) {
    pack_floats<Stored>(K, from, rows, lane, to);
  }
  template <class Stored>
  static void pack_transposed(const std::byte* from, index_t stride, index_t rows, index_t lane, W* to) {
    pack_floats_transposed<Stored>(K, from, stride, rows, lane, to);
  }
  static void read_row(const W* panel, index_t lane, float* row) { read_float_row(K, panel, lane, row); }

  template <class Stored>
  requires packs_by_vectors<W, Stored>
  static void pack_halves(const std::byte* first, const std::byte* second, W* to) {
    pack_float_halves(K, first, second, to);
  }
};

}  // namespace qwen3vl::cpu_kernels
