/// Factors of a matrix of weights: one for all of it, for a row, or for a block of some rows and columns.
#pragma once

#include <cmath>
#include <cstddef>

#include "qwen3vl/io/weights/stored_tensor.hpp"

namespace qwen3vl {

/// Reads scales as they are stored; the tensor's file must outlive it.
class ScaleGrid {
 public:
  ScaleGrid() = default;
  /// Of F32, BF16, F16, F8_E4M3, or U8: exponents of two with a bias of 127 (E8M0). `strides` of a step to the next
  /// row and the next column of the grid, in elements; a step of 0 repeats.
  ScaleGrid(const StoredTensor& tensor, index_t row_stride, index_t column_stride)
      : data_(tensor.bytes.data()), dtype_(tensor.dtype), row_stride_(row_stride), column_stride_(column_stride) {}

  static bool reads(DType dtype) { return is_floating_weight(dtype) || dtype == DType::f8_e4m3 || dtype == DType::u8; }

  float operator()(index_t row, index_t column) const {
    const auto i = static_cast<std::size_t>(row * row_stride_ + column * column_stride_);
    switch (dtype_) {
      case DType::bf16:
        return load_float<bf16>(data_, i);
      case DType::f16:
        return load_float<f16>(data_, i);
      case DType::f8_e4m3:
        return load_float<f8_e4m3>(data_, i);
      case DType::u8:
        return std::ldexp(1.0f, std::to_integer<int>(data_[i]) - 127);
      default:
        return load_float<float>(data_, i);
    }
  }

 private:
  const std::byte* data_ = nullptr;
  DType dtype_ = DType::f32;
  index_t row_stride_ = 0, column_stride_ = 0;
};

}  // namespace qwen3vl
