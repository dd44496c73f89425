/// Rows of a plain tensor (F32, BF16, F16) as encoded rows, to be put together with others.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/io/weights/stored_tensor.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"
#include "qwen3vl/tensor/shape_text.hpp"

namespace qwen3vl {

class PlainRows final : public EncodedRows {
 public:
  /// Of a matrix or a stack of matrices, whose file must outlive this. Throws Error if it is none or of another type.
  explicit PlainRows(const StoredTensor& tensor) : dtype_(tensor.dtype), bytes_(tensor.bytes) {
    if (tensor.encoded || !is_floating_weight(tensor.dtype))
      fail(detail::shown(tensor.name), " is of type ", name_of(tensor.dtype), ", wanted F32, BF16 or F16");
    if (tensor.shape.size() < 2)
      fail(detail::shown(tensor.name), " is ", detail::shape_text(tensor.shape), ", wanted a matrix");
    columns_ = tensor.shape.back();
    rows_ = columns_ > 0 ? tensor.size() / columns_ : 0;
  }

  index_t rows() const override { return rows_; }
  index_t columns() const override { return columns_; }
  void read(index_t first, index_t count, float* to) const override {
    const auto begin = static_cast<std::size_t>(first * columns_), size = static_cast<std::size_t>(count * columns_);
    visit_floating(dtype_, [&](auto type) {
      for (std::size_t i = 0; i < size; ++i) to[i] = load_float<decltype(type)>(bytes_.data(), begin + i);
    });
  }
  BlockLayout blocks() const override { return {.widened = dtype_}; }
  std::string_view type_name() const override { return name_of(dtype_); }
  std::vector<std::span<const std::byte>> memory() const override { return {bytes_}; }

 private:
  DType dtype_;
  std::span<const std::byte> bytes_;
  index_t rows_ = 0, columns_ = 0;
};

/// The rows of a tensor, however it is stored; a vector is one row. Throws Error if it is plain and of another type.
inline std::shared_ptr<const EncodedRows> rows_of(const StoredTensor& tensor) {
  if (tensor.encoded) return tensor.encoded;
  StoredTensor matrix = tensor;
  if (matrix.shape.size() < 2) matrix.shape.insert(matrix.shape.begin(), 1);
  return std::make_shared<PlainRows>(matrix);
}

}  // namespace qwen3vl
