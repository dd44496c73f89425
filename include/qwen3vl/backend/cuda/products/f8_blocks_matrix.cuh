/// A weight matrix in e4m3 on the device with a scale for each row and each 128 columns: [N, K] with the columns of a
/// row in the order of f8_place, then f32 scales [blocks of columns, N], so that neighbouring rows' are neighbours.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/products/f8_matrix.cuh"
#include "qwen3vl/backend/cuda/products/f8_rounding.cuh"
#include "qwen3vl/backend/cuda/products/matrix.cuh"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {
namespace cuda {

/// Of `E` matrices [E, N, K], one after another; then the scales of each, [E, blocks, N].
template <index_t E, index_t N, index_t K>
class F8BlocksMemory : public F8Memory<F8InBlocks, E * N, K, ceil_div(K, index_t{f8_block_columns})> {
  static_assert(N % 2 == 0, "outputs are written two at a time");

 public:
  static constexpr index_t blocks = ceil_div(K, index_t{f8_block_columns});
};

/// Loads rows [first_row, first_row + raw.rows()) of a matrix [height, columns]: as they are, or rounded.
inline void load_f8_blocks(Context<Cuda>& ctx, const RawTensor& raw, index_t columns, index_t first_row, index_t height,
                           F8InBlocks* to, float* scales) {
  const index_t rows = raw.rows();
  if (rows == 0) return;
  if (!stores_f8(raw, f8_block_columns))
    return for_uploaded_rows(ctx, raw, rows, columns, [&](const auto& stored, index_t first, index_t count) {
      round_blocks(ctx, stored, count, first_row + first, height, static_cast<int>(columns), to, scales);
    });
  const std::vector<float> factors = upload_f8<true>(ctx, raw, f8_block_columns, to + first_row * columns);
  if (rows == height) return upload_floats(ctx, factors, 0, factors.size(), scales);
  for (std::size_t at = 0, block = 0; at < factors.size(); at += static_cast<std::size_t>(rows), ++block)
    upload_floats(ctx, factors, at, static_cast<std::size_t>(rows),
                  scales + static_cast<index_t>(block) * height + first_row);
}

}  // namespace cuda

/// N rows (outputs) of K columns (inputs) in e4m3, with a scale for each row and each 128 columns.
template <index_t N, index_t K, Packing packing>
class CudaMatrix<fp8_blocks, N, K, packing> : public cuda::F8BlocksMemory<1, N, K> {
  static_assert(packing == Packing::plain || N % 4 == 0, "gate_up needs as many gates as ups, each an even number");

 public:
  /// Rows [first_row, first_row + raw.rows()): numbers in e4m3 with fitting scales are copied, others rounded. `raw`
  /// has been read when this returns.
  void load_rows(Context<Cuda>& ctx, index_t first_row, const RawTensor& raw) {
    detail::require_rows_fit(first_row, raw.rows(), raw.row_size(), N, K);
    cuda::load_f8_blocks(ctx, raw, K, first_row, N, this->data(), this->scales());
  }
};

}  // namespace qwen3vl
