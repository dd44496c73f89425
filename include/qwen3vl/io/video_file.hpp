/// A clip from whatever a path names.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "qwen3vl/io/frame_folder.hpp"
#include "qwen3vl/io/frame_source.hpp"
#include "qwen3vl/io/gif_file.hpp"
#include "qwen3vl/io/mapped_file.hpp"

namespace qwen3vl {

struct VideoFileOptions {
  std::optional<double> fps{};  ///< frame rate of the source, if it does not say or is wrong
  ImageLimits limits{};         ///< of each frame
};

/// Opens a folder of numbered pictures or an animated GIF. Throws Error for everything else.
inline Video open_video(const std::filesystem::path& path, const VideoFileOptions& options = {}) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return FrameFolder(path, options.fps, options.limits);
  if (!std::filesystem::exists(path, ignored)) fail("cannot open ", path.string(), ": there is no such file or folder");
  MappedFile file = MappedFile::open(path);
  if (is_gif(file.bytes())) return GifFile(std::move(file), path.string(), options.fps, options.limits);
  fail(path.string(), " is neither a folder of numbered pictures nor a GIF");
}

}  // namespace qwen3vl
