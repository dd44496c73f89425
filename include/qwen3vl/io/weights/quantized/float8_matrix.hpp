/// An FP8 weight and its scales, as formats store them, as rows.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/quantized/rows/float8_rows.hpp"
#include "qwen3vl/io/weights/stored_tensor.hpp"

namespace qwen3vl {

/// Rows and columns that share a scale; 0: all of the matrix.
struct Float8Blocks {
  index_t rows = 0, columns = 0;
};

/// A matrix, or matrix `e` of a stack, of checked sizes. Its scales: one, or those of the blocks of the matrix as it is
/// stored, the last ones of which may be smaller; without blocks also one for a row. `transposed`: its columns are the
/// rows here. Throws Error if the scales are others.
inline std::shared_ptr<const EncodedRows> float8_matrix(const std::string& place, const StoredTensor& weight,
                                                        const StoredTensor& scale, Float8Blocks blocks, index_t e = 0,
                                                        bool transposed = false) {
  const bool stack = weight.shape.size() == 3;
  const index_t n = weight.shape[stack ? 1 : 0], k = weight.shape[stack ? 2 : 1], count = stack ? weight.shape[0] : 1;
  const auto blocks_of = [](index_t size, index_t block) { return block > 0 ? (size + block - 1) / block : 1; };
  const auto shape_of = [&](index_t rows, index_t columns) {
    return stack ? std::vector<index_t>{count, rows, columns} : std::vector<index_t>{rows, columns};
  };
  if (blocks.rows == 0 && blocks.columns == 0 && scale.shape == shape_of(n, 1)) blocks.rows = 1;
  const index_t row_blocks = blocks_of(n, blocks.rows), column_blocks = blocks_of(k, blocks.columns);
  index_t row_stride = column_blocks, column_stride = 1, of_matrix = row_blocks * column_blocks;
  if (scale.size() == 1 || scale.shape == std::vector<index_t>{count}) {
    of_matrix = scale.size() == 1 ? 0 : 1;
    row_stride = column_stride = 0;
    blocks = {};
  } else if (scale.shape != shape_of(row_blocks, column_blocks)) {
    fail(place, ": ", detail::shown(scale.name), " is ", detail::shape_text(scale.shape), ", wanted ",
         detail::shape_text(shape_of(row_blocks, column_blocks)), " for the weight's ",
         detail::shape_text(weight.shape));
  }
  Float8Parts parts{.rows = n,
                    .columns = k,
                    .transposed = transposed,
                    .block_rows = blocks.rows > 0 ? blocks.rows : n,
                    .block_columns = blocks.columns > 0 ? blocks.columns : k};
  parts.type_name = "F8_E4M3";
  if (blocks.rows > 0)
    parts.type_name += blocks.columns > 0 ? concat(" ", blocks.rows, "x", blocks.columns) : " by rows";
  if (transposed) {
    std::swap(parts.rows, parts.columns);
    std::swap(parts.block_rows, parts.block_columns);
    std::swap(row_stride, column_stride);
  }
  StoredTensor own = scale;
  own.bytes = scale.bytes.subspan(static_cast<std::size_t>(e * of_matrix) * size_of(scale.dtype));
  parts.scales = ScaleGrid(own, row_stride, column_stride);
  parts.numbers = weight.bytes.subspan(static_cast<std::size_t>(e * n * k), static_cast<std::size_t>(n * k));
  parts.memory = {parts.numbers};
  return std::make_shared<Float8Rows>(std::move(parts));
}

}  // namespace qwen3vl
