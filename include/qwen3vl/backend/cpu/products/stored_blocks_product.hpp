/// CPU kernels for products with `stored` weights that are integers with factors (see product.hpp and
/// weights/stored_format.hpp). Activations are rounded as for q8 and q4. Integer sums are exact: over 256 columns where
/// a superblock has a float scale, over 32 where each block has one. Everything is compiled once per format, not per
/// shape, and chosen at run time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "qwen3vl/backend/cpu/products/block_product.hpp"
#include "qwen3vl/backend/cpu/weights/stored_form.hpp"

namespace qwen3vl::cpu_kernels {

/// Sizes of the products of rows of some columns.
struct StoredDepth {
  index_t columns;
  constexpr index_t blocks() const { return (columns + block_columns - 1) / block_columns; }
  constexpr index_t superblocks() const { return (blocks() + superblock_blocks - 1) / superblock_blocks; }
  constexpr index_t pairs() const { return blocks() * block_columns / 2; }
  /// Of StoredRows.
  constexpr index_t row_words() const { return pairs() + superblocks() + 3 * blocks(); }
  constexpr index_t blocks_of(index_t s) const { return std::min(superblock_blocks, blocks() - s * superblock_blocks); }
};

/// Of the sums of |integer| over a superblock, as in BlockRows.
inline constexpr float largest_stored_sum =
    static_cast<float>(std::numeric_limits<std::int32_t>::max() / largest_stored_weight - 256) * 0.9999f;

/// A superblock of a row: its integers, their sums, cut in two, and its scale.
struct alignas(64) RoundedSuperblock {
  std::int32_t words[superblock_columns / 2];
  std::int32_t sums[superblock_blocks], halves[2 * superblock_blocks];

  /// Columns beyond the row's are zero.
  [[gnu::noinline, gnu::flatten]] std::int32_t round(const float* x, const StoredDepth& depth, index_t s) {
    const index_t padded = depth.blocks_of(s) * block_columns;
    const float scale = round_superblock(x, depth.columns, s, padded, largest_stored_sum, words);
    for (index_t b = 0; b < padded / block_columns; ++b) {
      std::int32_t pairs[block_columns / 2];
      for (index_t k = 0; k < block_columns / 2; k += simd::width) {
        const Ints added =
            simd::dot_pairs(Ints{}, simd::load_shorts(words + b * block_columns / 2 + k), simd::splat_pair(0x00010001));
        std::memcpy(pairs + k, &added, sizeof added);
      }
      std::int32_t half[2] = {};
      for (index_t k = 0; k < block_columns / 4; ++k) {
        half[0] += pairs[k];
        half[1] += pairs[k + block_columns / 4];
      }
      halves[2 * b] = cut(half[0]);
      halves[2 * b + 1] = cut(half[1]);
      sums[b] = cut(half[0] + half[1]);
    }
    return std::bit_cast<std::int32_t>(scale);
  }
  static std::int32_t cut(std::int32_t sum) { return (sum & 127) | (sum >> 7) * 65536; }
};

/// Activation rows for all integer forms, in 32-bit words. A row is
///   pairs [columns / 2]    two neighbouring columns as 16-bit integers
///   scales [superblocks]   bits of floats
///   sums [blocks]          sums of the integers of each block, cut in two: low | high << 16, sum = low + 128 * high
///   halves [2 * blocks]    the same of 16 columns each; only for rows that are not in tiles
/// A tile of rows has the same parts with a last extent of tile_rows.
struct StoredRows {
  using Word = std::int32_t;
  static constexpr int tile_rows = cpu_kernels::tile_rows;
  static constexpr index_t row_block = tile_rows * tiles_of_block;
  static constexpr index_t words(index_t columns) { return StoredDepth{columns}.row_words(); }

  static void put(index_t columns, const float* x, Word* to) {
    const StoredDepth depth{columns};
    RoundedSuperblock rounded;
    for (index_t s = 0; s < depth.superblocks(); ++s) {
      const index_t count = depth.blocks_of(s), sums = depth.pairs() + depth.superblocks();
      to[depth.pairs() + s] = rounded.round(x, depth, s);
      std::copy_n(rounded.words, count * block_columns / 2, to + s * superblock_columns / 2);
      std::copy_n(rounded.sums, count, to + sums + s * superblock_blocks);
      std::copy_n(rounded.halves, 2 * count, to + sums + depth.blocks() + 2 * s * superblock_blocks);
    }
  }
  template <class Source>
  static void put_tile(index_t columns, const Source& source, index_t count, Word* tile) {
    const StoredDepth depth{columns};
    RoundedSuperblock rounded[tile_rows];
    for (index_t s = 0; s < depth.superblocks(); ++s) {
      for (index_t r = 0; r < count; ++r)
        tile[(depth.pairs() + s) * tile_rows + r] = rounded[r].round(source(r), depth, s);
      const index_t blocks = depth.blocks_of(s);
      put_in_tile(
          blocks * block_columns / 2, count, [&](index_t r) { return rounded[r].words; },
          tile + s * superblock_columns / 2 * tile_rows);
      put_in_tile(
          blocks, count, [&](index_t r) { return rounded[r].sums; },
          tile + (depth.pairs() + depth.superblocks() + s * superblock_blocks) * tile_rows);
    }
  }
};

/// Two factors that make of a cut sum the sum times `offset`: offset and 128 * offset.
QWEN3VL_INLINE Shorts for_cut_sum(Ints offset) { return reinterpret_cast<Shorts>(offset | (offset << 23)); }

/// Adds a block with a scale of its own to the sum of its superblock. Shared by both kernels, as add_superblock.
QWEN3VL_INLINE Floats add_block(Floats sum, Ints integers, Floats scale) {
  return sum + simd::to_floats(integers) * scale;
}
QWEN3VL_INLINE Floats add_blocks(Floats sum, Floats blocks, std::int32_t row_scale) {
  return sum + blocks * simd::splat(std::bit_cast<float>(row_scale));
}

/// A superblock of a panel as 16-bit integers, with its steps multiplied in: [pairs][2][width][2].
struct alignas(64) ExpandedSuperblock {
  std::int16_t wide[superblock_columns * 2 * simd::width];
  std::int16_t minimums[superblock_blocks * 4 * simd::width];  ///< factors of the blocks' cut sums
  float scales[superblock_blocks * 2 * simd::width];           ///< of blocks that have one

  template <class F>
  [[gnu::noinline, gnu::flatten]] void expand(const std::byte* superblock, index_t blocks) {
    using Layout = StoredLayout<F>;
    constexpr index_t vector = 2 * simd::width;
    for (index_t b = 0; b < blocks; ++b)
      for (index_t strip = 0; strip < 2; ++strip) {
        Shorts zero = simd::both_halves(reinterpret_cast<Ints>(simd::splat_int(F::zero)));
        if constexpr (F::has_offsets && !F::has_minimums)
          zero = simd::both_halves(Layout::offset(superblock, b, strip));
        if constexpr (F::has_block_scales)
          simd::store(scales + (b * 2 + strip) * simd::width, Layout::scale(superblock, b, strip));
        if constexpr (F::has_minimums) {
          const Shorts factors = for_cut_sum(Layout::offset(superblock, b, strip));
          std::memcpy(minimums + (b * 2 + strip) * vector, &factors, sizeof factors);
        }
        std::int16_t* out = wide + (b * block_columns + strip) * vector;
        for (index_t group = 0; group < Layout::groups; ++group) {
          Shorts step{}, high{};
          if constexpr (!F::has_block_scales) step = simd::both_halves(Layout::step(superblock, b, group, strip));
          if constexpr (F::high_bits > 0) high = simd::load_shorts(superblock + Layout::high(b, group, strip));
          for (index_t v = 0; v < Layout::group_vectors; ++v) {
            const Shorts words = simd::load_shorts(superblock + Layout::words(b, group, v, strip));
            simd::unroll<F::Words::per_word>([&](auto i) {
              Shorts pair = stored_pair<F, i>(words, high);
              if constexpr (F::zero != 0 || (F::has_offsets && !F::has_minimums)) pair -= zero;
              if constexpr (!F::has_block_scales) pair *= step;
              std::memcpy(out, &pair, sizeof pair);
              out += 2 * vector;
            });
            if constexpr (F::high_bits > 0) high = next_high<F>(high);
          }
        }
      }
  }
};

/// Rows of a tile that are multiplied at once where blocks have scales: their sums are integers and floats.
inline constexpr int scaled_rows = tile_rows / 2;

/// As multiply_superblock, for R of the rows of a tile and blocks with scales of their own.
template <int R>
[[gnu::noinline, gnu::flatten]] void multiply_scaled_blocks(index_t blocks, const std::int32_t* x,
                                                            const ExpandedSuperblock& weights,
                                                            const std::int32_t* row_scales, bool first, float* sums,
                                                            const std::int32_t* next) {
  constexpr index_t vector = 2 * simd::width, block_pairs = block_columns / 2;
  Floats totals[R][2];
  simd::unroll<R>([&](auto r) { totals[r][0] = totals[r][1] = Floats{}; });
  for (index_t b = 0; b < blocks; ++b) {
    Ints integers[R][2];
    simd::unroll<R>([&](auto r) { integers[r][0] = integers[r][1] = Ints{}; });
#pragma GCC unroll 1
    for (index_t k = b * block_pairs; k < (b + 1) * block_pairs; ++k) {
      ReadAhead::ask(next + k * tile_rows);
      const Shorts w0 = simd::load_shorts(weights.wide + k * 2 * vector);
      const Shorts w1 = simd::load_shorts(weights.wide + (k * 2 + 1) * vector);
      simd::unroll<R>([&](auto r) {
        const Shorts pair = simd::splat_pair(x[k * tile_rows + r]);
        integers[r][0] = simd::dot_pairs(integers[r][0], pair, w0);
        integers[r][1] = simd::dot_pairs(integers[r][1], pair, w1);
      });
    }
    const Floats scale0 = simd::load(weights.scales + b * vector);
    const Floats scale1 = simd::load(weights.scales + b * vector + simd::width);
    simd::unroll<R>([&](auto r) {
      totals[r][0] = add_block(totals[r][0], integers[r][0], scale0);
      totals[r][1] = add_block(totals[r][1], integers[r][1], scale1);
    });
  }
  simd::unroll<R>([&](auto r) {
    float* const to = sums + r * vector;
    const Floats z0 = first ? Floats{} : simd::load(to), z1 = first ? Floats{} : simd::load(to + simd::width);
    simd::store(to, add_blocks(z0, totals[r][0], row_scales[r]));
    simd::store(to + simd::width, add_blocks(z1, totals[r][1], row_scales[r]));
  });
}

/// Superblock s of one panel and up to row_block rows in tiles, with x starting at its columns.
template <class F>
void multiply_stored_rows(const std::byte* superblock, const StoredDepth& depth, index_t s, const std::int32_t* x,
                          index_t rows, float* sums, ReadAhead ahead) {
  using Layout = StoredLayout<F>;
  const index_t blocks = depth.blocks_of(s), pairs = depth.pairs(), superblocks = depth.superblocks();
  ExpandedSuperblock weights;
  weights.expand<F>(superblock, blocks);
  for (index_t row = 0; row < rows; row += tile_rows) {
    const std::int32_t* const from = x + row * depth.row_words();
    const std::int32_t* const row_scales = from + (pairs + s - s * superblock_columns / 2) * tile_rows;
    float* const z = sums + row * panel_rows;
    const index_t count = std::min<index_t>(tile_rows, rows - row);
    ahead();
    if constexpr (F::has_block_scales) {
      for (index_t done = 0; done < count; done += scaled_rows)
        with_rows<scaled_rows>(std::min<index_t>(scaled_rows, count - done), [&](auto r) {
          multiply_scaled_blocks<r>(blocks, from + done, weights, row_scales + done, s == 0, z + done * panel_rows,
                                    ahead.behind(from) + done);
        });
    } else {
      with_rows(count, [&](auto r) {
        multiply_superblock<r>(blocks * block_columns / 2, from, weights.wide, row_scales,
                               Layout::scale(superblock, 0, 0), Layout::scale(superblock, 0, 1), s == 0, z,
                               ahead.behind(from));
        if constexpr (F::has_minimums) {
          const std::int32_t* const block_sums =
              from + (pairs + superblocks + s * superblock_blocks - s * superblock_columns / 2) * tile_rows;
          multiply_superblock<r>(blocks, block_sums, weights.minimums, row_scales, -Layout::minimum(superblock, 0),
                                 -Layout::minimum(superblock, 1), false, z, block_sums);
        }
      });
    }
  }
}

/// Where a superblock of the first of several rows is.
struct StreamedColumns {
  const std::int32_t *x, *sums, *halves, *scale;
  index_t row_words;

  StreamedColumns(const std::int32_t* rows, const StoredDepth& depth, index_t s) : row_words(depth.row_words()) {
    x = rows + s * (superblock_columns / 2);
    scale = rows + depth.pairs() + s;
    sums = rows + depth.pairs() + depth.superblocks() + s * superblock_blocks;
    halves = rows + depth.pairs() + depth.superblocks() + depth.blocks() + 2 * s * superblock_blocks;
  }
};

/// Factors of a cut sum for subtracting it `zero` times.
template <int zero>
QWEN3VL_INLINE Shorts minus_cut_sum() {
  return simd::splat_pair((-zero & 0xffff) | (-zero * 128) * 65536);
}

/// C strips of block b, from strip `first` on, for R rows: sums of q * x, with the steps multiplied in and `zero` or
/// the offset subtracted.
///
/// With one row there are registers for several sums, some of them too large by a power of two: bits need not be moved
/// to their place then, masks are enough, and independent sums keep the processor busy. Nothing overflows: 16 columns
/// times 3 * 64 * 2^15.
template <int R, int C, class F>
QWEN3VL_INLINE void stream_block(const std::byte* superblock, index_t b, index_t first, const StreamedColumns& columns,
                                 UInts (&totals)[C][R]) {
  using Layout = StoredLayout<F>;
  using Words = typename F::Words;
  constexpr bool apart = R == 1 && Words::sums > 1, high_apart = apart && F::high_bits > 0;
  constexpr int parts = apart ? Words::sums : 1, high_parts = high_apart ? 4 : 1;
  const auto prefetch = [&](const std::byte* from, int strip) __attribute__((always_inline)) {
    if (strip == 0 || 2 * Layout::vector_bytes > 64) __builtin_prefetch(from + weights_ahead, 0, 2);  // once per line
  };
  for (index_t line = 0; line < Layout::words_at; line += 64)
    __builtin_prefetch(superblock + Layout::block(b) + line + weights_ahead, 0, 2);
  for (index_t group = 0; group < Layout::groups; ++group) {
    Ints sums[C][R][parts] = {}, high_sums[C][high_parts] = {};
    Shorts high[C] = {};
    if constexpr (F::high_bits > 0)
      simd::unroll<C>([&](auto c) {
        const std::byte* const from = superblock + Layout::high(b, group, first + c);
        high[c] = simd::load_shorts(from);
        prefetch(from, c);
      });
      // Not unrolled: GCC would do all multiplications first and spill the results.
#pragma GCC unroll 1
    for (index_t v = 0; v < Layout::group_vectors; ++v) {
      Shorts words[C];
      simd::unroll<C>([&](auto c) {
        const std::byte* const from = superblock + Layout::words(b, group, v, first + c);
        words[c] = simd::load_shorts(from);
        prefetch(from, c);
      });
      simd::unroll<Words::per_word>([&](auto i) {
        Shorts pairs[C];
        simd::unroll<C>([&](auto c) {
          if constexpr (apart) {
            pairs[c] = Words::template summand<i>(words[c]);
          } else {
            pairs[c] = stored_pair<F, i>(words[c], high[c]);
          }
        });
        simd::unroll<R>([&](auto r) {
          const Shorts pair = simd::splat_pair(columns.x[r * columns.row_words + b * (block_columns / 2) +
                                                         (group * Layout::group_vectors + v) * Words::per_word + i]);
          simd::unroll<C>([&](auto c) {
            Ints& sum = sums[c][r][i % parts];
            sum = simd::dot_pairs(sum, pair, pairs[c]);
            if constexpr (high_apart) {
              constexpr auto mask = static_cast<std::uint16_t>(((1 << F::high_bits) - 1) << (F::high_bits * i));
              high_sums[c][i] = simd::dot_pairs(
                  high_sums[c][i], pair, reinterpret_cast<Shorts>(reinterpret_cast<simd::UShorts>(high[c]) & mask));
            }
          });
        });
      });
      if constexpr (F::high_bits > 0) simd::unroll<C>([&](auto c) { high[c] = next_high<F>(high[c]); });
    }
    simd::unroll<C>([&](auto c) {
      const auto total = [&](auto r) __attribute__((always_inline)) {
        Ints sum = sums[c][r][0];
        if constexpr (apart) sum = Words::total(sums[c][r]);
        if constexpr (high_apart) {
          Ints high_sum = high_sums[c][0];
          simd::unroll<high_parts - 1>([&](auto i) { high_sum += high_sums[c][i + 1] >> (F::high_bits * (i + 1)); });
          sum += high_sum << 4;
        }
        if constexpr (!F::has_block_scales && F::zero != 0)
          sum = simd::dot_pairs(sum, simd::splat_pair(columns.halves[r * columns.row_words + 2 * b + group]),
                                minus_cut_sum<F::zero>());
        return sum;
      };
      if constexpr (F::has_block_scales) {
        Shorts factors = minus_cut_sum<F::zero>();
        if constexpr (F::has_offsets) {
          const Ints offset = -Layout::offset(superblock, b, first + c);  // as for_cut_sum, of a negative number
          factors = reinterpret_cast<Shorts>((offset & 0xffff) | (offset << 23));
        }
        simd::unroll<R>([&](auto r) {
          Ints sum = total(r);
          if constexpr (F::has_offsets || F::zero != 0)
            sum = simd::dot_pairs(sum, simd::splat_pair(columns.sums[r * columns.row_words + b]), factors);
          totals[c][r] = reinterpret_cast<UInts>(sum);
        });
      } else {
        const auto step = reinterpret_cast<UInts>(Layout::step(superblock, b, group, first + c));
        simd::unroll<R>([&](auto r) { totals[c][r] += reinterpret_cast<UInts>(total(r)) * step; });
      }
    });
  }
}

/// One panel for R rows that are not in tiles; weights are read once.
template <int R, class F>
[[gnu::noinline, gnu::flatten]] void stream_stored_panel(const std::byte* superblock, const StoredDepth& depth,
                                                         const std::int32_t* rows, Tile<R, 2>& sums) {
  using Layout = StoredLayout<F>;
  constexpr int together = 2;  // strips per pass
  const index_t superblocks = depth.superblocks(), row_words = depth.row_words();
  sums.clear();
  for (index_t s = 0; s < superblocks; ++s, superblock += Layout::bytes(superblock_blocks)) {
    const index_t blocks = depth.blocks_of(s);
    const StreamedColumns columns(rows, depth, s);
    for (index_t half = 0; half < 2; half += together) {
      if constexpr (F::has_block_scales) {
        Floats scaled[together][R] = {};
        for (index_t b = 0; b < blocks; ++b) {
          UInts integers[together][R] = {};
          stream_block<R, together, F>(superblock, b, half, columns, integers);
          simd::unroll<together>([&](auto c) {
            const Floats scale = Layout::scale(superblock, b, half + c);
            simd::unroll<R>(
                [&](auto r) { scaled[c][r] = add_block(scaled[c][r], reinterpret_cast<Ints>(integers[c][r]), scale); });
          });
        }
        simd::unroll<together>([&](auto c) {
          simd::unroll<R>([&](auto r) {
            Floats& sum = sums.sums[r][half + c];
            sum = add_blocks(sum, scaled[c][r], columns.scale[r * row_words]);
          });
        });
      } else {
        UInts totals[together][R] = {};
        Ints minimums[together][R] = {};
        for (index_t b = 0; b < blocks; ++b) {
          stream_block<R, together, F>(superblock, b, half, columns, totals);
          if constexpr (F::has_minimums)
            simd::unroll<together>([&](auto c) {
              const Shorts factors = for_cut_sum(Layout::offset(superblock, b, half + c));
              simd::unroll<R>([&](auto r) {
                minimums[c][r] =
                    simd::dot_pairs(minimums[c][r], simd::splat_pair(columns.sums[r * row_words + b]), factors);
              });
            });
        }
        simd::unroll<together>([&](auto c) {
          const Floats scale = Layout::scale(superblock, 0, half + c);
          simd::unroll<R>([&](auto r) {
            Floats& sum = sums.sums[r][half + c];
            sum = add_superblock(sum, reinterpret_cast<Ints>(totals[c][r]), scale, columns.scale[r * row_words]);
            if constexpr (F::has_minimums)
              sum = add_superblock(sum, minimums[c][r], -Layout::minimum(superblock, half + c),
                                   columns.scale[r * row_words]);
          });
        });
      }
    }
  }
}

/// Blocked product with a form of integers.
struct BlockedStoredBlocks {
  static constexpr index_t most_steps = 1, step_words = superblock_columns / 2;
  StoredForm form;
  StoredDepth depth;

  void operator()(const std::byte* superblock, PanelPart part, const std::int32_t* x, index_t rows, float* sums,
                  const ReadAhead& ahead) const {
    visit_blocks(form,
                 [&]<class F>(F) { multiply_stored_rows<F>(superblock, depth, part.first, x, rows, sums, ahead); });
  }
};

/// Streamed product of R rows. More than two are taken in pairs, the second time from the cache: kernels for three and
/// four rows were no faster.
template <int R>
struct StreamedStoredBlocks {
  static constexpr int together = 1;
  StoredForm form;
  StoredDepth depth;

  void operator()(const std::byte* const (&panels)[1], const std::int32_t* x, Tile<R, 2> (&sums)[1]) const {
    visit_blocks(form, [&]<class F>(F) {
      if constexpr (R <= 2) {
        stream_stored_panel<R, F>(panels[0], depth, x, sums[0]);
      } else {
        Tile<2, 2> pair;
        Tile<R - 2, 2> others;
        stream_stored_panel<2, F>(panels[0], depth, x, pair);
        stream_stored_panel<R - 2, F>(panels[0], depth, x + 2 * depth.row_words(), others);
        sums[0] = joined(pair, others);
      }
    });
  }
};

/// The kernels for integer forms, in place of a weight type's (Kernel in product.hpp).
struct StoredBlocks {
  using Rows = StoredRows;
  using Blocked = BlockedStoredBlocks;
  template <int R>
  using Streamed = StreamedStoredBlocks<R>;
  static constexpr index_t step_columns = superblock_columns;
  static index_t steps(StoredDepth depth) { return depth.superblocks(); }
};

}  // namespace qwen3vl::cpu_kernels
