/// Products of rows with a packed weight matrix on the CPU, for every weight type; linear() and expert_mlp() are built
/// on them. There is a blocked product over rows in tiles, and a streamed one for a few rows (decoding). The kernels
/// are in float_product.hpp, pair_product.hpp, block_product.hpp, byte_product.hpp, tile_product.hpp and
/// tile_block_product.hpp; those for `stored` weights in stored_blocks_product.hpp and stored_floats_product.hpp.
#pragma once

#include <algorithm>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cpu/products/block_product.hpp"
#include "qwen3vl/backend/cpu/products/byte_product.hpp"
#include "qwen3vl/backend/cpu/products/float_product.hpp"
#include "qwen3vl/backend/cpu/products/pair_product.hpp"
#include "qwen3vl/backend/cpu/products/stored_blocks_product.hpp"
#include "qwen3vl/backend/cpu/products/stored_floats_product.hpp"
#include "qwen3vl/backend/cpu/products/tile_block_product.hpp"
#include "qwen3vl/backend/cpu/products/tile_product.hpp"
#include "qwen3vl/backend/cpu/weights/matrix.hpp"
#include "qwen3vl/backend/cpu/weights/stored_matrix.hpp"

namespace qwen3vl::cpu_kernels {

/// Applies an epilogue to one row of one panel and writes the result. `z0`, `z1`: the panel's two vectors.
template <class W, index_t N, index_t K, Packing packing, class E>
struct Finish {
  using Matrix = CpuMatrix<W, N, K, packing>;
  static constexpr index_t outputs = Matrix::outputs, panel_outputs = Matrix::panel_outputs;
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

  /// A partial last panel goes through a copy, so that nothing beyond the row is touched.
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

/// A Finish of any type, so that what is compiled with it is compiled once.
struct AnyFinish {
  const void* finish;
  void (*apply)(const void* finish, index_t p, const float* z, float* y);  ///< z [panel_rows]
  index_t outputs, panel_outputs;

  template <class F>
  explicit AnyFinish(const F& of)
      : finish(&of),
        apply([](const void* any, index_t p, const float* z, float* y) {
          (*static_cast<const F*>(any))(p, simd::load(z), simd::load(z + simd::width), y);
        }),
        outputs(F::outputs),
        panel_outputs(F::panel_outputs) {}

  QWEN3VL_INLINE void operator()(index_t p, Floats z0, Floats z1, float* y) const {
    float z[panel_rows];
    simd::store(z, z0);
    simd::store(z + simd::width, z1);
    apply(finish, p, z, y);
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
    const index_t width = finish.panel_outputs;
    return {y + p * width, stride, std::min(width, finish.outputs - p * width)};
  }
};
template <class Finish>
FinishRows(const Finish&, float*, index_t) -> FinishRows<Finish>;

/// The kernel for weights of type W and K columns:
///   Rows          packing of activation rows: `Word`, `words` per row, `tile_rows` per tile, at most `row_block` rows
///                 multiplied at once; put(x, to), and put_tile(source, count, tile) for the `count` rows source(row)
///   Blocked       `steps` of the inner product as the layout counts them, at most `most_steps` per visit of a panel,
///                 `step_words` of a row per step; blocked(columns, part, x, rows, sums, ahead) computes
///                 sums [rows in whole tiles][panel_rows] (+)= the products of a part of a panel; `columns` and `x`
///                 point to the start of the part
///   Streamed<R>   `together` panels at a time, for R rows that are not in tiles: streamed(panels, x, sums)
/// Both sum each output in the order of the columns, so a row's result does not depend on the other rows.
template <class W, index_t K>
struct Kernel {
  using Weight = typename LayoutOf<W, K>::type::Element;
  using Rows = FloatRows<K>;
  using Blocked = BlockedFloats<Weight, K>;
  template <int R>
  using Streamed = StreamedFloats<R, Weight, K>;
};
template <BlockWeight W, index_t K>
struct Kernel<W, K> {
  using Rows = BlockRows<W, K>;
  using Blocked = BlockedBlocks<W, K>;
  template <int R>
  using Streamed = StreamedBlocks<R, W, K>;
};
template <BlockDotWeight W, index_t K>
struct Kernel<W, K> : Kernel<typename W::Blocks, K> {};
#if QWEN3VL_HAS_BYTE_PAIRS
template <ByteWeight W, index_t K>
struct Kernel<W, K> {
  using Rows = ByteRows<typename W::Blocks, K>;
  using Blocked = BlockedBytes<typename W::Blocks, K>;
  template <int R>
  using Streamed = StreamedBytes<R, typename W::Blocks, K>;
};
#endif
#if QWEN3VL_HAS_BF16_DOT
template <PairWeight W, index_t K>
struct Kernel<W, K> {
  using Rows = PairRows<W, K>;
  using Blocked = BlockedPairs<W, K>;
  template <int R>
  using Streamed = StreamedPairs<R, W, K>;
};
#endif

template <class W, index_t K>
using PackedRows = typename Kernel<W, K>::Rows;

/// What products read: panels [first, end) of a matrix, and how activations meet them. Here all panels of one; of
/// `stored` weights those of a section, below.
template <class W, index_t N, index_t K, Packing packing>
struct AllPanels {
  using Matrix = CpuMatrix<W, N, K, packing>;
  using Element = typename Matrix::Element;
  using Rows = PackedRows<W, K>;
  using Blocked = typename Kernel<W, K>::Blocked;
  template <int R>
  using Streamed = typename Kernel<W, K>::template Streamed<R>;
  static constexpr index_t first = 0, end = Matrix::panels;
  const Matrix& matrix;

  static constexpr index_t rows() { return N; }
  static constexpr index_t columns() { return K; }
  /// Of a row of activations.
  static constexpr index_t row_words() { return Rows::words; }
  /// Of the inner product.
  static constexpr index_t steps() { return Blocked::steps; }
  static constexpr index_t offset(index_t step) { return Matrix::Layout::offset(step); }
  const Element* panel(index_t p) const { return matrix.panel(p); }
  /// f(Blocked), whose room for widened weights is not initialised.
  template <class F>
  static void with_blocked(const F& f) {
    Blocked multiply;
    f(multiply);
  }
  template <int R>
  static Streamed<R> streamed() {
    return {};
  }

  /// Packs the `count` rows source(i) as one tile, or one after another if they will be streamed.
  template <class Source>
  static void pack(const Source& source, index_t count, bool tiled, typename Rows::Word* to) {
    if (tiled) {
      Rows::put_tile(source, count, to);
    } else {
      for (index_t r = 0; r < count; ++r) Rows::put(source(r), to + r * Rows::words);
    }
  }
};
template <class W, index_t N, index_t K, Packing packing>
AllPanels<W, N, K, packing> all_panels(const CpuMatrix<W, N, K, packing>& matrix) {
  return {matrix};
}

/// Panels of a section of `stored` weights, of any shape. `Kernels` is StoredBlocks or StoredFloats.
template <class Kernels>
struct SectionPanels {
  using Element = std::byte;
  using Rows = typename Kernels::Rows;
  using Blocked = typename Kernels::Blocked;
  template <int R>
  using Streamed = typename Kernels::template Streamed<R>;
  StoredForm form;
  StoredDepth depth;
  index_t first, end, panel_bytes;
  const std::byte* memory;

  index_t rows() const { return (end - first) * panel_rows; }
  index_t columns() const { return depth.columns; }
  index_t row_words() const { return Rows::words(depth.columns); }
  index_t steps() const { return Kernels::steps(depth); }
  index_t offset(index_t step) const {
    return stored_bytes(form, std::min(depth.columns, step * Kernels::step_columns));
  }
  const std::byte* panel(index_t p) const { return memory + (p - first) * panel_bytes; }
  template <class F>
  void with_blocked(const F& f) const {
    Blocked multiply{form, depth};
    f(multiply);
  }
  template <int R>
  Streamed<R> streamed() const {
    return {form, depth};
  }
  template <class Source>
  void pack(const Source& source, index_t count, bool tiled, typename Rows::Word* to) const {
    if (tiled) {
      Rows::put_tile(depth.columns, source, count, to);
    } else {
      for (index_t r = 0; r < count; ++r) Rows::put(depth.columns, source(r), to + r * row_words());
    }
  }
};
template <class Kernels, index_t N, index_t K, Packing packing>
SectionPanels<Kernels> section_panels(const CpuMatrix<stored, N, K, packing>& weight, const StoredSection& section) {
  return {section.form, {K}, section.first, section.end, section.panel_bytes, weight.panels_of(section)};
}
/// f(StoredBlocks or StoredFloats) for the kernels of a section.
template <class F>
void for_kernels(const StoredSection& section, const F& f) {
  if (is_float_form(section.form)) {
    f(StoredFloats{});
  } else {
    f(StoredBlocks{});
  }
}

/// `rows` rounded up to whole tiles of Rows.
template <class Rows>
constexpr index_t whole_tiles(index_t rows) {
  return (rows + Rows::tile_rows - 1) / Rows::tile_rows * Rows::tile_rows;
}

/// How many of `rows` rows are multiplied at once: as few blocks as possible, all of equal size except the last. A
/// small last block would cost as much reading and widening of weights as a large one.
template <class Rows>
constexpr index_t rows_of_block(index_t rows) {
  const index_t tiles = whole_tiles<Rows>(rows) / Rows::tile_rows, most = Rows::row_block / Rows::tile_rows;
  const index_t blocks = (tiles + most - 1) / most;
  return (tiles + blocks - 1) / blocks * Rows::tile_rows;
}

/// Floats of scratch that a thread needs for sums while multiplying `rows` rows packed as Rows.
template <class Rows>
constexpr index_t sums_size(index_t rows) {
  return rows <= streaming_rows ? 0
                                : panel_group * std::min(Rows::row_block, whole_tiles<Rows>(rows)) * 2 * simd::width;
}

/// How linear() divides a product of more than `streaming_rows` rows among threads. With enough rows, each thread packs
/// a share of them and goes through all weights: threads share no written data and need no synchronisation. Otherwise
/// all threads pack the rows together and each takes a share of the panels. This matters most where cores do not share
/// a cache.
template <class Rows>
struct RowShares {
  /// Rows per thread from which reading all weights in every thread costs nothing: at most 2 GB/s per thread.
  static constexpr index_t enough = 128;

  bool own_rows;
  index_t block;  ///< rows packed at once, by each thread or by all
  int threads;

  RowShares(index_t rows, int threads)
      : own_rows(divides(rows, threads)),
        block(rows_of_block<Rows>(own_rows ? of_a_thread(rows, threads) : rows)),
        threads(threads) {}

  index_t packed_rows() const { return own_rows ? threads * block : block; }

  /// Calls f(packed_rows, block) with upper bounds for all products of up to `rows` rows; twice if both ways of sharing
  /// occur among them. Fewer rows can mean larger blocks (rows_of_block).
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

/// Panels [begin, end) of x W^T for up to row_block rows in tiles, one thread's share. finish(panel, z0, z1, row)
/// receives the sums; finish.places(panel), if it exists, says where it writes. Within a group of panels, blocks of
/// columns are the outer loop, so that the rows' part of a block is read from the L2 cache however many columns there
/// are. Partial sums are kept in `sums` [panel_group][rows in whole tiles][panel_rows].
template <class Panels, class F>
void blocked_product(const Panels& weight, const typename Panels::Rows::Word* x, index_t rows, index_t begin,
                     index_t end, float* sums, const F& finish) {
  using Rows = typename Panels::Rows;
  using Blocked = typename Panels::Blocked;
  const auto columns = [&](PanelPart part) { return weight.panel(part.panel) + weight.offset(part.first); };
  weight.with_blocked([&](Blocked& multiply) {
    visit_panels(begin, end, weight.steps(), Blocked::most_steps, [&](PanelPart part, PanelPart next) {
      constexpr index_t step_words = Blocked::step_words * Rows::tile_rows;  // per tile
      const index_t p = part.panel, next_size = weight.offset(next.first + next.steps) - weight.offset(next.first);
      const bool last = part.first + part.steps == weight.steps();
      ReadAhead ahead(columns(next), next_size * static_cast<index_t>(sizeof(typename Panels::Element)), rows);
      ahead.columns_move((next.first - part.first) * step_words);
      if (last) ahead.results(places_of(finish, p));
      float* const z = sums + (p - begin) % panel_group * whole_tiles<Rows>(rows) * panel_rows;
      multiply(columns(part), part, x + part.first * step_words, rows, z, ahead);
      if (last)
        for (index_t row = 0; row < rows; ++row)
          finish(p, simd::load(z + row * panel_rows), simd::load(z + row * panel_rows + simd::width), row);
    });
  });
}

/// Panels [begin, end) for R rows x [R, row_words] that are not in tiles; weights are read once.
template <int R, class Panels, class F>
QWEN3VL_KERNEL void streamed_product(const Panels& weight, const typename Panels::Rows::Word* x, index_t begin,
                                     index_t end, const F& finish) {
  using Streamed = typename Panels::template Streamed<R>;
  const auto multiply = weight.template streamed<R>();
  const auto stream = [&](auto panel_count, index_t p) {
    constexpr int count = panel_count;
    const typename Panels::Element* panels[count];
    simd::unroll<count>([&](auto c) { panels[c] = weight.panel(p + c); });
    Tile<R, 2> tiles[count];
    multiply(panels, x, tiles);
    simd::unroll<count>([&](auto c) {
      simd::unroll<R>([&](auto r) { finish(p + c, tiles[c].sums[r][0], tiles[c].sums[r][1], index_t{r}); });
    });
  };
  constexpr int together = Streamed::together;
  index_t p = begin;
  for (; p + together <= end; p += together) stream(std::integral_constant<int, together>{}, p);
  if constexpr (together > 1)
    for (; p < end; ++p) stream(std::integral_constant<int, 1>{}, p);
}

/// Panels [begin, end) for any number of rows packed by pack(): in tiles if there are more than `streaming_rows`.
/// `sums` is this thread's scratch of sums_size floats.
template <class Panels, class F>
void panels_of_rows(const Panels& weight, const typename Panels::Rows::Word* x, index_t rows, index_t begin,
                    index_t end, float* sums, const F& finish) {
  if (rows == 0) return;
  if (rows <= streaming_rows) {
    with_rows<static_cast<int>(streaming_rows)>(rows,
                                                [&](auto r) { streamed_product<r>(weight, x, begin, end, finish); });
    return;
  }
  using Rows = typename Panels::Rows;
  const index_t block = rows_of_block<Rows>(rows);
  for (index_t row = 0; row < rows; row += block)
    blocked_product(weight, x + row * weight.row_words(), std::min(block, rows - row), begin, end, sums,
                    [&](index_t p, Floats z0, Floats z1, index_t i) { finish(p, z0, z1, row + i); });
}

}  // namespace qwen3vl::cpu_kernels
