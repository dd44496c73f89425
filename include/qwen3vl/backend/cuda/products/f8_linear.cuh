/// linear() with e4m3 weights: streamed for a few rows (gemv.cuh), where activations stay bf16; else cuBLASLt's product
/// of e4m3 with e4m3.
///
///   x [rows, K] bf16 --- f8_rounding.cuh ---> q e4m3, a scale for each row          limited by memory
///   z = q w^T, f32 sums ------------------- cuBLASLt                                tensor cores
///   y = epilogue(z * x scale * w scale + bias) ------ the kernel here               the L2 cache, memory
///
/// z is of f32 and takes twice the room of y, so the second and third step go on by pieces of 4096 rows, or of fewer
/// whose z is 64 MiB. Scales are not cuBLASLt's: a vector for each side is only on sm_90, and bias and activation come
/// after them. Rows are filled up to a multiple of 16, as cuBLASLt wants all sizes of FP8 products.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cuda/products/f8_matrix.cuh"
#include "qwen3vl/backend/cuda/products/gemm.cuh"
#include "qwen3vl/backend/cuda/products/gemv.cuh"

namespace qwen3vl {
namespace cuda {

/// Rows with those that fill up.
constexpr index_t f8_padded_rows(index_t rows) { return (rows + 15) / 16 * 16; }
/// Rows of a piece, and of z.
template <index_t N>
constexpr index_t f8_piece_rows(index_t rows) {
  constexpr index_t fitting = (index_t{64} << 20) / (N * index_t{sizeof(float)}) / 128 * 128;
  return std::min(f8_padded_rows(rows), std::clamp<index_t>(fitting, 128, 4096));
}

/// y [rows, outputs] of z [rows, N].
template <class E, class Y, int N>
__global__ void __launch_bounds__(256) finish_f8_kernel(const float* z, const float* x_scales, const float* w_scales,
                                                        const float* bias, Y* y, std::int64_t vectors) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  constexpr int outputs = gated ? N / 2 : N, width = 8, row_vectors = outputs / width;
  static_assert(outputs % width == 0);
  take_turn();
  const std::int64_t v = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (v >= vectors) return;
  const std::int64_t row = v / row_vectors;
  const int column = static_cast<int>(v % row_vectors) * width;
  const float x_scale = x_scales[row];
  const auto scaled = [&](int first, float(&to)[width]) {
    float w[width], b[width] = {};
    load_floats<width>(z + row * N + first, to);
    load_floats<width>(w_scales + first, w);
    if (bias != nullptr) load_floats<width>(bias + first, b);
#pragma unroll
    for (int i = 0; i < width; ++i) to[i] = fmaf(to[i] * x_scale, w[i], b[i]);
  };
  float values[width], ups[width] = {}, old[width] = {};
  scaled(column, values);
  if constexpr (gated) scaled(outputs + column, ups);
  if constexpr (std::is_same_v<E, epilogue::Add>) load_floats<width>(y + row * outputs + column, old);
#pragma unroll
  for (int i = 0; i < width; ++i) values[i] = finish<E>(values[i], ups[i], old[i]);
  store_floats<width>(y + row * outputs + column, values);
}

}  // namespace cuda

/// See backend/contract/ops.hpp. x is bf16; y is bf16, or float (logits). Scratch memory for more than gemv_tokens
/// rows: x in e4m3, and sums in f32 of at most 64 MiB (or 128 rows).
template <index_t N, index_t K, Packing packing, class Y, index_t Width, class E>
void linear(Context<Cuda>& ctx, std::type_identity_t<View<const bf16, Cuda, dynamic, K>> x,
            const CudaMatrix<fp8, N, K, packing>& weight, std::type_identity_t<View<const float, Cuda, N>> bias,
            View<Y, Cuda, dynamic, Width> y, E) {
  static_assert((packing == Packing::gate_up) == std::is_same_v<E, epilogue::SwiGlu>,
                "epilogue::SwiGlu goes with Packing::gate_up, the others with Packing::plain");
  static_assert(Width == epilogue::width<E, N>, "y is as wide as the weight has rows; with SwiGlu half of that");
  static_assert(std::is_same_v<Y, bf16> || std::is_same_v<Y, float>);
  constexpr int n = static_cast<int>(N), k = static_cast<int>(K);
  const index_t rows = x.rows();
  if (rows == 0) return;
  if (rows <= cuda::gemv_tokens) {
    cuda::gemv<n, k, E>(ctx, x.data(), rows, weight.data(), weight.scales(), bias.data(), y.data());
    return;
  }
  const index_t padded = cuda::f8_padded_rows(rows), piece = cuda::f8_piece_rows<N>(rows);
  auto q = ctx.template scratch<f8_e4m3, dynamic, K>(padded);
  auto scales = ctx.template scratch<float, dynamic>(padded);
  auto z = ctx.template scratch<float, dynamic, N>(piece);
  cuda::launch_early<cuda::BlockReduce<float, cuda::rounding_threads>>(
      ctx, cuda::round_activations_kernel<k>, cuda::blocks_for(padded, 1), cuda::rounding_threads, x.data(), rows,
      q.data(), scales.data());
  Cuda& handle = ctx.backend();
  for (index_t first = 0; first < rows; first += piece) {
    const f8_e4m3* const part = q.data() + first * K;
    const cuda::GemmShape shape{.rows = std::min(piece, padded - first),
                                .n = N,
                                .k = K,
                                .f8_operands = true,
                                .alignment = cuda::common_alignment(part, weight.data(), z.data())};
    handle.gemm_plans().run(handle.blas(), handle.stream(), shape, part, weight.data(), nullptr, z.data());
    const std::int64_t vectors = std::min(piece, rows - first) * (Width / 8);
    cuda::launch_early(ctx, cuda::finish_f8_kernel<E, Y, n>, cuda::blocks_for(vectors, 256), 256, z.data(),
                       scales.data() + first, weight.scales(), bias.data(), y.data() + first * Width, vectors);
  }
}

}  // namespace qwen3vl
