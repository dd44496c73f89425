/// CPU kernels for products with bf16 and bf16_dot weights in AMX tiles (see product.hpp). Sums are f32.
///
/// Activations multiplied by bf16 weights keep f32 precision: each is split exactly into three bf16 numbers that hold 8
/// of its 24 bits each, and the three products with a weight go to the same sum. That is three times the work, but
/// still five times faster than f32 multiply-adds. Activations multiplied by bf16_dot weights are rounded to bf16.
#pragma once

#include <algorithm>
#include <cstring>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/simd/tiles.hpp"
#include "qwen3vl/backend/cpu/weights/pair_panels.hpp"

#if QWEN3VL_HAS_TILES

namespace qwen3vl::cpu_kernels {

/// Activation rows as these products read them. A step is 32 columns, for which a row has 16 words (pairs of bf16) per
/// part: a row is [steps][parts][16], a tile of rows [steps][parts][16 rows][16]. Columns beyond K are zero.
template <PairWeight W, index_t K>
struct PairRows {
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
  /// Packs row x with `stride` words between parts.
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
      // Truncated, not rounded, so that nothing grows beyond the largest number. Values that are not finite are one
      // part.
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

/// Columns of a panel per visit: 16 or 32 KiB, which stay in the L1 cache.
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

/// Blocked product with bf16 or bf16_dot weights.
template <PairWeight W, index_t K>
class BlockedPairs {
  using Rows = PairRows<W, K>;

 public:
  // In pairs, as the layout counts; always whole steps of PairRows.
  static constexpr index_t steps = PairPanels<K>::pairs, most_steps = tile_steps<W> * simd::tile_size,
                           step_words = Rows::parts;

  void operator()(const bf16* columns, PanelPart part, const std::int32_t* x, index_t rows, float* sums,
                  const ReadAhead&) const {
    constexpr index_t tile_distance = simd::tile_size * Rows::words;
    const index_t tiles = (rows + simd::tile_size - 1) / simd::tile_size;
    for (index_t tile = 0; tile < tiles; tile += 2) {
      float* const to = sums + tile * simd::tile_size * panel_rows;
      const std::int32_t* const from = x + tile * tile_distance;
      if (tile + 1 < tiles) {
        multiply_tiles<2, Rows::parts>(part.steps / simd::tile_size, from, tile_distance, columns, part.first == 0, to);
      } else {
        multiply_tiles<1, Rows::parts>(part.steps / simd::tile_size, from, tile_distance, columns, part.first == 0, to);
      }
    }
  }

 private:
  simd::Tiles registers_;
};

/// Streamed product of R rows.
template <int R, PairWeight W, index_t K>
class StreamedPairs {
 public:
  static constexpr int together = 1;

  QWEN3VL_INLINE void operator()(const bf16* const (&panels)[1], const std::int32_t* x, Tile<R, 2> (&sums)[1]) const {
    using Rows = PairRows<W, K>;
    constexpr index_t step_size = PairPanels<K>::offset(simd::tile_size), row_bytes = panel_rows * 4;
    // Prefetch distance for weights: 8 KiB, into the L2 cache.
    constexpr index_t ahead = 4 * step_size;
    simd::clear_tile<0>();
    simd::clear_tile<1>();
    for (index_t s = 0; s < Rows::steps; ++s) {
      const bf16* const b = panels[0] + s * step_size;
      for (index_t line = 0; line < step_size; line += 32) __builtin_prefetch(b + ahead + line, 0, 2);
      simd::load_tile<6>(b, row_bytes);
      simd::load_tile<7>(b + 2 * simd::width, row_bytes);
      simd::unroll<Rows::parts>([&](auto part) {
        simd::load_tile<4>(x + (s * Rows::parts + part) * simd::tile_size, Rows::words * 4);
        simd::dot_tiles<0, 4, 6>();
        simd::dot_tiles<1, 4, 7>();
      });
    }
    alignas(64) float z[R][panel_rows];
    simd::store_tile<0>(z, row_bytes);
    simd::store_tile<1>(z[0] + simd::width, row_bytes);
    sums[0].load(z[0], panel_rows);
  }

 private:
  simd::Tiles registers_{R};
};

}  // namespace qwen3vl::cpu_kernels

#endif
