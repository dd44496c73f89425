/// Targets: images, videos, and the settings of their processors.
#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/base64.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/load_media.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"
#include "target.hpp"

namespace fuzz {
namespace {

using namespace qwen3vl;

constexpr ImageLimits limits{.max_pixels = 1 << 14, .max_file_bytes = 1 << 16};

template <class Options>
Options small() {
  Options options;
  options.patch_size = 4;
  options.shortest_edge = 64;
  options.longest_edge = 2048;
  return options;
}

bool are_pixels(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return value >= -1.0f && value <= 1.0f; });
}

/// A file in memory, run through the processor.
void image(Bytes bytes) {
  static const ImageProcessor processor(small<ImageProcessorOptions>());
  allow_errors([&] {
    const Image picture = decode_image(bytes, "picture", limits, linked_readers());
    picture.check();
    require(picture.offset(picture.height, 0) <= limits.max_pixels * 4, "a picture is within the limit");
    const ImageFeatures features = processor({&picture, 1});
    require(features.pixel_values.extent(0) == features.image_grid_thw.at(0).patches(), "there is a row per patch");
    require(are_pixels(features.pixel_values.span()), "normalised pixels are from -1 to 1");
  });
}

void exif(Bytes bytes) {
  const int orientation = exif_orientation(bytes);
  require(orientation >= 1 && orientation <= 8, "an orientation is one of eight");
  const int of_tiff = detail::tiff_orientation(bytes).value_or(1);
  const int of_xmp = detail::xmp_orientation(as_text(bytes)).value_or(1);
  require(of_tiff >= 1 && of_tiff <= 8 && of_xmp >= 1 && of_xmp <= 8, "an orientation is one of eight");
}

/// Text, as base64 and as a data URL; and bytes, which come back from base64.
void base64(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  allow_errors([&] { require(decode_base64(text, "text").size() <= text.size() / 4 * 3 + 2, "base64 only shrinks"); });
  allow_errors([&] { decode_data_url(text, "text"); });
  allow_errors([&] { detail::is_base64_image(text); });
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string encoded;
  std::uint32_t bits = 0;
  int waiting = 0;
  for (const char c : text) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (waiting += 8; waiting >= 6; waiting -= 6) encoded += digits[bits >> (waiting - 6) & 63];
  }
  if (waiting > 0) encoded += digits[bits << (6 - waiting) & 63];
  require(decode_base64(encoded, "text") == text, "bytes come back from base64");
  require(decode_data_url("data:," + encoded, "text") == text, "bytes come back from a data URL");
}

void process(Video& video) {
  static const VideoProcessor processor = [] {
    auto options = small<VideoProcessorOptions>();
    options.max_frames = 8;
    return VideoProcessor(options);
  }();
  const VideoPatches patches = processor(video);
  require(patches.pixel_values_videos.extent(0) == patches.grid.patches(), "there is a row per patch");
  require(patches.timestamps.size() == static_cast<std::size_t>(patches.grid.t), "each temporal patch has a time");
  require(std::ranges::all_of(patches.timestamps, [](double t) { return std::isfinite(t) && t >= 0; }),
          "times are not negative");
  require(are_pixels(patches.pixel_values_videos.span()), "normalised pixels are from -1 to 1");
}

/// A video as a file: a GIF, or anything libav reads.
void clip(Bytes bytes) {
  static const MemoryFile file;
  file.set(bytes);
  allow_errors([&] {
    Video video = open_video(file.path(), {.limits = limits, .readers = linked_readers()});
    require(video.metadata().total_num_frames > 0, "a clip has frames");
    process(video);
  });
}

void gif(Bytes bytes) {
  static const MemoryFile file;
  file.set(bytes);
  allow_errors([&] {
    GifFile gif(file.path(), std::nullopt, limits);
    const auto last = std::min<std::int64_t>(gif.metadata().total_num_frames, 16) - 1;
    const Image direct = gif.frame(last);
    direct.check();
    gif.frame(0);
    require(gif.frame(last).pixels == direct.pixels, "a frame is the same whatever was shown before");
  });
}

/// Length and text of clip.json, length and bytes of the first frame, the second one.
void frame_folder(Bytes bytes) {
  static const MemoryFile settings, first, second;
  static const Folder folder;
  static const bool ready = [] {
    folder.link("clip.json", settings);
    folder.link("frame-2.png", first);
    folder.link("frame-10.jpg", second);
    return true;
  }();
  require(ready, "the folder is ready");
  Input input(bytes);
  settings.set(input.bytes(input.byte()));
  first.set(input.bytes(input.number(2)));
  second.set(input.rest());
  allow_errors([&] {
    Video video = open_video(folder.path(), {.limits = limits, .readers = linked_readers()});
    require(video.metadata().total_num_frames == 2, "the folder has two frames");
    process(video);
  });
}

/// preprocessor_config.json and similar files; settings that are small enough are used.
void preprocessor_config(Bytes bytes) {
  static const Image picture{
      .height = 9, .width = 12, .channels = 3, .pixels = std::vector<std::uint8_t>(9 * 12 * 3, 77)};
  const auto affordable = [](const ImageProcessorOptions& options) {
    return options.shortest_edge <= 1024 && options.patch_size * options.merge_size <= 32;
  };
  allow_errors([&] {
    const auto json = parse_json(as_text(bytes), "preprocessor_config.json");
    const auto options = image_processor_options_from_json({json, "preprocessor_config.json"}, {}, {});
    if (affordable(options)) {
      const ImageFeatures features = ImageProcessor(options)({&picture, 1});
      require(features.image_grid_thw.size() == 1, "a picture has a grid");
    }
    const auto videos = video_processor_options_from_json({json, "preprocessor_config.json"}, {}, {});
    if (!affordable(videos)) return;
    Video video = MemoryFrames(std::vector<Image>(3, picture), 1.5);
    const VideoPatches patches = VideoProcessor(videos)(video);
    require(patches.timestamps.size() == static_cast<std::size_t>(patches.grid.t), "each temporal patch has a time");
  });
}

constexpr Target targets[] = {{"image", 4096, image},
                              {"exif", 512, exif},
                              {"base64", 1024, base64},
                              {"gif", 1024, gif},
                              {"clip", 4096, clip},
                              {"frame_folder", 4096, frame_folder},
                              {"preprocessor_config", 1024, preprocessor_config}};

}  // namespace

std::span<const Target> media_targets() { return targets; }

}  // namespace fuzz
