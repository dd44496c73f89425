/// The types of GGUF that keep a row in blocks of 32 values, each with a float16 scale. A type says how a block becomes
/// integers and factors; what those multiply out to is the same for all (Rows).
///
/// Each has block_size (values), block_bytes, group (values of a factor), zero, and
///   unpack(block, q)                     the integers, in [-128, 127]
///   factors(block, scales, minimums)     a number each for every group: w = scale * (q - zero) + minimum, where the
///                                        minimum is left out if has_minimums is false
/// All products are exact in float32 and a sum is rounded once, so contraction to FMA changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl::gguf {

/// The float16 at these bytes.
inline float half_at(const std::uint8_t* bytes) {
  f16 value;
  std::memcpy(&value, bytes, sizeof value);
  return static_cast<float>(value);
}

/// Nibbles of 16 bytes: the low ones are values 0 to 15, the high ones 16 to 31.
inline void unpack_nibbles(const std::uint8_t* bytes, std::int8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = static_cast<std::int8_t>(bytes[i] & 15);
    q[i + 16] = static_cast<std::int8_t>(bytes[i] >> 4);
  }
}
/// The same with a fifth bit each, from 32 bits.
inline void unpack_five_bits(const std::uint8_t* high, const std::uint8_t* bytes, std::int8_t* q) {
  std::uint32_t bits;
  std::memcpy(&bits, high, sizeof bits);
  unpack_nibbles(bytes, q);
  for (std::uint32_t i = 0; i < 32; ++i) q[i] = static_cast<std::int8_t>(q[i] | (bits >> i & 1) << 4);
}
/// The same as places in a table of 16 values.
inline void look_up_nibbles(const std::int8_t (&table)[16], const std::uint8_t* bytes, std::int8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = table[bytes[i] & 15];
    q[i + 16] = table[bytes[i] >> 4];
  }
}

/// What blocks of 32 values with one scale have in common.
struct Block32 {
  static constexpr index_t block_size = 32, group = 32;
  static constexpr int zero = 0;
  static constexpr bool has_minimums = false;
  static constexpr BlockForm form = BlockForm::none;
  static void factors(const std::uint8_t* block, float* scales, float*) { scales[0] = half_at(block); }
};
/// And those with a minimum, too.
struct Block32WithMinimum : Block32 {
  static constexpr bool has_minimums = true;
  static void factors(const std::uint8_t* block, float* scales, float* minimums) {
    scales[0] = half_at(block);
    minimums[0] = half_at(block + 2);
  }
};

struct Q8_0 : Block32 {
  static constexpr std::string_view name = "Q8_0";
  static constexpr std::size_t block_bytes = 2 + 32;
  static constexpr BlockForm form = BlockForm::bytes;
  static void unpack(const std::uint8_t* block, std::int8_t* q) { std::memcpy(q, block + 2, 32); }
};

struct Q4_0 : Block32 {
  static constexpr std::string_view name = "Q4_0";
  static constexpr std::size_t block_bytes = 2 + 16;
  static constexpr int zero = 8;
  static constexpr BlockForm form = BlockForm::nibbles;
  static void unpack(const std::uint8_t* block, std::int8_t* q) { unpack_nibbles(block + 2, q); }
};

struct Q4_1 : Block32WithMinimum {
  static constexpr std::string_view name = "Q4_1";
  static constexpr std::size_t block_bytes = 2 + 2 + 16;
  static void unpack(const std::uint8_t* block, std::int8_t* q) { unpack_nibbles(block + 4, q); }
};

struct Q5_0 : Block32 {
  static constexpr std::string_view name = "Q5_0";
  static constexpr std::size_t block_bytes = 2 + 4 + 16;
  static constexpr BlockForm form = BlockForm::bytes;
  static void unpack(const std::uint8_t* block, std::int8_t* q) {
    unpack_five_bits(block + 2, block + 6, q);
    for (int i = 0; i < 32; ++i) q[i] = static_cast<std::int8_t>(q[i] - 16);
  }
};

struct Q5_1 : Block32WithMinimum {
  static constexpr std::string_view name = "Q5_1";
  static constexpr std::size_t block_bytes = 2 + 2 + 4 + 16;
  static void unpack(const std::uint8_t* block, std::int8_t* q) { unpack_five_bits(block + 4, block + 8, q); }
};

/// The values of IQ4_NL and IQ4_XS.
inline constexpr std::int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

struct Iq4Nl : Block32 {
  static constexpr std::string_view name = "IQ4_NL";
  static constexpr std::size_t block_bytes = 2 + 16;
  static constexpr BlockForm form = BlockForm::bytes;
  static void unpack(const std::uint8_t* block, std::int8_t* q) { look_up_nibbles(iq4_values, block + 2, q); }
};

/// The microscaling format of the Open Compute Project: numbers e2m1, here doubled, and the exponent of half a scale.
struct Mxfp4 : Block32 {
  static constexpr std::string_view name = "MXFP4";
  static constexpr std::size_t block_bytes = 1 + 16;
  static void factors(const std::uint8_t* block, float* scales, float*) {
    const std::uint32_t exponent = block[0];
    scales[0] = detail::float_of(exponent < 2 ? 0x200000u << exponent : (exponent - 1) << 23);
  }
  static void unpack(const std::uint8_t* block, std::int8_t* q) {
    static constexpr std::int8_t values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    look_up_nibbles(values, block + 1, q);
  }
};

}  // namespace qwen3vl::gguf
