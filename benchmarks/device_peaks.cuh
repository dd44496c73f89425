/// The measured peak of a GPU: copies and reads of its memory, and a large product on its tensor cores.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "device_timer.cuh"
#include "qwen3vl/backend/cuda.cuh"

namespace qwen3vl::bench {

struct DevicePeaks {
  std::string name;            ///< of the device
  double bytes = 0.0;          ///< per second: the faster of copying (read and written) and reading
  double operations = 0.0;     ///< per second: a product of bf16, sums in f32
  double nominal_bytes = 0.0;  ///< memory clock times bus width; 0 if the driver does not say
  std::int64_t product = 0;    ///< rows, columns and depth of the product
  std::int64_t buffer = 0;     ///< bytes of the buffers
};

/// to[i] = from[i]. Limited by memory.
template <int Threads>
__global__ void __launch_bounds__(Threads) peak_copy_kernel(const uint4* from, uint4* to, std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * Threads + threadIdx.x;
  if (i < count) to[i] = from[i];
}

/// Reads everything; writes only if all bits are set, which never happens. Limited by memory.
template <int Threads, int PerThread>
__global__ void __launch_bounds__(Threads) peak_read_kernel(const uint4* from, uint4* to, std::int64_t count) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * Threads * PerThread + threadIdx.x;
  uint4 all = make_uint4(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu);
#pragma unroll
  for (int k = 0; k < PerThread; ++k) {
    const std::int64_t i = first + static_cast<std::int64_t>(k) * Threads;
    if (i >= count) continue;
    const uint4 word = from[i];
    all = make_uint4(all.x & word.x, all.y & word.y, all.z & word.z, all.w & word.w);
  }
  if ((all.x & all.y & all.z & all.w) == 0xffffffffu) to[0] = all;
}

/// `quick`: tiny sizes, to test that it works.
inline DevicePeaks measure_device_peaks(Context<Cuda>& ctx, bool quick) {
  constexpr int threads = 256, per_thread = 8;
  DevicePeaks peaks;
  cudaDeviceProp properties{};
  cuda::check(cudaGetDeviceProperties(&properties, ctx.backend().device()), "asking for the device's name");
  peaks.name = properties.name;
  int clock = 0, width = 0;  // kHz, bits
  if (cudaDeviceGetAttribute(&clock, cudaDevAttrMemoryClockRate, ctx.backend().device()) == cudaSuccess &&
      cudaDeviceGetAttribute(&width, cudaDevAttrGlobalMemoryBusWidth, ctx.backend().device()) == cudaSuccess)
    peaks.nominal_bytes = 2.0 * clock * 1e3 * width / 8;

  peaks.buffer = quick ? 1 << 14 : std::int64_t{1} << 30;  // far beyond the L2 cache
  const std::int64_t words = peaks.buffer / static_cast<std::int64_t>(sizeof(uint4));
  {
    const auto from = Tensor<float, Cuda, dynamic>::zeros(peaks.buffer / 4);
    Tensor<float, Cuda, dynamic> to(peaks.buffer / 4);
    const auto* const source = reinterpret_cast<const uint4*>(from.data());
    auto* const target = reinterpret_cast<uint4*>(to.data());
    const double copy = time_calls(ctx, 4, quick, [&](int) {
      cuda::launch(ctx, peak_copy_kernel<threads>, cuda::blocks_for(words, threads), threads, source, target, words);
    });
    const double read = time_calls(ctx, 4, quick, [&](int) {
      cuda::launch(ctx, peak_read_kernel<threads, per_thread>, cuda::blocks_for(words, threads * per_thread), threads,
                   source, target, words);
    });
    const auto bytes = static_cast<double>(peaks.buffer);
    peaks.bytes = std::max(2.0 * bytes / copy, bytes / read);
  }

  const std::int64_t n = peaks.product = quick ? 16 : 8192;
  Tensor<bf16, Cuda, dynamic> x(n * n), w(n * n), y(n * n);
  cuda::fill_random(ctx, x.data(), n * n, 0, 0, RandomStream(1, "x", 0.5f));
  cuda::fill_random(ctx, w.data(), n * n, 0, 0, RandomStream(1, "w", 0.02f));
  const double seconds = time_calls(ctx, 4, quick, [&](int) {
    cuda::gemm<bf16>(ctx, {.rows = n, .n = n, .k = n}, x.data(), w.data(), nullptr, y.data());
  });
  peaks.operations = 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / seconds;
  return peaks;
}

inline nlohmann::ordered_json to_json(const DevicePeaks& peaks) {
  return {{"gbytes_per_second", peaks.bytes * 1e-9},
          {"tflops", peaks.operations * 1e-12},
          {"nominal_gbytes_per_second", peaks.nominal_bytes * 1e-9},
          {"product", peaks.product},
          {"buffer_bytes", peaks.buffer}};
}

}  // namespace qwen3vl::bench
