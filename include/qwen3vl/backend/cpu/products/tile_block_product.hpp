/// Kernel of the blocked product with block weights in AMX tiles (see product.hpp). Weights and activations are the
/// 16-bit integers of block_product.hpp, each split into a signed high byte and an unsigned low byte. Four byte
/// products, weighted with 2^16, 2^8 and 1, give the same 32-bit sums to the last bit (everything is exact, or modulo
/// 2^32).
#pragma once

#include <algorithm>

#include "qwen3vl/backend/cpu/products/block_product.hpp"

#if QWEN3VL_HAS_TILES

namespace qwen3vl::cpu_kernels {

/// `wide` from expand(), split into bytes: tiles of 64 columns, [steps][strip][low, high][16 rows][64 bytes].
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

/// sums [16 rows][panel] = (or +=, if not `first`) the products of one superblock for a tile of rows and one strip. x
/// [steps][low, high] tiles, weights as above; both start at this superblock.
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

/// Blocked product with block weights, which are split into bytes once for all rows.
template <BlockWeight W, index_t K>
class BlockedBlocks {
  using Rows = BlockRows<W, K>;

 public:
  static constexpr index_t steps = BlockPanels<W, K>::superblocks, most_steps = 1,
                           step_words = Rows::superblock_steps * 2 * simd::tile_size;

  void operator()(const std::byte* superblock, PanelPart part, const std::int32_t* x, index_t rows, float* sums,
                  const ReadAhead&) {
    using Layout = StripLayout<W>;
    constexpr BlockDepth depth = depth_of<W, K>();
    const index_t s = part.first, blocks = depth.blocks_of(s), byte_steps = (blocks + 1) / 2;
    // A last block without a partner is multiplied by zero activations.
    if (blocks % 2 != 0)
      std::fill_n(wide_ + blocks * block_columns * panel_rows, block_columns * panel_rows, std::int16_t{0});
    expand<W>(superblock, blocks, wide_);
    cut_to_bytes(wide_, byte_steps, bytes_);
    const Floats scales[2] = {Layout::scale(superblock, 0), Layout::scale(superblock, 1)};
    for (index_t row = 0; row < rows; row += simd::tile_size, x += simd::tile_size * Rows::words)
      for (index_t strip = 0; strip < 2; ++strip)
        multiply_byte_tiles(byte_steps, x, bytes_ + strip * 2 * simd::tile_words,
                            x + (Rows::steps - s * Rows::superblock_steps) * 2 * simd::tile_words + s * simd::tile_size,
                            scales[strip], s == 0, sums + row * panel_rows + strip * simd::width);
  }

 private:
  alignas(64) std::int16_t wide_[superblock_columns * panel_rows];
  alignas(64) std::int32_t bytes_[Rows::superblock_steps * 4 * simd::tile_words];
  simd::Tiles registers_;
};

}  // namespace qwen3vl::cpu_kernels

#endif
