/// The order of patches in the vision tower (merge-block order): all merge x merge patches of one merged token, then
/// those of the next.
#pragma once

#include <span>

#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Patches of all grids together.
inline index_t total_patches(std::span<const GridThw> grids) {
  index_t total = 0;
  for (const GridThw& grid : grids) total += grid.patches();
  return total;
}

/// Calls f(row, column) for every patch of one frame in merge-block order.
template <class F>
void for_each_patch(const GridThw& grid, index_t merge, F&& f) {
  for (index_t block_row = 0; block_row < grid.h; block_row += merge)
    for (index_t block_column = 0; block_column < grid.w; block_column += merge)
      for (index_t row = block_row; row < block_row + merge; ++row)
        for (index_t column = block_column; column < block_column + merge; ++column) f(row, column);
}

}  // namespace qwen3vl
