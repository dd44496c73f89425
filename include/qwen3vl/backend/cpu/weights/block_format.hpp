/// Layout of block weights (q8, q4) in CPU memory. A strip is one vector of outputs and a panel is two strips. Over 256
/// columns (a superblock), a panel is stored as
///
///   scales   bf16 [2][width]                       s of each output
///   steps    u8   [blocks][2][width]               a of each block
///   words    u16  [blocks][vectors][2][width][2]
///
/// for q8. For q4, the factors of a block stand beside its words, so that each block is a whole number of cache lines:
///
///   scales   bf16 [2][width]
///   for each block
///     steps    u8   [2][width]
///     offsets  i8   [2][width]                     b of the block
///     words    u16  [vectors][2][width][2]
///
/// Lane (output, j) of a word holds the columns of parity j: two bytes of q8 (columns j and 2 + j of four), four
/// nibbles of q4 (columns j, 2 + j, 4 + j and 6 + j of eight). Shifts and masks turn them into vectors of pairs of
/// neighbouring columns as 16-bit integers, the operands of simd::dot_pairs.
///
/// Why 16 bits and not 8: on AVX2 a product of bytes needs two multiplications and an addition for 32 terms, exactly as
/// many multiplications as 16-bit pairs need, and its 16-bit sums overflow unless the activations have 7 bits. With 16
/// bits, the integer scales of the blocks are multiplied into the weights and activations keep 9 to 15 bits, so nearly
/// all of the error comes from rounding the weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/simd/integer_simd.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::cpu_kernels {

using simd::Floats;
using simd::Ints;
using simd::Shorts;
using simd::UInts;

/// Columns of a block, which has one integer scale, and of a superblock, which has one float scale.
inline constexpr index_t block_columns = 32;
inline constexpr index_t superblock_columns = 256;
inline constexpr index_t superblock_blocks = superblock_columns / block_columns;

/// Integer factors of one block of one strip. Weight = scale * (step * q + offset).
struct BlockFactors {
  Ints step, offset;
};

/// Offsets of the parts of a strip in a superblock of `blocks` blocks, and how words are unpacked.
template <class W>
struct BlockFormat;

template <>
struct BlockFormat<q8> {
  static constexpr bool has_offset = false;
  static constexpr int per_word = 2;  ///< pairs of columns in a word
  static constexpr int largest_step = 127;
  /// Largest |step * q|, which bounds the sums.
  static constexpr index_t largest_weight = index_t{127} * 127;
  /// Number of accumulators for the streamed product of one row.
  static constexpr int sums = 1;

  /// Pair i of the words, not yet multiplied by the step.
  template <int i>
  static QWEN3VL_INLINE Shorts pair(Shorts words) {
    if constexpr (i == 0) return (words << 8) >> 8;
    return words >> 8;
  }
  /// Pair i of a single word.
  static constexpr std::int32_t part(std::uint16_t word, index_t i) {
    return static_cast<std::int8_t>(word >> (8 * i));
  }
};

template <>
struct BlockFormat<q4> {
  static constexpr bool has_offset = true;
  static constexpr int per_word = 4;
  static constexpr int largest_step = 255;
  static constexpr int offset_unit = 16;
  static constexpr index_t largest_weight = index_t{255} * 15 + index_t{127} * offset_unit;
  /// Odd pairs go to a second accumulator, 16 times too large: one shift serves two pairs, and twice as many
  /// independent sums keep the processor busy. With more rows there are not enough registers. Pair i goes to sum i % 2,
  /// as summand<i>(). Nothing overflows: 16 * 15 is less than largest_weight.
  static constexpr int sums = 2;

  template <int i>
  static QWEN3VL_INLINE Shorts pair(Shorts words) {
    const auto shifted = reinterpret_cast<simd::UShorts>(words) >> (4 * i);
    if constexpr (i == 3) return reinterpret_cast<Shorts>(shifted);
    return reinterpret_cast<Shorts>(shifted & 15);
  }
  template <int i>
  static QWEN3VL_INLINE Shorts summand(Shorts words) {
    constexpr std::uint16_t mask = i % 2 == 0 ? 0x0f : 0xf0;
    return reinterpret_cast<Shorts>((reinterpret_cast<simd::UShorts>(words) >> (8 * (i / 2))) & mask);
  }
  static QWEN3VL_INLINE Ints total(const Ints (&summed)[sums]) { return summed[0] + (summed[1] >> 4); }
  static constexpr std::int32_t part(std::uint16_t word, index_t i) { return (word >> (4 * i)) & 15; }
};

/// Offsets in bytes inside a superblock of `blocks` blocks. In every part the strips are adjacent, so that decoding
/// reads a panel as one stream; the hardware prefetches too little for several. Rounding produces a single strip.
template <class W, index_t strips = 2>
struct StripLayout {
  using Format = BlockFormat<W>;
  static constexpr index_t width = simd::width;
  /// Vectors of words in a block.
  static constexpr index_t vectors = block_columns / (2 * Format::per_word);
  static constexpr index_t vector_bytes = width * 4;

  /// Whether each block's factors stand before its words; otherwise those of all blocks stand at the superblock's
  /// start.
  static constexpr bool factors_in_block = Format::has_offset;
  static constexpr index_t factor_bytes = strips * width * (Format::has_offset ? 2 : 1);
  static constexpr index_t word_bytes = vectors * strips * vector_bytes;  ///< of a block

  static constexpr index_t scales(index_t strip) { return strip * width * 2; }
  static constexpr index_t steps(index_t block, index_t strip) {
    return scales(strips) + block * (factor_bytes + (factors_in_block ? word_bytes : 0)) + strip * width;
  }
  static constexpr index_t offsets(index_t block, index_t strip) { return steps(block, strips + strip); }
  /// Vector `vector` of a block.
  static constexpr index_t words(index_t blocks, index_t block, index_t vector, index_t strip) {
    return (factors_in_block ? steps(block, 0) + factor_bytes : steps(blocks, 0) + block * word_bytes) +
           (vector * strips + strip) * vector_bytes;
  }
  static constexpr index_t bytes(index_t blocks) { return scales(strips) + blocks * (factor_bytes + word_bytes); }

  static QWEN3VL_INLINE Floats scale(const std::byte* superblock, index_t strip) {
    return simd::load(reinterpret_cast<const bf16*>(superblock + scales(strip)));
  }
  static QWEN3VL_INLINE BlockFactors factors(const std::byte* superblock, index_t block, index_t strip) {
    simd::Bytes a;
    std::memcpy(&a, superblock + steps(block, strip), sizeof a);
    BlockFactors f{simd::widen(a), Ints{}};
    if constexpr (Format::has_offset) {
      simd::SBytes b;
      std::memcpy(&b, superblock + offsets(block, strip), sizeof b);
      f.offset = simd::widen(b) * Format::offset_unit;
    }
    return f;
  }
};

}  // namespace qwen3vl::cpu_kernels
