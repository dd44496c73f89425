/// The images and videos of conversations, from the files that they name or from what was handed over for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/media.hpp"
#include "qwen3vl/processing/media_plan.hpp"
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"

namespace qwen3vl {

/// How a video is read and named.
struct AboutVideo {
  std::string place{};                             ///< of its part, for errors
  std::string name{};                              ///< of its file; may be empty
  std::optional<VideoProcessorOptions> options{};  ///< of a part that has its own
  std::optional<FramePlan> plan{};                 ///< of a part with keys of qwen-vl-utils

  /// How warnings begin.
  std::string called() const { return name.empty() ? place + ": " : concat(place, ": ", name, ": "); }
};

/// What conversations name, in the order of the placeholders.
struct LoadedMedia {
  std::vector<Image> images;
  std::vector<std::optional<ImageSize>> image_sizes;  ///< of each image: as its part's keys of qwen-vl-utils have it
  std::vector<Video> videos;
  std::vector<AboutVideo> about_videos;  ///< of each video
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
  if (source.size() < 32) return false;  // as many as the smallest image, a GIF of 24 bytes
  for (const char c : source.substr(0, beginning))
    if (base64_values[static_cast<unsigned char>(c)] >= base64_space) return false;
  const std::string bytes = decode_base64(source.substr(0, beginning), "");
  return image_kind(std::as_bytes(std::span(bytes))) != ImageKind::other;
}
}  // namespace detail

/// The image of a part that has one: of its bytes, else of a data URL, of the file that it names, or of base64 in the
/// place of that name. Throws Error that begins with `place`.
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
  if (is_data_url(part.source)) return decoded(decode_data_url(part.source, place));
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

/// A list of images as a video, each named or given as load_image() has it, and decoded on demand.
class FrameList {
 public:
  /// Throws Error for names that cannot be those of files. Such options as `images` do not matter.
  FrameList(const std::vector<std::string>& sources, const ProcessorOptions& options, std::optional<double> fps)
      : directory_(options.media_directory), limits_(options.limits), readers_(options.readers) {
    if (sources.empty()) fail("a video of no images");
    for (std::size_t i = 0; i < sources.size(); ++i) {
      if (!is_data_url(sources[i]) && !detail::is_base64_image(sources[i]))
        media_path(sources[i], directory_, concat("frame ", i));
      frames_.push_back(image(sources[i]));
    }
    metadata_ = {.total_num_frames = static_cast<std::int64_t>(frames_.size()), .fps = fps, .video_backend = "folder"};
  }

  const VideoMetadata& metadata() const { return metadata_; }
  /// Its name: where the list begins.
  std::string name() const {
    return "the list of images that begins with " + detail::shortened(frames_[0].source, 200);
  }

  Image frame(std::int64_t index) const {
    if (index < 0 || index >= metadata_.total_num_frames)
      fail("frame ", index, " of a video of ", metadata_.total_num_frames, " frames");
    return load_image(frames_[static_cast<std::size_t>(index)], directory_, concat("frame ", index), limits_, readers_);
  }

 private:
  std::vector<ContentPart> frames_;
  std::filesystem::path directory_;
  ImageLimits limits_;
  ImageReaders readers_;
  VideoMetadata metadata_;
};

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
      detail::warn_about_keys(*part, prefix + place, {MediaKeyUse::every}, options.warn);
      try {  // unusable shapes are reported here, where the place is known
        media.image_sizes.push_back(image_size(*part, media.images.back()));
      } catch (const Error& error) {
        detail::fail_about(prefix + place, media.images.back().name, error.what());
      }
    }
  }

  /// The same for videos. A list of images is taken whole: sampling it again is an error in transformers.
  void load_videos(const Conversation& messages, std::span<Video>& handed, LoadedMedia& media) const {
    for (const auto& [part, place] : find_media(messages, ContentPart::Kind::video)) {
      AboutVideo& about = media.about_videos.emplace_back(AboutVideo{.place = prefix + place});
      const bool list = !part->frames.empty(), folder = is_folder(*part);
      detail::warn_about_keys(*part, about.place,
                              {MediaKeyUse::every, MediaKeyUse::video, list ? MediaKeyUse::list : MediaKeyUse::file,
                               folder ? MediaKeyUse::list : MediaKeyUse::every},
                              options.warn);
      try {
        if (list) {
          if (part->num_frames) fail("num_frames does not apply to a list of images, all of which are taken");
          FrameList frames(part->frames, options, rate_of_list(*part));
          about.name = frames.name();
          media.videos.emplace_back(std::move(frames));
        } else if (!part->source.empty()) {
          const auto path = media_path(part->source, options.media_directory, "video");
          about.name = path.string();
          const std::optional<double> rate = folder ? rate_of_list(*part) : part->source_fps;
          media.videos.push_back(open_video(path, {.fps = rate, .limits = options.limits, .readers = options.readers}));
        } else if (!handed.empty()) {
          media.videos.push_back(std::move(handed.front()));
          handed = handed.subspan(1);
        } else {
          fail("names no file, and no video was handed over for it");
        }
        if (part->keys.any()) {
          about.plan = detail::frame_plan(*part, media.videos.back().metadata(), {options, video_options}, options.warn,
                                          about.called());
        } else {
          about.options = own_options(*part);
        }
      } catch (const Error& error) {
        detail::fail_about(about.place, about.name, error.what());
      }
    }
  }

 private:
  /// A part's frame rate where its frames are images; for qwen-vl-utils, a list has 2 where nothing is said.
  static std::optional<double> rate_of_list(const ContentPart& part) {
    const MediaKeys& keys = part.keys;
    if (keys.raw_fps || keys.sample_fps) return keys.raw_fps ? keys.raw_fps : keys.sample_fps;
    return keys.any() && !part.frames.empty() ? 2.0 : part.source_fps;
  }

  /// Whether the part names a folder of images; false for what is no path at all.
  bool is_folder(const ContentPart& part) const {
    if (!part.frames.empty() || part.source.empty()) return false;
    try {
      std::error_code ignored;
      return std::filesystem::is_directory(media_path(part.source, options.media_directory, "video"), ignored);
    } catch (const Error&) {
      return false;
    }
  }

  /// The settings of a video whose part has some of transformers'.
  std::optional<VideoProcessorOptions> own_options(const ContentPart& part) const {
    if (!part.num_frames && part.frames.empty()) return std::nullopt;
    VideoProcessorOptions own = video_options;
    if (part.num_frames) own.num_frames = part.num_frames, own.fps.reset(), own.do_sample_frames = true;
    if (!part.frames.empty()) own.do_sample_frames = false;
    return own;
  }

  /// The size of an image whose part has keys of qwen-vl-utils. Throws Error for shapes that cannot be resized.
  std::optional<ImageSize> image_size(const ContentPart& part, const Image& image) const {
    if (part.keys.any()) {
      const detail::KeyBounds bounds(options, image_processor.options());
      return bounds.check(qwen_vl_utils::image_size(part.keys, image.height, image.width, bounds.factor));
    }
    image_processor.resized_size(image.height, image.width);
    return std::nullopt;
  }
};

}  // namespace qwen3vl
