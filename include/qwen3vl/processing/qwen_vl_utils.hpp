/// Sizes and frames of a message's part as qwen-vl-utils 0.0.14 makes them of its keys. Where that raises, these throw
/// Error. `factor` is patch_size * merge_size: what is called image_patch_size there is patch_size.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/processing/chat/media_keys.hpp"
#include "qwen3vl/processing/image/smart_resize.hpp"
#include "qwen3vl/processing/video/video_options.hpp"

namespace qwen3vl::qwen_vl_utils {

/// Its smart_resize, whose sides may be no whole numbers and become 0 where the budget is less than a token.
inline ImageSize smart_resize(double height, double width, double factor, double min_pixels, double max_pixels) {
  if (!(max_pixels >= min_pixels)) fail("max_pixels is ", max_pixels, ", below min_pixels, ", min_pixels);
  detail::check_aspect_ratio(height, width);
  const auto rounded = [&](double side) { return std::max(factor, std::nearbyint(side / factor) * factor); };
  double h = rounded(height), w = rounded(width);
  if (h * w > max_pixels) {
    const double beta = std::sqrt(height * width / max_pixels);
    h = std::floor(height / beta / factor) * factor;
    w = std::floor(width / beta / factor) * factor;
  } else if (h * w < min_pixels) {
    const double beta = std::sqrt(min_pixels / (height * width));
    h = std::ceil(height * beta / factor) * factor;
    w = std::ceil(width * beta / factor) * factor;
  }
  if (!(h >= factor && w >= factor && h <= 1e6 && w <= 1e6))
    fail("max_pixels is ", max_pixels, ", min_pixels ", min_pixels, ": no size of whole tokens for ", width, " x ",
         height, " pixels");
  return {static_cast<std::int64_t>(h), static_cast<std::int64_t>(w)};
}

/// Images have 4 to 16384 tokens where nothing else is said.
inline ImageSize resized(const MediaKeys& keys, std::int64_t height, std::int64_t width, std::int64_t factor,
                         double min_pixels, double max_pixels) {
  const auto f = static_cast<double>(factor);
  if (keys.resized_height && keys.resized_width)
    return smart_resize(*keys.resized_height, *keys.resized_width, f, 4 * f * f, 16384 * f * f);
  return smart_resize(static_cast<double>(height), static_cast<double>(width), f, min_pixels, max_pixels);
}

/// The size that an image is resized to (fetch_image).
inline ImageSize image_size(const MediaKeys& keys, std::int64_t height, std::int64_t width, std::int64_t factor) {
  const auto f = static_cast<double>(factor);
  return resized(keys, height, width, factor, keys.min_pixels.value_or(4 * f * f),
                 keys.max_pixels.value_or(16384 * f * f));
}

/// The most pixels that a frame of a video of `frames` frames may have, whatever max_pixels says (fetch_video): 768
/// tokens, and twice its share of total_pixels, but no less than 1.05 times min_pixels.
inline double frame_limit(const MediaKeys& keys, std::int64_t frames, std::int64_t factor) {
  const auto f = static_cast<double>(factor);
  const double total = keys.total_pixels.value_or(128000 * f * f * 0.9);
  return std::max(std::min(768 * f * f, total / static_cast<double>(frames) * 2.0),
                  std::trunc(keys.min_pixels.value_or(128 * f * f) * 1.05));
}

/// The size that each of `frames` frames is resized to.
inline ImageSize frame_size(const MediaKeys& keys, std::int64_t frames, std::int64_t height, std::int64_t width,
                            std::int64_t factor) {
  const auto f = static_cast<double>(factor);
  const double limit = frame_limit(keys, frames, factor);
  return resized(keys, height, width, factor, keys.min_pixels.value_or(128 * f * f),
                 std::min(keys.max_pixels.value_or(limit), limit));
}

/// The first and the last frame of a part of a video (calculate_video_frame_range).
struct FrameRange {
  std::int64_t first = 0, last = 0;
  std::int64_t count() const { return last - first + 1; }
  bool operator==(const FrameRange&) const = default;
};

inline FrameRange frame_range(const MediaKeys& keys, std::int64_t total_frames, double video_fps) {
  if (!(video_fps > 0.0)) fail("a video of ", video_fps, " frames per second");
  if (total_frames < 1) fail("a video of ", total_frames, " frames");
  FrameRange range{0, total_frames - 1};
  const double duration = static_cast<double>(total_frames) / video_fps;
  const auto clamped = [&](double seconds) { return std::max(0.0, std::min(seconds, duration)); };
  if (!keys.video_start && !keys.video_end) return range;
  if (keys.video_start) range.first = static_cast<std::int64_t>(std::ceil(clamped(*keys.video_start) * video_fps));
  if (keys.video_end)
    range.last = std::min(static_cast<std::int64_t>(std::floor(clamped(*keys.video_end) * video_fps)), range.last);
  if (range.first >= range.last)
    fail("video_start and video_end leave the frames ", range.first, " to ", range.last, " of a video of ", duration,
         " seconds (", total_frames, " frames, ", video_fps, " per second); at least two are needed");
  return range;
}

/// How many of `total_frames` frames are taken (smart_nframes): an even number.
inline std::int64_t smart_nframes(const MediaKeys& keys, std::int64_t total_frames, double video_fps) {
  if (keys.fps && keys.nframes) fail("fps and nframes exclude each other; give one");
  const auto even = [](double number) { return std::floor(number / 2.0) * 2.0; };
  const auto total = static_cast<double>(total_frames);
  double count = 0.0;
  if (keys.nframes) {
    count = std::nearbyint(*keys.nframes / 2.0) * 2.0;
  } else {
    const double least = std::ceil(keys.min_frames.value_or(4.0) / 2.0) * 2.0;
    const double most = even(keys.max_frames.value_or(std::min(768.0, total)));
    const double wanted = total / video_fps * keys.fps.value_or(2.0);
    count = even(std::min({std::max(wanted, least), most, total}));
  }
  if (!(count >= 2.0 && count <= total))
    fail("nframes should be from 2 to the video's ", total_frames, " frames, but is ",
         static_cast<std::int64_t>(count));
  if (count > static_cast<double>(VideoProcessorOptions::max_countable))
    fail(static_cast<std::int64_t>(count), " frames of a video are to be taken; at most ",
         VideoProcessorOptions::max_countable, " can be");
  return static_cast<std::int64_t>(count);
}

/// `count` frames of a range, evenly spread: torch.linspace(...).round(), in float32 with one rounding for each.
inline std::vector<std::int64_t> spread(const FrameRange& range, std::int64_t count) {
  const auto first = static_cast<float>(range.first), last = static_cast<float>(range.last);
  const float step = (last - first) / static_cast<float>(count - 1);
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const float place = i < count / 2 ? std::fma(step, static_cast<float>(i), first)
                                      : std::fma(-step, static_cast<float>(count - 1 - i), last);
    indices.push_back(static_cast<std::int64_t>(std::nearbyint(place)));
  }
  return indices;
}

/// The frames of a file that are taken.
inline std::vector<std::int64_t> frames_of(const MediaKeys& keys, std::int64_t total_frames, double video_fps) {
  const FrameRange range = frame_range(keys, total_frames, video_fps);
  return spread(range, smart_nframes(keys, range.count(), video_fps));
}

}  // namespace qwen3vl::qwen_vl_utils
