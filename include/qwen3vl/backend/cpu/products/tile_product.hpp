/// Products of rows with bf16 and bf16_dot weights in the processor's tiles: a blocked one over packed rows, and a
/// streaming one for a few rows (decode). Sums are f32.
///
/// Activations that meet bf16 weights are f32 numbers, and stay so: each is the sum of three bf16 numbers of 8 bits of
/// its 24 each, exactly, and the three products with a weight go to the same sum. That is three times the work, and
/// still five times faster than multiply-adds of f32. Activations that meet bf16_dot weights are rounded to bf16.
#pragma once

#include <algorithm>
#include <cstring>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/simd/tiles.hpp"
#include "qwen3vl/backend/cpu/weights/matrix.hpp"

#if QWEN3VL_HAS_TILES

namespace qwen3vl::cpu_kernels {

/// Rows of activations as these products read them. A step is 32 columns, of which a row has 16 words (pairs of bf16)
/// for each part: a row is [steps][parts][16], a tile of rows [steps][parts][16 rows][16]. Columns beyond K are zero.
template <PairWeight W, index_t K>
struct TileRows {
  using Word = std::int32_t;
  static constexpr int parts = std::is_same_v<W, bf16> ? 3 : 1;
  static constexpr index_t step = 2 * simd::tile_size;
  static constexpr index_t steps = (K + step - 1) / step;
  static constexpr index_t words = steps * parts * simd::tile_size;
  static constexpr int tile_rows = simd::tile_size;
  static constexpr index_t row_block = 16 * tile_rows;

  static void put(const float* x, Word* to) { put(x, to, simd::tile_size); }
  template <class Source>
  static void put_tile(const Source& source, index_t count, Word* tile) {
    for (index_t r = 0; r < count; ++r) put(source(r), tile + r * simd::tile_size, simd::tile_words);
  }

 private:
  /// Row x with `stride` words between parts.
  static void put(const float* x, Word* to, index_t stride) {
    for (index_t s = 0; s < steps; ++s) {
      float copy[step] = {};
      const float* from = x + s * step;
      if (K - s * step < step) {
        std::copy_n(from, K - s * step, copy);
        from = copy;
      }
      for (index_t half = 0; half < 2; ++half)
        put_half(simd::load(from + half * simd::width), to + s * parts * stride + half * simd::width / 2, stride);
    }
  }

  static QWEN3VL_INLINE void put_half(Floats x, Word* to, index_t stride) {
    if constexpr (parts == 1) {
      std::uint16_t rounded[simd::width];
      simd::round_to_bf16(reinterpret_cast<const float*>(&x), rounded);
      std::memcpy(to, rounded, sizeof rounded);
    } else {
      // Cut off, not rounded, so that nothing grows beyond the largest number. What is no finite number is one part.
      const auto bits = reinterpret_cast<UInts>(x);
      const auto finite = (bits & 0x7fffffffu) < 0x7f800000u;
      const Floats high = finite ? reinterpret_cast<Floats>(bits & 0xffff0000u) : x;
      const Floats rest = finite ? x - high : Floats{};
      const Floats middle = reinterpret_cast<Floats>(reinterpret_cast<UInts>(rest) & 0xffff0000u);
      const Floats part[parts] = {high, middle, rest - middle};
      simd::unroll<parts>([&](auto i) {
        std::uint16_t rounded[simd::width];
        simd::round_to_bf16(reinterpret_cast<const float*>(&part[i]), rounded);
        std::memcpy(to + i * stride, rounded, sizeof rounded);
      });
    }
  }
};

/// Columns between two visits of a panel: 16 or 32 KiB of it, so that it stays in the first-level cache.
template <PairWeight W>
inline constexpr index_t tile_steps = std::is_same_v<W, bf16> ? 8 : 16;

/// sums [16 T rows][panel] = (or +=, if not `first`) A B over `steps` steps for T tiles of rows, `tile_distance` words
/// apart, of `parts` parts; columns [steps][16 pairs][panel][2].
template <int T, int parts>
QWEN3VL_INLINE void multiply_tiles(index_t steps, const std::int32_t* x, index_t tile_distance, const bf16* columns,
                                   bool first, float* sums) {
  using namespace simd;
  constexpr index_t panel = 2 * width, row_bytes = panel * sizeof(float);
  unroll<T>([&](auto t) {
    unroll<2>([&](auto c) {
      if (first) {
        clear_tile<2 * t + c>();
      } else {
        load_tile<2 * t + c>(sums + t * tile_size * panel + c * width, row_bytes);
      }
    });
  });
  for (index_t s = 0; s < steps; ++s) {
    load_tile<6>(columns + s * tile_size * 2 * panel, row_bytes);
    load_tile<7>(columns + s * tile_size * 2 * panel + 2 * width, row_bytes);
    unroll<parts>([&](auto part) {
      unroll<T>([&](auto t) { load_tile<4 + t>(x + t * tile_distance + (s * parts + part) * simd::tile_words, 64); });
      unroll<T>([&](auto t) {
        dot_tiles<2 * t, 4 + t, 6>();
        dot_tiles<2 * t + 1, 4 + t, 7>();
      });
    });
  }
  unroll<T>([&](auto t) {
    unroll<2>([&](auto c) { store_tile<2 * t + c>(sums + t * tile_size * panel + c * width, row_bytes); });
  });
}

/// As blocked_panels of float weights (float_product.hpp).
template <PairWeight W, index_t N, index_t K, Packing packing, class F>
void blocked_panels(const CpuMatrix<W, N, K, packing>& weight, const std::int32_t* packed, index_t rows, index_t begin,
                    index_t end, float* sums, const F& finish) {
  using Rows = TileRows<W, K>;
  constexpr index_t panel = 2 * simd::width, tile_distance = simd::tile_size * Rows::words;
  const index_t tiles = (rows + simd::tile_size - 1) / simd::tile_size;
  const simd::Tiles registers;
  for (index_t group = begin; group < end; group += panel_group)
    for (index_t s = 0; s < Rows::steps; s += tile_steps<W>) {
      const index_t steps = std::min(tile_steps<W>, Rows::steps - s);
      for (index_t p = group; p < std::min(end, group + panel_group); ++p) {
        const bf16* const columns = weight.panel(p) + s * simd::tile_size * 2 * panel;
        float* const z = sums + (p - group) * tiles * simd::tile_size * panel;
        const std::int32_t* x = packed + s * Rows::parts * simd::tile_words;
        for (index_t tile = 0; tile < tiles; tile += 2) {
          float* const to = z + tile * simd::tile_size * panel;
          if (tile + 1 < tiles) {
            multiply_tiles<2, Rows::parts>(steps, x + tile * tile_distance, tile_distance, columns, s == 0, to);
          } else {
            multiply_tiles<1, Rows::parts>(steps, x + tile * tile_distance, tile_distance, columns, s == 0, to);
          }
        }
        if (s + steps == Rows::steps)
          for (index_t row = 0; row < rows; ++row)
            finish(p, simd::load(z + row * panel), simd::load(z + row * panel + simd::width), row);
      }
    }
}

/// As streamed_panels of float weights; sums have the same order as in blocked_panels.
template <int R, PairWeight W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_KERNEL void streamed_panels(const CpuMatrix<W, N, K, packing>& weight, const std::int32_t* x, index_t begin,
                                    index_t end, const F& finish) {
  using Rows = TileRows<W, K>;
  constexpr index_t panel = 2 * simd::width, step_size = simd::tile_size * 2 * panel;
  // Weights are asked for this far ahead: 8 KiB, in the second-level cache.
  constexpr index_t ahead = 4 * step_size;
  const simd::Tiles registers(R);
  for (index_t p = begin; p < end; ++p) {
    const bf16* const columns = weight.panel(p);
    simd::clear_tile<0>();
    simd::clear_tile<1>();
    for (index_t s = 0; s < Rows::steps; ++s) {
      const bf16* const b = columns + s * step_size;
      for (index_t line = 0; line < step_size; line += 32) __builtin_prefetch(b + ahead + line, 0, 2);
      simd::load_tile<6>(b, panel * 4);
      simd::load_tile<7>(b + 2 * simd::width, panel * 4);
      simd::unroll<Rows::parts>([&](auto part) {
        simd::load_tile<4>(x + (s * Rows::parts + part) * simd::tile_size, Rows::words * 4);
        simd::dot_tiles<0, 4, 6>();
        simd::dot_tiles<1, 4, 7>();
      });
    }
    alignas(64) float z[R][panel];
    simd::store_tile<0>(z, panel * 4);
    simd::store_tile<1>(z[0] + simd::width, panel * 4);
    for (index_t r = 0; r < R; ++r) finish(p, simd::load(z[r]), simd::load(z[r] + simd::width), r);
  }
}

}  // namespace qwen3vl::cpu_kernels

#endif
