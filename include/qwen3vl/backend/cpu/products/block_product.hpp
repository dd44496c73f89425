/// CPU kernels for products with block weights (see product.hpp). Activations are rounded to 16-bit integers with one
/// scale per row and superblock of 256 columns. Sums over a superblock are exact 32-bit integers, and so independent of
/// order and instruction set; the superblocks' sums are added in float, in the order of the columns.
#pragma once

#include <algorithm>
#include <bit>
#include <limits>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/products/row_rounding.hpp"
#include "qwen3vl/backend/cpu/products/row_tiles.hpp"
#include "qwen3vl/backend/cpu/simd/tiles.hpp"
#include "qwen3vl/backend/cpu/weights/block_panels.hpp"

namespace qwen3vl::cpu_kernels {

/// Activation rows as products with block weights read them, in 32-bit words. A row is
///   pairs [columns / 2]    two neighbouring columns as 16-bit integers
///   scales [superblocks]   bits of floats
///   sums [blocks]          sums of the integers of each block; only for rows that are not in tiles
/// A tile of rows has the same parts with a last extent of tile_rows. On processors with AMX tiles, see put_bytes.
template <BlockWeight W, index_t K>
struct BlockRows {
  static constexpr index_t blocks = (K + block_columns - 1) / block_columns;
  static constexpr index_t superblocks = (blocks + superblock_blocks - 1) / superblock_blocks;
  static constexpr index_t pairs = blocks * block_columns / 2;
  /// With AMX tiles: steps of 64 columns, and steps per superblock.
  static constexpr index_t step_columns = 2 * block_columns, steps = (blocks + 1) / 2,
                           superblock_steps = superblock_columns / step_columns;
  static constexpr index_t words =
      std::max(pairs + superblocks + blocks, simd::has_tiles ? steps* block_columns + superblocks : 0);

  /// Limit on the sum of |integer| in a superblock that keeps 32-bit sums from overflowing, whatever the weights; the
  /// 256 allow for rounding up.
  static constexpr float largest_sum =
      static_cast<float>(std::numeric_limits<std::int32_t>::max() / BlockFormat<W>::largest_weight - 256) * 0.9999f;

  using Word = std::int32_t;
  static constexpr int tile_rows = simd::has_tiles ? 16 : cpu_kernels::tile_rows;
  static constexpr index_t row_block = tile_rows * tiles_of_block;

  /// Packs row x [K].
  [[gnu::flatten]] static void put(const float* x, std::int32_t* to) {
    Rounded rounded;
    for (index_t s = 0; s < superblocks; ++s) {
      to[pairs + s] = std::bit_cast<std::int32_t>(round_columns(x, s, rounded));
      const index_t columns = columns_of(s);
      std::memcpy(to + s * superblock_columns / 2, rounded.words, static_cast<std::size_t>(columns / 2) * sizeof *to);
      std::int32_t* const sums = to + pairs + superblocks + s * superblock_blocks;
      for (index_t k = 0; k < columns; k += block_columns)
        sums[k / block_columns] = sum_of_block(rounded.words + k / 2);
    }
  }
  template <class Source>
  [[gnu::flatten]] static void put_tile(const Source& source, index_t count, std::int32_t* tile) {
#if QWEN3VL_HAS_TILES
    Rounded rounded;
    for (index_t r = 0; r < count; ++r)
      for (index_t s = 0; s < superblocks; ++s) {
        const float scale = round_columns(source(r), s, rounded);
        put_bytes(s, scale, rounded.words, columns_of(s), tile, r);
      }
#else
    Rounded rounded[tile_rows];
    for (index_t s = 0; s < superblocks; ++s) {
      for (index_t r = 0; r < count; ++r)
        tile[(pairs + s) * tile_rows + r] = std::bit_cast<std::int32_t>(round_columns(source(r), s, rounded[r]));
      put_in_tile(
          columns_of(s) / 2, count, [&](index_t r) { return rounded[r].words; },
          tile + s * superblock_columns / 2 * tile_rows);
    }
#endif
  }

 private:
  /// The integers of a superblock in pairs, followed by zeros for AMX tiles.
  struct alignas(64) Rounded {
    std::int32_t words[(superblock_columns + block_columns) / 2];
  };

  /// Columns of a superblock, rounded up to whole blocks.
  static constexpr index_t columns_of(index_t s) {
    return std::min(superblock_columns, blocks * block_columns - s * superblock_columns);
  }

  /// Rounds superblock s of row x, with zeros for columns beyond K. Returns the scale.
  static QWEN3VL_INLINE float round_columns(const float* x, index_t s, Rounded& to) {
    const index_t padded = columns_of(s);
    std::fill_n(to.words + padded / 2, block_columns / 2, 0);
    return round_superblock(x, K, s, padded, largest_sum, to.words);
  }

#if QWEN3VL_HAS_TILES
  /// Stores the low and high bytes of the integers as rows of AMX tiles of 64 columns. A tile of rows is [steps][low,
  /// high][16 rows][64 bytes] and scales [superblocks][16 rows].
  static QWEN3VL_INLINE void put_bytes(index_t s, float scale, const std::int32_t* rounded, index_t columns,
                                       std::int32_t* tile, index_t row) {
    using simd::tile_words;
    tile[steps * 2 * tile_words + s * tile_rows + row] = std::bit_cast<std::int32_t>(scale);
    std::int32_t* to = tile + s * superblock_steps * 2 * tile_words + row * simd::tile_size;
    for (index_t k = 0; k < columns; k += step_columns, to += 2 * tile_words) {
      const simd::BytePair bytes =
          simd::quads(simd::load_shorts(rounded + k / 2), simd::load_shorts(rounded + k / 2 + 16));
      std::memcpy(to, &bytes.low, sizeof bytes.low);
      std::memcpy(to + tile_words, &bytes.high, sizeof bytes.high);
    }
  }
#endif
};

/// Run-time sizes for the inner loops, which are compiled once per weight type rather than per shape.
struct BlockDepth {
  index_t superblocks, last_blocks;  ///< blocks of the last superblock
  index_t row_words;                 ///< of BlockRows
  index_t pairs;

  constexpr index_t blocks_of(index_t s) const { return s + 1 < superblocks ? superblock_blocks : last_blocks; }
};
template <BlockWeight W, index_t K>
constexpr BlockDepth depth_of() {
  using Rows = BlockRows<W, K>;
  return {Rows::superblocks, Rows::blocks - (Rows::superblocks - 1) * superblock_blocks, Rows::words, Rows::pairs};
}

/// Expands a superblock of a panel, with its steps multiplied in, to [pairs][2][width][2] 16-bit integers.
template <BlockWeight W>
QWEN3VL_INLINE void expand(const std::byte* superblock, index_t blocks, std::int16_t* to) {
  using Layout = StripLayout<W>;
  using Format = BlockFormat<W>;
  for (index_t b = 0; b < blocks; ++b)
    for (index_t strip = 0; strip < 2; ++strip) {
      const BlockFactors f = Layout::factors(superblock, b, strip);
      const Shorts step = simd::both_halves(f.step), offset = simd::both_halves(f.offset);
      std::int16_t* const out = to + b * block_columns * 2 * simd::width + strip * 2 * simd::width;
      for (index_t v = 0; v < Layout::vectors; ++v) {
        const Shorts word = simd::load_shorts(superblock + Layout::words(blocks, b, v, strip));
        simd::unroll<Format::per_word>([&](auto i) {
          Shorts pair = Format::template pair<i>(word) * step;
          if constexpr (Format::has_offset) pair += offset;
          std::memcpy(out + (v * Format::per_word + i) * 4 * simd::width, &pair, sizeof pair);
        });
      }
    }
}

/// sums [R][panel] = (or +=, if not `first`) the products of one superblock for a tile of R rows: x [depth][tile_rows],
/// wide from `expand`. Prefetches as much from `next`, the tile's next columns, as it reads of x.
template <int R>
[[gnu::noinline, gnu::flatten]] void multiply_superblock(index_t depth, const std::int32_t* x, const std::int16_t* wide,
                                                         const std::int32_t* row_scales, Floats scale0, Floats scale1,
                                                         bool first, float* sums, const std::int32_t* next) {
  constexpr index_t vector = 2 * simd::width;
  Ints integers[R][2];
  simd::unroll<R>([&](auto r) { integers[r][0] = integers[r][1] = Ints{}; });
  for (index_t k = 0; k < depth; ++k) {
    ReadAhead::ask(next + k * tile_rows);
    const Shorts w0 = simd::load_shorts(wide + k * 2 * vector), w1 = simd::load_shorts(wide + (k * 2 + 1) * vector);
    simd::unroll<R>([&](auto r) {
      const Shorts pair = simd::splat_pair(x[k * tile_rows + r]);
      integers[r][0] = simd::dot_pairs(integers[r][0], pair, w0);
      integers[r][1] = simd::dot_pairs(integers[r][1], pair, w1);
    });
  }
  simd::unroll<R>([&](auto r) {
    float* const to = sums + r * vector;
    const Floats z0 = first ? Floats{} : simd::load(to), z1 = first ? Floats{} : simd::load(to + simd::width);
    simd::store(to, add_superblock(z0, integers[r][0], scale0, row_scales[r]));
    simd::store(to + simd::width, add_superblock(z1, integers[r][1], scale1, row_scales[r]));
  });
}

#if !QWEN3VL_HAS_TILES
/// The same for superblock s of one panel and up to row_block rows in tiles, with x starting at its columns. The
/// weights are expanded once for all of them.
template <BlockWeight W>
[[gnu::noinline, gnu::flatten]] void multiply_rows(const std::byte* superblock, const BlockDepth& depth, index_t s,
                                                   const std::int32_t* x, index_t rows, float* sums, ReadAhead ahead) {
  using Layout = StripLayout<W>;
  alignas(64) std::int16_t wide[superblock_columns * 2 * simd::width];
  const index_t blocks = depth.blocks_of(s);
  expand<W>(superblock, blocks, wide);
  const Floats scale0 = Layout::scale(superblock, 0), scale1 = Layout::scale(superblock, 1);
  for (index_t row = 0; row < rows; row += tile_rows) {
    const std::int32_t* const from = x + row * depth.row_words;
    const std::int32_t* const row_scales = from + (depth.pairs + s - s * superblock_columns / 2) * tile_rows;
    ahead();
    with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
      multiply_superblock<r>(blocks * block_columns / 2, from, wide, row_scales, scale0, scale1, s == 0,
                             sums + row * panel_rows, ahead.behind(from));
    });
  }
}

/// Blocked product with block weights.
template <BlockWeight W, index_t K>
struct BlockedBlocks {
  static constexpr index_t steps = BlockPanels<W, K>::superblocks, most_steps = 1, step_words = superblock_columns / 2;

  void operator()(const std::byte* superblock, PanelPart part, const std::int32_t* x, index_t rows, float* sums,
                  ReadAhead ahead) const {
    constexpr BlockDepth depth = depth_of<W, K>();
    multiply_rows<W>(superblock, depth, part.first, x, rows, sums, ahead);
  }
};

#endif

/// C strips of a superblock, from strip `first` on, for R rows `row_words` apart. Blocks are multiplied by their steps
/// after summation: fewer operations, the same integers.
template <int R, int C, BlockWeight W>
QWEN3VL_INLINE void stream_superblock(const std::byte* superblock, index_t blocks, index_t first, const std::int32_t* x,
                                      const std::int32_t* block_sums, index_t row_words, UInts (&totals)[C][R]) {
  using Layout = StripLayout<W>;
  using Format = BlockFormat<W>;
  constexpr bool apart = R == 1 && Format::sums > 1;
  constexpr int parts = apart ? Format::sums : 1;
  simd::unroll<C>([&](auto c) { simd::unroll<R>([&](auto r) { totals[c][r] = UInts{}; }); });
  for (index_t b = 0; b < blocks; ++b) {
    Ints sums[C][R][parts] = {};
    // Not unrolled: GCC would do all multiplications first and spill the results.
#pragma GCC unroll 1
    for (index_t v = 0; v < Layout::vectors; ++v) {
      Shorts words[C];
      simd::unroll<C>([&](auto c) {
        const std::byte* const from = superblock + Layout::words(blocks, b, v, first + c);
        words[c] = simd::load_shorts(from);
        if (c == 0 || 2 * Layout::vector_bytes > 64) __builtin_prefetch(from + weights_ahead, 0, 2);  // once per line
      });
      simd::unroll<Format::per_word>([&](auto i) {
        Shorts pairs[C];
        simd::unroll<C>([&](auto c) {
          if constexpr (apart) {
            pairs[c] = Format::template summand<i>(words[c]);
          } else {
            pairs[c] = Format::template pair<i>(words[c]);
          }
        });
        simd::unroll<R>([&](auto r) {
          const Shorts pair = simd::splat_pair(x[r * row_words + b * (block_columns / 2) + v * Format::per_word + i]);
          simd::unroll<C>([&](auto c) {
            Ints& sum = sums[c][r][i % parts];
            sum = simd::dot_pairs(sum, pair, pairs[c]);
          });
        });
      });
    }
    simd::unroll<C>([&](auto c) {
      const BlockFactors f = Layout::factors(superblock, b, first + c);
      simd::unroll<R>([&](auto r) {
        Ints sum = sums[c][r][0];
        if constexpr (apart) sum = Format::total(sums[c][r]);
        totals[c][r] += reinterpret_cast<UInts>(sum) * reinterpret_cast<UInts>(f.step);
        if constexpr (Format::has_offset)
          totals[c][r] += reinterpret_cast<UInts>(f.offset) * simd::splat_int(block_sums[r * row_words + b]);
      });
    });
  }
}

/// One panel for R rows that are not in tiles; weights are read once.
template <int R, BlockWeight W>
[[gnu::noinline, gnu::flatten]] void stream_panel(const std::byte* panel, const BlockDepth& depth,
                                                  const std::int32_t* rows, Tile<R, 2>& sums) {
  using Layout = StripLayout<W>;
  constexpr int together = R <= 2 ? 2 : 1;  // strips per pass, limited by registers
  sums.clear();
  for (index_t s = 0; s < depth.superblocks; ++s) {
    const index_t blocks = depth.blocks_of(s);
    const std::byte* const superblock = panel + s * Layout::bytes(superblock_blocks);
    for (index_t half = 0; half < 2; half += together) {
      UInts totals[together][R];
      stream_superblock<R, together, W>(superblock, blocks, half, rows + s * (superblock_columns / 2),
                                        rows + depth.pairs + depth.superblocks + s * superblock_blocks, depth.row_words,
                                        totals);
      simd::unroll<together>([&](auto c) {
        const Floats scale = Layout::scale(superblock, half + c);
        simd::unroll<R>([&](auto r) {
          Floats& sum = sums.sums[r][half + c];
          sum = add_superblock(sum, reinterpret_cast<Ints>(totals[c][r]), scale,
                               rows[r * depth.row_words + depth.pairs + s]);
        });
      });
    }
  }
}

/// Streamed product of R rows.
template <int R, BlockWeight W, index_t K>
struct StreamedBlocks {
  static constexpr int together = 1;

  QWEN3VL_INLINE void operator()(const std::byte* const (&panels)[1], const std::int32_t* x,
                                 Tile<R, 2> (&sums)[1]) const {
    constexpr BlockDepth depth = depth_of<W, K>();
    stream_panel<R, W>(panels[0], depth, x, sums[0]);
  }
};

}  // namespace qwen3vl::cpu_kernels
