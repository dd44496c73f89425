/// Rows of small integers with a scale, and perhaps a zero point, for each group of columns: GPTQ, AWQ,
/// compressed-tensors, bitsandbytes' int8.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/quantized/rows/packed_integers.hpp"
#include "qwen3vl/io/weights/quantized/rows/scale_grid.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl {

/// What IntegerRows are made of. Integers and zero points are unsigned; where a format has signed ones, both have half
/// of their range added.
struct IntegerParts {
  /// Where the integers are packed: along the columns, or along the rows (AWQ); `signed_bytes` are plain int8.
  enum class Layout { columns, rows, signed_bytes };

  index_t rows = 0, columns = 0;
  int bits = 8;
  Layout layout = Layout::columns;
  PackedIntegers integers = {};
  index_t group = 0;      ///< columns
  ScaleGrid scales = {};  ///< by row and group
  float factor = 1.0f;    ///< of every weight, behind its scale
  /// Zero points, along the rows and across the groups; without data all are half of the range. As signed bytes,
  /// strides are in bytes.
  PackedIntegers zeros = {};
  bool zeros_are_signed_bytes = false;
  int added_to_zeros = 0;
  const std::byte* group_of_column = nullptr;  ///< int32 of each column, checked; null: column / group
  std::string type_name = {};
  std::vector<std::span<const std::byte>> memory = {};
};

/// w = scale * (q - zero), which float32 holds exactly where scales are half floats.
class IntegerRows final : public EncodedRows {
 public:
  /// Sizes and indexes have been checked against the tensors.
  explicit IntegerRows(IntegerParts parts) : p_(std::move(parts)) {
    groups_ = (p_.columns + p_.group - 1) / p_.group;
    for (index_t k = 0; p_.group_of_column != nullptr && k < p_.columns && !reordered_; ++k)
      reordered_ = group_of(k) != k / p_.group;
    const bool usual_group = p_.group % 32 == 0 || p_.group >= p_.columns;
    const int half = 1 << (p_.bits - 1);
    if (p_.bits > 4 && zeros_are_within(half, half)) p_.zeros = {};  // GPTQ stores those of symmetric weights, too
    if (reordered_ || !usual_group) return;
    const index_t group = std::min(p_.group, p_.columns);
    if (p_.bits <= 4) {
      if (zeros_are_within(0, 15)) blocks_ = {.form = BlockForm::nibbles, .group = group};
    } else if (p_.zeros.data == nullptr) {
      blocks_ = {.form = BlockForm::bytes, .group = group};
    }
  }

  index_t rows() const override { return p_.rows; }
  index_t columns() const override { return p_.columns; }
  void read(index_t first, index_t count, float* to) const override {
    constexpr index_t most_rows = 32;
    std::vector<std::uint8_t> q(static_cast<std::size_t>(std::min(count, most_rows) * p_.columns));
    for (const index_t end = first + count; first < end;) {
      const index_t some = std::min(end - first, most_rows);
      unpack(first, some, q.data());
      for (index_t r = 0; r < some; ++r, to += p_.columns) row(first + r, q.data() + r * p_.columns, to);
      first += some;
    }
  }
  BlockLayout blocks() const override { return blocks_; }
  /// Of bitsandbytes' int8, scale times q may differ from what read() gives in the last bit.
  void read_blocks(index_t row, const BlockRow& to) const override {
    auto* const q = reinterpret_cast<std::uint8_t*>(to.q);
    unpack(row, 1, q);
    if (blocks_.form == BlockForm::bytes) {
      const int half = 1 << (p_.bits - 1);
      for (index_t k = 0; k < p_.columns; ++k) to.q[k] = static_cast<std::int8_t>(q[k] - half);
    }
    for (index_t g = 0; g < groups_; ++g) {
      to.scales[g] = p_.scales(row, g) * p_.factor;
      if (blocks_.form == BlockForm::nibbles) to.offsets[g] = static_cast<std::uint8_t>(zero(row, g));
    }
  }
  std::string_view type_name() const override { return p_.type_name; }
  std::vector<std::span<const std::byte>> memory() const override { return p_.memory; }

 private:
  index_t group_of(index_t column) const {
    std::int32_t group;
    std::memcpy(&group, p_.group_of_column + static_cast<std::size_t>(column) * sizeof group, sizeof group);
    return group;
  }
  int zero(index_t row, index_t group) const {
    if (p_.zeros.data == nullptr) return 1 << (p_.bits - 1);
    if (p_.zeros_are_signed_bytes)
      return static_cast<int>(static_cast<std::int8_t>(
                 p_.zeros.data[row * p_.zeros.along_stride + group * p_.zeros.across_stride])) +
             (1 << (p_.bits - 1));
    return static_cast<int>(p_.zeros(row, group)) + p_.added_to_zeros;
  }
  bool zeros_are_within(int least, int most) const {
    if (p_.zeros.data == nullptr) return true;
    const bool as_packed = p_.added_to_zeros == 0 && !p_.zeros_are_signed_bytes;
    if (as_packed && least == 0 && most >= (1 << p_.bits) - 1) return true;
    for (index_t r = 0; r < p_.rows; ++r)
      for (index_t g = 0; g < groups_; ++g)
        if (const int z = zero(r, g); z < least || z > most) return false;
    return true;
  }

  void row(index_t row, const std::uint8_t* q, float* to) const {
    if (reordered_) {
      for (index_t k = 0; k < p_.columns; ++k) {
        const index_t g = group_of(k);
        to[k] = static_cast<float>(q[k] - zero(row, g)) * p_.scales(row, g) * p_.factor;
      }
      return;
    }
    for (index_t g = 0; g < groups_; ++g) {
      const float scale = p_.scales(row, g), factor = p_.factor;
      const int minus = zero(row, g);
      const index_t end = std::min((g + 1) * p_.group, p_.columns);
      for (index_t k = g * p_.group; k < end; ++k) to[k] = static_cast<float>(q[k] - minus) * scale * factor;
    }
  }

  /// [count, columns], in the order in which the words lie in memory: rows of words that are packed along the columns
  /// of a weight are next to each other, those of other weights are far apart.
  void unpack(index_t first, index_t count, std::uint8_t* q) const {
    const PackedIntegers& words = p_.integers;
    const std::uint32_t mask = (1u << p_.bits) - 1;
    if (p_.layout == IntegerParts::Layout::signed_bytes) {
      const auto* const bytes = reinterpret_cast<const std::uint8_t*>(words.data) + first * p_.columns;
      const auto half = static_cast<std::uint8_t>(1u << (p_.bits - 1));
      for (index_t i = 0; i < count * p_.columns; ++i) q[i] = static_cast<std::uint8_t>(bytes[i] + half);
    } else if (p_.layout == IntegerParts::Layout::rows) {
      for (index_t k = 0; k < p_.columns; ++k)
        for (index_t r = 0; r < count; ++r) q[r * p_.columns + k] = static_cast<std::uint8_t>(words(first + r, k));
    } else if (32 % p_.bits != 0) {
      for (index_t r = 0; r < count; ++r)
        for (index_t k = 0; k < p_.columns; ++k) q[r * p_.columns + k] = static_cast<std::uint8_t>(words(k, first + r));
    } else {
      const index_t per_word = 32 / p_.bits, all_words = packed_words(p_.columns, p_.bits);
      const auto split = [&](index_t w, index_t r) {
        std::uint32_t word = words.word(w * words.along_stride + (first + r) * words.across_stride);
        const index_t begin = w * per_word, end = std::min(begin + per_word, p_.columns);
        for (index_t k = begin; k < end; ++k, word >>= p_.bits)
          q[r * p_.columns + k] = static_cast<std::uint8_t>(word & mask);
      };
      if (words.along_stride == 1) {
        for (index_t r = 0; r < count; ++r)
          for (index_t w = 0; w < all_words; ++w) split(w, r);
      } else {
        for (index_t w = 0; w < all_words; ++w)
          for (index_t r = 0; r < count; ++r) split(w, r);
      }
    }
  }

  IntegerParts p_;
  index_t groups_ = 0;
  bool reordered_ = false;
  BlockLayout blocks_;
};

}  // namespace qwen3vl
