/// Panels of f8_e4m3 weights with scales, as FP8 checkpoints have them. A panel is, for every `Columns` columns,
///
///   scales  f32 [panel_rows]
///   q       u8 [Columns][panel_rows]
///
/// Products multiply the sum over these columns by the scale: the weight scale * q itself need not be a float.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "qwen3vl/backend/cpu/simd/integer_simd.hpp"
#include "qwen3vl/backend/cpu/weights/panel.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl::cpu_kernels {

/// Numbers of e4m3, none of them NaN, times 2^-8: with another exponent bias they are those of f16, subnormals
/// included. The sign is copied down to the exponent, and all copies but one are cut off.
inline constexpr float e4m3_unit = 0x1p8f;
QWEN3VL_INLINE simd::Floats load_e4m3(const std::byte* p) {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
  const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i bits = _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(static_cast<short>(0xbf80)));
  return (simd::Floats)_mm512_maskz_cvtph_ps(0xffff, bits);
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
  const __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m128i bits = _mm_and_si128(_mm_slli_epi16(wide, 7), _mm_set1_epi16(static_cast<short>(0xbf80)));
  return (simd::Floats)_mm256_cvtph_ps(bits);
#else
  // The same with the exponent of a float, whose multiplication by 2^112 makes subnormals normal.
  simd::SBytes lanes;
  std::memcpy(&lanes, p, sizeof lanes);
  const auto bits = reinterpret_cast<simd::UInts>(simd::widen(lanes) << 20) & 0x87f00000u;
  return reinterpret_cast<simd::Floats>(bits) * 0x1p112f;
#endif
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
