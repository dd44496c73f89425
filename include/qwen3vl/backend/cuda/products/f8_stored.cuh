/// Numbers that a file has in e4m3, with scales: they go to the device bit by bit.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_f8.cuh"
#include "qwen3vl/backend/cuda/primitives/staging.cuh"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl::cuda {

/// Whether `raw` has e4m3 numbers whose scales are the same over `width` columns of a row each.
inline bool stores_f8(const RawTensor& raw, index_t width) {
  if (raw.encoded == nullptr) return false;
  const BlockLayout layout = raw.encoded->blocks();
  return layout.form == BlockForm::e4m3 && layout.group > 0 &&
         (layout.group >= raw.encoded->columns() || layout.group % width == 0);
}

/// The rows of a tensor of e4m3, read one by one, by several threads.
class F8Rows {
 public:
  /// stores_f8(raw, width)
  F8Rows(const RawTensor& raw, index_t width)
      : rows_(*raw.encoded),
        columns_(rows_.columns()),
        width_(std::min(width, columns_)),
        group_(std::min(rows_.blocks().group, columns_)) {}

  /// Row `row` of the tensor's into q [columns]; its scale number b of `width` columns goes to scales[b * stride]. It
  /// is NaN where one of its numbers is: the products on the device do not look at each.
  void read(index_t row, std::int8_t* q, float* scales, index_t stride) const {
    std::vector<float> stored(static_cast<std::size_t>(ceil_div(columns_, group_)));
    rows_.read_blocks(row, {.q = q, .scales = stored.data()});
    for (index_t begin = 0, b = 0; begin < columns_; begin += width_, ++b) {
      const bool numbers = std::all_of(q + begin, q + std::min(columns_, begin + width_),
                                       [](std::int8_t code) { return (code & 0x7f) != 0x7f; });
      scales[b * stride] = numbers ? stored[static_cast<std::size_t>(begin / group_)] : NAN;
    }
  }

 private:
  const EncodedRows& rows_;
  index_t columns_, width_, group_;
};

/// Copies [rows, columns] numbers to the device: fill(pinned, first, count) writes `count` rows from `first` on.
template <class T, class F>
void upload_rows(Context<Cuda>& ctx, index_t rows, index_t columns, T* to, const F& fill) {
  static_assert(sizeof(T) == 1);
  const index_t at_once = std::max<index_t>(1, static_cast<index_t>(Staging::piece) / columns);
  for (index_t first = 0; first < rows; first += at_once) {
    const index_t count = std::min(at_once, rows - first);
    // A piece of the staging memory holds all of them.
    ctx.backend().staging().upload(ctx.backend().stream(), to + first * columns,
                                   static_cast<std::size_t>(count * columns),
                                   [&](std::byte* pinned, std::size_t, std::size_t) { fill(pinned, first, count); });
  }
}

/// Copies the numbers of `raw`, [rows, columns], to the device, columns in their order or by f8_place. Gives back their
/// scales, [blocks of `width` columns, rows].
template <bool paired, class T>
std::vector<float> upload_f8(Context<Cuda>& ctx, const RawTensor& raw, index_t width, T* to) {
  const index_t rows = raw.rows(), columns = raw.encoded->columns();
  std::vector<float> scales(static_cast<std::size_t>(ceil_div(columns, width) * rows));
  const F8Rows from(raw, width);
  upload_rows(ctx, rows, columns, to, [&](std::byte* pinned, index_t first, index_t count) {
#pragma omp parallel if (count * columns > 65536)
    {
      std::vector<std::int8_t> q(static_cast<std::size_t>(columns));
#pragma omp for schedule(static)
      for (index_t i = 0; i < count; ++i) {
        from.read(raw.first_row + first + i, q.data(), scales.data() + first + i, rows);
        std::byte* const row = pinned + i * columns;
        for (index_t c = 0; c < columns; ++c)
          row[f8_place<paired>(static_cast<int>(c))] = std::bit_cast<std::byte>(q[static_cast<std::size_t>(c)]);
      }
    }
  });
  return scales;
}

/// Copies values[first .. first + count) to the device.
inline void upload_floats(Context<Cuda>& ctx, const std::vector<float>& values, std::size_t first, std::size_t count,
                          float* to) {
  ctx.backend().staging().upload(
      ctx.backend().stream(), to, count * sizeof(float), [&](std::byte* pinned, std::size_t offset, std::size_t bytes) {
        std::memcpy(pinned, reinterpret_cast<const std::byte*>(values.data() + first) + offset, bytes);
      });
}

}  // namespace qwen3vl::cuda
