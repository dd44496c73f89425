/// Activations as 8-bit integers with a scale for each 32 columns, for products with q8_dot and q4_dot weights
/// (byte_product.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/simd/byte_simd.hpp"
#include "qwen3vl/backend/cpu/weights/block_format.hpp"

#if QWEN3VL_HAS_BYTE_PAIRS

namespace qwen3vl::cpu_kernels {

/// Words of four columns in a block, and all of a block in a row.
inline constexpr index_t block_quads = block_columns / 4, block_words = block_quads + 2;

/// 32 columns of a row.
struct RoundedBlock {
  std::int32_t quads[block_quads];  ///< four columns each, in the order of the bytes of weights
  std::int32_t scale;               ///< bits of a float: an activation is scale * integer
  /// Of the integers, for q8 times -128 (where sums of products start, see simd::ByteProducts), for q4 the bits of
  /// scale * sum, which meets the blocks' offsets.
  std::int32_t sum;
};
static_assert(sizeof(RoundedBlock) == block_words * sizeof(std::int32_t));

/// Where the columns of four words of a row of q8, or of two words of q4, stand (see BlockFormat): a lane of q8 has the
/// bytes of columns 0, 2, 1 and 3 of four. Of a lane of q4 the lower nibbles of the bytes are columns 0, 4, 1 and 5 of
/// eight, the upper ones 2, 6, 3 and 7.
template <class W>
struct ByteOrder {
  static constexpr int lane(int i) {
    if (std::is_same_v<W, q8>) return i / 4 * 4 + i % 2 * 2 + i % 4 / 2;
    return i / 8 * 8 + i % 2 * 4 + i % 4 / 2 + i % 8 / 4 * 2;
  }
};

/// Rounds 32 columns: the one of the largest magnitude becomes 127 or -127. Blocks of less than 2^-100 are rounded as
/// if that were their largest. With a column that is not finite the scale is NaN, and so is every product.
template <BlockWeight W>
QWEN3VL_INLINE void round_block(const float* x, RoundedBlock& to) {
  constexpr int vectors = block_columns / simd::width, half = vectors / 2;
  Floats values[vectors];
  Ints largest = {};  // of the magnitudes' bits, which are in the order of the magnitudes, and NaN above them
  simd::unroll<vectors>([&](auto v) {
    values[v] = simd::load(x + v * simd::width);
    largest = simd::max(largest, reinterpret_cast<Ints>(values[v]) & 0x7fffffff);
  });
  const float magnitude = std::bit_cast<float>(simd::largest(largest));
  if (!(magnitude <= std::numeric_limits<float>::max())) {
    std::fill_n(to.quads, block_quads, 0);
    to.scale = std::bit_cast<std::int32_t>(std::numeric_limits<float>::quiet_NaN());
    to.sum = 0;
    return;
  }
  const float factor = 127.0f / std::max(magnitude, 0x1p-100f), scale = 1.0f / factor;
  Ints integers[2][half], sums = {};
  simd::unroll<vectors>([&](auto v) {
    integers[v / half][v % half] = simd::to_nearest(values[v] * factor);
    sums += integers[v / half][v % half];
  });
  simd::unroll<2>([&](auto i) {
    const simd::SixteenBytes bytes = simd::shuffled(simd::to_bytes(integers[i]), ByteOrder<W>{});
    std::memcpy(to.quads + i * 4, &bytes, sizeof bytes);
  });
  const float sum = simd::sum(simd::to_floats(sums));  // exact
  to.scale = std::bit_cast<std::int32_t>(scale);
  to.sum = std::is_same_v<W, q8> ? -128 * static_cast<std::int32_t>(sum) : std::bit_cast<std::int32_t>(scale * sum);
}

/// Block b of a row x [columns], with zeros for columns beyond the row's.
template <BlockWeight W>
QWEN3VL_INLINE void round_block_of_row(const float* x, index_t columns, index_t b, RoundedBlock& to) {
  const index_t first = b * block_columns, own = std::min(block_columns, columns - first);
  if (own == block_columns) return round_block<W>(x + first, to);
  float copy[block_columns] = {};
  std::copy_n(x + first, own, copy);
  round_block<W>(copy, to);
}

/// Activation rows as products with q8_dot and q4_dot weights read them. A row is its RoundedBlocks; a tile of rows has
/// for each block quads [tile_rows][8], scales [tile_rows] and sums [tile_rows], so that an inner loop reads
/// neighbouring words of all rows.
template <BlockWeight W, index_t K>
struct ByteRows {
  static constexpr index_t blocks = (K + block_columns - 1) / block_columns, words = blocks * block_words;
  using Word = std::int32_t;
  static constexpr int tile_rows = cpu_kernels::tile_rows;
  static constexpr index_t row_block = tile_rows * tiles_of_block;

  static void put(const float* x, Word* to) { put_row(x, K, to); }
  template <class Source>
  static void put_tile(const Source& source, index_t count, Word* tile) {
    for (index_t r = 0; r < count; ++r) put_row_of_tile(source(r), K, r, tile);
  }

 private:
  [[gnu::noinline, gnu::flatten]] static void put_row(const float* x, index_t columns, Word* to) {
    RoundedBlock block;
    for (index_t b = 0; b < blocks; ++b, to += block_words) {
      round_block_of_row<W>(x, columns, b, block);
      std::memcpy(to, &block, sizeof block);
    }
  }
  [[gnu::noinline, gnu::flatten]] static void put_row_of_tile(const float* x, index_t columns, index_t row,
                                                              Word* tile) {
    RoundedBlock block;
    for (index_t b = 0; b < blocks; ++b, tile += block_words * tile_rows) {
      round_block_of_row<W>(x, columns, b, block);
      std::memcpy(tile + row * block_quads, block.quads, sizeof block.quads);
      tile[tile_rows * block_quads + row] = block.scale;
      tile[tile_rows * (block_quads + 1) + row] = block.sum;
    }
  }
};

}  // namespace qwen3vl::cpu_kernels

#endif
