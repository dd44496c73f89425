/// The weights of a mixture of experts on the device: E matrices of one shape, one after another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/products/matrix.cuh"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {
namespace cuda {

/// Throws Error unless `raw` is [rows, columns] and there is an expert e.
inline void require_expert_fits(index_t e, index_t experts, const RawTensor& raw, index_t rows, index_t columns) {
  if (e < 0 || e >= experts) fail("expert ", e, " of ", experts);
  if (raw.rows() != rows || raw.row_size() != columns)
    fail("expert ", e, " is stored as ", raw.rows(), " x ", raw.row_size(), ", not as ", rows, " x ", columns);
}

inline constexpr int transpose_tile = 32, transpose_rows = 8;

template <class W>
struct TransposeShared {
  W tile[transpose_tile][transpose_tile + 1];  // one column more, so that columns lie in different banks
};

/// to [columns, rows] = from [rows, columns] transposed, a tile per block. Limited by memory; used when loading.
template <class W>
__global__ void __launch_bounds__(transpose_tile* transpose_rows)
    transpose_kernel(const W* from, W* to, std::int64_t rows, std::int64_t columns) {
  auto& tile = shared_memory<TransposeShared<W>>().tile;
  const int x = static_cast<int>(threadIdx.x) % transpose_tile, y = static_cast<int>(threadIdx.x) / transpose_tile;
  const std::int64_t tiles = ceil_div(columns, transpose_tile);
  const std::int64_t row = blockIdx.x / tiles * transpose_tile, column = blockIdx.x % tiles * transpose_tile;
#pragma unroll
  for (int i = y; i < transpose_tile; i += transpose_rows)
    if (row + i < rows && column + x < columns) tile[i][x] = from[(row + i) * columns + column + x];
  __syncthreads();
#pragma unroll
  for (int i = y; i < transpose_tile; i += transpose_rows)
    if (column + i < columns && row + x < rows) to[(column + i) * rows + row + x] = tile[x][i];
}

}  // namespace cuda

/// E matrices of N rows (outputs) and K columns (inputs), row-major, weights of type W: float or bf16. Others:
/// f8_experts.cuh, f8_blocks_experts.cuh, stored_experts.cuh. With Packing::gate_up the gates are the first half of the
/// rows of each and the ups the second.
template <class W, index_t E, index_t N, index_t K, Packing packing>
class CudaExperts {
  static_assert(E >= 1 && (std::is_same_v<W, float> || std::is_same_v<W, bf16>),
                "weights on the device are float, bf16, fp8, fp8_blocks or stored");
  static_assert(packing == Packing::plain || N % 2 == 0, "gate_up needs as many gates as ups");

 public:
  static constexpr std::size_t bytes() {
    return static_cast<std::size_t>(E) * static_cast<std::size_t>(N) * static_cast<std::size_t>(K) * sizeof(W);
  }
  bool allocated() const { return data_.allocated(); }
  void allocate() {
    if (!allocated()) data_ = Tensor<W, Cuda, E, N, K>::uninitialized();
  }

  /// [E, N, K] on the device.
  const W* data() const { return data_.data(); }
  W* data() { return data_.data(); }

  /// Converts and copies expert e from [N, K], or from [K, N] if `transposed` (as the Hub has them: the device then
  /// transposes). `raw` has been read when this returns.
  void load_expert(Context<Cuda>& ctx, index_t e, const RawTensor& raw, bool transposed) {
    cuda::require_expert_fits(e, E, raw, transposed ? K : N, transposed ? N : K);
    W* const to = data() + e * N * K;
    if (!transposed) return cuda::upload_weights(ctx, raw, 0, N * K, to);
    auto stored = ctx.template scratch<W, K, N>();
    cuda::upload_weights(ctx, raw, 0, N * K, stored.data());
    const index_t tiles = cuda::ceil_div(K, cuda::transpose_tile) * cuda::ceil_div(N, cuda::transpose_tile);
    cuda::launch<cuda::TransposeShared<W>>(ctx, cuda::transpose_kernel<W>, cuda::blocks_for(tiles, 1),
                                           cuda::transpose_tile * cuda::transpose_rows, stored.data(), to, K, N);
  }

  /// Gives expert e back, [N, K]. Waits for the device.
  void store_expert(Context<Cuda>& ctx, index_t e, std::span<W> to) const {
    cuda::download_weights(ctx, data() + e * N * K, to);
  }

 private:
  Tensor<W, Cuda, E, N, K> data_;
};

}  // namespace qwen3vl
