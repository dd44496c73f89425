/// The size of one image or video in patches.
#pragma once

#include <cstdint>

namespace qwen3vl {

/// One row of `image_grid_thw` / `video_grid_thw`: temporal patches, patch rows, patch columns.
struct GridThw {
  std::int64_t t = 0;
  std::int64_t h = 0;
  std::int64_t w = 0;

  /// At most 2^40, far more than memory can hold: grids come from callers, and sums of sizes must not overflow.
  constexpr std::int64_t patches() const { return product(t, h, w); }
  /// Text tokens that the image becomes with merge blocks of `merge` x `merge` patches.
  constexpr std::int64_t tokens(std::int64_t merge) const { return product(t, h / merge, w / merge); }
  constexpr bool operator==(const GridThw&) const = default;

 private:
  static constexpr std::int64_t product(std::int64_t a, std::int64_t b, std::int64_t c) {
    constexpr std::int64_t most = std::int64_t{1} << 40;
    std::int64_t area = 0, all = 0;
    return __builtin_mul_overflow(a, b, &area) || __builtin_mul_overflow(area, c, &all) || all > most ? most : all;
  }
};

}  // namespace qwen3vl
