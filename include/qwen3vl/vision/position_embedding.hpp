/// The learned position table, resampled bilinearly to each image's grid with corners aligned
/// (Qwen3VLVisionModel.fast_pos_embed_interpolate).
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/config/config.hpp"
#include "qwen3vl/layers/parameters.hpp"
#include "qwen3vl/vision/patch_order.hpp"

namespace qwen3vl {

/// For each patch, four rows of the table and their weights.
struct InterpolationCorners {
  std::vector<std::int32_t> indices;  ///< [patches, 4]
  std::vector<float> weights;         ///< [patches, 4]
};

namespace detail {

/// torch.linspace(0, last, count)[i] in float32: the upper half is computed from the end.
inline float linspace(float last, index_t count, index_t i) {
  if (count == 1) return 0.0f;
  const float step = last / static_cast<float>(count - 1);
  return i < count / 2 ? step * static_cast<float>(i) : last - step * static_cast<float>(count - 1 - i);
}

}  // namespace detail

/// The corners for all patches of `grids`, in merge-block order; every frame of a video gets the same.
/// `side`: the table is side x side. `merge`: spatial_merge_size.
inline InterpolationCorners interpolation_corners(std::span<const GridThw> grids, index_t side, index_t merge) {
  InterpolationCorners corners;
  const auto patches = static_cast<std::size_t>(total_patches(grids));
  corners.indices.reserve(patches * 4);
  corners.weights.reserve(patches * 4);
  const auto last = static_cast<float>(side - 1);
  for (const GridThw& grid : grids) {
    for (index_t frame = 0; frame < grid.t; ++frame) {
      for_each_patch(grid, merge, [&](index_t row, index_t column) {
        const float y = detail::linspace(last, grid.h, row), x = detail::linspace(last, grid.w, column);
        const auto y0 = static_cast<index_t>(y), x0 = static_cast<index_t>(x);
        const index_t y1 = std::min(y0 + 1, side - 1), x1 = std::min(x0 + 1, side - 1);
        const float dy = y - static_cast<float>(y0), dx = x - static_cast<float>(x0);
        for (const index_t index : {y0 * side + x0, y0 * side + x1, y1 * side + x0, y1 * side + x1})
          corners.indices.push_back(static_cast<std::int32_t>(index));
        for (const float weight : {(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx})
          corners.weights.push_back(weight);
      });
    }
  }
  return corners;
}

/// The table and its addition to the patches.
template <Variant V, Backend B, class P>
class VisionPositionEmbedding {
  static constexpr VisionConfig vision = V::config.vision;
  static constexpr index_t hidden = vision.hidden_size;
  static constexpr index_t side = [] {
    index_t s = 1;
    while (s * s < vision.num_position_embeddings) ++s;
    return s;
  }();
  using A = activation_t<B, P>;

  Tensor<float, B, vision.num_position_embeddings, hidden> table_;

 public:
  template <class F>
  void parameters(F&& f) {
    f(table_, Parts{"weight"});
  }

  /// hidden_states [patches, hidden] += the resampled table.
  void operator()(Context<B>& ctx, std::span<const GridThw> grids, View<A, B, dynamic, hidden> hidden_states) const {
    InterpolationCorners corners;
    if constexpr (!only_counts<B>) corners = interpolation_corners(grids, side, vision.spatial_merge_size);
    const index_t patches = hidden_states.rows();
    const auto indices = upload<std::int32_t>(ctx, corners.indices, patches * 4);
    const auto weights = upload<float>(ctx, corners.weights, patches * 4);
    interpolate_add(ctx, table_.view(), indices.view().template reshape<dynamic, 4>(patches),
                    weights.view().template reshape<dynamic, 4>(patches), hidden_states);
  }
};

}  // namespace qwen3vl
