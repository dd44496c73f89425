/// Options of a Processor: how inputs are made, and how tokens become text.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/media_readers.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/placeholders.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"

namespace qwen3vl {

/// How inputs are made; keyword arguments of the processor in transformers.
struct ProcessorOptions {
  /// Base folder for relative image paths in messages; default: the working directory.
  std::filesystem::path media_directory = {};
  /// Default: the `padding_side` of tokenizer_config.json, else left, because generation needs it.
  std::optional<PaddingSide> padding_side = std::nullopt;
  /// Replaces the checkpoint's settings; start from a copy of image_processor().options().
  std::optional<ImageProcessorOptions> images = std::nullopt;
  /// The same for videos, with video_processor().options(). To set the number of frames, set num_frames and reset fps.
  std::optional<VideoProcessorOptions> videos = std::nullopt;
  VideoPrompt video_prompt = VideoPrompt::keep_outer_pair;
  /// Called for each frame of a video: frames done, frames in total.
  VideoProgress video_progress = {};
  ImageLimits limits{};  ///< for the images and videos that messages name
  /// Readers for the images and videos that messages name: without linked_readers(), JPEG files are decoded by
  /// stb_image, and video files are an Error.
  MediaReaders readers{};
  /// Limit on the tokens of one prompt, images and videos included. Several times what the released models can read: a
  /// longer prompt is a mistake that would otherwise be noticed only when memory runs out.
  std::size_t max_tokens = std::size_t{1} << 20;
};

/// How tokens become text.
struct DecodeOptions {
  bool skip_special_tokens = false;
  bool clean_up_tokenization_spaces = false;
};

}  // namespace qwen3vl
