/// Rows of FP8 numbers (e4m3) with one scale for the matrix, for a row, or for a block.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/quantized/rows/scale_grid.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl {

struct Float8Parts {
  index_t rows = 0, columns = 0;
  std::span<const std::byte> numbers = {};
  bool transposed = false;  ///< stored as [columns, rows]
  index_t block_rows = 0, block_columns = 0;
  ScaleGrid scales = {};  ///< by block
  std::string type_name = {};
  std::vector<std::span<const std::byte>> memory = {};
};

/// w = scale * q.
class Float8Rows final : public EncodedRows {
 public:
  /// Sizes have been checked against the tensors.
  explicit Float8Rows(Float8Parts parts) : p_(std::move(parts)) {
    for (std::size_t i = 0; i < table_.size(); ++i)
      table_[i] = static_cast<float>(std::bit_cast<f8_e4m3>(static_cast<std::uint8_t>(i)));
    if (p_.block_columns % 32 == 0 || p_.block_columns >= p_.columns)
      blocks_ = {.form = BlockForm::e4m3, .group = std::min(p_.block_columns, p_.columns)};
  }

  index_t rows() const override { return p_.rows; }
  index_t columns() const override { return p_.columns; }
  void read(index_t first, index_t count, float* to) const override {
    if (p_.transposed) {
      std::vector<float> scales(static_cast<std::size_t>(count));
      for (index_t k = 0; k < p_.columns; ++k) {
        const auto* const numbers = bytes() + k * p_.rows + first;
        for (index_t r = 0; r < count; ++r) {
          float& scale = scales[static_cast<std::size_t>(r)];
          if (k % p_.block_columns == 0) scale = p_.scales((first + r) / p_.block_rows, k / p_.block_columns);
          to[r * p_.columns + k] = table_[numbers[r]] * scale;
        }
      }
      return;
    }
    for (index_t r = first; r < first + count; ++r, to += p_.columns) {
      const auto* const numbers = bytes() + r * p_.columns;
      for (index_t begin = 0, b = 0; begin < p_.columns; begin += p_.block_columns, ++b) {
        const float scale = p_.scales(r / p_.block_rows, b);
        const index_t end = std::min(begin + p_.block_columns, p_.columns);
        for (index_t k = begin; k < end; ++k) to[k] = table_[numbers[k]] * scale;
      }
    }
  }
  BlockLayout blocks() const override { return blocks_; }
  void read_blocks(index_t row, const BlockRow& to) const override {
    for (index_t k = 0; k < p_.columns; ++k)
      to.q[k] = static_cast<std::int8_t>(p_.transposed ? bytes()[k * p_.rows + row] : bytes()[row * p_.columns + k]);
    for (index_t b = 0; b * blocks_.group < p_.columns; ++b) to.scales[b] = p_.scales(row / p_.block_rows, b);
  }
  std::string_view type_name() const override { return p_.type_name; }
  std::vector<std::span<const std::byte>> memory() const override { return p_.memory; }

 private:
  const std::uint8_t* bytes() const { return reinterpret_cast<const std::uint8_t*>(p_.numbers.data()); }

  Float8Parts p_;
  std::array<float, 256> table_{};
  BlockLayout blocks_;
};

}  // namespace qwen3vl
