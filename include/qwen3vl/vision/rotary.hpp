/// 2-D rotary angles of the vision tower (Qwen3VLVisionRotaryEmbedding): half of the frequencies rotate by the patch's
/// row, half by its column.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "qwen3vl/vision/patch_order.hpp"

namespace qwen3vl {

/// cos and sin of all patches, [patches, head_dim / 2], in merge-block order. The second half of a head uses the same.
struct VisionRotaryTables {
  std::vector<float> cos;
  std::vector<float> sin;
};

/// `theta`: 10000 in all released models.
inline VisionRotaryTables vision_rotary_tables(std::span<const GridThw> grids, index_t merge, index_t head_dim,
                                               double theta) {
  const index_t axis_dim = head_dim / 2,
                quarter = head_dim / 4;  // each axis has half of a head, and one frequency per two values
  std::vector<float> inv_freq(static_cast<std::size_t>(quarter));
  for (index_t i = 0; i < quarter; ++i)
    inv_freq[static_cast<std::size_t>(i)] =
        1.0f / static_cast<float>(std::pow(theta, static_cast<double>(2 * i) / static_cast<double>(axis_dim)));

  VisionRotaryTables tables;
  const auto size = static_cast<std::size_t>(total_patches(grids) * 2 * quarter);
  tables.cos.reserve(size);
  tables.sin.reserve(size);
  const auto push = [&](index_t position) {
    for (const float frequency : inv_freq) {
      const float angle = static_cast<float>(position) * frequency;  // rounded to float32, as in the reference
      tables.cos.push_back(std::cos(angle));
      tables.sin.push_back(std::sin(angle));
    }
  };
  for (const GridThw& grid : grids)
    for (index_t frame = 0; frame < grid.t; ++frame)
      for_each_patch(grid, merge, [&](index_t row, index_t column) {
        push(row);
        push(column);
      });
  return tables;
}

}  // namespace qwen3vl
