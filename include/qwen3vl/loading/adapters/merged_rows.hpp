/// Weights with an adapter on top: rows that are merged when they are read.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/stored_tensor.hpp"
#include "qwen3vl/tensor/encoded_rows.hpp"

namespace qwen3vl::detail {

/// One of the two factors of a low-rank update as it lies in its file: which of its values is element (i, j) of
/// expert e.
struct Factor {
  StoredTensor tensor;
  index_t e = 0, i = 0, j = 0;  ///< steps, in values

  /// Row i of expert e.
  void read(index_t expert, index_t row, std::span<float> to) const {
    visit_floating(tensor.dtype, [&](auto type) {
      const auto begin = static_cast<std::size_t>(expert * e + row * i), step = static_cast<std::size_t>(j);
      for (std::size_t k = 0; k < to.size(); ++k)
        to[k] = load_float<decltype(type)>(tensor.bytes.data(), begin + k * step);
    });
  }
};

/// How a DoRA scales the merged weight: each row, or each column, to a length that was learnt.
enum class Magnitudes { none, rows, columns };

/// What becomes of `base` is to be kept in its type, if that is one of floats.
inline BlockLayout widened_as(const StoredTensor& base) {
  if (!base.encoded) return {.widened = base.dtype};
  return {.widened = base.encoded->blocks().widened};
}

/// base + scaling * left right, in float32, where `left` is [rows, rank] and `right` [rank, columns]; of experts, for
/// each of them.
class LowRankRows final : public EncodedRows {
 public:
  struct Update {
    Factor left, right;
    index_t rank = 0;
    float scaling = 1.0f;
    Magnitudes kind = Magnitudes::none;
    StoredTensor magnitudes{};
  };

  /// `rows` are those of each of the experts. All sizes were checked.
  LowRankRows(StoredTensor base, index_t experts, index_t rows, index_t columns, Update update)
      : base_(std::move(base)), experts_(experts), rows_(rows), columns_(columns), update_(std::move(update)) {
    if (update_.kind == Magnitudes::none) return;
    magnitudes_.resize(static_cast<std::size_t>(update_.kind == Magnitudes::rows ? rows : columns));
    read_rows(update_.magnitudes, 1, 0, static_cast<index_t>(magnitudes_.size()), magnitudes_.data());
  }

  index_t rows() const override { return experts_ * rows_; }
  index_t columns() const override { return columns_; }
  BlockLayout blocks() const override { return widened_as(base_); }
  std::string_view type_name() const override {
    return update_.kind == Magnitudes::none ? "merged LoRA" : "merged DoRA";
  }
  std::vector<std::span<const std::byte>> memory() const override {
    std::vector<std::span<const std::byte>> all = base_.memory();
    all.push_back(update_.left.tensor.bytes);
    all.push_back(update_.right.tensor.bytes);
    return all;
  }

  void read(index_t first, index_t count, float* to) const override {
    if (update_.kind == Magnitudes::columns) std::call_once(once_, [&] { find_column_scales(); });
    for_blocks(first, count, to, [&](index_t row, index_t rows, float* merged) {
      if (update_.kind == Magnitudes::none) return;
      for (index_t r = 0; r < rows; ++r) {
        float* const values = merged + r * columns_;
        if (update_.kind == Magnitudes::columns) {
          for (index_t c = 0; c < columns_; ++c) values[c] *= magnitudes_[static_cast<std::size_t>(c)];
        } else {
          double sum = 0.0;
          for (index_t c = 0; c < columns_; ++c) sum += double{values[c]} * double{values[c]};
          const float factor = magnitudes_[static_cast<std::size_t>(row + r)] / static_cast<float>(std::sqrt(sum));
          for (index_t c = 0; c < columns_; ++c) values[c] *= factor;
        }
      }
    });
  }

 private:
  static constexpr index_t rows_at_once = 16;
  static constexpr std::size_t at_once = 4;  // of the rank: sums are read and written once for so many

  /// Base plus update, a few rows at a time: rows of `right` are widened once for all of them.
  template <class F>
  void for_blocks(index_t first, index_t count, float* to, const F& f) const {
    const auto rank = static_cast<std::size_t>(update_.rank);
    const auto columns = static_cast<std::size_t>(columns_);
    std::vector<float> lefts, rights(at_once * columns), delta;
    while (count > 0) {
      const index_t expert = first / rows_, row = first % rows_;
      const index_t rows = std::min({count, rows_at_once, rows_ - row});
      read_rows(base_, columns_, first, rows, to);
      lefts.resize(static_cast<std::size_t>(rows) * rank);
      for (index_t r = 0; r < rows; ++r)
        update_.left.read(expert, row + r, std::span(lefts).subspan(static_cast<std::size_t>(r) * rank, rank));
      delta.assign(static_cast<std::size_t>(rows * columns_), 0.0f);
      for (std::size_t j = 0; j < rank; j += at_once) {
        const std::size_t last = std::min(at_once, rank - j);
        for (std::size_t i = 0; i < last; ++i)
          update_.right.read(expert, static_cast<index_t>(j + i), std::span(rights).subspan(i * columns, columns));
        for (index_t r = 0; r < rows; ++r) {
          float factors[at_once] = {};
          std::copy_n(lefts.data() + static_cast<std::size_t>(r) * rank + j, last, factors);
          add(factors, rights.data(), columns, last, delta.data() + r * columns_);
        }
      }
      for (std::size_t i = 0; i < delta.size(); ++i) to[i] += update_.scaling * delta[i];
      f(row, rows, to);
      first += rows;
      count -= rows;
      to += rows * columns_;
    }
  }

  static void add(const float* factors, const float* rights, std::size_t columns, std::size_t count, float* sums) {
    if (count < at_once) {
      for (std::size_t i = 0; i < count; ++i)
        for (std::size_t c = 0; c < columns; ++c) sums[c] += factors[i] * rights[i * columns + c];
      return;
    }
    for (std::size_t c = 0; c < columns; ++c) {
      float sum = sums[c];
      for (std::size_t i = 0; i < at_once; ++i) sum += factors[i] * rights[i * columns + c];
      sums[c] = sum;
    }
  }

  /// A pass over the whole matrix: only embeddings have it.
  void find_column_scales() const {
    std::vector<double> sums(magnitudes_.size());
    std::vector<float> block(static_cast<std::size_t>(rows_at_once * columns_));
    for (index_t first = 0; first < rows(); first += rows_at_once)
      for_blocks(first, std::min(rows_at_once, rows() - first), block.data(),
                 [&](index_t, index_t rows, const float* merged) {
                   for (index_t i = 0; i < rows * columns_; ++i)
                     sums[static_cast<std::size_t>(i % columns_)] += double{merged[i]} * double{merged[i]};
                 });
    for (std::size_t c = 0; c < sums.size(); ++c) magnitudes_[c] /= static_cast<float>(std::sqrt(sums[c]));
  }

  StoredTensor base_;
  index_t experts_, rows_, columns_;
  Update update_;
  mutable std::once_flag once_;
  mutable std::vector<float> magnitudes_;  // of columns: divided by their lengths, once they are known
};

/// A matrix some of whose rows are those of another one (trainable tokens).
class ReplacedRows final : public EncodedRows {
 public:
  /// Row tokens[i] is row i of `rows`. All sizes were checked; of a token that is there twice, the last one counts.
  ReplacedRows(StoredTensor base, StoredTensor rows, std::span<const std::int32_t> tokens)
      : base_(std::move(base)), replaced_(std::move(rows)) {
    for (std::size_t i = 0; i < tokens.size(); ++i) places_.emplace_back(tokens[i], static_cast<index_t>(i));
    std::ranges::sort(places_);
  }

  index_t rows() const override { return base_.shape[0]; }
  index_t columns() const override { return base_.shape[1]; }
  BlockLayout blocks() const override { return widened_as(base_); }
  std::string_view type_name() const override { return "trained tokens"; }
  std::vector<std::span<const std::byte>> memory() const override {
    std::vector<std::span<const std::byte>> all = base_.memory();
    all.push_back(replaced_.bytes);
    return all;
  }
  void read(index_t first, index_t count, float* to) const override {
    read_rows(base_, columns(), first, count, to);
    for (auto place = std::ranges::lower_bound(places_, std::pair(first, index_t{0}));
         place != places_.end() && place->first < first + count; ++place)
      read_rows(replaced_, columns(), place->second, 1, to + (place->first - first) * columns());
  }

 private:
  StoredTensor base_, replaced_;
  std::vector<std::pair<index_t, index_t>> places_;  // row, row of the replacement
};

/// Numbers that were computed when the adapter was read: a bias is short.
class ComputedRow final : public EncodedRows {
 public:
  explicit ComputedRow(std::vector<float> values) : values_(std::move(values)) {}

  index_t rows() const override { return 1; }
  index_t columns() const override { return static_cast<index_t>(values_.size()); }
  std::string_view type_name() const override { return "merged bias"; }
  std::vector<std::span<const std::byte>> memory() const override { return {}; }
  void read(index_t first, index_t count, float* to) const override {
    if (first == 0 && count > 0) std::ranges::copy(values_, to);
  }

 private:
  std::vector<float> values_;
};

}  // namespace qwen3vl::detail
