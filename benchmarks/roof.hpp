/// The measured roof of this machine: multiply-adds on registers, and memory reads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/simd/instruction_set.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl::bench {

/// The arithmetic of products, which decides their roof. bf16_parts: f32 activations with bf16 weights, which AMX
/// multiplies in three parts.
enum class Arithmetic { f32, bf16_parts, bf16, int8 };

/// Best speeds of this machine. An operation is one multiplication or one addition, whatever the type.
struct Roof {
  int threads = 1;
  double fma_one = 0.0;    ///< operations per second of f32 multiply-adds, one thread
  double fma_all = 0.0;    ///< all threads
  double bf16_all = 0.0;   ///< of bf16 dot products with f32 sums, all threads; 0 without such an instruction
  double int8_all = 0.0;   ///< of 8-bit dot products with 32-bit sums, all threads; 0 without such instructions
  double read_one = 0.0;   ///< bytes per second read from memory, one thread
  double read_all = 0.0;   ///< all threads
  std::size_t buffer = 0;  ///< size of the buffer that is read
  /// Round-trip time in seconds of a cache line between two threads; 0 with one thread. On virtual machines it shows
  /// whether the processors share a last-level cache, which can change while a program runs.
  double line_round_trip = 0.0;

  /// Operations per second of products, all threads.
  double products(Arithmetic arithmetic) const {
    if (arithmetic == Arithmetic::int8) return std::max(fma_all, int8_all);
    if (arithmetic == Arithmetic::bf16) return std::max(fma_all, bf16_all);
    if (arithmetic == Arithmetic::bf16_parts && simd::has_tiles) return std::max(fma_all, bf16_all / 3);
    return fma_all;
  }
};

/// The minimum work of a call.
struct Work {
  double products = 0.0;  ///< operations of weight matrices
  double others = 0.0;    ///< operations on f32 activations: attention, norms
  double bytes = 0.0;     ///< weights, cached keys and values read; activations in and out

  double operations() const { return products + others; }
};

/// The least time that `work` can take: that of the arithmetic or that of the memory, whichever is longer.
inline double least_seconds(const Work& work, Arithmetic arithmetic, const Roof& roof) {
  const double compute = work.products / roof.products(arithmetic) + work.others / roof.fma_all;
  return std::max(compute, work.bytes / roof.read_all);
}

/// The arithmetic of a precision's products, by its name: bf16 weights meet f32 activations, those of bf16-dot bf16
/// ones; the roof of 8- and 4-bit block weights, which quantised files have, is that of 8-bit products (with q8 and q4
/// AMX takes four of them, because weights and activations have 16 bits).
constexpr Arithmetic arithmetic_of(std::string_view precision) {
  for (const std::string_view blocks : {"q8", "q4", "q8-dot", "q4-dot", "stored"})
    if (precision == blocks) return Arithmetic::int8;
  if (precision == "bf16") return Arithmetic::bf16_parts;
  return precision == "bf16-dot" ? Arithmetic::bf16 : Arithmetic::f32;
}

/// Reads a buffer much larger than the caches with all threads, each a part of its own: the bandwidth of a program that
/// only reads.
class MemoryReader {
 public:
  /// `quick`: a small buffer, see measure_roof().
  explicit MemoryReader(int threads, bool quick = false);

  std::size_t size() const { return static_cast<std::size_t>(buffer_.size()) * sizeof(float); }
  /// Seconds to read about `bytes`, continuing where the last call stopped and wrapping around.
  double operator()(double bytes);
  /// Reads part `me` of `team` equal parts of the buffer; returns its bytes.
  double read_part(int me, int team) const;

 private:
  int threads_;
  std::size_t at_ = 0;  ///< where the next call begins, in elements
  Tensor<float, Cpu, dynamic> buffer_;
};

/// Measures. Each speed is the best of several runs that take about `seconds` together. `quick`: a small buffer and
/// short runs, to test that it works; the figures then mean little.
Roof measure_roof(int threads, bool quick = false);

/// Size of the largest cache in bytes, or 32 MiB if unknown.
std::size_t largest_cache();

}  // namespace qwen3vl::bench
