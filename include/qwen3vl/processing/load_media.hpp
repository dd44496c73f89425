/// The images and videos of conversations, from the files that they name or from what was handed over for them.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/media.hpp"
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"

namespace qwen3vl {

/// What conversations name, in the order of the placeholders.
struct LoadedMedia {
  std::vector<Image> images;
  std::vector<Video> videos;
  std::vector<std::optional<VideoProcessorOptions>> video_options;  ///< of videos whose part has its own options
  std::vector<std::string> video_places, video_files;               ///< for errors
};

namespace detail {
/// An error about a medium, with the name of its file where `what` does not have it.
[[noreturn]] inline void fail_about(std::string_view place, std::string_view file, std::string_view what) {
  if (file.empty() || file == place || what.find(file) != std::string_view::npos) fail(place, ": ", what);
  fail(place, ": ", file, ": ", what);
}

/// Whether text that names no file is that of an image in base64, which transformers takes in the place of a path.
inline bool is_base64_image(std::string_view source) {
  constexpr std::size_t beginning = 16;  // as many characters as the longest signature needs
  if (source.size() < 64) return false;
  for (const char c : source.substr(0, beginning))
    if (base64_values[static_cast<unsigned char>(c)] >= base64_space) return false;
  const std::string bytes = decode_base64(source.substr(0, beginning), "");
  return image_kind(std::as_bytes(std::span(bytes))) != ImageKind::other;
}
}  // namespace detail

/// The image of a part that has one: of its bytes, else of the file that it names, else of base64 in the place of that
/// name. Throws Error that begins with `place`.
inline Image load_image(const ContentPart& part, const std::filesystem::path& directory, const std::string& place,
                        const ImageLimits& limits = {}, const ImageReaders& readers = {}) {
  const auto decoded = [&](std::string_view bytes) {
    try {
      Image image = decode_image(std::as_bytes(std::span(bytes)), "the image", limits, readers);
      image.name = place;
      return image;
    } catch (const Error& error) {
      fail(place, ": ", error.what());
    }
  };
  if (!part.bytes.empty()) return decoded(part.bytes);
  std::error_code ignored;
  if (detail::is_base64_image(part.source) && !std::filesystem::exists(directory / part.source, ignored))
    return decoded(decode_base64(part.source, place + ": the image"));
  const auto path = media_path(part.source, directory, place);
  try {
    return load_image(path, limits, readers);
  } catch (const Error& error) {
    detail::fail_about(place, path.string(), error.what());
  }
}

/// Loads the media of one conversation. Its errors begin with `prefix` and the place of the part. The objects passed to
/// it must outlive it.
struct MediaLoader {
  const ProcessorOptions& options;
  const ImageProcessor& image_processor;       ///< checks whether images can be resized
  const VideoProcessorOptions& video_options;  ///< for videos whose part has no options
  std::string prefix;

  /// Appends the conversation's images; those without a name are taken off the front of `handed`.
  void load_images(const Conversation& messages, std::span<const Image>& handed, LoadedMedia& media) const {
    for (const auto& [part, place] : find_media(messages, ContentPart::Kind::image)) {
      if (!part->source.empty() || !part->bytes.empty()) {
        media.images.push_back(
            load_image(*part, options.media_directory, prefix + place, options.limits, options.readers));
      } else if (!handed.empty()) {
        media.images.push_back(handed.front());
        handed = handed.subspan(1);
      } else {
        fail(prefix, place, ": names no file, and no image was handed over for it");
      }
      try {  // unusable shapes are reported here, where the place is known
        image_processor.resized_size(media.images.back().height, media.images.back().width);
      } catch (const Error& error) {
        detail::fail_about(prefix + place, media.images.back().name, error.what());
      }
    }
  }

  /// The same for videos. A list of images is taken whole: sampling it again is an error in transformers.
  void load_videos(const Conversation& messages, std::span<Video>& handed, LoadedMedia& media) const {
    for (const auto& [part, place] : find_media(messages, ContentPart::Kind::video)) {
      media.video_options.push_back(own_options(*part));
      media.video_places.push_back(prefix + place);
      auto& file = media.video_files.emplace_back();
      try {
        if (!part->frames.empty()) {
          std::vector<std::filesystem::path> files;
          for (const std::string& frame : part->frames)
            files.push_back(media_path(frame, options.media_directory, "frame"));
          file = concat("the list of images that begins with ", files.front().string());
          media.videos.emplace_back(FrameFolder(std::move(files), part->source_fps, options.limits, options.readers));
        } else if (!part->source.empty()) {
          const auto path = media_path(part->source, options.media_directory, "video");
          file = path.string();
          media.videos.push_back(
              open_video(path, {.fps = part->source_fps, .limits = options.limits, .readers = options.readers}));
        } else if (!handed.empty()) {
          media.videos.push_back(std::move(handed.front()));
          handed = handed.subspan(1);
        } else {
          fail("names no file, and no video was handed over for it");
        }
      } catch (const Error& error) {
        fail(prefix, place, ": ", error.what());
      }
    }
  }

 private:
  /// The settings of a video whose part has some.
  std::optional<VideoProcessorOptions> own_options(const ContentPart& part) const {
    if (!part.fps && !part.num_frames && part.frames.empty()) return std::nullopt;
    VideoProcessorOptions own = video_options;
    if (part.fps) own.fps = part.fps, own.num_frames.reset();
    if (part.num_frames) own.num_frames = part.num_frames, own.fps.reset();
    if (!part.frames.empty()) own.do_sample_frames = false;
    return own;
  }
};

}  // namespace qwen3vl
