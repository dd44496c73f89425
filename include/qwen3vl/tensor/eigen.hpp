/// Eigen's view of a host tensor, with its static sizes.
#pragma once

// GCC 12 warns about values that its own AVX-512 intrinsics leave undefined on purpose (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <Eigen/Core>
#pragma GCC diagnostic pop

#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

/// A rank-1 or rank-2 view as an `Eigen::Map` (row-major). Static extents become Eigen's compile-time sizes.
template <class T, class M, index_t... E>
requires(M::is_host && (sizeof...(E) == 1 || sizeof...(E) == 2)) auto as_eigen(const TensorView<T, M, E...>& view) {
  using Value = std::remove_const_t<T>;
  constexpr auto sizes = Extents<E...>::static_extents;
  constexpr auto eigen_size = [](index_t extent) {
    return extent == dynamic ? Eigen::Dynamic : static_cast<int>(extent);
  };
  if constexpr (sizeof...(E) == 1) {
    using Vector = Eigen::Matrix<Value, eigen_size(sizes[0]), 1>;
    return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Vector, Vector>>(view.data(), view.extent(0));
  } else {
    // Eigen wants a matrix of one column to be column-major; with one column both orders are the same.
    constexpr int order = sizes[1] == 1 && sizes[0] != 1 ? Eigen::ColMajor : Eigen::RowMajor;
    using Matrix = Eigen::Matrix<Value, eigen_size(sizes[0]), eigen_size(sizes[1]), order>;
    return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Matrix, Matrix>>(view.data(), view.extent(0),
                                                                                    view.extent(1));
  }
}

template <class T, class M, index_t... E>
auto as_eigen(OwningTensor<T, M, E...>& tensor) {
  return as_eigen(tensor.view());
}
template <class T, class M, index_t... E>
auto as_eigen(const OwningTensor<T, M, E...>& tensor) {
  return as_eigen(tensor.view());
}

}  // namespace qwen3vl
