/// RMS norm and layer norm on the CPU.
#pragma once

#include <cmath>
#include <type_traits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/simd/simd.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// Sum of f(x[i]) over D values, in vectors with several independent sums (which also reduces the rounding error).
template <index_t D, class F>
QWEN3VL_INLINE float sum_over(const float* x, F&& f) {
  constexpr index_t step = 4 * simd::width;
  simd::Floats sums[4] = {};
  index_t i = 0;
  for (; i + step <= D; i += step) simd::unroll<4>([&](auto c) { sums[c] += f(simd::load(x + i + c * simd::width)); });
  for (; i + simd::width <= D; i += simd::width) sums[0] += f(simd::load(x + i));
  float total = simd::sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < D; ++i) total += f(simd::splat(x[i]))[0];
  return total;
}

/// y[i] = f(x[i], w[i], b[i]); w and b may be equal.
template <index_t D, class F>
QWEN3VL_INLINE void map_row(const float* x, const float* w, const float* b, float* y, F&& f) {
  index_t i = 0;
  for (; i + simd::width <= D; i += simd::width)
    simd::store(y + i, f(simd::load(x + i), simd::load(w + i), simd::load(b + i)));
  for (; i < D; ++i) y[i] = f(simd::splat(x[i]), simd::splat(w[i]), simd::splat(b[i]))[0];
}

/// One row of rms_norm.
template <index_t D>
QWEN3VL_INLINE void rms_norm_row(const float* x, const float* weight, float eps, float* y) {
  const float mean = sum_over<D>(x, [](simd::Floats v) { return v * v; }) / static_cast<float>(D);
  const simd::Floats scale = simd::splat(1.0f / std::sqrt(mean + eps));
  map_row<D>(x, weight, weight, y, [&](simd::Floats v, simd::Floats w, simd::Floats) { return v * scale * w; });
}

}  // namespace cpu_kernels

template <index_t D>
void rms_norm(Context<Cpu>& ctx, std::type_identity_t<View<const float, Cpu, dynamic, D>> x,
              View<const float, Cpu, D> weight, float eps, std::type_identity_t<View<float, Cpu, dynamic, D>> y) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("rms_norm", x.rows(), D, D, 4); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (x.size() > 65536)
  for (index_t row = 0; row < x.rows(); ++row)
    cpu_kernels::rms_norm_row<D>(x.data() + row * D, weight.data(), eps, y.data() + row * D);
}

template <index_t D>
void layer_norm(Context<Cpu>& ctx, std::type_identity_t<View<const float, Cpu, dynamic, D>> x,
                View<const float, Cpu, D> weight, View<const float, Cpu, D> bias, float eps,
                std::type_identity_t<View<float, Cpu, dynamic, D>> y) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("layer_norm", x.rows(), D, D, 7); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (x.size() > 65536)
  for (index_t row = 0; row < x.rows(); ++row) {
    const float* const from = x.data() + row * D;
    const float mean = cpu_kernels::sum_over<D>(from, [](simd::Floats v) { return v; }) / static_cast<float>(D);
    const simd::Floats center = simd::splat(mean);
    // Two passes: subtracting the mean first keeps rows with a large mean accurate.
    const float variance = cpu_kernels::sum_over<D>(from, [&](simd::Floats v) { return (v - center) * (v - center); });
    const simd::Floats scale = simd::splat(1.0f / std::sqrt(variance / static_cast<float>(D) + eps));
    cpu_kernels::map_row<D>(
        from, weight.data(), bias.data(), y.data() + row * D,
        [&](simd::Floats v, simd::Floats w, simd::Floats b) { return (v - center) * scale * w + b; });
  }
}

}  // namespace qwen3vl
