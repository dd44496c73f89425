/// A weight matrix in e4m3 on the device: row-major [N, K], then an f32 scale for each row.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/products/f8_rounding.cuh"
#include "qwen3vl/backend/cuda/products/f8_stored.cuh"
#include "qwen3vl/backend/cuda/products/matrix.cuh"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {
namespace cuda {

/// E4m3 numbers (T: f8_e4m3, or F8InBlocks) and their scales, `ScalesOfRow` for each row, in one allocation.
template <class T, index_t Rows, index_t Columns, index_t ScalesOfRow = 1>
class F8Memory {
 public:
  static constexpr std::size_t bytes() { return static_cast<std::size_t>(size); }
  bool allocated() const { return data_.allocated(); }
  void allocate() {
    if (!allocated()) data_ = Tensor<T, Cuda, size>::uninitialized();
  }

  /// [Rows, Columns], and [Rows] scales, or as many more in the order of whoever has several for a row.
  const T* data() const { return data_.data(); }
  T* data() { return data_.data(); }
  const float* scales() const { return reinterpret_cast<const float*>(data() + Rows * Columns); }
  float* scales() { return reinterpret_cast<float*>(data() + Rows * Columns); }

 private:
  static_assert(Columns % 16 == 0, "fp8 weights are read 16 at a time: rows are multiples of 16 columns");
  static constexpr index_t size = Rows * (Columns + ScalesOfRow * index_t{sizeof(float)});
  Tensor<T, Cuda, size> data_;
};

/// Numbers that were stored as `Stored` go to the device as they are, unless they are f16.
template <class Stored>
using f8_source_t = std::conditional_t<std::is_same_v<Stored, bf16>, bf16, float>;

/// Rows that are rounded together: what they take on the device as they were stored is at most 1 MiB, if one row is.
constexpr index_t f8_loaded_rows(index_t rows, index_t columns, std::size_t stored_bytes) {
  const auto most = static_cast<index_t>((std::size_t{1} << 20) / stored_bytes) / columns;
  return std::clamp<index_t>(most, 1, std::max<index_t>(rows, 1));
}

/// Uploads the rows of `raw`, [rows, columns], some at a time: f(StoredRows, first, count) is called with each part.
template <class F>
void for_uploaded_rows(Context<Cuda>& ctx, const RawTensor& raw, index_t rows, index_t columns, const F& f) {
  visit_floating(raw.dtype, [&](auto kind) {
    using Source = f8_source_t<decltype(kind)>;
    const index_t most = f8_loaded_rows(rows, columns, sizeof(Source));
    auto stored = ctx.template scratch<Source, dynamic, dynamic>(most, columns);
    for (index_t first = 0; first < rows; first += most) {
      const index_t count = std::min(most, rows - first);
      upload_weights(ctx, raw, first * columns, count * columns, stored.data());
      f(StoredRows<Source>{stored.data(), columns, 1}, first, count);
    }
  });
}

/// FP8 products are instructions of sm_89.
inline void require_fp8(const Cuda& cuda) {
  if (cuda.architecture() < 89)
    fail("fp8 weights need a device of compute capability 8.9 or later; device ", cuda.device(), " is of ",
         cuda.architecture() / 10, ".", cuda.architecture() % 10, ": use bf16 weights");
}

/// Rounds `raw`, [rows, columns], to e4m3; what is stored so, with a scale for each row or for all, is copied. It has
/// been read when this returns.
template <bool paired>
void load_f8_rows(Context<Cuda>& ctx, const RawTensor& raw, index_t rows, index_t columns, f8_e4m3* to, float* scales) {
  require_fp8(ctx.backend());
  if (stores_f8(raw, columns)) {
    const std::vector<float> factors = upload_f8<paired>(ctx, raw, columns, to);
    return upload_floats(ctx, factors, 0, factors.size(), scales);
  }
  for_uploaded_rows(ctx, raw, rows, columns, [&](const auto& stored, index_t first, index_t count) {
    round_weights<paired>(ctx, stored, count, static_cast<int>(columns), to + first * columns, scales + first);
  });
}

}  // namespace cuda

/// N rows (outputs) of K columns (inputs) in e4m3, each row with a scale.
template <index_t N, index_t K, Packing packing>
class CudaMatrix<fp8, N, K, packing> : public cuda::F8Memory<f8_e4m3, N, K> {
  static_assert(N % 16 == 0 && K % 16 == 0, "fp8 products are of multiples of 16 rows and columns (cuBLASLt)");
  static_assert(packing == Packing::plain || N % 32 == 0, "gate_up needs as many gates as ups");

 public:
  /// Rounds and copies rows [first_row, first_row + raw.rows()). `raw` has been read when this returns. Throws Error on
  /// a device without FP8 products.
  void load_rows(Context<Cuda>& ctx, index_t first_row, const RawTensor& raw) {
    detail::require_rows_fit(first_row, raw.rows(), raw.row_size(), N, K);
    cuda::load_f8_rows<false>(ctx, raw, raw.rows(), K, this->data() + first_row * K, this->scales() + first_row);
  }
};

}  // namespace qwen3vl
