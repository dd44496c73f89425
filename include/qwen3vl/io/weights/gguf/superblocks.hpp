/// The types of GGUF that keep a row in blocks of 256 values ("k-quants" and IQ4_XS): float16 factors of a block, small
/// integers ("steps" and "offsets") of its groups. See blocks.hpp for what a type says. Those that kernels can multiply
/// have steps(block, steps, offsets), too; see BlockForm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "qwen3vl/io/weights/gguf/blocks.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl::gguf {

struct Superblock {
  static constexpr index_t block_size = 256;
  static constexpr int zero = 0;
  static constexpr bool has_minimums = false;
  static constexpr BlockForm form = BlockForm::none;
};

/// Steps and offsets of Q4_K and Q5_K: eight of six bits each in 12 bytes. The upper two bits of the last four are in
/// the upper two bits of the bytes of the first four.
inline void unpack_six_bits(const std::uint8_t* bytes, std::int8_t* steps, std::uint8_t* offsets) {
  for (int i = 0; i < 4; ++i) {
    const int step = bytes[i], offset = bytes[i + 4], both = bytes[i + 8];
    steps[i] = static_cast<std::int8_t>(step & 63);
    steps[i + 4] = static_cast<std::int8_t>((both & 15) | (step >> 6) << 4);
    offsets[i] = static_cast<std::uint8_t>(offset & 63);
    offsets[i + 4] = static_cast<std::uint8_t>((both >> 4) | (offset >> 6) << 4);
  }
}

/// What Q4_K and Q5_K have in common: two factors, then steps and offsets.
struct SuperblockWithMinimums : Superblock {
  static constexpr index_t group = 32;
  static constexpr bool has_minimums = true;
  static float scale(const std::uint8_t* block) { return half_at(block); }
  static float minimum(const std::uint8_t* block) { return half_at(block + 2); }
  static void steps(const std::uint8_t* block, std::int8_t* steps, std::uint8_t* offsets) {
    unpack_six_bits(block + 4, steps, offsets);
  }
  static void factors(const std::uint8_t* block, float* scales, float* minimums) {
    std::int8_t step[8];
    std::uint8_t offset[8];
    steps(block, step, offset);
    const float d = scale(block), m = minimum(block);
    for (int i = 0; i < 8; ++i) {
      scales[i] = d * static_cast<float>(step[i]);
      minimums[i] = -(m * static_cast<float>(offset[i]));
    }
  }
};

/// Nibbles of 128 bytes, 64 values from each 32.
inline void unpack_superblock_nibbles(const std::uint8_t* bytes, std::int8_t* q) {
  for (int part = 0; part < 4; ++part, bytes += 32, q += 64)
    for (int i = 0; i < 32; ++i) {
      q[i] = static_cast<std::int8_t>(bytes[i] & 15);
      q[i + 32] = static_cast<std::int8_t>(bytes[i] >> 4);
    }
}

struct Q4K : SuperblockWithMinimums {
  static constexpr std::string_view name = "Q4_K";
  static constexpr std::size_t block_bytes = 2 + 2 + 12 + 128;
  static constexpr BlockForm form = BlockForm::q4_k;
  static void unpack(const std::uint8_t* block, std::int8_t* q) { unpack_superblock_nibbles(block + 16, q); }
};

struct Q5K : SuperblockWithMinimums {
  static constexpr std::string_view name = "Q5_K";
  static constexpr std::size_t block_bytes = 2 + 2 + 12 + 32 + 128;
  static constexpr BlockForm form = BlockForm::q5_k;
  static void unpack(const std::uint8_t* block, std::int8_t* q) {
    unpack_superblock_nibbles(block + 48, q);
    const std::uint8_t* const high = block + 16;  // bit g of byte i: the fifth bit of value i of group g
    for (int group = 0; group < 8; ++group)
      for (int i = 0; i < 32; ++i)
        q[32 * group + i] = static_cast<std::int8_t>(q[32 * group + i] | (high[i] >> group & 1) << 4);
  }
};

/// What types with a signed step for each 16 values have in common.
struct SuperblockOf16 : Superblock {
  static constexpr index_t group = 16;
  static constexpr BlockForm form = BlockForm::q6_k;
  static void multiply(float scale, const std::int8_t* steps, float* scales) {
    for (int i = 0; i < 16; ++i) scales[i] = scale * static_cast<float>(steps[i]);
  }
};

struct Q6K : SuperblockOf16 {
  static constexpr std::string_view name = "Q6_K";
  static constexpr std::size_t block_bytes = 128 + 64 + 16 + 2;
  static float scale(const std::uint8_t* block) { return half_at(block + 208); }
  static void steps(const std::uint8_t* block, std::int8_t* steps, std::uint8_t*) {
    std::memcpy(steps, block + 192, 16);
  }
  static void factors(const std::uint8_t* block, float* scales, float*) {
    std::int8_t step[16];
    steps(block, step, nullptr);
    multiply(scale(block), step, scales);
  }
  static void unpack(const std::uint8_t* block, std::int8_t* q) {
    const std::uint8_t *low = block, *high = block + 128;
    for (int half = 0; half < 2; ++half, low += 64, high += 32, q += 128)
      for (int part = 0; part < 4; ++part) {
        const std::uint8_t* const bytes = low + 32 * (part & 1);
        const int shift = 4 * (part >> 1);
        for (int i = 0; i < 32; ++i)
          q[32 * part + i] = static_cast<std::int8_t>(((bytes[i] >> shift & 15) | (high[i] >> 2 * part & 3) << 4) - 32);
      }
  }
};

/// Values of two bits: 128 from each 32 of 64 bytes.
inline void unpack_two_bits(const std::uint8_t* bytes, std::int8_t* q) {
  for (int half = 0; half < 2; ++half, bytes += 32, q += 128)
    for (int part = 0; part < 4; ++part)
      for (int i = 0; i < 32; ++i) q[32 * part + i] = static_cast<std::int8_t>(bytes[i] >> 2 * part & 3);
}

struct Q2K : Superblock {
  static constexpr std::string_view name = "Q2_K";
  static constexpr std::size_t block_bytes = 16 + 64 + 2 + 2;
  static constexpr index_t group = 16;
  static constexpr bool has_minimums = true;
  static void factors(const std::uint8_t* block, float* scales, float* minimums) {
    const float d = half_at(block + 80), m = half_at(block + 82);
    for (int i = 0; i < 16; ++i) {
      scales[i] = d * static_cast<float>(block[i] & 15);
      minimums[i] = -(m * static_cast<float>(block[i] >> 4));
    }
  }
  static void unpack(const std::uint8_t* block, std::int8_t* q) { unpack_two_bits(block + 16, q); }
};

/// Multiplied as Q6_K: integers of three bits, steps of six.
struct Q3K : SuperblockOf16 {
  static constexpr std::string_view name = "Q3_K";
  static constexpr std::size_t block_bytes = 32 + 64 + 12 + 2;
  static float scale(const std::uint8_t* block) { return half_at(block + 108); }
  static void steps(const std::uint8_t* block, std::int8_t* steps, std::uint8_t*) {
    const std::uint8_t *low = block + 96, *high = block + 104;  // four bits of each, then two
    for (int i = 0; i < 16; ++i) {
      const int lower = low[i % 8] >> 4 * (i / 8) & 15, upper = high[i % 4] >> 2 * (i / 4) & 3;
      steps[i] = static_cast<std::int8_t>((lower | upper << 4) - 32);
    }
  }
  static void factors(const std::uint8_t* block, float* scales, float*) {
    std::int8_t step[16];
    steps(block, step, nullptr);
    multiply(scale(block), step, scales);
  }
  static void unpack(const std::uint8_t* block, std::int8_t* q) {
    unpack_two_bits(block + 32, q);
    // Bit g of byte i of the block: value i of group g; where it is not set, 4 is subtracted.
    for (int group = 0; group < 8; ++group)
      for (int i = 0; i < 32; ++i)
        q[32 * group + i] = static_cast<std::int8_t>(q[32 * group + i] - 4 + (block[i] >> group & 1) * 4);
  }
};

struct Iq4Xs : Superblock {
  static constexpr std::string_view name = "IQ4_XS";
  static constexpr std::size_t block_bytes = 2 + 2 + 4 + 128;
  static constexpr index_t group = 32;
  static void factors(const std::uint8_t* block, float* scales, float*) {
    const float d = half_at(block);
    const int high = block[2] | block[3] << 8;  // two bits of each step; four are in the bytes that follow
    for (int i = 0; i < 8; ++i) {
      const int step = (block[4 + i / 2] >> 4 * (i % 2) & 15) | (high >> 2 * i & 3) << 4;
      scales[i] = d * static_cast<float>(step - 32);
    }
  }
  static void unpack(const std::uint8_t* block, std::int8_t* q) {
    for (int group = 0; group < 8; ++group) look_up_nibbles(iq4_values, block + 8 + 16 * group, q + 32 * group);
  }
};

}  // namespace qwen3vl::gguf
