/// Rows of four-bit numbers that a table of sixteen gives their values: FP4 (e2m1) with scales for groups of a row, and
/// bitsandbytes' NF4 and FP4 with scales for blocks of the whole tensor.
#pragma once

#include <algorithm>
#include <array>
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

/// What the bits of an FP4 "e2m1" mean: a sign, two bits of exponent, one of mantissa.
inline constexpr std::array<float, 16> e2m1_values = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                                      -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

struct Float4Parts {
  index_t rows = 0, columns = 0;
  std::span<const std::byte> numbers = {};  ///< [rows, columns / 2], the first of two in the lower bits
  index_t group = 16;
  ScaleGrid scales = {};                ///< by row and group
  float divisor = 1.0f, factor = 1.0f;  ///< of all scales: scale / divisor * factor
  std::string type_name = {};
  std::vector<std::span<const std::byte>> memory = {};
};

/// w = scale * q: NVFP4, MXFP4.
class Float4Rows final : public EncodedRows {
 public:
  /// Sizes have been checked against the tensors: columns are a multiple of the group, which is even.
  explicit Float4Rows(Float4Parts parts) : p_(std::move(parts)) {}

  index_t rows() const override { return p_.rows; }
  index_t columns() const override { return p_.columns; }
  void read(index_t first, index_t count, float* to) const override {
    for (index_t r = first; r < first + count; ++r)
      for (index_t begin = 0; begin < p_.columns; begin += p_.group) {
        const float scale = p_.scales(r, begin / p_.group) / p_.divisor * p_.factor;
        const std::byte* const pairs = p_.numbers.data() + (r * p_.columns + begin) / 2;
        for (index_t i = 0; i < p_.group / 2; ++i) {
          const auto pair = std::to_integer<unsigned>(pairs[i]);
          *to++ = e2m1_values[pair & 15] * scale;
          *to++ = e2m1_values[pair >> 4] * scale;
        }
      }
  }
  std::string_view type_name() const override { return p_.type_name; }
  std::vector<std::span<const std::byte>> memory() const override { return p_.memory; }

 private:
  Float4Parts p_;
};

struct BitsAndBytes4Parts {
  index_t rows = 0, columns = 0;
  std::span<const std::byte> numbers = {};  ///< of the whole tensor, the first of two in the upper bits
  std::array<float, 16> values{};
  index_t block = 64;                      ///< numbers of a scale
  std::span<const std::byte> absmax = {};  ///< of the blocks: F32, or, with nested ones, a byte each
  ScaleGrid nested_absmax = {};            ///< of blocks of blocks
  index_t nested_block = 0;                ///< 0: not nested
  std::vector<float> nested_values = {};   ///< of the bytes
  float nested_offset = 0.0f;
  std::string type_name = {};
  std::vector<std::span<const std::byte>> memory = {};
};

/// w = value of q * absmax of the block.
class BitsAndBytes4Rows final : public EncodedRows {
 public:
  /// Sizes have been checked against the tensors.
  explicit BitsAndBytes4Rows(BitsAndBytes4Parts parts) : p_(std::move(parts)) {}

  index_t rows() const override { return p_.rows; }
  index_t columns() const override { return p_.columns; }
  void read(index_t first, index_t count, float* to) const override {
    const index_t end = (first + count) * p_.columns;
    for (index_t i = first * p_.columns; i < end;) {
      const float scale = absmax(i / p_.block);
      for (const index_t last = std::min(end, (i / p_.block + 1) * p_.block); i < last; ++i)
        *to++ =
            p_.values[std::to_integer<unsigned>(p_.numbers[static_cast<std::size_t>(i / 2)]) >> (i % 2 == 0 ? 4 : 0) &
                      15] *
            scale;
    }
  }
  std::string_view type_name() const override { return p_.type_name; }
  std::vector<std::span<const std::byte>> memory() const override { return p_.memory; }

 private:
  float absmax(index_t block) const {
    const auto i = static_cast<std::size_t>(block);
    if (p_.nested_block == 0) return load_float<float>(p_.absmax.data(), i);
    // The product is rounded before the sum, as bitsandbytes does in two steps.
    const auto product =
        static_cast<float>(static_cast<double>(p_.nested_values[std::to_integer<std::size_t>(p_.absmax[i])]) *
                           p_.nested_absmax(0, block / p_.nested_block));
    return product + p_.nested_offset;
  }

  BitsAndBytes4Parts p_;
};

}  // namespace qwen3vl
