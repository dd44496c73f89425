/// What a Processor is told beside its inputs: how they are made, and how tokens become text.
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

/// How inputs are made; what transformers takes as keyword arguments of a processor.
struct ProcessorOptions {
  /// Relative paths of images in messages start here; default: the working directory.
  std::filesystem::path media_directory = {};
  /// Default: the `padding_side` of tokenizer_config.json, else left, because generation needs it.
  std::optional<PaddingSide> padding_side = std::nullopt;
  /// Instead of the checkpoint's settings; begin with a copy of image_processor().options().
  std::optional<ImageProcessorOptions> images = std::nullopt;
  /// The same for videos, with video_processor().options(). To take a number of frames, set num_frames and reset fps.
  std::optional<VideoProcessorOptions> videos = std::nullopt;
  VideoPrompt video_prompt = VideoPrompt::keep_outer_pair;
  /// Told of each frame of a video: frames done, frames in all.
  VideoProgress video_progress = {};
  ImageLimits limits{};  ///< of the images and videos that messages name
  /// Of the images and videos that messages name: without linked_readers(), JPEG files are decoded by stb_image, and
  /// video files are an Error.
  MediaReaders readers{};
  /// Tokens of one prompt, images and videos included. Several times what the released models can read: beyond it, a
  /// prompt is a mistake, and would only be noticed when memory runs out.
  std::size_t max_tokens = std::size_t{1} << 20;
};

/// How tokens become text.
struct DecodeOptions {
  bool skip_special_tokens = false;
  bool clean_up_tokenization_spaces = false;
};

}  // namespace qwen3vl
