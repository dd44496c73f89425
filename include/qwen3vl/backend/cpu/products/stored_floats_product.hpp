/// CPU kernels for products with `stored` weights that are floating numbers (see product.hpp): the kernels of float
/// weights, compiled once per form rather than per shape, and chosen at run time.
#pragma once

#include <algorithm>

#include "qwen3vl/backend/cpu/products/float_product.hpp"
#include "qwen3vl/backend/cpu/products/stored_blocks_product.hpp"
#include "qwen3vl/backend/cpu/weights/stored_form.hpp"

namespace qwen3vl::cpu_kernels {

/// Activation rows, as FloatRows.
struct StoredFloatRows {
  using Word = float;
  static constexpr int tile_rows = cpu_kernels::tile_rows;
  static constexpr index_t row_block = tile_rows * tiles_of_block;
  static constexpr index_t words(index_t columns) { return columns; }

  static void put(index_t columns, const float* x, float* to) { std::copy_n(x, columns, to); }
  template <class Source>
  static void put_tile(index_t columns, const Source& source, index_t count, float* tile) {
    put_in_tile(columns, count, source, tile);
  }
};

/// What sums over the columns of a chunk are multiplied by, for the outputs of a strip.
QWEN3VL_INLINE Floats e4m3_scale(const std::byte* chunk, index_t strip) {
  return simd::load(reinterpret_cast<const float*>(chunk) + strip * simd::width) * e4m3_unit;
}

/// sums [R][panel] = (or +=, if not `first`) the products of `depth` columns of an e4m3 panel, from a chunk's beginning
/// on, for a tile of R rows: x [depth][tile_rows], wide the numbers without scales [depth][panel_rows].
template <int R>
[[gnu::noinline, gnu::flatten]] void multiply_e4m3(index_t depth, const float* x, const std::byte* chunk,
                                                   index_t chunk_columns, index_t chunk_bytes, const float* wide,
                                                   bool first, float* sums, const float* next) {
  // Zeros to add to, rather than no addition: the compiler then rounds once in every case, as stream_stored_floats
  // does.
  if (first) std::fill_n(sums, R * panel_rows, 0.0f);
  for (index_t from = 0; from < depth; from += chunk_columns, chunk += chunk_bytes) {
    Tile<R, 2> tile;
    tile.clear();
    for (index_t k = from; k < std::min(depth, from + chunk_columns); ++k) {
      ReadAhead::ask(next + k * tile_rows);
      multiply_add(tile, 1, x + k * tile_rows, 1, 0, wide + k * panel_rows, 0);
    }
    simd::unroll<2>([&](auto c) {
      const Floats scale = e4m3_scale(chunk, c);
      simd::unroll<R>([&](auto r) {
        float* const to = sums + r * panel_rows + c * simd::width;
        simd::store(to, simd::load(to) + tile.sums[r][c] * scale);
      });
    });
  }
}

/// The same for up to row_block rows in tiles, each with all `columns_of_x` columns. `wide` is room for the numbers.
template <class Panels>
void multiply_e4m3_rows(index_t depth, const float* x, index_t columns_of_x, index_t rows, const std::byte* chunk,
                        float* wide, bool first, float* sums, ReadAhead ahead) {
  for (index_t k = 0; k < depth; ++k) {
    const std::byte* const q = chunk + k / Panels::chunk_columns * Panels::chunk_bytes + Panels::scale_bytes +
                               k % Panels::chunk_columns * panel_rows;
    simd::unroll<2>(
        [&](auto c) { simd::store(wide + k * panel_rows + c * simd::width, load_e4m3(q + c * simd::width)); });
  }
  for (index_t row = 0; row < rows; row += tile_rows) {
    ahead();
    with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
      const float* const from = x + row * columns_of_x;
      multiply_e4m3<r>(depth, from, chunk, Panels::chunk_columns, Panels::chunk_bytes, wide, first,
                       sums + row * panel_rows, ahead.behind(from));
    });
  }
}

/// Blocked product with a form of floats.
class BlockedStoredFloats {
 public:
  static constexpr index_t most_steps = depth_block, step_words = 1;
  BlockedStoredFloats(StoredForm form, StoredDepth depth) : form_(form), columns_(depth.columns) {}

  void operator()(const std::byte* columns, PanelPart part, const float* x, index_t rows, float* sums,
                  const ReadAhead& ahead) {
    const bool first = part.first == 0;
    visit_float_form(form_, [&]<class T>(T) {
      if constexpr (requires { typename T::Panels; }) {
        multiply_e4m3_rows<typename T::Panels>(part.steps, x, columns_, rows, columns, wide_, first, sums, ahead);
      } else {
        using W = typename T::Element;
        multiply_rows<W>(part.steps, x, columns_, rows, reinterpret_cast<const W*>(columns), wide_, first, sums, ahead);
      }
    });
  }

 private:
  StoredForm form_;
  index_t columns_;
  alignas(64) float wide_[depth_block * panel_rows];
};

/// C panels for R rows x [R][columns].
template <int R, int C, class T>
[[gnu::noinline, gnu::flatten]] void stream_stored_floats(const std::byte* const (&panels)[C], index_t columns,
                                                          const float* x, Tile<R, 2> (&tiles)[C]) {
  Tile<R, 2> sums[C];
  simd::unroll<C>([&](auto c) { sums[c].clear(); });
  if constexpr (requires { typename T::Panels; }) {
    using Panels = typename T::Panels;
    for (index_t first = 0, chunk = 0; first < columns; first += Panels::chunk_columns, chunk += Panels::chunk_bytes) {
      Tile<R, 2> tiles_of_chunk[C];
      simd::unroll<C>([&](auto c) { tiles_of_chunk[c].clear(); });
      for (index_t k = first; k < std::min(columns, first + Panels::chunk_columns); ++k)
        simd::unroll<C>([&](auto c) {
          const std::byte* const q = panels[c] + chunk + Panels::scale_bytes + (k - first) * panel_rows;
          const Floats weights[2] = {load_e4m3(q), load_e4m3(q + simd::width)};
          simd::unroll<R>([&](auto r) {
            const Floats value = simd::splat(x[r * columns + k]);
            simd::unroll<2>([&](auto half) { tiles_of_chunk[c].sums[r][half] += value * weights[half]; });
          });
        });
      simd::unroll<C>([&](auto c) {
        simd::unroll<2>([&](auto half) {
          const Floats scale = e4m3_scale(panels[c] + chunk, half);
          simd::unroll<R>([&](auto r) { sums[c].sums[r][half] += tiles_of_chunk[c].sums[r][half] * scale; });
        });
      });
    }
  } else {
    using W = typename T::Element;
    for (index_t k = 0; k < columns; ++k)
      simd::unroll<C>([&](auto c) {
        multiply_add(sums[c], 1, x + k, columns, 0, reinterpret_cast<const W*>(panels[c]) + k * panel_rows, index_t{0});
      });
  }
  simd::unroll<C>([&](auto c) { tiles[c] = sums[c]; });
}

/// Streamed product of R rows, several panels at a time as in StreamedFloats.
template <int R>
struct StreamedStoredFloats {
  static constexpr int together = R == 1 ? 4 : R == 2 ? 2 : 1;
  StoredForm form;
  StoredDepth depth;

  template <int C>
  void operator()(const std::byte* const (&panels)[C], const float* x, Tile<R, 2> (&tiles)[C]) const {
    visit_float_form(form, [&]<class T>(T) { stream_stored_floats<R, C, T>(panels, depth.columns, x, tiles); });
  }
};

/// The kernels for forms of floats, in place of a weight type's (Kernel in product.hpp).
struct StoredFloats {
  using Rows = StoredFloatRows;
  using Blocked = BlockedStoredFloats;
  template <int R>
  using Streamed = StreamedStoredFloats<R>;
  static constexpr index_t step_columns = 1;
  static index_t steps(StoredDepth depth) { return depth.columns; }
};

}  // namespace qwen3vl::cpu_kernels
