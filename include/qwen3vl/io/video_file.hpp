/// A clip from whatever a path names.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "qwen3vl/io/frame_folder.hpp"
#include "qwen3vl/io/frame_source.hpp"

namespace qwen3vl {

struct VideoFileOptions {
  std::optional<double> fps{};  ///< frame rate of the source, if it does not say or is wrong
  ImageLimits limits{};         ///< of each frame
};

/// Opens a folder of numbered pictures. Throws Error for everything else.
inline Video open_video(const std::filesystem::path& path, const VideoFileOptions& options = {}) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return FrameFolder(path, options.fps, options.limits);
  if (!std::filesystem::exists(path, ignored)) fail("cannot open ", path.string(), ": there is no such file or folder");
  fail(path.string(), " is not a folder of numbered pictures");
}

}  // namespace qwen3vl
