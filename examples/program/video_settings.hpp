/// How videos are read: the checkpoint's settings with what the command line changes of them.
#pragma once

#include <optional>

#include "arguments.hpp"
#include "qwen3vl/processing/video/video_options.hpp"

namespace program {

/// Whether the command line says anything about frames.
inline bool changes_video_settings(const Arguments& arguments) {
  return arguments.fps || arguments.num_frames || arguments.all_frames;
}

/// `options` with what the command line says.
inline VideoProcessorOptions video_settings(const Arguments& arguments, VideoProcessorOptions options) {
  if (!changes_video_settings(arguments)) return options;
  options.fps = arguments.num_frames ? std::nullopt : arguments.fps ? arguments.fps : options.fps;
  options.num_frames = arguments.num_frames;
  options.do_sample_frames = !arguments.all_frames;
  return options;
}

}  // namespace program
