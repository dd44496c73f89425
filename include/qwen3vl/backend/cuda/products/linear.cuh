/// linear() on the device: weights streamed for a few rows (gemv.cuh); else cuBLASLt with its own epilogues, and a
/// kernel for those that it does not have. Weights of e4m3: f8_linear.cuh, f8_blocks_linear.cuh.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"
#include "qwen3vl/backend/cuda/products/f8_blocks_linear.cuh"
#include "qwen3vl/backend/cuda/products/f8_linear.cuh"
#include "qwen3vl/backend/cuda/products/gemm.cuh"
#include "qwen3vl/backend/cuda/products/gemv.cuh"
#include "qwen3vl/backend/cuda/products/matrix.cuh"

namespace qwen3vl {
namespace cuda {

/// The activation type that multiplies weights of type W.
template <class W>
using operand_t = std::conditional_t<std::is_same_v<W, float>, float, bf16>;

__device__ __forceinline__ float activate(float z, epilogue::Gelu) {
  return 0.5f * z * (1.0f + erff(z * 0.70710678118654752f));
}
__device__ __forceinline__ float silu(float z) { return z / (1.0f + __expf(-z)); }

/// to[i] = from[i], each rounded once.
template <class From, class To>
__global__ void __launch_bounds__(256) convert_kernel(const From* from, To* to, std::int64_t count) {
  take_turn();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i < count) to[i] = static_cast<To>(static_cast<float>(from[i]));
}

/// y = activation(z + bias), element by element; z and y may be the same. Limited by memory.
template <class E, class T, int N>
__global__ void __launch_bounds__(256) activate_kernel(const T* z, const float* bias, T* y, std::int64_t vectors) {
  constexpr int width = vector_width<T, N>;
  take_turn();
  const std::int64_t v = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (v >= vectors) return;
  float values[width], b[width] = {};
  load_floats<width>(z + v * width, values);
  if (bias != nullptr) load_floats<width>(bias + v % (N / width) * width, b);
#pragma unroll
  for (int i = 0; i < width; ++i) values[i] = activate(values[i] + b[i], E{});
  store_floats<width>(y + v * width, values);
}

/// y [rows, N / 2] = silu(gates) * ups of z [rows, N] = (gates, ups). Limited by memory.
template <class T, int N>
__global__ void __launch_bounds__(256) swiglu_kernel(const T* z, const float* bias, T* y, std::int64_t vectors) {
  constexpr int outputs = N / 2, width = vector_width<T, outputs>, row_vectors = outputs / width;
  take_turn();
  const std::int64_t v = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (v >= vectors) return;
  const std::int64_t row = v / row_vectors;
  const int column = static_cast<int>(v % row_vectors) * width;
  float gates[width], ups[width], b[width] = {}, c[width] = {};
  load_floats<width>(z + row * N + column, gates);
  load_floats<width>(z + row * N + outputs + column, ups);
  if (bias != nullptr) {
    load_floats<width>(bias + column, b);
    load_floats<width>(bias + outputs + column, c);
  }
#pragma unroll
  for (int i = 0; i < width; ++i) gates[i] = silu(gates[i] + b[i]) * (ups[i] + c[i]);
  store_floats<width>(y + row * outputs + column, gates);
}

/// y = epilogue(x w^T + bias) with an epilogue of cuBLASLt.
template <class W, class Y>
void gemm(Context<Cuda>& ctx, GemmShape shape, const operand_t<W>* x, const W* w, const float* bias, Y* y) {
  shape.bf16_operands = std::is_same_v<W, bf16>;
  shape.bf16_result = std::is_same_v<Y, bf16>;
  shape.bias = bias != nullptr;
  Cuda& cuda = ctx.backend();
  // cuBLASLt requires a bias of y's type.
  auto rounded = ctx.template scratch<Y, dynamic>(std::is_same_v<Y, float> || bias == nullptr ? 0 : shape.n);
  const void* used_bias = bias;
  if constexpr (!std::is_same_v<Y, float>) {
    if (bias != nullptr) {
      launch_early(ctx, convert_kernel<float, Y>, blocks_for(shape.n, 256), 256, bias, rounded.data(), shape.n);
      used_bias = rounded.data();
    }
  }
  shape.alignment = common_alignment(x, w, static_cast<const char*>(used_bias), y);
  cuda.gemm_plans().run(cuda.blas(), cuda.stream(), shape, x, w, used_bias, y);
}

}  // namespace cuda

/// See backend/contract/ops.hpp. x is bf16 for bf16 weights and float for float ones; y is the same, or float (logits).
template <class W, index_t N, index_t K, Packing packing, class Y, index_t Width, class E>
void linear(Context<Cuda>& ctx, std::type_identity_t<View<const cuda::operand_t<W>, Cuda, dynamic, K>> x,
            const CudaMatrix<W, N, K, packing>& weight, std::type_identity_t<View<const float, Cuda, N>> bias,
            View<Y, Cuda, dynamic, Width> y, E) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  static_assert((packing == Packing::gate_up) == gated,
                "epilogue::SwiGlu goes with Packing::gate_up, the others with Packing::plain");
  static_assert(Width == epilogue::width<E, N>, "y is as wide as the weight has rows; with SwiGlu half of that");
  static_assert(std::is_same_v<Y, cuda::operand_t<W>> || std::is_same_v<Y, float>);
  const index_t rows = x.rows();
  if (rows == 0) return;
  if (rows <= cuda::gemv_tokens) {
    cuda::gemv<static_cast<int>(N), static_cast<int>(K), E>(ctx, x.data(), rows, weight.data(), nullptr, bias.data(),
                                                            y.data());
    return;
  }
  cuda::GemmShape shape{.rows = rows, .n = N, .k = K};
  if constexpr (gated) {
    auto z = ctx.template scratch<Y, dynamic, N>(rows);  // [rows, N]: gates, ups
    cuda::gemm(ctx, shape, x.data(), weight.data(), nullptr, z.data());
    const std::int64_t vectors = rows * (Width / cuda::vector_width<Y, Width>);
    cuda::launch_early(ctx, cuda::swiglu_kernel<Y, N>, cuda::blocks_for(vectors, 256), 256, z.data(), bias.data(),
                       y.data(), vectors);
  } else if constexpr (std::is_same_v<E, epilogue::Gelu>) {
    cuda::gemm(ctx, shape, x.data(), weight.data(), nullptr, y.data());
    const std::int64_t vectors = rows * (N / cuda::vector_width<Y, N>);
    cuda::launch_early(ctx, cuda::activate_kernel<E, Y, N>, cuda::blocks_for(vectors, 256), 256, y.data(), bias.data(),
                       y.data(), vectors);
  } else {
    shape.gelu_tanh = std::is_same_v<E, epilogue::GeluTanh>;
    shape.add = std::is_same_v<E, epilogue::Add>;
    cuda::gemm(ctx, shape, x.data(), weight.data(), bias.data(), y.data());
  }
}

}  // namespace qwen3vl
