/// Opens a video from a path.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/video/frame_folder.hpp"
#include "qwen3vl/io/video/frame_source.hpp"
#include "qwen3vl/io/video/gif_file.hpp"
#include "qwen3vl/io/video/media_readers.hpp"

namespace qwen3vl {

struct VideoFileOptions {
  std::optional<double> fps{};  ///< frame rate of the source, if it has none or a wrong one
  ImageLimits limits{};         ///< of each frame
  MediaReaders readers{};       ///< of frames that are image files, and of video files
};

/// Opens a folder of numbered images, an animated GIF or, with `readers.video`, a video file. Throws Error for
/// everything else.
inline Video open_video(const std::filesystem::path& path, const VideoFileOptions& options = {}) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return FrameFolder(path, options.fps, options.limits, options.readers);
  if (!std::filesystem::exists(path, ignored)) fail("cannot open ", path.string(), ": there is no such file or folder");
  MappedFile file = MappedFile::open(path);
  if (is_gif(file.bytes())) return GifFile(std::move(file), path.string(), options.fps, options.limits);
  if (options.readers.video != nullptr)
    return options.readers.video(std::move(file), path.string(), options.fps, options.limits);
  fail(path.string(),
       " is neither a folder of numbered images nor a GIF; for video files, link the CMake target qwen3vl::video "
       "(needs FFmpeg's libraries: apt-get install libavformat-dev libavcodec-dev libavutil-dev libswscale-dev) and "
       "pass linked_readers()");
}

}  // namespace qwen3vl
