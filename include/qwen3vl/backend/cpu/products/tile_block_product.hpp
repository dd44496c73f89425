/// Products of rows with block weights in the processor's tiles. Weights and activations are the 16-bit integers of
/// block_product.hpp, each as a high byte with a sign and a low byte without; four products of bytes, added with their
/// weights of 2^16, 2^8 and 1, are the same 32-bit sums, to the last bit (all of it is exact, or modulo 2^32).
#pragma once

#include <algorithm>

#include "qwen3vl/backend/cpu/products/block_product.hpp"

#if QWEN3VL_HAS_TILES

namespace qwen3vl::cpu_kernels {

/// `wide` from expand(), cut into bytes: tiles of 64 columns, [steps][strip][low, high][16 rows][64 bytes].
inline void cut_to_bytes(const std::int16_t* wide, index_t steps, std::int32_t* to) {
  constexpr index_t vector = 2 * simd::width, half = simd::tile_size * 2 * vector;
  for (index_t s = 0; s < steps; ++s)
    for (index_t row = 0; row < simd::tile_size; ++row)
      for (index_t strip = 0; strip < 2; ++strip) {
        const std::int16_t* const from = wide + s * 2 * half + (row * 2 + strip) * vector;
        const simd::BytePair bytes = simd::quads(simd::load_shorts(from), simd::load_shorts(from + half));
        std::int32_t* const tile = to + (s * 2 + strip) * 2 * simd::tile_words + row * simd::tile_size;
        std::memcpy(tile, &bytes.low, sizeof bytes.low);
        std::memcpy(tile + simd::tile_words, &bytes.high, sizeof bytes.high);
      }
}

/// sums [16 rows][panel] = (or +=, if not `first`) the products of one superblock for a tile of rows and one strip.
/// x [steps][low, high] tiles, weights as above, both from this superblock on.
QWEN3VL_INLINE void multiply_byte_tiles(index_t steps, const std::int32_t* x, const std::int32_t* weights,
                                        const std::int32_t* row_scales, Floats scale, bool first, float* sums) {
  using namespace simd;
  clear_tile<0>();
  clear_tile<1>();
  clear_tile<2>();
  for (index_t s = 0; s < steps; ++s) {
    load_tile<4>(x + s * 2 * simd::tile_words, 64);
    load_tile<6>(weights + s * 4 * simd::tile_words, 64);
    dot_byte_tiles<false, false, 0, 4, 6>();
    load_tile<7>(weights + s * 4 * simd::tile_words + simd::tile_words, 64);
    load_tile<5>(x + s * 2 * simd::tile_words + simd::tile_words, 64);
    dot_byte_tiles<false, true, 1, 4, 7>();
    dot_byte_tiles<true, true, 2, 5, 7>();
    dot_byte_tiles<true, false, 1, 5, 6>();
  }
  alignas(64) std::int32_t parts[3][tile_size][tile_size];
  store_tile<0>(parts[0], 64);
  store_tile<1>(parts[1], 64);
  store_tile<2>(parts[2], 64);
  for (int row = 0; row < tile_size; ++row) {
    UInts low, middle, high;
    std::memcpy(&low, parts[0][row], sizeof low);
    std::memcpy(&middle, parts[1][row], sizeof middle);
    std::memcpy(&high, parts[2][row], sizeof high);
    float* const to = sums + row * 2 * width;
    store(to, add_superblock(first ? Floats{} : load(to), reinterpret_cast<Ints>(low + (middle << 8) + (high << 16)),
                             scale, row_scales[row]));
  }
}

/// As blocked_panels of float weights: superblocks are the outer loop, weights are cut to bytes once for all rows.
template <BlockWeight W, index_t N, index_t K, Packing packing, class F>
void blocked_panels(const CpuMatrix<W, N, K, packing>& weight, const std::int32_t* packed, index_t rows, index_t begin,
                    index_t end, float* sums, const F& finish) {
  using Layout = StripLayout<W>;
  using Rows = BlockRows<W, K>;
  constexpr BlockDepth depth = depth_of<W, K>();
  constexpr index_t panel = 2 * simd::width;
  const index_t tiles = (rows + simd::tile_size - 1) / simd::tile_size;
  alignas(64) std::int16_t wide[superblock_columns * panel];
  alignas(64) std::int32_t bytes[Rows::superblock_steps * 4 * simd::tile_words];
  const simd::Tiles registers;
  for (index_t group = begin; group < end; group += panel_group)
    for (index_t s = 0; s < depth.superblocks; ++s) {
      const index_t blocks = depth.blocks_of(s), steps = (blocks + 1) / 2;
      for (index_t p = group; p < std::min(end, group + panel_group); ++p) {
        const std::byte* const superblock = weight.panel(p) + s * Layout::bytes(superblock_blocks);
        // A last block without a partner meets activations of zero.
        if (blocks % 2 != 0) std::fill_n(wide + blocks * block_columns * panel, block_columns * panel, std::int16_t{0});
        expand<W>(superblock, blocks, wide);
        cut_to_bytes(wide, steps, bytes);
        const Floats scales[2] = {Layout::scale(superblock, 0), Layout::scale(superblock, 1)};
        float* const z = sums + (p - group) * tiles * simd::tile_size * panel;
        for (index_t tile = 0; tile < tiles; ++tile) {
          const std::int32_t* const x = packed + tile * simd::tile_size * Rows::words;
          for (index_t strip = 0; strip < 2; ++strip)
            multiply_byte_tiles(steps, x + s * Rows::superblock_steps * 2 * simd::tile_words,
                                bytes + strip * 2 * simd::tile_words,
                                x + Rows::steps * 2 * simd::tile_words + s * simd::tile_size, scales[strip], s == 0,
                                z + tile * simd::tile_size * panel + strip * simd::width);
        }
        if (s + 1 == depth.superblocks)
          for (index_t row = 0; row < rows; ++row)
            finish(p, simd::load(z + row * panel), simd::load(z + row * panel + simd::width), row);
      }
    }
}

}  // namespace qwen3vl::cpu_kernels

#endif
