/// The processor's tile registers (AMX): eight of up to 16 rows of 64 bytes, and products of whole tiles. One of the
/// few places with instructions by name: GCC's own intrinsics do not tell the compiler that they read and write memory.
///
/// A product is C += A B for C [rows, 16] of 32-bit numbers, A [rows, 64 bytes] and B [16, 64 bytes]. Row i of B holds
/// what belongs to word i of A's rows (two bf16, or four bytes) for each of the 16 columns of C. A product takes 16
/// cycles, however few rows it has.
#pragma once

#include <cstdint>

#include "qwen3vl/backend/cpu/simd/integer_simd.hpp"
#include "qwen3vl/tensor/extents.hpp"

#if QWEN3VL_HAS_TILES

namespace qwen3vl::simd {

/// Rows of a tile, and 32-bit words of its rows.
inline constexpr int tile_size = 16;
/// Words of a whole tile.
inline constexpr index_t tile_words = index_t{tile_size} * tile_size;

/// While it lives, this thread's tiles are set up: 0 to 5 with `rows` rows (for C and A), 6 and 7 with 16 (for B).
class Tiles {
 public:
  explicit Tiles(int rows = tile_size) {
    struct alignas(64) {
      std::uint8_t palette = 1, start = 0, reserved[14] = {};
      std::uint16_t bytes[16] = {};
      std::uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; ++i) {
      config.bytes[i] = 64;
      config.rows[i] = static_cast<std::uint8_t>(i < 6 ? rows : tile_size);
    }
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~Tiles() { asm volatile("tilerelease" : : : "memory"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

/// Tile t: rows `stride` bytes apart from p on.
template <int t>
QWEN3VL_INLINE void load_tile(const void* p, index_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(t) : "memory");
}
template <int t>
QWEN3VL_INLINE void store_tile(void* p, index_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(t) : "memory");
}
template <int t>
QWEN3VL_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(t));
}

/// Tile c += a b of bf16 into f32. As dot_bf16_pairs: each of a pair's two products is added by itself, rounded to
/// nearest even, subnormal numbers are zero.
template <int c, int a, int b>
QWEN3VL_INLINE void dot_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
}
/// Tile c += a b of bytes into 32-bit integers, modulo 2^32; the template's first arguments say which have signs.
template <bool a_signed, bool b_signed, int c, int a, int b>
QWEN3VL_INLINE void dot_byte_tiles() {
  if constexpr (a_signed && b_signed) {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
  } else if constexpr (a_signed) {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
  } else if constexpr (b_signed) {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
  } else {
    asm volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(c), "i"(a), "i"(b));
  }
}

/// Bytes of 16-bit numbers, low and high ones apart.
struct BytePair {
  UInts low, high;
};
/// Lane i is made of the pairs of lane i of `a` and of `b`: bytes of a's first, b's first, a's second, b's second.
QWEN3VL_INLINE BytePair quads(Shorts a, Shorts b) {
  const auto x = reinterpret_cast<UInts>(a), y = reinterpret_cast<UInts>(b);
  return {(x & 0x00ff00ffu) | ((y & 0x00ff00ffu) << 8), ((x >> 8) & 0x00ff00ffu) | (y & 0xff00ff00u)};
}

}  // namespace qwen3vl::simd

#endif
