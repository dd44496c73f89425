/// How images and videos are read and resized: the checkpoint's settings with what the command line changes of them.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "program/input/arguments.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/video/video_options.hpp"

namespace program {

/// Whether the command line says anything about frames.
bool changes_video_settings(const Arguments& arguments);

/// `options` with what the command line says.
VideoProcessorOptions video_settings(const Arguments& arguments, VideoProcessorOptions options);

/// How inputs are made, but for the frames of videos. Media paths are relative to `folder`.
ProcessorOptions processor_options(const Arguments& arguments, const std::filesystem::path& folder);

/// The same for a checkpoint with these settings of videos.
ProcessorOptions processor_options(const Arguments& arguments, const std::filesystem::path& folder,
                                   const VideoProcessorOptions& videos);

Image read_image(const std::string& file, const ImageLimits& limits);
std::vector<Image> read_images(const std::vector<std::string>& files, const ImageLimits& limits);
/// The image of a part at `place` of a message, whose path is relative to `folder`.
Image read_image(const ContentPart& part, const std::filesystem::path& folder, const std::string& place,
                 const ImageLimits& limits);
/// Throws Error for what is no video.
void require_video(const std::string& file, const Arguments& arguments);

}  // namespace program
