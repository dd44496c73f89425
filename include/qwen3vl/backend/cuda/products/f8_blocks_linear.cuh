/// linear() with e4m3 weights that have a scale for each row and each 128 columns: streamed for a few rows (gemv.cuh);
/// more by the tiles of tiles.cuh. Weights become bf16 in registers, exactly; activations are bf16 as they are; the f32
/// sum of 128 columns is multiplied by its scale. So nothing is rounded but what any product of bf16 rounds.
///
///   tiling   rows x outputs   for                                        limited by
///   small        16 x  32     up to 16 rows                              memory: every weight is read once
///   square       64 x  64     more, where large tiles are too few        memory, the L2 cache
///   large       128 x 128     as many tiles as multiprocessors           tensor cores (mma.sync)
///
/// Tiles that run together are of 8 tiles of rows and a few of outputs, whose operands fit the L2 cache.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cuda/products/f8_blocks_matrix.cuh"
#include "qwen3vl/backend/cuda/products/gemv.cuh"
#include "qwen3vl/backend/cuda/products/tiles.cuh"

namespace qwen3vl {
namespace cuda {

inline constexpr int f8_tiles_together = 8;

/// y [rows, outputs] = epilogue(x w^T + bias). Grid: tiles of outputs by tiles of rows.
template <class Tiling, class E, int N, int K, class Y>
__global__ void __launch_bounds__(Tiling::threads, Tiling::template Weights<F8InBlocks>::resident)
    f8_blocks_kernel(const bf16* x, int rows, const F8InBlocks* w, const float* scales, const float* bias, Y* y) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  constexpr int outputs = gated ? N / 2 : N, block_outputs = gated ? Tiling::columns / 2 : Tiling::columns;
  constexpr int column_blocks = ceil_div(outputs, block_outputs);
  auto& shared = shared_memory<typename Tiling::template Shared<F8InBlocks>>();
  take_turn();
  // The grid goes by bands of f8_tiles_together tiles of rows, the last one may have fewer.
  const int row_tiles = ceil_div(rows, Tiling::rows), block = static_cast<int>(blockIdx.x);
  const int band = block / (f8_tiles_together * column_blocks), in_band = block % (f8_tiles_together * column_blocks);
  const int height = min(f8_tiles_together, row_tiles - band * f8_tiles_together);
  const int first = (band * f8_tiles_together + in_band % height) * Tiling::rows;
  const int first_output = in_band / height * block_outputs, count = min(Tiling::rows, rows - first);
  x += static_cast<std::int64_t>(first) * K;
  y += static_cast<std::int64_t>(first) * outputs;

  TileSums<Tiling> sums = {};
  multiply_tile<Tiling, gated, N, K>(
      shared, count, [&](int row) { return x + static_cast<std::int64_t>(row) * K; }, w, scales, first_output, sums);
  for_each_pair<Tiling, gated, N>(count, first_output, sums,
                                  [&](int row, int output, const float* pair, const float* ups) {
                                    Y* const to = y + static_cast<std::int64_t>(row) * outputs + output;
                                    float values[2], b[2] = {}, up_b[2] = {}, old[2] = {};
                                    if (bias != nullptr) {
                                      load_floats<2>(bias + output, b);
                                      if constexpr (gated) load_floats<2>(bias + outputs + output, up_b);
                                    }
                                    if constexpr (std::is_same_v<E, epilogue::Add>) load_floats<2>(to, old);
#pragma unroll
                                    for (int n = 0; n < 2; ++n)
                                      values[n] = finish<E>(pair[n] + b[n], ups[n] + up_b[n], old[n]);
                                    store_floats<2>(to, values);
                                  });
}

template <class Tiling, class E, int N, int K, class Y>
void f8_blocks_product(Context<Cuda>& ctx, const bf16* x, index_t rows, const F8InBlocks* w, const float* scales,
                       const float* bias, Y* y) {
  constexpr index_t outputs = epilogue::width<E, index_t{N}>;
  constexpr index_t block_outputs = outputs == N ? Tiling::columns : Tiling::columns / 2;
  launch_early<typename Tiling::template Shared<F8InBlocks>>(
      ctx, f8_blocks_kernel<Tiling, E, N, K, Y>,
      blocks_for(ceil_div(rows, index_t{Tiling::rows}) * ceil_div(outputs, block_outputs), 1), Tiling::threads, x, rows,
      w, scales, bias, y);
}

}  // namespace cuda

/// See backend/contract/ops.hpp. x is bf16; y is bf16, or float (logits). A row's result does not depend on how many
/// rows there are, but for whether they are more than gemv_tokens: the order of its sums differs. No scratch memory.
template <index_t N, index_t K, Packing packing, class Y, index_t Width, class E>
void linear(Context<Cuda>& ctx, std::type_identity_t<View<const bf16, Cuda, dynamic, K>> x,
            const CudaMatrix<fp8_blocks, N, K, packing>& weight, std::type_identity_t<View<const float, Cuda, N>> bias,
            View<Y, Cuda, dynamic, Width> y, E) {
  static_assert((packing == Packing::gate_up) == std::is_same_v<E, epilogue::SwiGlu>,
                "epilogue::SwiGlu goes with Packing::gate_up, the others with Packing::plain");
  static_assert(Width == epilogue::width<E, N>, "y is as wide as the weight has rows; with SwiGlu half of that");
  static_assert(std::is_same_v<Y, bf16> || std::is_same_v<Y, float>);
  constexpr int n = static_cast<int>(N), k = static_cast<int>(K);
  const index_t rows = x.rows();
  if (rows == 0) return;
  if (rows > 0x7fffffff) fail(rows, " rows are too many for one product");
  if (rows <= cuda::gemv_tokens)
    return cuda::gemv<n, k, E>(ctx, x.data(), rows, weight.data(), weight.scales(), bias.data(), y.data());
  using Large = cuda::LargeTiling;
  const index_t large = cuda::ceil_div(rows, index_t{Large::rows}) * cuda::ceil_div(N, index_t{Large::columns});
  const auto multiply = rows <= 16 ? cuda::f8_blocks_product<cuda::SmallTiling, E, n, k, Y>
                        : large < ctx.backend().multiprocessors()
                            ? cuda::f8_blocks_product<cuda::SquareTiling, E, n, k, Y>
                            : cuda::f8_blocks_product<Large, E, n, k, Y>;
  multiply(ctx, x.data(), rows, weight.data(), weight.scales(), bias.data(), y.data());
}

}  // namespace qwen3vl
