/// The size of one picture or clip in patches.
#pragma once

#include <cstdint>

namespace qwen3vl {

/// One row of `image_grid_thw` / `video_grid_thw`: temporal patches, patch rows, patch columns.
struct GridThw {
  std::int64_t t = 0;
  std::int64_t h = 0;
  std::int64_t w = 0;

  constexpr std::int64_t patches() const { return t * h * w; }
  /// Text tokens that the picture becomes with merge blocks of `merge` x `merge` patches.
  constexpr std::int64_t tokens(std::int64_t merge) const { return t * (h / merge) * (w / merge); }
  constexpr bool operator==(const GridThw&) const = default;
};

}  // namespace qwen3vl
