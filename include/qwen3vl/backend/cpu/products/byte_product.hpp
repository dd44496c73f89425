/// CPU kernels for products with q8_dot and q4_dot weights on processors that multiply bytes (see product.hpp): the
/// blocks of q8 and q4, and activations in 8 bits with a scale for each 32 columns (byte_rows.hpp). Sums over a block
/// are exact 32-bit integers, and so independent of order and instruction set; the blocks' sums are added in float, in
/// the order of the columns.
#pragma once

#include <algorithm>
#include <bit>

#include "qwen3vl/backend/cpu/products/byte_rows.hpp"
#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/weights/block_panels.hpp"

#if QWEN3VL_HAS_BYTE_PAIRS

namespace qwen3vl::cpu_kernels {

template <BlockWeight W>
using ByteProductsOf = simd::ByteProducts<std::is_same_v<W, q4>>;

/// Factors of a block of one strip as floats, exact: weight = scale * q + offset.
struct ScaledFactors {
  Floats scale, offset;
};
template <BlockWeight W, class Layout = StripLayout<W>>
QWEN3VL_INLINE ScaledFactors scaled_factors(const std::byte* superblock, index_t block, index_t strip,
                                            Floats superblock_scale) {
  const BlockFactors f = Layout::factors(superblock, block, strip);
  ScaledFactors scaled{simd::to_floats(f.step) * superblock_scale, Floats{}};
  if constexpr (BlockFormat<W>::has_offset) scaled.offset = simd::to_floats(f.offset) * superblock_scale;
  return scaled;
}

/// Adds a block to a row's sum. Shared by both kernels, so that they round alike.
template <BlockWeight W>
QWEN3VL_INLINE Floats add_byte_block(Floats sum, Ints integers, const ScaledFactors& factors, std::int32_t row_scale,
                                     std::int32_t row_sum) {
  sum = sum + simd::to_floats(integers) * (factors.scale * simd::splat(std::bit_cast<float>(row_scale)));
  if constexpr (BlockFormat<W>::has_offset) sum = sum + factors.offset * simd::splat(std::bit_cast<float>(row_sum));
  return sum;
}

/// f(constant i, word) for the vectors of bytes in a vector of words.
template <BlockWeight W, class F>
QWEN3VL_INLINE void for_bytes(UInts words, const F& f) {
  if constexpr (std::is_same_v<W, q4>) {
    f(std::integral_constant<int, 0>{}, words & 0x0f0f0f0fu);
    f(std::integral_constant<int, 1>{}, (words >> 4) & 0x0f0f0f0fu);
  } else {
    f(std::integral_constant<int, 0>{}, words);
  }
}
template <BlockWeight W>
inline constexpr index_t quads_per_word = std::is_same_v<W, q4> ? 2 : 1;

/// A superblock of a panel as bytes: words [blocks][8][2][width], factors [blocks][2][width].
struct alignas(64) ExpandedBytes {
  std::uint32_t words[superblock_columns / 4 * 2 * simd::width];
  float scales[superblock_blocks * 2 * simd::width], offsets[superblock_blocks * 2 * simd::width];

  template <BlockWeight W>
  [[gnu::noinline, gnu::flatten]] void expand(const std::byte* superblock, index_t blocks) {
    using Layout = StripLayout<W>;
    for (index_t b = 0; b < blocks; ++b)
      for (index_t strip = 0; strip < 2; ++strip) {
        const ScaledFactors f = scaled_factors<W>(superblock, b, strip, Layout::scale(superblock, strip));
        simd::store(scales + (b * 2 + strip) * simd::width, f.scale);
        if constexpr (BlockFormat<W>::has_offset) simd::store(offsets + (b * 2 + strip) * simd::width, f.offset);
        std::uint32_t* to = words + (b * block_quads * 2 + strip) * simd::width;
        for (index_t v = 0; v < Layout::vectors; ++v)
          for_bytes<W>(reinterpret_cast<UInts>(simd::load_shorts(superblock + Layout::words(blocks, b, v, strip))),
                       [&](auto, UInts bytes) {
                         const UInts prepared = ByteProductsOf<W>::prepared(bytes);
                         std::memcpy(to, &prepared, sizeof prepared);
                         to += 2 * simd::width;
                       });
      }
  }
};

/// Rows of a tile that are multiplied at once. With 32 registers, each has integer and float sums in them. With 16 the
/// float sums of a whole tile are in memory, which costs less than loading weights for every three rows.
inline constexpr int byte_rows_at_once = simd::registers == 32 ? tile_rows / 2 : tile_rows;

/// sums [R][panel] = (or +=, if not `first`) the products of one superblock for rows [row, row + R) of a tile x, which
/// starts at the superblock. Prefetches as much from `next`, the tile's next columns, as it reads of x.
template <int R, BlockWeight W>
[[gnu::noinline, gnu::flatten]] void multiply_byte_blocks(index_t blocks, const std::int32_t* x, index_t row,
                                                          const ExpandedBytes& weights, bool first, float* sums,
                                                          const std::int32_t* next) {
  using Products = ByteProductsOf<W>;
  constexpr index_t line_words = 16;
  Tile<R, 2> totals;
  if (first) {
    totals.clear();
  } else {
    totals.load(sums, panel_rows);
  }
  const std::int32_t *quads = x + row * block_quads, *factors = x + block_quads * tile_rows + row;
  for (index_t b = 0; b < blocks; ++b) {
    typename Products::Sum block[R][2];
    simd::unroll<R>([&](auto r) { block[r][0] = block[r][1] = Products::start(factors[tile_rows + r]); });
    const std::uint32_t* words = weights.words + b * block_quads * panel_rows;
    for (index_t line = row * block_words; line < (row + R) * block_words; line += line_words)
      ReadAhead::ask(next + b * block_words * tile_rows + line);
#pragma GCC unroll 1
    for (index_t k = 0; k < block_quads; ++k, words += panel_rows) {
      const auto w0 = reinterpret_cast<UInts>(simd::load_shorts(words));
      const auto w1 = reinterpret_cast<UInts>(simd::load_shorts(words + simd::width));
      simd::unroll<R>([&](auto r) {
        const UInts quad = simd::splat_int(quads[r * block_quads + k]);
        block[r][0] = Products::add(block[r][0], w0, quad);
        block[r][1] = Products::add(block[r][1], w1, quad);
      });
    }
    simd::unroll<2>([&](auto c) {
      const index_t at = (b * 2 + c) * simd::width;
      ScaledFactors f{simd::load(weights.scales + at), Floats{}};
      if constexpr (BlockFormat<W>::has_offset) f.offset = simd::load(weights.offsets + at);
      simd::unroll<R>([&](auto r) {
        totals.sums[r][c] =
            add_byte_block<W>(totals.sums[r][c], Products::total(block[r][c]), f, factors[r], factors[tile_rows + r]);
      });
    });
    quads += block_words * tile_rows;
    factors += block_words * tile_rows;
  }
  totals.store(sums, panel_rows);
}

/// The same for one panel and up to row_block rows in tiles. The weights are expanded once for all of them.
template <BlockWeight W>
[[gnu::noinline]] void multiply_byte_rows(const std::byte* superblock, index_t blocks, index_t row_words, bool first,
                                          const std::int32_t* x, index_t rows, float* sums, ReadAhead ahead) {
  ExpandedBytes weights;
  weights.expand<W>(superblock, blocks);
  for (index_t row = 0; row < rows; row += tile_rows) {
    const std::int32_t* const tile = x + row * row_words;
    const index_t count = std::min<index_t>(tile_rows, rows - row);
    ahead();
    for (index_t done = 0; done < count; done += byte_rows_at_once)
      with_rows<byte_rows_at_once>(std::min<index_t>(byte_rows_at_once, count - done), [&](auto r) {
        multiply_byte_blocks<r, W>(blocks, tile, done, weights, first, sums + (row + done) * panel_rows,
                                   ahead.behind(tile));
      });
  }
}

/// Blocked product; W is the type of the blocks.
template <BlockWeight W, index_t K>
struct BlockedBytes {
  static constexpr index_t steps = BlockPanels<W, K>::superblocks, most_steps = 1,
                           step_words = superblock_blocks * block_words;

  void operator()(const std::byte* superblock, PanelPart part, const std::int32_t* x, index_t rows, float* sums,
                  const ReadAhead& ahead) const {
    using Rows = ByteRows<W, K>;
    const index_t blocks = std::min(superblock_blocks, Rows::blocks - part.first * superblock_blocks);
    multiply_byte_rows<W>(superblock, blocks, Rows::words, part.first == 0, x, rows, sums, ahead);
  }
};

/// C strips of a superblock, from strip `first` on, for R rows `row_words` apart.
template <int R, int C, BlockWeight W>
QWEN3VL_INLINE void stream_byte_superblock(const std::byte* superblock, index_t blocks, index_t first,
                                           const std::int32_t* x, index_t row_words, Tile<R, 2>& sums) {
  using Layout = StripLayout<W>;
  using Products = ByteProductsOf<W>;
  Floats scales[C];
  simd::unroll<C>([&](auto c) { scales[c] = Layout::scale(superblock, first + c); });
  for (index_t b = 0; b < blocks; ++b, x += block_words) {
    typename Products::Sum block[C][R];
    simd::unroll<R>([&](auto r) {
      const auto start = Products::start(x[r * row_words + block_quads + 1]);
      simd::unroll<C>([&](auto c) { block[c][r] = start; });
    });
#pragma GCC unroll 1
    for (index_t v = 0; v < Layout::vectors; ++v)
      simd::unroll<C>([&](auto c) {
        const std::byte* const from = superblock + Layout::words(blocks, b, v, first + c);
        if (c == 0 || 2 * Layout::vector_bytes > 64) __builtin_prefetch(from + weights_ahead, 0, 2);  // once per line
        for_bytes<W>(reinterpret_cast<UInts>(simd::load_shorts(from)), [&](auto i, UInts bytes) {
          const UInts w = Products::prepared(bytes);
          simd::unroll<R>([&](auto r) {
            block[c][r] = Products::add(block[c][r], w, simd::splat_int(x[r * row_words + v * quads_per_word<W> + i]));
          });
        });
      });
    simd::unroll<C>([&](auto c) {
      const ScaledFactors f = scaled_factors<W>(superblock, b, first + c, scales[c]);
      simd::unroll<R>([&](auto r) {
        const std::int32_t* const row = x + r * row_words + block_quads;
        Floats& sum = sums.sums[r][first + c];
        sum = add_byte_block<W>(sum, Products::total(block[c][r]), f, row[0], row[1]);
      });
    });
  }
}

/// One panel for R rows that are not in tiles; weights are read once.
template <int R, BlockWeight W>
[[gnu::noinline, gnu::flatten]] void stream_byte_panel(const std::byte* superblock, index_t blocks,
                                                       const std::int32_t* x, Tile<R, 2>& sums) {
  constexpr int together = simd::registers == 32 || R <= 2 ? 2 : 1;  // strips per pass, limited by registers
  const index_t row_words = blocks * block_words;
  sums.clear();
  for (; blocks > 0; blocks -= superblock_blocks, x += superblock_blocks * block_words,
                     superblock += StripLayout<W>::bytes(superblock_blocks))
    simd::unroll<2 / together>([&](auto part) {
      stream_byte_superblock<R, together, W>(superblock, std::min(superblock_blocks, blocks), part * together, x,
                                             row_words, sums);
    });
}

/// Streamed product of R rows.
template <int R, BlockWeight W, index_t K>
struct StreamedBytes {
  static constexpr int together = 1;

  QWEN3VL_INLINE void operator()(const std::byte* const (&panels)[1], const std::int32_t* x,
                                 Tile<R, 2> (&sums)[1]) const {
    stream_byte_panel<R, W>(panels[0], ByteRows<W, K>::blocks, x, sums[0]);
  }
};

}  // namespace qwen3vl::cpu_kernels

#endif
