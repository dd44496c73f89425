/// Whether this processor can run the instruction set that a test is compiled for.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "qwen3vl/backend/cpu/simd/instruction_set.hpp"
#include "qwen3vl/backend/cpu/simd/integer_simd.hpp"
#if QWEN3VL_HAS_TILES
#include "qwen3vl/backend/cpu/simd/tile_permission.hpp"
#include "qwen3vl/base/error.hpp"
#endif

namespace qwen3vl {

#if defined(__AVXVNNI__) && !defined(__AVX512VNNI__)
inline bool has_avx_vnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;  // GCC 12 has no name for it
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 4)) != 0;
}
#endif

#if QWEN3VL_HAS_TILES
inline bool has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned bf16_tile_int8 = (1u << 22) | (1u << 24) | (1u << 25);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & bf16_tile_int8) != bf16_tile_int8) return false;
  try {
    simd::request_tiles();
  } catch (const Error&) {
    return false;
  }
  return true;
}
#endif

/// Whether this processor supports the instruction set of the build.
inline bool processor_fits() {
  __builtin_cpu_init();
#if defined(__AVX512F__)
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
    return false;
#endif
#if defined(__AVX512VNNI__)
  if (!__builtin_cpu_supports("avx512vnni")) return false;
#endif
#if defined(__AVX512BF16__)
  if (!__builtin_cpu_supports("avx512bf16")) return false;
#endif
#if QWEN3VL_HAS_TILES
  if (!has_tiles()) return false;
#endif
#if defined(__AVXVNNI__) && !defined(__AVX512VNNI__)
  if (!has_avx_vnni()) return false;
#endif
#if defined(__AVX2__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return false;
#endif
  return true;
}

/// The exit code of a test program: 77, which ctest takes for skipped, where the processor does not fit.
inline int run_where_it_fits(boost::unit_test::init_unit_test_func init, int argc, char** argv) {
  if (!processor_fits()) {
    std::printf("SKIPPED: this processor lacks %s or %s\n", simd::isa, simd::integer_isa);
    return 77;
  }
  std::printf("instruction set: %s, integers: %s\n", simd::isa, simd::integer_isa);
  return boost::unit_test::unit_test_main(init, argc, argv);
}

}  // namespace qwen3vl
