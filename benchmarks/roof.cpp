#include "roof.hpp"

#include <omp.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <vector>

#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/backend/cpu/simd/tiles.hpp"

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace qwen3vl::bench {
namespace {

/// Enough independent chains to hide the latency of a multiply-add, few enough to stay in registers.
constexpr int chains = simd::registers == 32 ? 24 : 12;

/// Hides a value from the compiler: it can neither be hoisted out of the loop nor removed.
template <class T>
QWEN3VL_INLINE void hide(T& value) {
#if defined(__AVX512F__)
  asm volatile("" : "+v"(value));  // any of the 32 registers
#elif defined(__x86_64__)
  asm volatile("" : "+x"(value));
#else
  asm volatile("" : "+w"(value));
#endif
}

/// Zeros that the compiler does not know to be equal; otherwise it would compute equal chains once.
template <class T>
[[maybe_unused]] QWEN3VL_INLINE void start(T (&sums)[chains]) {
  simd::unroll<chains>([&](auto c) {
    sums[c] = T{};
    hide(sums[c]);
  });
}

/// `steps` multiply-adds on each chain. Returns the number of operations.
double run_fma(long steps) {
  simd::Floats sums[chains];
  simd::unroll<chains>([&](auto c) { sums[c] = simd::splat(static_cast<float>(c)); });
  simd::Floats x = simd::splat(1.0f), y = simd::splat(1e-9f);
  hide(x);
  hide(y);
  for (long i = 0; i < steps; ++i) simd::unroll<chains>([&](auto c) { sums[c] = sums[c] * x + y; });
  simd::unroll<chains>([&](auto c) { hide(sums[c]); });
  return 2.0 * chains * simd::width * static_cast<double>(steps);
}

#if QWEN3VL_HAS_TILES
template <bool bf16_numbers, int c, int a, int b>
QWEN3VL_INLINE void tile_product() {
  if constexpr (bf16_numbers) {
    simd::dot_tiles<c, a, b>();
  } else {
    simd::dot_byte_tiles<true, true, c, a, b>();
  }
}
/// `steps` times four AMX products.
template <bool bf16_numbers>
double run_tiles(long steps) {
  const simd::Tiles registers;
  simd::unroll<8>([](auto t) { simd::clear_tile<t>(); });
  for (long i = 0; i < steps; ++i) {
    tile_product<bf16_numbers, 0, 4, 6>();
    tile_product<bf16_numbers, 1, 4, 7>();
    tile_product<bf16_numbers, 2, 5, 6>();
    tile_product<bf16_numbers, 3, 5, 7>();
  }
  return 2.0 * 4 * 16 * 16 * (bf16_numbers ? 32 : 64) * static_cast<double>(steps);
}
double run_bf16(long steps) { return run_tiles<true>(steps); }
double run_int8(long steps) { return run_tiles<false>(steps); }
#elif defined(__AVX512BF16__) && defined(__AVX512F__)
double run_bf16(long steps) {
  __m512 sums[chains];
  start(sums);
  __m512i bits = _mm512_set1_epi16(0x3f80);
  hide(bits);
  const __m512bh x = (__m512bh)bits;
  for (long i = 0; i < steps; ++i) simd::unroll<chains>([&](auto c) { sums[c] = _mm512_dpbf16_ps(sums[c], x, x); });
  simd::unroll<chains>([&](auto c) { hide(sums[c]); });
  return 2.0 * chains * 32 * static_cast<double>(steps);
}
#else
double run_bf16(long) { return 0.0; }
#endif

#if QWEN3VL_HAS_TILES
#elif defined(__AVX512VNNI__)
double run_int8(long steps) {
  __m512i sums[chains];
  start(sums);
  __m512i x = _mm512_set1_epi8(1);
  hide(x);
  for (long i = 0; i < steps; ++i) simd::unroll<chains>([&](auto c) { sums[c] = _mm512_dpbusd_epi32(sums[c], x, x); });
  simd::unroll<chains>([&](auto c) { hide(sums[c]); });
  return 2.0 * chains * 64 * static_cast<double>(steps);
}
#elif defined(__AVXVNNI__)
double run_int8(long steps) {
  __m256i sums[chains];
  start(sums);
  __m256i x = _mm256_set1_epi8(1);
  hide(x);
  for (long i = 0; i < steps; ++i)
    simd::unroll<chains>([&](auto c) { sums[c] = _mm256_dpbusd_avx_epi32(sums[c], x, x); });
  simd::unroll<chains>([&](auto c) { hide(sums[c]); });
  return 2.0 * chains * 32 * static_cast<double>(steps);
}
#elif defined(__AVX2__)
/// Without VNNI an 8-bit dot product takes three instructions: pairs to 16 bits, pairs to 32 bits, the sum.
double run_int8(long steps) {
  constexpr int parallel = 10;  // two registers hold the operands, some the products on their way
  __m256i sums[parallel];
  simd::unroll<parallel>([&](auto c) { sums[c] = _mm256_setzero_si256(); });
  __m256i x = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  hide(ones);
  for (long i = 0; i < steps; ++i)
    simd::unroll<parallel>([&](auto c) {
      hide(x);  // the same product each time, hidden from the compiler
      sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), ones));
    });
  simd::unroll<parallel>([&](auto c) { hide(sums[c]); });
  return 2.0 * parallel * 32 * static_cast<double>(steps);
}
#else
double run_int8(long) { return 0.0; }
#endif

double run_read(const float* memory, std::size_t count) {
  simd::Floats sums[8] = {};
  for (std::size_t i = 0; i + 8 * simd::width <= count; i += 8 * simd::width)
    simd::unroll<8>([&](auto c) { sums[c] += simd::load(memory + i + static_cast<std::size_t>(c * simd::width)); });
  simd::unroll<8>([&](auto c) { hide(sums[c]); });
  return static_cast<double>(count * sizeof(float));
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// The round-trip time of a cache line between two threads, measured for `seconds`.
double line_round_trip(double seconds) {
  constexpr long stop = -1;
  struct alignas(128) Line {
    std::atomic<long> turn{0};
  } line;
  double each = 0.0;
#pragma omp parallel num_threads(2)
  if (omp_get_num_threads() == 2) {
    if (omp_get_thread_num() == 0) {
      const double start = now();
      double passed = 0.0;
      long trips = 0;
      for (; passed < seconds; passed = now() - start)
        for (const long end = trips + 100; trips < end; ++trips) {
          line.turn.store(2 * trips + 1, std::memory_order_release);
          while (line.turn.load(std::memory_order_acquire) != 2 * trips + 2) {
          }
        }
      line.turn.store(stop, std::memory_order_release);
      each = passed / static_cast<double>(trips);
    } else {
      for (long seen = 0; seen != stop; seen = line.turn.load(std::memory_order_acquire))
        if (seen % 2 == 1) line.turn.store(seen + 1, std::memory_order_release);
    }
  }
  return each;
}

/// The best rate of `run(thread, threads)`, which returns its amount of work, over `seconds`.
template <class F>
double best_rate(int threads, double seconds, F&& run) {
  double best = 0.0;
  const double end = now() + seconds;
  do {
    double done = 0.0;
    const double start = now();
#pragma omp parallel num_threads(threads) reduction(+ : done)
    done += run(omp_get_thread_num(), omp_get_num_threads());
    best = std::max(best, done / (now() - start));
  } while (now() < end);
  return best;
}

}  // namespace

std::size_t largest_cache() {
#ifdef _SC_LEVEL3_CACHE_SIZE
  const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (l3 > 0) return static_cast<std::size_t>(l3);
#endif
  return std::size_t{32} << 20;
}

MemoryReader::MemoryReader(int threads, bool quick)
    : threads_(threads),
      // On some machines a process gets only part of the last-level cache.
      buffer_(static_cast<index_t>(
          (quick ? std::size_t{16} << 20 : std::clamp<std::size_t>(8 * largest_cache(), 256ul << 20, 2048ul << 20)) /
          sizeof(float))) {
  for (float& value : buffer_.span()) value = 1.0f;
}

double MemoryReader::operator()(double bytes) {
  const auto count = static_cast<std::size_t>(buffer_.size());
  const double start = now();
  for (auto left = static_cast<std::size_t>(bytes) / sizeof(float); left > 0;) {
    const std::size_t piece = std::min(left, count - at_);
    const float* const from = buffer_.data() + at_;
#pragma omp parallel num_threads(threads_)
    {
      const auto me = static_cast<std::size_t>(omp_get_thread_num());
      // In whole cache lines, as run_read() requires.
      const std::size_t share = piece / static_cast<std::size_t>(omp_get_num_threads()) / 16 * 16;
      run_read(from + share * me, share);
    }
    at_ = (at_ + piece) % count;
    left -= piece;
  }
  return now() - start;
}

double MemoryReader::read_part(int me, int team) const {
  const std::size_t share = static_cast<std::size_t>(buffer_.size()) / static_cast<std::size_t>(team);
  return run_read(buffer_.data() + share * static_cast<std::size_t>(me), share);
}

Roof measure_roof(int threads, bool quick) {
  simd::request_tiles();
  const double seconds = quick ? 0.01 : 0.5;
  const long steps = quick ? 20'000 : 1'000'000;
  Roof roof;
  roof.threads = threads;
  roof.fma_one = best_rate(1, seconds, [&](int, int) { return run_fma(steps); });
  roof.fma_all = best_rate(threads, seconds, [&](int, int) { return run_fma(steps); });
  roof.bf16_all = best_rate(threads, run_bf16(1) > 0 ? seconds : 0.0, [&](int, int) { return run_bf16(steps); });
  roof.int8_all = best_rate(threads, run_int8(1) > 0 ? seconds : 0.0, [&](int, int) { return run_int8(steps); });

  const MemoryReader memory(threads, quick);
  roof.buffer = memory.size();
  const auto read = [&](int me, int team) { return memory.read_part(me, team); };
  roof.read_one = best_rate(1, seconds, read);
  roof.read_all = best_rate(threads, 2 * seconds, read);
  if (threads > 1) roof.line_round_trip = line_round_trip(seconds / 10);
  return roof;
}

}  // namespace qwen3vl::bench
