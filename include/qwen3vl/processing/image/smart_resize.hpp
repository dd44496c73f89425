/// The size that an image is resized to: multiples of a factor, a number of pixels within limits, the shape kept
/// (smart_resize of transformers' image_processing_qwen2_vl).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

struct ImageSize {
  std::int64_t height = 0;
  std::int64_t width = 0;
  bool operator==(const ImageSize&) const = default;
};

namespace detail {

inline void check_aspect_ratio(double height, double width) {
  const double ratio = std::max(height, width) / std::min(height, width);
  if (ratio > 200.0)
    fail("absolute aspect ratio must be smaller than 200, got ", ratio, ratio == std::floor(ratio) ? ".0" : "",
         " (an image of ", height, " x ", width, " pixels)");
}

}  // namespace detail

/// `factor`: patch_size * merge_size. Throws Error if one side is more than 200 times the other, as the reference does.
/// Rounding is half to even, as Python's.
inline ImageSize smart_resize(std::int64_t height, std::int64_t width, std::int64_t factor, std::int64_t min_pixels,
                              std::int64_t max_pixels) {
  if (height < 1 || width < 1) fail("an image of ", height, " x ", width, " pixels");
  const auto h = static_cast<double>(height), w = static_cast<double>(width), f = static_cast<double>(factor);
  detail::check_aspect_ratio(h, w);
  // std::nearbyint rounds half to even in the default rounding mode.
  double new_h = std::nearbyint(h / f) * f, new_w = std::nearbyint(w / f) * f;
  if (new_h * new_w > static_cast<double>(max_pixels)) {
    const double beta = std::sqrt(h * w / static_cast<double>(max_pixels));
    new_h = std::max(f, std::floor(h / beta / f) * f);
    new_w = std::max(f, std::floor(w / beta / f) * f);
  } else if (new_h * new_w < static_cast<double>(min_pixels)) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / (h * w));
    new_h = std::ceil(h * beta / f) * f;
    new_w = std::ceil(w * beta / f) * f;
  }
  return {static_cast<std::int64_t>(new_h), static_cast<std::int64_t>(new_w)};
}

/// The same for the frames of a video (video_processing_qwen3_vl's smart_resize): limits apply to the pixels of all
/// frames together, with their number rounded to `temporal_factor` (half to even) where the limits are tested, but not
/// where the frames are scaled. Sides below `factor` are enlarged first.
inline ImageSize smart_resize_video(std::int64_t num_frames, std::int64_t height, std::int64_t width,
                                    std::int64_t temporal_factor, std::int64_t factor, std::int64_t min_pixels,
                                    std::int64_t max_pixels) {
  if (height < 1 || width < 1) fail("frames of ", height, " x ", width, " pixels");
  if (num_frames < temporal_factor) fail("t:", num_frames, " must be larger than temporal_factor:", temporal_factor);
  const auto f = static_cast<double>(factor), t = static_cast<double>(num_frames),
             tf = static_cast<double>(temporal_factor);
  auto h = static_cast<double>(height), w = static_cast<double>(width);
  if (height < factor || width < factor) {
    const double scale = std::max(f / h, f / w);
    h = std::trunc(h * scale);
    w = std::trunc(w * scale);
  }
  detail::check_aspect_ratio(h, w);
  double new_h = std::nearbyint(h / f) * f, new_w = std::nearbyint(w / f) * f;
  const double all = std::nearbyint(t / tf) * tf * new_h * new_w;
  if (all > static_cast<double>(max_pixels)) {
    const double beta = std::sqrt(t * h * w / static_cast<double>(max_pixels));
    new_h = std::max(f, std::floor(h / beta / f) * f);
    new_w = std::max(f, std::floor(w / beta / f) * f);
  } else if (all < static_cast<double>(min_pixels)) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / (t * h * w));
    new_h = std::ceil(h * beta / f) * f;
    new_w = std::ceil(w * beta / f) * f;
  }
  return {static_cast<std::int64_t>(new_h), static_cast<std::int64_t>(new_w)};
}

}  // namespace qwen3vl
