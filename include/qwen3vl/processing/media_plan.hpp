/// How an image or video is read whose part of a message has keys of qwen-vl-utils (qwen_vl_utils.hpp has the numbers).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/image/resize_in_float.hpp"
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/qwen_vl_utils.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"

namespace qwen3vl::detail {

/// Says which keys have no effect on this kind of part; qwen-vl-utils passes over them in silence.
inline void warn_about_keys(const ContentPart& part, std::string_view place, std::initializer_list<MediaKeyUse> used,
                            const Warn& warn) {
  if (!warn) return;
  std::string unused;
  const auto add = [&](std::string_view name) { unused += concat(unused.empty() ? "" : ", ", name); };
  for_each_media_key(
      [&](MediaKeyUse use, const Option& key, const std::optional<double>& value) {
        if (value && std::find(used.begin(), used.end(), use) == used.end()) add(key.name);
      },
      part.keys);
  if (part.keys.resized_height.has_value() != part.keys.resized_width.has_value())
    add(part.keys.resized_height ? "resized_height without resized_width" : "resized_width without resized_height");
  const char* const kind = part.kind == ContentPart::Kind::image ? "an image"
                           : part.frames.empty()                 ? "a video file"
                                                                 : "a list of images";
  if (!unused.empty()) warn(concat(place, ": has no effect on ", kind, ": ", unused));
}

/// What limits a part's keys: a message is input from outside, and what it asks for is limited as the files are that it
/// names.
struct KeyBounds {
  std::size_t max_pixels, max_tokens;
  std::int64_t factor;  ///< patch_size * merge_size

  KeyBounds(const ProcessorOptions& options, const ImageProcessorOptions& settings)
      : max_pixels(options.limits.max_pixels),
        max_tokens(options.max_tokens),
        factor(settings.patch_size * settings.merge_size) {}

  /// `size`, of each of so many frames. Throws Error if that is too much.
  ImageSize check(ImageSize size, std::int64_t frames = 1) const {
    const auto pixels = static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width);
    if (pixels > max_pixels)
      fail("is to be resized to ", size.width, " x ", size.height, ", over the limit of ", max_pixels,
           " pixels (ImageLimits::max_pixels)");
    const auto tokens = static_cast<std::size_t>((frames + 1) / 2 * (size.height / factor) * (size.width / factor));
    if (tokens > max_tokens)
      fail("would have ", tokens, " tokens, over the limit of ", max_tokens, " (ProcessorOptions::max_tokens)");
    return size;
  }
};

/// How a video is read whose part has such keys (fetch_video); `called` begins warnings.
inline FramePlan frame_plan(const ContentPart& part, const VideoMetadata& metadata, const KeyBounds& bounds,
                            const Warn& warn, const std::string& called) {
  const MediaKeys& keys = part.keys;
  FramePlan plan;
  plan.resize = resize_in_float;
  plan.size = [keys, bounds, warn, called](std::int64_t count, std::int64_t height, std::int64_t width) {
    const double limit = qwen_vl_utils::frame_limit(keys, count, bounds.factor);
    if (warn && keys.max_pixels > limit)
      warn(concat(called, "max_pixels is ", static_cast<std::int64_t>(*keys.max_pixels),
                  "; a frame of this video has at most ", static_cast<std::int64_t>(limit)));
    return bounds.check(qwen_vl_utils::frame_size(keys, count, height, width, bounds.factor), count);
  };
  if (part.frames.empty()) {
    if (!metadata.frames_indices.empty())
      fail("the video is already a sample of ", metadata.frames_indices.size(), " frames; ", keys.first(),
           " does not apply");
    plan.indices = qwen_vl_utils::frames_of(keys, metadata.total_num_frames, metadata.fps.value_or(default_video_fps));
    return plan;
  }
  // Each image of a list is resized for itself before, with twice the factor. The last one is repeated as a frame of
  // its own, with its own time.
  plan.prepare = [keys, bounds](const Image& frame) {
    return resized_by_pillow(
        frame, bounds.check(qwen_vl_utils::image_size(keys, frame.height, frame.width, 2 * bounds.factor)));
  };
  const auto count = static_cast<std::int64_t>(part.frames.size());
  if (count > VideoProcessorOptions::max_countable)
    fail("a list of ", count, " images; at most ", VideoProcessorOptions::max_countable, " are read");
  plan.indices.resize(static_cast<std::size_t>(count + count % 2));
  std::iota(plan.indices.begin(), plan.indices.end(), 0);
  plan.recorded = plan.indices;
  plan.indices.back() = count - 1;
  return plan;
}

}  // namespace qwen3vl::detail
