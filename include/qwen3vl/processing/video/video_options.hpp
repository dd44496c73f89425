/// Settings of the video processor.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "qwen3vl/processing/image/image_options.hpp"

namespace qwen3vl {

/// Told of a video's frames: those done and those that are taken in all. May throw Cancelled.
using VideoProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Settings with transformers' names: those of images, for each frame, and those of time, explained in
/// for_each_video_option. Defaults are those of the released Qwen3-VL checkpoints.
struct VideoProcessorOptions : ImageProcessorOptions {
  VideoProcessorOptions() {
    shortest_edge = 4096;     // of all frames together
    longest_edge = 25165824;  // of all frames together
  }

  bool do_sample_frames = true;
  std::optional<double> fps = 2.0;
  std::optional<std::int64_t> num_frames{};
  std::int64_t min_frames = 4;
  std::int64_t max_frames = 768;
  bool cap_pixels_per_frame = false;
  std::int64_t max_video_tokens = 768;

  /// Throws Error for values that make no sense; in the reference's words where it has some.
  void validate() const;

  /// What transformers' class has where a checkpoint's file says nothing.
  static VideoProcessorOptions of_class() {
    VideoProcessorOptions options;
    options.shortest_edge = 128 * 32 * 32;
    options.longest_edge = 768 * 32 * 32;
    return options;
  }

  /// More frames than this are not taken from one video, whatever the options say.
  static constexpr std::int64_t max_countable = std::int64_t{1} << 16;
};

/// Calls f(Option, member...) for the options of time, as for_each_image_option does for those of each frame.
template <class F, class... Options>
void for_each_video_option(F&& f, Options&... o) {
  constexpr Range count = within(1, double{VideoProcessorOptions::max_countable});
  constexpr Range rate{.lowest = above_zero.lowest, .highest = 1e6};
  f(Option{"do_sample_frames", {}, "Take frames by `fps` or `num_frames`; false: all frames"}, o.do_sample_frames...);
  f(Option{"fps", rate, "Frames taken per second of the video"}, o.fps...);
  f(Option{"num_frames", count, "Frames taken, instead; `fps` must then be reset"}, o.num_frames...);
  f(Option{"min_frames", count, "Fewest frames that `fps` takes"}, o.min_frames...);
  f(Option{"max_frames", count, "Most frames that `fps` takes"}, o.max_frames...);
  f(Option{"cap_pixels_per_frame",
           {},
           "As in qwen-vl-utils: a frame has at most max_video_tokens tokens and its share of the budget. Without it a "
           "video of few frames spends the whole budget on them"},
    o.cap_pixels_per_frame...);
  f(Option{"max_video_tokens", within(1, 1 << 20), "Most tokens of a frame with cap_pixels_per_frame"},
    o.max_video_tokens...);
}

inline void VideoProcessorOptions::validate() const {
  ImageProcessorOptions::validate();
  if (!do_sample_frames) return;
  if (fps && num_frames) fail("`num_frames` and `fps` are mutually exclusive arguments, please use only one!");
  for_each_video_option([](const Option& option, const auto& value) { check_option(option, value); }, *this);
}

}  // namespace qwen3vl
