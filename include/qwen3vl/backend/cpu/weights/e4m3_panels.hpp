/// Panels of f8_e4m3 weights with scales, as FP8 checkpoints have them. A panel is, for every `Columns` columns,
///
///   scales  f32 [panel_rows]
///   q       u8 [Columns][panel_rows]
///
/// The weight scale * q is rounded to a float as in the format's own definition; products are those of float weights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "qwen3vl/backend/cpu/simd/integer_simd.hpp"
#include "qwen3vl/backend/cpu/weights/panel.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl::cpu_kernels {

/// The numbers of e4m3, none of them NaN: the multiplication by 2^120 moves the exponent and makes subnormals normal.
QWEN3VL_INLINE simd::Floats load_e4m3(const std::byte* p) {
  simd::SBytes lanes;
  std::memcpy(&lanes, p, sizeof lanes);
  // The sign is copied down to the exponent of a float, and all but one copy cut off.
  const auto bits = reinterpret_cast<simd::UInts>(simd::widen(lanes) << 20) & 0x87f00000u;
  return reinterpret_cast<simd::Floats>(bits) * 0x1p120f;
}

template <index_t Columns>
struct E4m3Panels {
  static constexpr index_t chunk_columns = Columns;
  static constexpr index_t scale_bytes = panel_rows * static_cast<index_t>(sizeof(float));
  static constexpr index_t chunk_bytes = scale_bytes + Columns * panel_rows;
  static constexpr index_t bytes(index_t columns) { return (columns + Columns - 1) / Columns * chunk_bytes; }

  static void pack_row(const BlockLayout& source, const BlockRow& row, index_t columns, index_t lane,
                       std::byte* panel) {
    for (index_t first = 0; first < columns; first += Columns, panel += chunk_bytes) {
      float scale = row.scales[first / source.group];
      const index_t count = std::min(Columns, columns - first);
      for (index_t k = 0; k < count; ++k) {
        const std::int8_t q = row.q[first + k];
        // A product with one NaN is NaN, as with all of them.
        if ((q & 0x7f) == 0x7f) scale = std::numeric_limits<float>::quiet_NaN();
        panel[scale_bytes + k * panel_rows + lane] = static_cast<std::byte>(q);
      }
      std::memcpy(panel + lane * static_cast<index_t>(sizeof scale), &scale, sizeof scale);
    }
  }

  static void read_row(const std::byte* panel, index_t columns, index_t lane, float* row) {
    for (index_t k = 0; k < columns; ++k) {
      const std::byte* const chunk = panel + k / Columns * chunk_bytes;
      float scale = 0.0f;
      std::memcpy(&scale, chunk + lane * static_cast<index_t>(sizeof scale), sizeof scale);
      f8_e4m3 q;
      q.bits = std::to_integer<std::uint8_t>(chunk[scale_bytes + k % Columns * panel_rows + lane]);
      row[k] = scale * static_cast<float>(q);
    }
  }
};

}  // namespace qwen3vl::cpu_kernels
