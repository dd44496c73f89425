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

/// Of `E` matrices, one after another; then the scales of each.
template <index_t E, index_t N, index_t K>
class F8BlocksMemory {
 public:
  static constexpr index_t blocks = ceil_div(K, index_t{f8_block_columns});
  static constexpr std::size_t bytes() { return static_cast<std::size_t>(size); }
  bool allocated() const { return data_.allocated(); }
  void allocate() {
    if (!allocated()) data_ = Tensor<F8InBlocks, Cuda, size>::uninitialized();
  }

  /// [E, N, K], and [E, blocks, N].
  const F8InBlocks* data() const { return data_.data(); }
  F8InBlocks* data() { return data_.data(); }
  const float* scales() const { return reinterpret_cast<const float*>(data() + E * N * K); }
  float* scales() { return reinterpret_cast<float*>(data() + E * N * K); }

 private:
  static_assert(
      N % 2 == 0 && K % 16 == 0,
      "fp8 weights are read 16 at a time, and outputs written two at a time: rows are multiples of 16 columns");
  static constexpr index_t size = E * N * (K + blocks * index_t{sizeof(float)});
  Tensor<F8InBlocks, Cuda, size> data_;
};

/// Rounds `raw`, rows [first_row, first_row + rows) of matrices of `height` rows, where it has other numbers.
inline void round_f8_blocks(Context<Cuda>& ctx, const RawTensor& raw, index_t rows, index_t columns, index_t first_row,
                            index_t height, F8InBlocks* to, float* scales) {
  visit_floating(raw.dtype, [&](auto kind) {
    using Source = f8_source_t<decltype(kind)>;
    const index_t most = f8_loaded_rows(rows, columns, sizeof(Source));
    auto stored = ctx.template scratch<Source, dynamic, dynamic>(most, columns);
    for (index_t first = 0; first < rows; first += most) {
      const index_t count = std::min(most, rows - first);
      upload_weights(ctx, raw, first * columns, count * columns, stored.data());
      round_blocks(ctx, StoredRows<Source>{stored.data(), columns, 1}, count, first_row + first, height,
                   static_cast<int>(columns), to, scales);
    }
  });
}

/// Loads rows [first_row, first_row + raw.rows()) of a matrix [height, columns]: as they are, or rounded.
inline void load_f8_blocks(Context<Cuda>& ctx, const RawTensor& raw, index_t columns, index_t first_row, index_t height,
                           F8InBlocks* to, float* scales) {
  const index_t rows = raw.rows();
  if (rows == 0) return;
  if (!stores_f8(raw, f8_block_columns)) return round_f8_blocks(ctx, raw, rows, columns, first_row, height, to, scales);
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
    if (first_row < 0 || raw.rows() > N - first_row || raw.row_size() != K)
      fail("rows ", first_row, " to ", first_row + raw.rows(), " of ", raw.row_size(),
           " columns do not fit a matrix of ", N, " x ", K);
    cuda::load_f8_blocks(ctx, raw, K, first_row, N, this->data(), this->scales());
  }
};

}  // namespace qwen3vl
