/// Which instruction set this translation unit is compiled for. Apart from simd.hpp, so that the CPU's handle and
/// memory can be used by compilers that do not know vector types (nvcc).
#pragma once

#if defined(__AVX512F__) && defined(__AVX512BF16__) && defined(__AVX512VL__)
#define QWEN3VL_HAS_BF16_DOT 1
#else
#define QWEN3VL_HAS_BF16_DOT 0
#endif

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__) && defined(__AVX512BW__) && \
    QWEN3VL_HAS_BF16_DOT && defined(__linux__)
#define QWEN3VL_HAS_TILES 1
#else
#define QWEN3VL_HAS_TILES 0
#endif

#if (defined(__AVX512F__) && defined(__AVX512BW__)) || (!defined(__AVX512F__) && defined(__AVX2__) && defined(__FMA__))
#define QWEN3VL_HAS_BYTE_PAIRS 1
#else
#define QWEN3VL_HAS_BYTE_PAIRS 0
#endif
#if QWEN3VL_HAS_BYTE_PAIRS && (defined(__AVX512VNNI__) || (!defined(__AVX512F__) && defined(__AVXVNNI__)))
#define QWEN3VL_HAS_BYTE_DOT 1
#else
#define QWEN3VL_HAS_BYTE_DOT 0
#endif

namespace qwen3vl::simd {

#if defined(__AVX512F__)
inline constexpr int width = 16;
inline constexpr int registers = 32;
inline constexpr const char* isa = QWEN3VL_HAS_TILES != 0 ? "AVX-512 with AMX" : "AVX-512";
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int width = 8;
inline constexpr int registers = 16;
inline constexpr const char* isa = "AVX2";
#else
inline constexpr int width = 4;
inline constexpr int registers = 16;
inline constexpr const char* isa = "portable";
#endif

/// Whether there are dot products of bf16 (pair_simd.hpp).
inline constexpr bool has_bf16_dot = QWEN3VL_HAS_BF16_DOT != 0;
/// Whether there are dot products of two bytes in 16 bits, and of four in 32 (byte_simd.hpp).
inline constexpr bool has_byte_pairs = QWEN3VL_HAS_BYTE_PAIRS != 0, has_byte_dot = QWEN3VL_HAS_BYTE_DOT != 0;
/// Whether there are matrix products of whole tiles (AMX, tiles.hpp).
inline constexpr bool has_tiles = QWEN3VL_HAS_TILES != 0;

}  // namespace qwen3vl::simd
