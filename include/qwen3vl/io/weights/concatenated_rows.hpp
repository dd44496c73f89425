/// Rows of several encoded matrices, one after the other: files keep every expert by itself, or all gates and all ups,
/// where the model has one stack of matrices.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl {

/// Rows [first, first + count) of `of`.
struct SomeRows {
  std::shared_ptr<const EncodedRows> of;
  index_t first = 0, count = 0;
};

class ConcatenatedRows final : public EncodedRows {
 public:
  /// Throws Error if there are none, their columns differ, or rows are wanted that are not there; `name` is for
  /// messages.
  ConcatenatedRows(std::vector<SomeRows> parts, std::string_view name) : parts_(std::move(parts)) {
    if (parts_.empty()) fail(name, " is put together from no rows");
    const EncodedRows& model = *parts_.front().of;
    columns_ = model.columns();
    blocks_ = model.blocks();
    type_name_ = model.type_name();
    for (const SomeRows& part : parts_) {
      if (part.of->columns() != columns_)
        fail(name, " is put together from matrices of ", columns_, " and of ", part.of->columns(), " columns");
      if (part.first < 0 || part.count < 0 || part.first > part.of->rows() - part.count)
        fail(name, " is put together from rows that a matrix of ", part.of->rows(), " rows does not have");
      begins_.push_back(rows_);
      rows_ += part.count;
      const BlockLayout blocks = part.of->blocks();
      if (blocks.form != blocks_.form || blocks.group != blocks_.group) blocks_ = {};
      if (blocks.widened != blocks_.widened) blocks_.widened = DType::f32;
      if (blocks.scale_type != blocks_.scale_type) blocks_.scale_type = DType::f32;
      if (blocks.offset != blocks_.offset) blocks_.offset = -1;
      if (part.of->type_name() != type_name_) type_name_ = "several types";
    }
  }

  index_t rows() const override { return rows_; }
  index_t columns() const override { return columns_; }
  void read(index_t first, index_t count, float* to) const override {
    for (std::size_t i = part_of(first); count > 0; ++i) {
      const SomeRows& part = parts_[i];
      const index_t offset = first - begins_[i], here = std::min(count, part.count - offset);
      part.of->read(part.first + offset, here, to);
      first += here;
      count -= here;
      to += here * columns_;
    }
  }
  /// That of the parts, if it is the same for all.
  BlockLayout blocks() const override { return blocks_; }
  void read_blocks(index_t row, const BlockRow& to) const override {
    const std::size_t i = part_of(row);
    parts_[i].of->read_blocks(parts_[i].first + row - begins_[i], to);
  }
  std::string_view type_name() const override { return type_name_; }
  /// Those of its parts, each once.
  std::vector<std::span<const std::byte>> memory() const override {
    std::vector<const EncodedRows*> all;
    for (const SomeRows& part : parts_) all.push_back(part.of.get());
    std::ranges::sort(all, std::less<>());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::vector<std::span<const std::byte>> memory;
    for (const EncodedRows* const rows : all)
      for (const std::span<const std::byte> bytes : rows->memory()) memory.push_back(bytes);
    return memory;
  }

 private:
  /// The part that has this row: the last one that begins at it or before, so that empty ones are passed over.
  std::size_t part_of(index_t row) const {
    return static_cast<std::size_t>(std::ranges::upper_bound(begins_, row) - begins_.begin()) - 1;
  }

  std::vector<SomeRows> parts_;
  std::vector<index_t> begins_;  // a part's first row here
  index_t rows_ = 0, columns_ = 0;
  BlockLayout blocks_;
  std::string type_name_;
};

}  // namespace qwen3vl
