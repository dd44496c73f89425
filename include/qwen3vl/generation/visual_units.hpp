/// The pictures and clips of a prompt, cut into the parts that the vision tower computes independently of one another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "qwen3vl/inputs/model_inputs.hpp"

namespace qwen3vl {

/// A picture, or one group of frames of a clip, in a prompt: its tokens and what it shows.
struct VisualUnit {
  index_t begin = 0;                ///< first token
  index_t end = 0;                  ///< one past the last
  std::uint64_t hash[2] = {0, 0};   ///< of grid and pixels
  GridThw grid{};                   ///< of a group of frames: one group
  std::span<const float> pixels{};  ///< [patches, patch_dim] in the inputs it was made from

  index_t tokens() const { return end - begin; }
  bool same_content(const VisualUnit& other) const {
    return grid == other.grid && hash[0] == other.hash[0] && hash[1] == other.hash[1];
  }
  bool same_picture(const VisualUnit& other) const {
    return begin == other.begin && end == other.end && same_content(other);
  }
};

/// Two independent 64-bit hashes (multiply and fold) of a picture's grid and pixels. Pictures with equal tokens are
/// told apart by them: the tokens of a prompt say only that there is a picture.
inline void hash_picture(std::span<const float> pixels, const GridThw& grid, std::uint64_t (&hash)[2]) {
  constexpr std::uint64_t multiplier[2] = {0x9e3779b97f4a7c15u, 0xd6e8feb86659fd93u};
  for (int which = 0; which < 2; ++which) {
    std::uint64_t h = multiplier[1 - which];
    const auto mix = [&](std::uint64_t word) {
      h = (h ^ word) * multiplier[which];
      h ^= h >> 29;
    };
    mix(static_cast<std::uint64_t>(grid.t));
    mix(static_cast<std::uint64_t>(grid.h));
    mix(static_cast<std::uint64_t>(grid.w));
    for (const float pixel : pixels) {
      std::uint32_t bits;
      std::memcpy(&bits, &pixel, sizeof bits);
      mix(bits);
    }
    hash[which] = h;
  }
}

namespace detail {

/// The units of a single prompt in the order of their tokens. `feature_rows` says which row of all features (pictures
/// first, then clips) each token takes, -1 for text; tokens and grids are known to fit (get_rope_index).
inline std::vector<VisualUnit> visual_units(const ModelInputs& inputs, std::span<const std::int32_t> feature_rows,
                                            index_t merge) {
  std::vector<index_t> token_of;  // of each feature row
  for (std::size_t i = 0; i < feature_rows.size(); ++i) {
    if (feature_rows[i] < 0) continue;
    token_of.resize(std::max(token_of.size(), static_cast<std::size_t>(feature_rows[i]) + 1));
    token_of[static_cast<std::size_t>(feature_rows[i])] = static_cast<index_t>(i);
  }
  std::vector<VisualUnit> units;
  std::size_t row = 0;
  const auto add = [&](const HostMatrix<float>& pixels, index_t& patch, const GridThw& grid) {
    const index_t rows = pixels.rows() - patch;
    if (grid.h > rows || grid.w > rows / grid.h || grid.t > rows / (grid.h * grid.w))
      fail("the grids of the pictures make more patches than the ", pixels.rows(), " that there are");
    VisualUnit unit{.grid = grid, .pixels = pixels.slice(patch, grid.patches()).span()};
    patch += grid.patches();
    const index_t tokens = grid.tokens(merge);
    if (tokens == 0) return;
    unit.begin = token_of.at(row);
    unit.end = unit.begin + tokens;
    row += static_cast<std::size_t>(tokens);
    hash_picture(unit.pixels, grid, unit.hash);
    units.push_back(unit);
  };
  index_t images = 0, videos = 0;  // patches so far
  for (const GridThw& grid : inputs.image_grid_thw) add(inputs.pixel_values, images, grid);
  for (const GridThw& grid : inputs.video_grid_thw)
    for (std::int64_t frame = 0; frame < grid.t; ++frame) add(inputs.pixel_values_videos, videos, {1, grid.h, grid.w});
  if (images != inputs.pixel_values.rows() || videos != inputs.pixel_values_videos.rows())
    fail("the grids of pictures and clips make ", images, " and ", videos, " patches, pixel_values has ",
         inputs.pixel_values.rows(), " and pixel_values_videos ", inputs.pixel_values_videos.rows());
  std::ranges::sort(units, {}, &VisualUnit::begin);
  return units;
}

/// The units as pictures: what the vision tower computes for them is the same, for it looks at no more than one group
/// of frames at a time.
inline ModelInputs units_as_pictures(std::span<const VisualUnit* const> units) {
  ModelInputs inputs;
  index_t patches = 0, width = 0;
  for (const VisualUnit* unit : units) {
    inputs.image_grid_thw.push_back(unit->grid);
    patches += unit->grid.patches();
    const index_t own = static_cast<index_t>(unit->pixels.size()) / unit->grid.patches();
    if (width != 0 && own != width)
      fail("pixel_values has ", width, " values per patch, pixel_values_videos ", own, "; both must agree");
    width = own;
  }
  inputs.pixel_values = HostMatrix<float>(patches, width);
  float* to = inputs.pixel_values.data();
  for (const VisualUnit* unit : units) to = std::ranges::copy(unit->pixels, to).out;
  return inputs;
}

}  // namespace detail
}  // namespace qwen3vl
