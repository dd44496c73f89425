/// Panels of float and bf16 weights, stored column by column, so that each step of the inner product reads `panel_rows`
/// contiguous weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "qwen3vl/backend/cpu/weights/panel.hpp"

namespace qwen3vl::cpu_kernels {

/// A panel is W [K][panel_rows], W float or bf16.
template <class W, index_t K>
struct FloatPanels {
  using Element = W;
  static constexpr index_t size = K * panel_rows;
  static constexpr index_t offset(index_t step) { return step * panel_rows; }

  template <class Stored>
  static void pack(const std::byte* from, index_t rows, index_t lane, W* to) {
    if constexpr (packs_by_vectors<Stored>)
      if (rows == panel_rows)
        return pack_halves<Stored>(from, from + simd::width * K * static_cast<index_t>(sizeof(Stored)), to);
    // Through a small transposed block, so that reads and writes both follow cache lines.
    constexpr index_t block = 32;
    for (index_t k0 = 0; k0 < K; k0 += block) {
      const index_t columns = std::min(block, K - k0);
      Stored values[panel_rows][block];
      for (index_t r = 0; r < rows; ++r)
        std::memcpy(values[r], from + static_cast<std::size_t>(r * K + k0) * sizeof(Stored),
                    static_cast<std::size_t>(columns) * sizeof(Stored));
      for (index_t k = 0; k < columns; ++k)
        for (index_t r = 0; r < rows; ++r) to[(k0 + k) * panel_rows + lane + r] = converted<W>(values[r][k]);
    }
  }

  /// Step k of a panel is a slice of stored row k.
  template <class Stored>
  static void pack_transposed(const std::byte* from, index_t stride, index_t rows, index_t lane, W* to) {
    for (index_t k = 0; k < K; ++k) {
      Stored values[panel_rows];
      std::memcpy(values, from + static_cast<std::size_t>(k * stride) * sizeof(Stored),
                  static_cast<std::size_t>(rows) * sizeof(Stored));
      for (index_t r = 0; r < rows; ++r) to[k * panel_rows + lane + r] = converted<W>(values[r]);
    }
  }

  static void read_row(const W* panel, index_t lane, float* row) {
    for (index_t k = 0; k < K; ++k) row[k] = static_cast<float>(panel[k * panel_rows + lane]);
  }

  /// 16-bit weights that need no conversion.
  template <class Stored>
  static constexpr bool packs_by_vectors = std::is_same_v<Stored, W> && sizeof(W) == 2;

  /// Works on blocks one cache line of columns wide, transposed as squares of vectors in registers, with non-temporal
  /// stores.
  template <class Stored>
  requires packs_by_vectors<Stored>
  static QWEN3VL_KERNEL void pack_halves(const std::byte* first, const std::byte* second, W* to) {
    constexpr index_t block = 32, whole = K / block * block, bytes = sizeof(W);
    constexpr index_t ahead = 128;  // prefetch distance within a row, in bytes
    const auto row = [&](index_t r) { return (r < simd::width ? first : second) + r % simd::width * K * bytes; };
    for (index_t k0 = 0; k0 < whole; k0 += block) {
      alignas(64) std::uint16_t rows[panel_rows][block], columns[block][panel_rows];
      for (index_t r = 0; r < panel_rows; ++r) {
        std::memcpy(rows[r], row(r) + k0 * bytes, sizeof rows[r]);
        __builtin_prefetch(row(r) + k0 * bytes + ahead);
      }
      for (index_t r = 0; r < panel_rows; r += 8)
        for (index_t k = 0; k < block; k += 8) {
          simd::Octet square[8];
          simd::unroll<8>([&](auto i) { std::memcpy(&square[i], &rows[r + i][k], sizeof square[i]); });
          simd::transpose(square);
          simd::unroll<8>([&](auto i) { std::memcpy(&columns[k + i][r], &square[i], sizeof square[i]); });
        }
      simd::stream<sizeof columns>(to + k0 * panel_rows, columns);
    }
    for (index_t r = 0; r < panel_rows; ++r)
      for (index_t k = whole; k < K; ++k)
        std::memcpy(static_cast<void*>(to + k * panel_rows + r), row(r) + k * bytes, bytes);
    simd::stream_fence();
  }
};

}  // namespace qwen3vl::cpu_kernels
