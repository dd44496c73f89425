#include "program/input/planned_media.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include "program/input/reading.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"
#include "qwen3vl/processing/video/video_sampling.hpp"

namespace program {
namespace {

/// "640x480" as a size. Throws Error for anything else.
ImageSize image_size(const std::string& text) {
  ImageSize size;
  const char* const end = text.data() + text.size();
  const auto width = std::from_chars(text.data(), end, size.width);
  if (width.ec == std::errc() && width.ptr != end && *width.ptr == 'x') {
    const auto height = std::from_chars(width.ptr + 1, end, size.height);
    constexpr std::int64_t most = 1 << 20;
    if (height.ec == std::errc() && height.ptr == end && size.width > 0 && size.height > 0 && size.width <= most &&
        size.height <= most)
      return size;
  }
  fail("--image-size: '", text, "' is no size such as 1024x768");
}

}  // namespace

PlannedMedia plan_media(const Arguments& arguments, const VisionConfig& vision) {
  PlannedMedia media;
  const auto bytes = [](std::int64_t height, std::int64_t width) {
    return static_cast<std::size_t>(3 * height * width);
  };
  const ProcessorOptions budget{.min_pixels = arguments.min_pixels,
                                .max_pixels = arguments.max_pixels,
                                .max_video_pixels = arguments.max_video_pixels};
  const ImageProcessor own =
      arguments.model.empty() ? ImageProcessor() : ImageProcessor::from_pretrained(arguments.files());
  const ImageProcessor images(budget.image_options(own.options()));
  const auto add_image = [&](std::int64_t height, std::int64_t width) {
    const ImageSize resized = images.resized_size(height, width);
    const GridThw grid{1, resized.height / vision.patch_size, resized.width / vision.patch_size};
    media.grid_thw.push_back(grid);
    media.image_tokens += grid.tokens(vision.spatial_merge_size) + 2;
    media.source_bytes += bytes(height, width);
  };
  for (const std::string& text : arguments.image_sizes) {
    const ImageSize size = image_size(text);
    add_image(size.height, size.width);
  }
  for (const std::string& file : arguments.images) {
    const Image image = load_image(file, arguments.limits.images, linked_readers());
    add_image(image.height, image.width);
  }

  const VideoProcessor settings =
      arguments.model.empty() ? VideoProcessor() : VideoProcessor::from_pretrained(arguments.files());
  const VideoProcessor video_processor(video_settings(arguments, budget.video_options(settings.options())));
  for (const std::string& file : arguments.videos) {
    Video video =
        open_video(file, {.fps = arguments.source_fps, .limits = arguments.limits.images, .readers = linked_readers()});
    const std::vector<std::int64_t> taken = video_processor.frames_of(video.metadata());
    const Image frame = video.frame(taken.front());
    const auto count = static_cast<std::int64_t>(taken.size());
    const ImageSize resized = video_processor.resized_size(count, frame.height, frame.width);
    const auto temporal = static_cast<std::int64_t>(video_processor.options().temporal_patch_size);
    const GridThw grid{(count + temporal - 1) / temporal, resized.height / vision.patch_size,
                       resized.width / vision.patch_size};
    media.grid_thw.push_back(grid);
    media.video_tokens += grid.tokens(vision.spatial_merge_size);
    if (arguments.video_prompt == VideoPrompt::keep_outer_pair) media.video_tokens += 2;
    for (const double time : video_timestamps(taken, frames_per_second(video.metadata()), temporal)) {
      // "<", each character of the number, " seconds", ">", and the pair around the frames.
      constexpr std::string_view words = "< seconds>";
      media.video_tokens += static_cast<index_t>(timestamp_text(time).size() - words.size()) + 3 + 2;
    }
    media.source_bytes += bytes(frame.height, frame.width);
  }
  return media;
}

}  // namespace program
