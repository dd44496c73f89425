/// Products of rows with a packed weight matrix on the CPU, for every type of weights; linear() and expert_mlp() are
/// made of them. float_product.hpp, pair_product.hpp, block_product.hpp, tile_product.hpp and tile_block_product.hpp
/// have the inner loops.
#pragma once

#include <algorithm>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cpu/products/block_product.hpp"
#include "qwen3vl/backend/cpu/products/float_product.hpp"
#include "qwen3vl/backend/cpu/products/pair_product.hpp"
#include "qwen3vl/backend/cpu/products/tile_block_product.hpp"
#include "qwen3vl/backend/cpu/products/tile_product.hpp"

namespace qwen3vl::cpu_kernels {

/// Applies an epilogue to one row of one panel and writes it. `z0`, `z1`: the panel's two vectors.
template <class W, index_t N, index_t K, Packing packing, class E>
struct Finish {
  using Matrix = CpuMatrix<W, N, K, packing>;
  static constexpr index_t outputs = Matrix::outputs;
  const float* bias;  // [N] or null

  static QWEN3VL_INLINE Floats activate(Floats z) {
    if constexpr (std::is_same_v<E, epilogue::GeluTanh>) return simd::gelu_tanh(z);
    if constexpr (std::is_same_v<E, epilogue::Gelu>) return simd::gelu(z);
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
      const index_t n = p * panel_rows;
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
    float row[panel_rows] = {}, row_bias[panel_rows] = {};
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

/// Applies a Finish to rows of panels and writes row i to y + i * stride.
template <class Finish>
struct FinishRows {
  const Finish& finish;
  float* y;
  index_t stride;

  QWEN3VL_INLINE void operator()(index_t p, Floats z0, Floats z1, index_t row) const {
    finish(p, z0, z1, y + row * stride);
  }
  Places places(index_t p) const {
    constexpr index_t width = Finish::Matrix::panel_outputs;
    return {y + p * width, stride, std::min(width, Finish::outputs - p * width)};
  }
};
template <class Finish>
FinishRows(const Finish&, float*, index_t) -> FinishRows<Finish>;

namespace detail {
template <class W, index_t K>
struct RowsFor {
  using type = FloatRows<W, K>;
};
template <BlockWeight W, index_t K>
struct RowsFor<W, K> {
  using type = BlockRows<W, K>;
};
#if QWEN3VL_HAS_TILES
template <PairWeight W, index_t K>
struct RowsFor<W, K> {
  using type = TileRows<W, K>;
};
#elif QWEN3VL_HAS_BF16_DOT
template <PairWeight W, index_t K>
struct RowsFor<W, K> {
  using type = PairRows<W, K>;
};
#endif
}  // namespace detail

/// How rows of activations are packed for weights of type W: `Word`, `words` of a row, `tile_rows` rows of a tile,
/// `row_block` rows, at most, that are multiplied at once; put(x, to), and put_tile(source, count, tile) for
/// `count` rows, source(row) each.
template <class W, index_t K>
using PackedRows = typename detail::RowsFor<W, K>::type;

/// Packs `count` rows, source(i) each, as one tile, or one after another if they will be streamed.
template <class W, index_t K, class Source>
void pack_rows(const Source& source, index_t count, bool tiled, typename PackedRows<W, K>::Word* to) {
  using Rows = PackedRows<W, K>;
  if (tiled) {
    Rows::put_tile(source, count, to);
  } else {
    for (index_t r = 0; r < count; ++r) Rows::put(source(r), to + r * Rows::words);
  }
}

/// `rows` rounded up to whole tiles of Rows.
template <class Rows>
constexpr index_t whole_tiles(index_t rows) {
  return (rows + Rows::tile_rows - 1) / Rows::tile_rows * Rows::tile_rows;
}

/// Of `rows` rows, how many are multiplied at once: as many blocks as it takes, all alike but the last. A small last
/// block would cost as much of reading and widening weights as a large one.
template <class Rows>
constexpr index_t rows_of_block(index_t rows) {
  const index_t tiles = whole_tiles<Rows>(rows) / Rows::tile_rows, most = Rows::row_block / Rows::tile_rows;
  const index_t blocks = (tiles + most - 1) / most;
  return (tiles + blocks - 1) / blocks * Rows::tile_rows;
}

/// Floats that a thread needs for sums while `rows` rows, packed as Rows, are multiplied.
template <class Rows>
constexpr index_t sums_size(index_t rows) {
  return rows <= streaming_rows ? 0
                                : panel_group * std::min(Rows::row_block, whole_tiles<Rows>(rows)) * 2 * simd::width;
}

/// How linear() divides a product of more than `streaming_rows` rows among threads. If there are enough rows, each
/// thread takes some of them, packs them for itself and goes through all weights: what one writes no other reads, and
/// nobody waits. Otherwise all pack the rows together and each takes a part of the panels.
///
/// It matters where cores do not share a cache: between cores of two core complexes of a Zen 4 a line takes 170 ns each
/// way instead of 30, and packing for one another was 16 % of a product with 1024 outputs there, 4 % within one
/// complex.
template <class Rows>
struct RowShares {
  /// Rows from which on a thread's own reading of all weights costs nothing: with so many it reads 2 GB/s at most.
  static constexpr index_t enough = 128;

  bool own_rows;
  index_t block;  ///< rows that are packed at once, by each thread or by all
  int threads;

  RowShares(index_t rows, int threads)
      : own_rows(divides(rows, threads)),
        block(rows_of_block<Rows>(own_rows ? of_a_thread(rows, threads) : rows)),
        threads(threads) {}

  index_t packed_rows() const { return own_rows ? threads * block : block; }

  /// f(packed_rows, block) with bounds for all products of `rows` rows and fewer; twice if there are both ways of
  /// sharing among them. Fewer rows than `rows` may be of larger blocks (rows_of_block).
  template <class F>
  static void for_most(index_t rows, int threads, const F& f) {
    const auto most = [](index_t count) { return std::min(Rows::row_block, whole_tiles<Rows>(count)); };
    const index_t together = most(std::min(rows, threads * enough - 1));
    f(together, together);
    if (!divides(rows, threads)) return;
    const index_t own = most(of_a_thread(rows, threads));
    f(threads * own, own);
  }

 private:
  static bool divides(index_t rows, int threads) { return rows >= threads * enough; }
  static index_t of_a_thread(index_t rows, int threads) { return (rows + threads - 1) / threads; }
};

/// Panels [begin, end) for any number of rows packed by pack_rows: in tiles if there are more than `streaming_rows`.
/// `sums` is memory of sums_size, for this thread alone.
template <class W, index_t N, index_t K, Packing packing, class F>
void panels_of_rows(const CpuMatrix<W, N, K, packing>& weight, const typename PackedRows<W, K>::Word* x, index_t rows,
                    index_t begin, index_t end, float* sums, const F& finish) {
  if (rows == 0) return;
  if (rows <= streaming_rows) {
    with_rows<static_cast<int>(streaming_rows)>(rows,
                                                [&](auto r) { streamed_panels<r>(weight, x, begin, end, finish); });
    return;
  }
  using Rows = PackedRows<W, K>;
  const index_t block = rows_of_block<Rows>(rows);
  for (index_t row = 0; row < rows; row += block)
    blocked_panels(weight, x + row * Rows::words, std::min(block, rows - row), begin, end, sums,
                   [&](index_t p, Floats z0, Floats z1, index_t i) { finish(p, z0, z1, row + i); });
}

}  // namespace qwen3vl::cpu_kernels
