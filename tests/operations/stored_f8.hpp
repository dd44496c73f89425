/// Rows of e4m3 as FP8 checkpoints store them, made of pseudo-random codes and scales.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "operations/buffers.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace operations {

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Scales are for blocks of `height` rows and `group` columns (a multiple of the columns: for the whole row), and
/// spread over 2^-`spread` to 2^`spread`.
class StoredF8 : public EncodedRows {
 public:
  StoredF8(index_t rows, index_t columns, index_t height, index_t group, std::uint32_t seed, float spread = 4.0f)
      : rows_(rows), columns_(columns), height_(height), group_(std::min(group, columns)) {
    Numbers numbers(seed);
    codes_.resize(static_cast<std::size_t>(rows * columns));
    for (std::uint8_t& code : codes_) {
      code = static_cast<std::uint8_t>((numbers() + 1.0f) * 127.9f);
      if (code % 128 == 127) code ^= 1u;  // no NaN
    }
    scales_ = numbers.many((rows + height - 1) / height * groups());
    for (float& scale : scales_) scale = std::exp2(scale * spread) * 0.01f;
  }

  index_t rows() const override { return rows_; }
  index_t columns() const override { return columns_; }
  void read(index_t first, index_t count, float* to) const override {
    for (index_t row = first; row < first + count; ++row)
      for (index_t c = 0; c < columns_; ++c) {
        f8_e4m3 q;
        q.bits = code(row, c);
        *to++ = static_cast<float>(q) * scale(row, c);
      }
  }
  BlockLayout blocks() const override { return {.form = BlockForm::e4m3, .group = group_}; }
  void read_blocks(index_t row, const BlockRow& to) const override {
    for (index_t c = 0; c < columns_; ++c) to.q[c] = std::bit_cast<std::int8_t>(code(row, c));
    for (index_t g = 0; g < groups(); ++g) to.scales[g] = scale(row, g * group_);
  }
  std::string_view type_name() const override { return "F8_E4M3 of a test"; }
  std::vector<std::span<const std::byte>> memory() const override { return {}; }

  std::uint8_t& code(index_t row, index_t column) { return codes_[static_cast<std::size_t>(row * columns_ + column)]; }
  std::uint8_t code(index_t row, index_t column) const {
    return codes_[static_cast<std::size_t>(row * columns_ + column)];
  }
  float scale(index_t row, index_t column) const {
    return scales_[static_cast<std::size_t>(row / height_ * groups() + column / group_)];
  }
  std::vector<float> values() const {
    std::vector<float> all(codes_.size());
    read(0, rows_, all.data());
    return all;
  }
  RawTensor tensor(std::span<const index_t> shape, index_t first_row = 0) const {
    return {.shape = shape, .encoded = this, .first_row = first_row};
  }

 private:
  index_t groups() const { return (columns_ + group_ - 1) / group_; }

  index_t rows_, columns_, height_, group_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> scales_;
};

}  // namespace operations
