/// Options of a Processor: how inputs are made, and how tokens become text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/media_readers.hpp"
#include "qwen3vl/processing/image/image_options.hpp"
#include "qwen3vl/processing/placeholders.hpp"
#include "qwen3vl/processing/video/video_options.hpp"

namespace qwen3vl {

/// How inputs are made; keyword arguments of the processor in transformers.
struct ProcessorOptions {
  /// Base folder for relative image paths in messages; default: the working directory.
  std::filesystem::path media_directory = {};
  /// Default: the `padding_side` of tokenizer_config.json, else left, because generation needs it.
  std::optional<PaddingSide> padding_side = std::nullopt;
  /// Padding::max_length: ModelInputs have max_length columns at least. do_not_pad: an Error if rows differ in length.
  Padding padding = Padding::longest;
  std::optional<index_t> pad_to_multiple_of = std::nullopt;
  /// Prompts of more than max_length tokens are cut; an Error if that would cut an image or a video. Not set: as in
  /// transformers, if max_length is given and is not what rows are padded to.
  std::optional<bool> truncation = std::nullopt;
  std::optional<TruncationSide> truncation_side = std::nullopt;  ///< default: the tokenizer's
  std::optional<index_t> max_length = std::nullopt;              ///< default: model_max_length of the tokenizer
  /// Replaces the checkpoint's settings; start from a copy of image_processor().options().
  std::optional<ImageProcessorOptions> images = std::nullopt;
  /// The same for videos, with video_processor().options(). To set the number of frames, set num_frames and reset fps.
  std::optional<VideoProcessorOptions> videos = std::nullopt;
  /// The pixel budget alone, over what the two above or the checkpoint say: `shortest_edge` and `longest_edge` of
  /// images, and `longest_edge` of videos (all frames together). Parts of messages with keys of their own have these.
  std::optional<std::int64_t> min_pixels = std::nullopt, max_pixels = std::nullopt, max_video_pixels = std::nullopt;
  VideoPrompt video_prompt = VideoPrompt::keep_outer_pair;
  /// Called for each frame of a video: frames done, frames in total.
  VideoProgress video_progress = {};
  ImageLimits limits{};  ///< for the images and videos that messages name
  /// Readers for the images and videos of messages: without linked_readers(), JPEG files are decoded by stb_image, WebP
  /// and video files are an Error.
  MediaReaders readers{};
  /// Limit on the tokens of one prompt, images and videos included. Several times what the released models can read: a
  /// longer prompt is a mistake that would otherwise be noticed only when memory runs out.
  std::size_t max_tokens = std::size_t{1} << 20;
  /// Called with what is not wrong, but may not be meant: a video without a frame rate, keys without an effect.
  Warn warn = print_warning;

  /// The settings of images for a processor that has `own`. Throws Error.
  ImageProcessorOptions image_options(const ImageProcessorOptions& own) const {
    ImageProcessorOptions settings = images.value_or(own);
    if (min_pixels) settings.shortest_edge = budget("min_pixels", *min_pixels);
    if (max_pixels) settings.longest_edge = budget("max_pixels", *max_pixels);
    if (warn && max_pixels && *max_pixels < settings.shortest_edge)
      warn(concat("max_pixels is ", *max_pixels, ", below min_pixels, ", settings.shortest_edge,
                  ": smaller images are enlarged to that all the same"));
    return settings;
  }

  /// The same for videos.
  VideoProcessorOptions video_options(const VideoProcessorOptions& own) const {
    VideoProcessorOptions settings = videos.value_or(own);
    if (max_video_pixels) settings.longest_edge = budget("max_video_pixels", *max_video_pixels);
    return settings;
  }

 private:
  static std::int64_t budget(std::string_view name, std::int64_t pixels) {
    check_option(Option{name, within(1, 0x1p31)}, pixels);
    return pixels;
  }
};

/// How tokens become text.
struct DecodeOptions {
  /// Not set: false for decode and batch_decode, true for post_process_image_text_to_text.
  std::optional<bool> skip_special_tokens{};
  /// Ignored with a warning, as in transformers: it is meant for other tokenizers, and takes spaces out that belong
  /// there.
  bool clean_up_tokenization_spaces = false;
  /// Does it all the same.
  bool clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = false;
};

}  // namespace qwen3vl
