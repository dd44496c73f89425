/// Encoded rows of random integers and factors in any of the forms that kernels multiply, and of none.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

/// Weights of about -1 to 1. `offset`: of all groups of nibbles; -1: another one for each.
class RandomBlocks final : public qwen3vl::EncodedRows {
 public:
  using index_t = qwen3vl::index_t;
  using BlockForm = qwen3vl::BlockForm;

  RandomBlocks(index_t rows, index_t columns, qwen3vl::BlockLayout layout, unsigned seed = 1)
      : rows_(rows), columns_(columns), layout_(layout) {
    std::mt19937 random(seed);
    const auto below = [&](int low, int high) {  // low to high
      return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
    };
    const auto in_type = [&](float value) {
      if (layout.scale_type == qwen3vl::DType::f16) return static_cast<float>(qwen3vl::f16(value));
      if (layout.scale_type == qwen3vl::DType::bf16) return static_cast<float>(qwen3vl::bf16(value));
      return value;
    };
    const bool k_quants = steps_group() > 0;
    if (k_quants) layout_.scale_type = qwen3vl::DType::f16;
    group_ = k_quants ? 256 : layout.group > 0 ? layout.group : columns;
    const int low = form() == BlockForm::bytes ? -128 : form() == BlockForm::q6_k ? -32 : 0;
    const int high = form() == BlockForm::bytes  ? 127
                     : form() == BlockForm::q5_k ? 31
                     : form() == BlockForm::q6_k ? 31
                                                 : 15;
    const float unit = 1.0f / static_cast<float>(std::max(-low, high) * (k_quants ? 64 : 1));
    for (index_t r = 0; r < rows; ++r) {
      for (index_t k = 0; k < columns; ++k)
        q_.push_back(static_cast<std::int8_t>(form() == BlockForm::e4m3 ? random_e4m3(random()) : below(low, high)));
      for (index_t g = 0; g < count(group_); ++g) {
        const float factor = static_cast<float>(below(500, 1500)) * 1e-3f * unit;
        scales_.push_back(k_quants ? static_cast<float>(qwen3vl::f16(factor))
                                   : in_type(form() == BlockForm::e4m3 ? factor * 15 / 256 : factor));
        minimums_.push_back(static_cast<float>(qwen3vl::f16(static_cast<float>(below(1, 1000)) * 2e-5f)));
      }
      if (k_quants)
        for (index_t g = 0; g < count(steps_group()); ++g)
          steps_.push_back(static_cast<std::int8_t>(form() == BlockForm::q6_k ? below(-128, 127) : below(0, 63)));
      for (index_t g = 0; g < count(form() == BlockForm::nibbles ? group_ : 32); ++g)
        offsets_.push_back(static_cast<std::uint8_t>(k_quants             ? below(0, 63)
                                                     : layout.offset >= 0 ? layout.offset
                                                                          : below(0, 15)));
    }
  }

  index_t rows() const override { return rows_; }
  index_t columns() const override { return columns_; }
  qwen3vl::BlockLayout blocks() const override { return layout_; }
  std::string_view type_name() const override { return "random"; }
  std::vector<std::span<const std::byte>> memory() const override { return {}; }

  void read_blocks(index_t row, const qwen3vl::BlockRow& to) const override {
    const auto copy = [&](const auto& from, auto* place, index_t size) {
      if (place != nullptr && !from.empty()) std::copy_n(from.begin() + row * size, size, place);
    };
    copy(q_, to.q, columns_);
    copy(scales_, to.scales, count(group_));
    if (has_minimums()) copy(minimums_, to.minimums, count(group_));
    if (steps_group() > 0) copy(steps_, to.steps, count(steps_group()));
    if (form() == BlockForm::nibbles) copy(offsets_, to.offsets, count(group_));
    if (has_minimums()) copy(offsets_, to.offsets, count(32));
  }
  void read(index_t first, index_t rows, float* to) const override {
    for (index_t r = first; r < first + rows; ++r)
      for (index_t k = 0; k < columns_; ++k) *to++ = value(r, k);
  }

  /// A scale of row 0 or 1, to make it something special.
  float& scale(index_t row, index_t group) { return scales_[static_cast<std::size_t>(row * count(group_) + group)]; }
  std::int8_t& q(index_t row, index_t k) { return q_[static_cast<std::size_t>(row * columns_ + k)]; }

 private:
  BlockForm form() const { return layout_.form; }
  bool has_minimums() const { return form() == BlockForm::q4_k || form() == BlockForm::q5_k; }
  index_t steps_group() const { return has_minimums() ? 32 : form() == BlockForm::q6_k ? 16 : 0; }
  index_t count(index_t group) const { return (columns_ + group - 1) / group; }
  static int random_e4m3(unsigned number) {
    const int code = static_cast<int>(number & 0xff);
    return (code & 0x7f) == 0x7f ? 0x7e : code;
  }

  float value(index_t r, index_t k) const {
    const auto at = [&](const auto& of, index_t group) {
      return of[static_cast<std::size_t>(r * count(group) + k / group)];
    };
    const std::int8_t q = at(q_, 1);
    const float scale = at(scales_, group_);
    switch (form()) {
      case BlockForm::nibbles:
        return scale * static_cast<float>(q - at(offsets_, group_));
      case BlockForm::q4_k:
      case BlockForm::q5_k:
        return scale * static_cast<float>(at(steps_, 32)) * static_cast<float>(q) -
               at(minimums_, group_) * static_cast<float>(at(offsets_, 32));
      case BlockForm::q6_k:
        return scale * static_cast<float>(at(steps_, 16)) * static_cast<float>(q);
      case BlockForm::e4m3: {
        qwen3vl::f8_e4m3 number;
        number.bits = static_cast<std::uint8_t>(q);
        return scale * static_cast<float>(number);
      }
      default:
        return scale * static_cast<float>(q);
    }
  }

  index_t rows_, columns_;
  qwen3vl::BlockLayout layout_;
  index_t group_ = 0;
  std::vector<std::int8_t> q_, steps_;
  std::vector<float> scales_, minimums_;
  std::vector<std::uint8_t> offsets_;
};
