/// Which frames of a video are sampled, and the times that the prompt gives for them.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/io/video/frame_source.hpp"
#include "qwen3vl/processing/video/video_options.hpp"

namespace qwen3vl {

/// The assumed frame rate of a video that has none (as in the reference, which then warns).
inline constexpr double default_video_fps = 24.0;

/// The frame rate of a video; default_video_fps where it is unknown. Throws Error for an impossible one.
inline double frames_per_second(const VideoMetadata& metadata) {
  const double fps = metadata.fps.value_or(default_video_fps);
  if (!(fps > 0.0) || !std::isfinite(fps)) fail("a video of ", fps, " frames per second");
  return fps;
}

/// Indices of the frames to take, ascending (Qwen3VLVideoProcessor.sample_frames): evenly spread from the first to the
/// last; a frame may occur twice. Throws Error for options that exclude each other and videos without frames.
inline std::vector<std::int64_t> sample_frames(const VideoMetadata& metadata, const VideoProcessorOptions& options) {
  options.validate();
  const std::int64_t total = metadata.total_num_frames;
  if (total < 1) fail("a video of ", total, " frames");
  std::int64_t count = 0;
  if (options.num_frames) {
    count = *options.num_frames;
  } else if (options.fps) {
    // In double and cut, as Python's int(); first limited, so that it fits.
    const double wanted = static_cast<double>(total) / frames_per_second(metadata) * *options.fps;
    count = static_cast<std::int64_t>(std::min(wanted, static_cast<double>(VideoProcessorOptions::max_countable)));
    count = std::min({std::max(count, options.min_frames), options.max_frames, total});
  } else {
    count = std::min(std::max(total, options.min_frames), options.max_frames);
  }
  std::vector<std::int64_t> indices;
  indices.reserve(static_cast<std::size_t>(count));
  // numpy.linspace: the step first, then products; the last value is the end itself. Rounded half to even.
  const auto last = static_cast<double>(total - 1);
  const double step = count > 1 ? last / static_cast<double>(count - 1) : 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double place = count > 1 && i == count - 1 ? last : static_cast<double>(i) * step;
    indices.push_back(static_cast<std::int64_t>(std::nearbyint(place)));
  }
  return indices;
}

/// Seconds of each temporal patch: the mean of the times of its first and last frame. The last frame is repeated where
/// the patches are not full. `indices` count frames of the video as it was recorded with `fps`.
inline std::vector<double> video_timestamps(std::span<const std::int64_t> indices, double fps,
                                            std::int64_t temporal_patch_size) {
  std::vector<double> seconds;
  const auto time = [&](std::size_t i) { return static_cast<double>(indices[std::min(i, indices.size() - 1)]) / fps; };
  const auto patch = static_cast<std::size_t>(temporal_patch_size);
  for (std::size_t i = 0; i < indices.size(); i += patch) seconds.push_back((time(i) + time(i + patch - 1)) / 2.0);
  return seconds;
}

/// How a prompt writes a time: "<1.5 seconds>", rounded as Python's "%.1f" (correctly, ties of the exact value to
/// even).
inline std::string timestamp_text(double seconds) {
  char digits[400];  // the longest double in fixed notation has 309 digits before the point
  const auto end = std::to_chars(digits, digits + sizeof digits, seconds, std::chars_format::fixed, 1).ptr;
  return concat("<", std::string_view(digits, static_cast<std::size_t>(end - digits)), " seconds>");
}

}  // namespace qwen3vl
