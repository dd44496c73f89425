/// Operations on whole rows on the device: embedding, scatter, gather, additions. All are limited by memory: one block
/// per row, each element moved once.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"
#include "qwen3vl/backend/cuda/products/f8_blocks_matrix.cuh"
#include "qwen3vl/backend/cuda/products/f8_matrix.cuh"
#include "qwen3vl/backend/cuda/products/matrix.cuh"
#include "qwen3vl/backend/cuda/products/stored_matrix.cuh"

namespace qwen3vl {
namespace cuda {

inline constexpr int row_threads = 128;

/// Row r of the launch: to[to_index[r]] = from[from_index[r]], or += with `add`; without an index it is row r itself.
template <class From, class To, int width, bool add>
__global__ void __launch_bounds__(row_threads) rows_kernel(const From* from, const std::int32_t* from_index, To* to,
                                                           const std::int32_t* to_index, std::int64_t columns) {
  take_turn();
  const std::int64_t row = blockIdx.x;
  const From* const source = from + (from_index != nullptr ? from_index[row] : row) * columns;
  To* const target = to + (to_index != nullptr ? to_index[row] : row) * columns;
  for (std::int64_t c = threadIdx.x * width; c < columns; c += row_threads * width) {
    float values[width];
    load_floats<width>(source + c, values);
    if constexpr (add) {
      float old[width];
      load_floats<width>(target + c, old);
#pragma unroll
      for (int i = 0; i < width; ++i) values[i] += old[i];
    }
    store_floats<width>(target + c, values);
  }
}

/// y[r] = row ids[r] of a table of e4m3, times its scale.
template <class T>
__global__ void __launch_bounds__(row_threads)
    f8_rows_kernel(const f8_e4m3* table, const float* scales, const std::int32_t* ids, T* y, std::int64_t columns) {
  take_turn();
  const std::int64_t row = blockIdx.x, from = ids[row];
  const float scale = scales[from];
  for (std::int64_t c = threadIdx.x * 8; c < columns; c += row_threads * 8) {
    float values[8];
    load_floats<8>(table + from * columns + c, values);
#pragma unroll
    for (float& value : values) value *= scale;
    store_floats<8>(y + row * columns + c, values);
  }
}

/// The same of a table with scales [blocks of columns, height].
template <class T>
__global__ void __launch_bounds__(row_threads)
    f8_blocks_rows_kernel(const F8InBlocks* table, const float* scales, std::int64_t height, const std::int32_t* ids,
                          T* y, int columns) {
  take_turn();
  const std::int64_t row = blockIdx.x, from = ids[row];
  for (int c = static_cast<int>(threadIdx.x) * 2; c < columns; c += row_threads * 2) {  // pairs stay neighbours
    float values[2];
    const auto pair = load_vector<2>(table + from * columns + f8_place<true>(c));
    const float scale = scales[c / f8_block_columns * height + from];
#pragma unroll
    for (int i = 0; i < 2; ++i) values[i] = static_cast<float>(pair.values[i].q) * scale;
    store_floats<2>(y + row * columns + c, values);
  }
}

/// y[r] += the sum of four rows of a table, each by its weight.
template <class T, int width>
__global__ void __launch_bounds__(row_threads) interpolate_kernel(const float* table, const std::int32_t* indices,
                                                                  const float* weights, T* y, std::int64_t columns) {
  take_turn();
  const std::int64_t row = blockIdx.x;
  const float* corners[4];
  float w[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    corners[j] = table + indices[row * 4 + j] * columns;
    w[j] = weights[row * 4 + j];
  }
  for (std::int64_t c = threadIdx.x * width; c < columns; c += row_threads * width) {
    float sum[width];
    load_floats<width>(y + row * columns + c, sum);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float corner[width];
      load_floats<width>(corners[j] + c, corner);
#pragma unroll
      for (int i = 0; i < width; ++i) sum[i] += w[j] * corner[i];
    }
    store_floats<width>(y + row * columns + c, sum);
  }
}

/// f(constant width): the elements of type T that one instruction moves, of rows of so many columns.
template <class T, class F>
void with_row_width(std::int64_t columns, F&& f) {
  constexpr int widest = 16 / static_cast<int>(sizeof(T));
  if (columns % widest == 0) return f(std::integral_constant<int, widest>{});
  if (columns % 2 == 0) return f(std::integral_constant<int, 2>{});
  return f(std::integral_constant<int, 1>{});
}

template <bool add, class From, class To>
void move_rows(Context<Cuda>& ctx, std::int64_t rows, const From* from, const std::int32_t* from_index, To* to,
               const std::int32_t* to_index, std::int64_t columns) {
  using Narrow = std::conditional_t<(sizeof(From) < sizeof(To)), From, To>;
  with_row_width<Narrow>(columns, [&](auto width) {
    launch_early(ctx, rows_kernel<From, To, decltype(width)::value, add>, blocks_for(rows, 1), row_threads, from,
                 from_index, to, to_index, columns);
  });
}

using RowIndex = View<const std::int32_t, Cuda, dynamic>;

}  // namespace cuda

template <class W, index_t N, index_t K, class T>
void embedding(Context<Cuda>& ctx, View<const std::int32_t, Cuda, dynamic> ids,
               const CudaMatrix<W, N, K, Packing::plain>& table, View<T, Cuda, dynamic, K> y) {
  cuda::move_rows<false>(ctx, ids.rows(), table.data(), ids.data(), y.data(), nullptr, K);
}

template <index_t N, index_t K, class T>
void embedding(Context<Cuda>& ctx, View<const std::int32_t, Cuda, dynamic> ids,
               const CudaMatrix<fp8, N, K, Packing::plain>& table, View<T, Cuda, dynamic, K> y) {
  cuda::launch_early(ctx, cuda::f8_rows_kernel<T>, cuda::blocks_for(ids.rows(), 1), cuda::row_threads, table.data(),
                     table.scales(), ids.data(), y.data(), K);
}

template <index_t N, index_t K, class T>
void embedding(Context<Cuda>& ctx, View<const std::int32_t, Cuda, dynamic> ids,
               const CudaMatrix<fp8_blocks, N, K, Packing::plain>& table, View<T, Cuda, dynamic, K> y) {
  cuda::launch_early(ctx, cuda::f8_blocks_rows_kernel<T>, cuda::blocks_for(ids.rows(), 1), cuda::row_threads,
                     table.data(), table.scales(), N, ids.data(), y.data(), K);
}

template <index_t N, index_t K, class T>
void embedding(Context<Cuda>& ctx, View<const std::int32_t, Cuda, dynamic> ids,
               const CudaMatrix<stored, N, K, Packing::plain>& table, View<T, Cuda, dynamic, K> y) {
  table.visit([&](const auto& matrix) { embedding(ctx, ids, matrix, y); });
}

template <class T, index_t C>
void interpolate_add(Context<Cuda>& ctx, std::type_identity_t<View<const float, Cuda, dynamic, dynamic>> table,
                     View<const std::int32_t, Cuda, dynamic, 4> indices, View<const float, Cuda, dynamic, 4> weights,
                     View<T, Cuda, dynamic, C> y) {
  cuda::with_row_width<T>(y.extent(1), [&](auto width) {
    cuda::launch_early(ctx, cuda::interpolate_kernel<T, decltype(width)::value>, cuda::blocks_for(y.rows(), 1),
                       cuda::row_threads, table.data(), indices.data(), weights.data(), y.data(), y.extent(1));
  });
}

template <class T, index_t C>
void scatter_rows(Context<Cuda>& ctx, std::type_identity_t<View<const T, Cuda, dynamic, dynamic>> rows,
                  cuda::RowIndex index, View<T, Cuda, dynamic, C> y) {
  cuda::move_rows<false, T, T>(ctx, index.rows(), rows.data(), nullptr, y.data(), index.data(), y.extent(1));
}

template <class T, index_t C>
void add_rows(Context<Cuda>& ctx, std::type_identity_t<View<const T, Cuda, dynamic, dynamic>> rows,
              cuda::RowIndex index, View<T, Cuda, dynamic, C> y) {
  cuda::move_rows<true, T, T>(ctx, index.rows(), rows.data(), nullptr, y.data(), index.data(), y.extent(1));
}

template <class T, index_t C>
void gather_rows(Context<Cuda>& ctx, std::type_identity_t<View<const T, Cuda, dynamic, dynamic>> x,
                 cuda::RowIndex index, View<T, Cuda, dynamic, C> y) {
  cuda::move_rows<false, T, T>(ctx, index.rows(), x.data(), index.data(), y.data(), nullptr, y.extent(1));
}

/// Also converts: x may be float where y is an activation of bf16.
template <class X, index_t D, class T, index_t C>
void copy_rows(Context<Cuda>& ctx, View<X, Cuda, dynamic, D> x, View<T, Cuda, dynamic, C> y) {
  cuda::move_rows<false, std::remove_const_t<X>, T>(ctx, x.rows(), x.data(), nullptr, y.data(), nullptr, y.extent(1));
}

}  // namespace qwen3vl
