/// A stored tensor as a backend sees it while loading: bytes, type, shape, and the file they are mapped from.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// An open file, mapped as a whole at `begin`. Not owned.
struct MappedFrom {
  int descriptor = -1;  ///< negative: none
  const std::byte* begin = nullptr;
};

/// Row-major values of a floating dtype (f32, bf16, f16), whose `data` need not be aligned; or rows that `encoded`
/// gives as f32, `first_row` and those behind it.
struct RawTensor {
  DType dtype = DType::f32;
  const std::byte* data = nullptr;
  std::span<const index_t> shape;
  /// The file `data` is mapped from: reading it can be faster than page faults.
  MappedFrom file = {};
  const EncodedRows* encoded = nullptr;
  index_t first_row = 0;

  index_t rows() const { return shape.empty() ? 1 : shape[0]; }
  index_t row_size() const {
    index_t product = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) product *= shape[i];
    return product;
  }
  /// Of a matrix: its rows from `first` on, as a matrix of the shape given.
  RawTensor rows_from(index_t first, std::span<const index_t> shape_of_part) const {
    RawTensor part = *this;
    part.shape = shape_of_part;
    if (encoded != nullptr) {
      part.first_row += first;
    } else {
      part.data += static_cast<std::size_t>(first * row_size()) * size_of(dtype);
    }
    return part;
  }
  /// Of a stack of matrices [count, rows, columns]: matrix i.
  RawTensor matrix(index_t i) const {
    RawTensor part = *this;
    part.shape = shape.subspan(1);
    if (encoded != nullptr) {
      part.first_row += i * shape[1];
    } else {
      part.data += static_cast<std::size_t>(i * row_size()) * size_of(dtype);
    }
    return part;
  }
};

/// The values of a tensor as f32. `values` holds them where the tensor is encoded; the result is then a view of it.
inline RawTensor widened(const RawTensor& raw, std::vector<float>& values) {
  if (raw.encoded == nullptr) return raw;
  const index_t size = raw.rows() * raw.row_size();
  values.resize(static_cast<std::size_t>(size));
  raw.encoded->read(raw.first_row, size / raw.encoded->columns(), values.data());
  return {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values.data()), .shape = raw.shape};
}

namespace detail {
/// Throws Error unless rows [first_row, first_row + count) of `columns` columns lie in a matrix [height, width].
inline void require_rows_fit(index_t first_row, index_t count, index_t columns, index_t height, index_t width) {
  if (first_row < 0 || count > height - first_row || columns != width)
    fail("rows ", first_row, " to ", first_row + count, " of ", columns, " columns do not fit a matrix of ", height,
         " x ", width);
}
}  // namespace detail

/// How the rows of a weight matrix are laid out by a backend.
enum class Packing {
  plain,
  /// Gate rows in the first half, up rows of a gated MLP in the second; row i of both is stored together, so that the
  /// SwiGLU epilogue finds them in one register tile.
  gate_up,
};

}  // namespace qwen3vl
