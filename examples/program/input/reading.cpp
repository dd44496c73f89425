#include "program/input/reading.hpp"

#include <cstddef>
#include <optional>

#include "program/output/progress.hpp"
#include "program/output/signals.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/load_media.hpp"

namespace program {

bool changes_video_settings(const Arguments& arguments) {
  return arguments.fps || arguments.num_frames || arguments.all_frames;
}

VideoProcessorOptions video_settings(const Arguments& arguments, VideoProcessorOptions options) {
  if (!changes_video_settings(arguments)) return options;
  options.fps = arguments.num_frames ? std::nullopt : arguments.fps ? arguments.fps : options.fps;
  options.num_frames = arguments.num_frames;
  options.do_sample_frames = !arguments.all_frames;
  return options;
}

ProcessorOptions processor_options(const Arguments& arguments, const std::filesystem::path& folder) {
  ProcessorOptions options{.media_directory = folder,
                           .min_pixels = arguments.min_pixels,
                           .max_pixels = arguments.max_pixels,
                           .max_video_pixels = arguments.max_video_pixels,
                           .video_prompt = arguments.video_prompt,
                           .video_progress =
                               [bar = ProgressBar("reading the video")](auto done, auto total) mutable {
                                 Interruptible::check();
                                 bar(static_cast<std::size_t>(done), static_cast<std::size_t>(total));
                               },
                           .limits = arguments.limits.images,
                           .readers = linked_readers(),
                           .warn = warn};
  if (arguments.limits.max_tokens > 0) options.max_tokens = arguments.limits.max_tokens;
  return options;
}

ProcessorOptions processor_options(const Arguments& arguments, const std::filesystem::path& folder,
                                   const VideoProcessorOptions& videos) {
  ProcessorOptions options = processor_options(arguments, folder);
  if (changes_video_settings(arguments)) options.videos = video_settings(arguments, videos);
  return options;
}

Image read_image(const std::string& file, const ImageLimits& limits) {
  return load_image(file, limits, linked_readers());
}

std::vector<Image> read_images(const std::vector<std::string>& files, const ImageLimits& limits) {
  std::vector<Image> images;
  images.reserve(files.size());
  for (const std::string& file : files) images.push_back(read_image(file, limits));
  return images;
}

Image read_image(const ContentPart& part, const std::filesystem::path& folder, const std::string& place,
                 const ImageLimits& limits) {
  return load_image(part, folder, place, limits, linked_readers());
}

void require_video(const std::string& file, const Arguments& arguments) {
  open_video(file, {.fps = arguments.source_fps, .limits = arguments.limits.images, .readers = linked_readers()});
}

}  // namespace program
