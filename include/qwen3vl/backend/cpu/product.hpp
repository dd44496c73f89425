/// Products of rows with a packed weight matrix on the CPU: a blocked one over packed rows, and a streaming one for a
/// few rows (decode). linear() and expert_mlp() are made of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "qwen3vl/backend/cpu/microkernel.hpp"
#include "qwen3vl/backend/cpu/packed_matrix.hpp"
#include "qwen3vl/backend/ops.hpp"

namespace qwen3vl::cpu_kernels {

/// Applies an epilogue to one row of one panel and writes it. `z0`, `z1`: the panel's two vectors.
template <class W, index_t N, index_t K, Packing packing, class E>
struct Finish {
  using Matrix = CpuMatrix<W, N, K, packing>;
  static constexpr index_t outputs = Matrix::outputs;
  const float* bias;  // [N] or null

  static QWEN3VL_INLINE Floats activate(Floats z) {
    if constexpr (std::is_same_v<E, epilogue::GeluTanh>) return simd::gelu_tanh(z);
    if constexpr (std::is_same_v<E, epilogue::Gelu>) {
      // Only the mergers use the exact GELU: the library's erf is fast enough there.
      for (int i = 0; i < simd::width; ++i) z[i] = 0.5f * z[i] * std::erfc(z[i] * -0.70710678118654752440f);
      return z;
    }
    return z;
  }

  QWEN3VL_INLINE void full(index_t p, Floats z0, Floats z1, float* y) const {
    if constexpr (packing == Packing::gate_up) {
      const index_t n = p * simd::width;
      if (bias != nullptr) {
        z0 += simd::load(bias + n);
        z1 += simd::load(bias + outputs + n);
      }
      simd::store(y + n, simd::silu(z0) * z1);
    } else {
      const index_t n = p * Matrix::panel;
      if (bias != nullptr) {
        z0 += simd::load(bias + n);
        z1 += simd::load(bias + n + simd::width);
      }
      if constexpr (std::is_same_v<E, epilogue::Add>) {
        z0 += simd::load(y + n);
        z1 += simd::load(y + n + simd::width);
      }
      simd::store(y + n, activate(z0));
      simd::store(y + n + simd::width, activate(z1));
    }
  }

  /// The last panel where it is not full: through a copy, so that nothing beyond the row is touched.
  void tail(index_t p, Floats z0, Floats z1, float* y) const {
    constexpr index_t width = Matrix::panel_outputs;
    const index_t first = p * width, count = outputs - first;
    float row[Matrix::panel] = {}, row_bias[Matrix::panel] = {};
    std::copy_n(y + first, count, row);
    if (bias != nullptr) {
      std::copy_n(bias + first, count, row_bias);
      if constexpr (packing == Packing::gate_up) std::copy_n(bias + outputs + first, count, row_bias + width);
      z0 += simd::load(row_bias);
      z1 += simd::load(row_bias + simd::width);
    }
    if constexpr (packing == Packing::gate_up) {
      simd::store(row, simd::silu(z0) * z1);
    } else {
      if constexpr (std::is_same_v<E, epilogue::Add>) {
        z0 += simd::load(row);
        z1 += simd::load(row + simd::width);
      }
      simd::store(row, activate(z0));
      simd::store(row + simd::width, activate(z1));
    }
    std::copy_n(row, count, y + first);
  }

  QWEN3VL_INLINE void operator()(index_t p, Floats z0, Floats z1, float* y) const {
    constexpr bool all_full = Matrix::panels * Matrix::panel_outputs == outputs;
    if (all_full || p + 1 < Matrix::panels) {
      full(p, z0, z1, y);
    } else {
      tail(p, z0, z1, y);
    }
  }
};

/// Columns widened at once: with a panel of two vectors 32 KiB (AVX2) or 64 KiB (AVX-512) of floats.
inline constexpr index_t depth_block = 512;
/// Rows that share one widening of a panel: it costs about 3 / row_block of the product.
inline constexpr index_t row_block = tile_rows * (tile_rows >= 14 ? 8 : 16);
/// Up to so many rows the weights are read straight through instead; the product then waits for memory only.
inline constexpr index_t streaming_rows = 4;

/// Rows of x, packed tile by tile as [tiles][K][tile_rows], so that a tile reads one stream.
template <index_t K>
void pack_rows(const float* x, index_t rows, float* packed) {
  for (index_t tile = 0; tile < rows; tile += tile_rows) {
    const index_t count = std::min<index_t>(tile_rows, rows - tile);
    float* const to = packed + tile * K;
    for (index_t r = 0; r < count; ++r)
      for (index_t k = 0; k < K; ++k) to[k * tile_rows + r] = x[(tile + r) * K + k];
  }
}

/// Panels [begin, end) of x W^T for up to row_block packed rows, by tiles; finish(panel, z0, z1, row) takes the sums.
/// One thread's share. Each output is summed in the order of the columns, whatever `rows` is.
template <class W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_KERNEL void blocked_panels(const CpuMatrix<W, N, K, packing>& weight, const float* packed, index_t rows,
                                   index_t begin, index_t end, const F& finish) {
  constexpr index_t panel = CpuMatrix<W, N, K, packing>::panel;
  constexpr bool widen = !std::is_same_v<W, float>;
  alignas(64) float wide[widen ? depth_block * panel : 1];
  constexpr index_t blocks = (K + depth_block - 1) / depth_block;
  alignas(64) float partial[blocks > 1 ? row_block * panel : 1];  // sums so far, between blocks of columns
  for (index_t p = begin; p < end; ++p) {
    for (index_t k0 = 0; k0 < K; k0 += depth_block) {
      const index_t depth = std::min(depth_block, K - k0);
      const float* columns = nullptr;
      if constexpr (widen) {
        const W* const from = weight.panel_data(p) + k0 * panel;
        for (index_t i = 0; i < depth * panel; i += simd::width) simd::store(wide + i, simd::load(from + i));
        columns = wide;
      } else {
        columns = weight.panel_data(p) + k0 * panel;
      }
      for (index_t row = 0; row < rows; row += tile_rows) {
        with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
          Tile<r, 2> tile;
          tile.clear();
          if constexpr (blocks > 1) {
            if (k0 > 0) tile.load(partial + row * panel, panel);
          }
          multiply_add(tile, depth, packed + row * K + k0 * tile_rows, 1, tile_rows, columns, panel);
          if constexpr (blocks > 1) {
            if (k0 + depth < K) {
              tile.store(partial + row * panel, panel);
              return;
            }
          }
          simd::unroll<r>([&](auto i) { finish(p, tile.sums[i][0], tile.sums[i][1], row + i); });
        });
      }
    }
  }
}

/// C neighbouring panels from `p` on, for R rows x [R, K].
template <int R, int C, class W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_INLINE void stream(const CpuMatrix<W, N, K, packing>& weight, const float* x, index_t p, const F& finish) {
  constexpr index_t panel = CpuMatrix<W, N, K, packing>::panel;
  const W* columns[C];
  simd::unroll<C>([&](auto c) { columns[c] = weight.panel_data(p + c); });
  Tile<R, 2> tiles[C];
  simd::unroll<C>([&](auto c) { tiles[c].clear(); });
  for (index_t k = 0; k < K; ++k)
    simd::unroll<C>([&](auto c) { multiply_add(tiles[c], 1, x + k, K, 0, columns[c] + k * panel, index_t{0}); });
  simd::unroll<C>([&](auto c) {
    simd::unroll<R>([&](auto r) { finish(p + c, tiles[c].sums[r][0], tiles[c].sums[r][1], index_t{r}); });
  });
}

/// Panels [begin, end) for R rows x [R, K], weights read once. Several panels at a time hide the latency of the
/// multiply-add, so that one core can take what memory gives; each output is still summed in the order of the columns,
/// as in blocked_panels, so that a row's result does not depend on the other rows.
template <int R, class W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_KERNEL void streamed_panels(const CpuMatrix<W, N, K, packing>& weight, const float* x, index_t begin,
                                    index_t end, const F& finish) {
  constexpr int together = R == 1 ? 4 : R == 2 ? 2 : 1;
  index_t p = begin;
  for (; p + together <= end; p += together) stream<R, together>(weight, x, p, finish);
  if constexpr (together > 1)
    for (; p < end; ++p) stream<R, 1>(weight, x, p, finish);
}

/// Panels [begin, end) for any number of rows: row-major ones if there are at most `streaming_rows`, else packed.
template <class W, index_t N, index_t K, Packing packing, class F>
void panels_of_rows(const CpuMatrix<W, N, K, packing>& weight, const float* x, index_t rows, index_t begin, index_t end,
                    const F& finish) {
  if (rows == 0) return;
  if (rows <= streaming_rows) {
    with_rows<static_cast<int>(streaming_rows)>(rows,
                                                [&](auto r) { streamed_panels<r>(weight, x, begin, end, finish); });
    return;
  }
  for (index_t row = 0; row < rows; row += row_block)
    blocked_panels(weight, x + row * K, std::min(row_block, rows - row), begin, end,
                   [&](index_t p, Floats z0, Floats z1, index_t i) { finish(p, z0, z1, row + i); });
}

}  // namespace qwen3vl::cpu_kernels
