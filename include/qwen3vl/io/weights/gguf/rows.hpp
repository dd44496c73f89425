/// Rows of a tensor of GGUF that are blocks with scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/io/weights/gguf/blocks.hpp"
#include "qwen3vl/io/weights/gguf/superblocks.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl::gguf {

/// Rows of a type of blocks.hpp or superblocks.hpp; `bytes` are those of all rows, one after the other.
template <class Block>
class Rows final : public EncodedRows {
 public:
  Rows(std::span<const std::byte> bytes, index_t rows, index_t columns)
      : bytes_(bytes), rows_(rows), columns_(columns) {}

  index_t rows() const override { return rows_; }
  index_t columns() const override { return columns_; }

  void read(index_t first, index_t count, float* to) const override {
    constexpr auto size = static_cast<std::size_t>(Block::block_size);
    const std::uint8_t* block = row(first);
    const std::uint8_t* const end = row(first + count);
    for (; block != end; block += Block::block_bytes, to += size) widen(block, to);
  }

  BlockLayout blocks() const override {
    const bool has_groups = Block::form == BlockForm::bytes || Block::form == BlockForm::nibbles;
    return {.form = Block::form,
            .group = has_groups ? Block::group : 0,
            .scale_type = DType::f16,
            .offset = Block::form == BlockForm::nibbles ? Block::zero : -1};
  }
  void read_blocks(index_t index, const BlockRow& to) const override {
    if constexpr (Block::form != BlockForm::none) {
      const std::uint8_t* block = row(index);
      const index_t count = columns_ / Block::block_size;
      for (index_t i = 0; i < count; ++i, block += Block::block_bytes) {
        Block::unpack(block, to.q + i * Block::block_size);
        if constexpr (Block::block_size == Block::group) {
          Block::factors(block, to.scales + i, nullptr);
          if constexpr (Block::form == BlockForm::nibbles) to.offsets[i] = Block::zero;
        } else {
          constexpr index_t groups = Block::block_size / Block::group;
          to.scales[i] = Block::scale(block);
          std::uint8_t* offsets = nullptr;
          if constexpr (Block::has_minimums) {
            to.minimums[i] = Block::minimum(block);
            offsets = to.offsets + i * groups;
          }
          Block::steps(block, to.steps + i * groups, offsets);
        }
      }
    }
  }

  std::string_view type_name() const override { return Block::name; }
  std::vector<std::span<const std::byte>> memory() const override { return {bytes_}; }

 private:
  const std::uint8_t* row(index_t index) const {
    const index_t row_bytes = columns_ / Block::block_size * static_cast<index_t>(Block::block_bytes);
    return reinterpret_cast<const std::uint8_t*>(bytes_.data()) + index * row_bytes;
  }

  static void widen(const std::uint8_t* block, float* to) {
    constexpr index_t groups = Block::block_size / Block::group;
    std::int8_t q[Block::block_size];
    float scales[groups], minimums[groups];
    Block::unpack(block, q);
    Block::factors(block, scales, minimums);
    for (index_t g = 0; g < groups; ++g)
      for (index_t i = g * Block::group; i < (g + 1) * Block::group; ++i) {
        to[i] = scales[g] * static_cast<float>(q[i] - Block::zero);
        if constexpr (Block::has_minimums) to[i] += minimums[g];
      }
  }

  std::span<const std::byte> bytes_;
  index_t rows_, columns_;
};

}  // namespace qwen3vl::gguf
