/// From texts, conversations, images and videos to prompts, and from generated tokens back to text (Qwen3VLProcessor).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/checkpoint_folder.hpp"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/inputs/prompts.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/chat/chat_format.hpp"
#include "qwen3vl/processing/chat/chat_template.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/load_media.hpp"
#include "qwen3vl/processing/placeholders.hpp"
#include "qwen3vl/processing/processor_config.hpp"
#include "qwen3vl/processing/processor_files.hpp"
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/tokenizer/clean_up.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"

namespace qwen3vl {

/// A video whose frames are sampled already.
struct VideoSize {
  std::int64_t num_frames = 0, height = 0, width = 0;
};

/// What Processor::num_multimodal_tokens counts (MultiModalData of transformers); each has one value for each size.
struct MultimodalTokens {
  std::vector<std::int64_t> num_image_tokens, num_image_patches, num_video_tokens;
};

/// Tokenizer, image and video processors and chat format of a checkpoint.
class Processor {
 public:
  /// Reads the files of a checkpoint folder: the tokenizer's, preprocessor_config.json and
  /// video_preprocessor_config.json, the chat template, and the token ids in config.json if there is one. `chat_format`
  /// overrides the template. A missing or unsupported template is an Error only when it is needed, in
  /// `render_chat_template` and `apply_chat_template`. `warn` is told of settings that have no effect.
  static Processor from_pretrained(const std::filesystem::path& folder,
                                   std::optional<ChatFormat> chat_format = std::nullopt,
                                   const Warn& warn = print_warning) {
    std::error_code ignored;
    if (!std::filesystem::exists(folder / "tokenizer.json", ignored)) require_checkpoint_folder(folder);
    const TokenizerSettings settings = TokenizerSettings::from_pretrained(folder);
    PreprocessorFiles files(folder);
    files.warn_about_others(warn);
    Processor processor(Tokenizer(TokenizerFile::read(folder / "tokenizer.json"), settings),
                        ImageProcessor::from_pretrained(files, warn), chat_format,
                        ProcessorConfig::from_pretrained(folder, settings),
                        VideoProcessor::from_pretrained(files, warn));
    processor.source_ = {folder, chat_format.has_value()};
    if (!chat_format) {
      try {
        processor.chat_format_ = chat_format_from_pretrained(folder, &settings.chat_template);
      } catch (const Error& error) {
        processor.no_chat_format_ = error.what();
      }
    }
    return processor;
  }

  /// From parts. Throws Error if the tokenizer lacks a token that prompts need, or if `config` gives it a different id.
  Processor(Tokenizer tokenizer, ImageProcessor image_processor, std::optional<ChatFormat> chat_format,
            const ProcessorConfig& config = {}, VideoProcessor video_processor = VideoProcessor())
      : tokenizer_(std::move(tokenizer)),
        image_processor_(std::move(image_processor)),
        video_processor_(std::move(video_processor)),
        chat_format_(chat_format),
        padding_side_(config.padding_side),
        image_token_(token(image_placeholder, config.image_token_id)),
        video_token_(token(video_placeholder, config.video_token_id)),
        pad_token_(token(config.pad_token, std::nullopt)) {}

  /// Copies the files that from_pretrained read (tokenizer, settings of images and videos, chat template) to `folder`,
  /// unchanged; with a model's save_pretrained it becomes a whole checkpoint. Throws Error for a processor from parts
  /// or with a chat format of the caller's, for which there are no files.
  void save_pretrained(const std::filesystem::path& folder) const {
    if (source_.folder.empty())
      fail("a processor made from parts cannot be saved: only one of from_pretrained has files to copy");
    if (source_.given_format)
      fail("a processor with a given chat format cannot be saved: it has no template; load it without");
    copy_processor_files(source_.folder, folder);
  }

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ImageProcessor& image_processor() const { return image_processor_; }
  const VideoProcessor& video_processor() const { return video_processor_; }
  TokenId pad_token_id() const { return pad_token_; }

  /// The chat format. Throws Error if the checkpoint's template is missing or unsupported and none was given.
  const ChatFormat& chat_format() const {
    if (!chat_format_) fail(no_chat_format_);
    return *chat_format_;
  }

  // ---- tokens of images and videos

  /// Tokens that images and videos of these sizes become in a prompt, without reading or computing pixels
  /// (_get_num_multimodal_tokens): `image_sizes` are height and width, `video_sizes` the number of sampled frames,
  /// height and width. Times and marks around a video's frames are not counted. Throws Error for extreme shapes.
  MultimodalTokens num_multimodal_tokens(std::span<const ImageSize> image_sizes,
                                         std::span<const VideoSize> video_sizes = {},
                                         const ProcessorOptions& options = {}) const {
    MultimodalTokens counts;
    const ImageProcessor images(options.image_options(image_processor_.options()));
    for (const ImageSize& size : image_sizes) {
      counts.num_image_patches.push_back(images.number_of_patches(size.height, size.width));
      counts.num_image_tokens.push_back(counts.num_image_patches.back() / (images.merge_size() * images.merge_size()));
    }
    const VideoProcessor videos(options.video_options(video_processor_.options()));
    const std::int64_t merge_size = videos.options().merge_size;
    for (const VideoSize& size : video_sizes)
      counts.num_video_tokens.push_back(videos.number_of_patches(size.num_frames, size.height, size.width) /
                                        (merge_size * merge_size));
    return counts;
  }

  // ---- inputs of the model

  /// Prompts from texts with placeholders: `images` in the order of `<|image_pad|>` in all texts, `videos` in that of
  /// `<|video_pad|>`. generate() accepts the result.
  Prompts prompts(std::span<const std::string> texts, std::span<const Image> images = {},
                  const ProcessorOptions& options = {}, std::span<Video> videos = {}) const {
    std::vector<AboutVideo> about_videos(videos.size());
    for (std::size_t i = 0; i < videos.size(); ++i) about_videos[i].place = concat("video ", i);
    return process(texts, images, {}, videos, about_videos, options,
                   ImageProcessor(options.image_options(image_processor_.options())));
  }

  /// Prompts from conversations; images and videos are read from the files that their parts name. Parts without a name
  /// take theirs from `images` and `videos`, in order. Throws Error naming the part that cannot be read.
  Prompts prompts(std::span<const Conversation> conversations, const ChatTemplateOptions& options = {},
                  const ProcessorOptions& processor_options = {}, std::span<const Image> images = {},
                  std::span<Video> videos = {}) const {
    std::vector<std::string> texts;
    for (const Conversation& messages : conversations) texts.push_back(render_chat_template(messages, options));
    const ImageProcessor image_processor(processor_options.image_options(image_processor_.options()));
    const VideoProcessorOptions video_options = processor_options.video_options(video_processor_.options());
    LoadedMedia media;
    for (std::size_t i = 0; i < conversations.size(); ++i) {
      const MediaLoader loader{processor_options, image_processor, video_options,
                               conversations.size() > 1 ? concat("conversation ", i, ": ") : std::string()};
      loader.load_images(conversations[i], images, media);
      loader.load_videos(conversations[i], videos, media);
    }
    if (!images.empty()) fail(images.size(), " images were handed over beside the messages for which no part asks");
    if (!videos.empty()) fail(videos.size(), " videos were handed over beside the messages for which no part asks");
    return process(texts, media.images, media.image_sizes, media.videos, media.about_videos, processor_options,
                   image_processor);
  }

  /// The prompts of texts in the form of transformers: padded to the longest.
  ModelInputs operator()(std::span<const std::string> texts, std::span<const Image> images = {},
                         const ProcessorOptions& options = {}, std::span<Video> videos = {}) const {
    return padded(prompts(texts, images, options, videos), options);
  }

  /// The same for a single text.
  template <TextLike Text>
  ModelInputs operator()(const Text& text, std::span<const Image> images = {}, const ProcessorOptions& options = {},
                         std::span<Video> videos = {}) const {
    const std::string texts[] = {std::string(std::string_view(text))};
    return (*this)(std::span<const std::string>(texts), images, options, videos);
  }

  /// The prompt of a conversation, placeholders not expanded (`apply_chat_template(..., tokenize=False)`).
  std::string render_chat_template(const Conversation& messages, const ChatTemplateOptions& options = {}) const {
    return render_chat(messages, chat_format(), options);
  }

  /// The prompt of a conversation in the form of transformers.
  ModelInputs apply_chat_template(const Conversation& messages, const ChatTemplateOptions& options = {},
                                  const ProcessorOptions& processor_options = {}, std::span<const Image> images = {},
                                  std::span<Video> videos = {}) const {
    return apply_chat_template(std::span<const Conversation>(&messages, 1), options, processor_options, images, videos);
  }

  /// The same for a batch of conversations, padded to the longest.
  ModelInputs apply_chat_template(std::span<const Conversation> conversations, const ChatTemplateOptions& options = {},
                                  const ProcessorOptions& processor_options = {}, std::span<const Image> images = {},
                                  std::span<Video> videos = {}) const {
    return padded(prompts(conversations, options, processor_options, images, videos), processor_options);
  }

  // ---- outputs of the model

  /// One row of tokens as text.
  std::string decode(std::span<const TokenId> ids, const DecodeOptions& options = {}) const {
    std::string text = tokenizer_.decode(ids, options.skip_special_tokens);
    return options.clean_up_tokenization_spaces ? clean_up_tokenization(std::move(text)) : text;
  }

  /// Each row as text.
  std::vector<std::string> batch_decode(std::span<const std::vector<TokenId>> rows,
                                        const DecodeOptions& options = {}) const {
    std::vector<std::string> texts;
    texts.reserve(rows.size());
    for (const auto& row : rows) texts.push_back(decode(row, options));
    return texts;
  }

  /// Each row of a matrix [B, S] as text.
  std::vector<std::string> batch_decode(View<const TokenId, Host, dynamic, dynamic> rows,
                                        const DecodeOptions& options = {}) const {
    std::vector<std::string> texts;
    for (index_t i = 0; i < rows.rows(); ++i) texts.push_back(decode(rows[i].span(), options));
    return texts;
  }

  /// The answers in generated tokens: `batch_decode` without special tokens.
  template <class Rows>
  std::vector<std::string> post_process_image_text_to_text(const Rows& generated,
                                                           const DecodeOptions& options = {
                                                               .skip_special_tokens = true}) const {
    return batch_decode(generated, options);
  }

 private:
  TokenId token(std::string_view text, std::optional<TokenId> expected) const {
    const auto id = tokenizer_.token_to_id(text);
    if (!id) fail("the tokenizer has no token ", text, ", which prompts of Qwen3-VL need");
    if (expected && *expected != *id) {
      fail("config.json gives ", text, " the id ", *expected, ", the tokenizer ", *id,
           ": they are of different models");
    }
    return *id;
  }

  ModelInputs padded(Prompts prompts, const ProcessorOptions& options) const {
    return to_padded(std::move(prompts), pad_token_, options.padding_side.value_or(padding_side_));
  }

  Prompts process(std::span<const std::string> texts, std::span<const Image> images,
                  std::span<const std::optional<ImageSize>> image_sizes, std::span<Video> videos,
                  std::span<const AboutVideo> about_videos, const ProcessorOptions& options,
                  const ImageProcessor& image_processor) const {
    if (texts.empty()) fail("no text was given");
    // Checked before the pixels are read; error texts as in transformers.
    detail::check_placeholders(texts, image_placeholder, images.size(), "images");
    detail::check_placeholders(texts, video_placeholder, videos.size(), "videos");
    Prompts prompts;
    Media& media = prompts.media;
    if (!images.empty()) {
      auto processed = image_processor(images, image_sizes);
      media.pixel_values = std::move(processed.pixel_values);
      media.image_grid_thw = std::move(processed.image_grid_thw);
    }
    const std::int64_t patch = image_processor.options().patch_size;
    for (std::size_t i = 0; i < images.size(); ++i) {
      const GridThw& grid = media.image_grid_thw[i];
      prompts.image_sources.push_back({.name = images[i].name,
                                       .height = images[i].height,
                                       .width = images[i].width,
                                       .resized_height = grid.h * patch,
                                       .resized_width = grid.w * patch});
    }
    const VideoProcessorOptions common = options.video_options(video_processor_.options());
    std::vector<VideoPatches> patches;
    for (std::size_t i = 0; i < videos.size(); ++i) {
      const AboutVideo& about = about_videos[i];
      const VideoMetadata& metadata = videos[i].metadata();
      if (!metadata.fps && options.warn)
        options.warn(concat(about.called(), "its frame rate is not known; ", default_video_fps,
                            " is assumed for its times (beside a list of images, give \"sample_fps\")"));
      try {
        const VideoProcessor processor(about.options.value_or(common));
        patches.push_back(about.plan ? processor(videos[i], *about.plan, options.video_progress)
                                     : processor(videos[i], options.video_progress));
      } catch (const Error& error) {
        // Errors in the settings are not about this video.
        if (std::string_view(error.what()).starts_with("`num_frames` and `fps`")) throw;
        detail::fail_about(about.place, about.name, error.what());
      }
      const VideoPatches& made = patches.back();
      VideoSource& source = prompts.video_sources.emplace_back();
      source.name = about.name;
      source.height = made.source.height;
      source.width = made.source.width;
      source.resized_height = made.grid.h * common.patch_size;
      source.resized_width = made.grid.w * common.patch_size;
      source.total_num_frames = metadata.total_num_frames;
      source.fps = frames_per_second(metadata);
      source.frames_indices = made.frames_indices;
      source.timestamps = made.timestamps;
    }
    VideoFeatures features = join(std::move(patches));
    media.pixel_values_videos = std::move(features.pixel_values_videos);
    media.video_grid_thw = std::move(features.video_grid_thw);
    Grids grids{.images = media.image_grid_thw, .temporal_patches = {}};
    for (const GridThw& grid : media.video_grid_thw)
      grids.temporal_patches.insert(grids.temporal_patches.end(), static_cast<std::size_t>(grid.t),
                                    {1, grid.h, grid.w});
    for (const std::string& text : write_timestamps(texts, features.timestamps, options.video_prompt))
      append(tokenizer_.encode(text), grids, texts.size(), options, prompts);
    place_sources(prompts);
    // Throws if a placeholder produced no token. Content ids are left to the prompt cache: hashing takes as long as
    // producing the pixels.
    pixels_of(prompts.spans, media);
    return prompts;
  }

  /// Writes into each image and video which prompt it is in.
  static void place_sources(Prompts& prompts) {
    std::size_t image = 0, video = 0;
    index_t patches = 0;  // of the video so far
    for (const MediaSpan& span : prompts.spans) {
      if (span.kind == image_token) {
        prompts.image_sources.at(image++).row = span.row;
      } else {
        prompts.video_sources.at(video).row = span.row;
        if (++patches == prompts.media.video_grid_thw.at(video).t) ++video, patches = 0;
      }
    }
  }

  /// Grids in the order of their tokens.
  struct Grids {
    std::vector<GridThw> images, temporal_patches;
    std::size_t next_image = 0, next_patch = 0;
  };

  /// Appends a prompt of tokens `words`, in which each placeholder is one token, repeated as often as its grid
  /// requires.
  void append(std::span<const TokenId> words, Grids& grids, std::size_t batch_size, const ProcessorOptions& options,
              Prompts& prompts) const {
    const index_t row = prompts.batch_size(), first_token = prompts.tokens();
    const std::size_t first_span = prompts.spans.size();
    index_t end = first_token;
    for (const TokenId word : words) {
      const bool image = word == image_token_;
      if (!image && word != video_token_) {
        ++end;
        continue;
      }
      const GridThw& grid = image ? grids.images.at(grids.next_image++) : grids.temporal_patches.at(grids.next_patch++);
      const index_t count =
          detail::tokens_of(grid, image ? image_processor_.merge_size() : video_processor_.options().merge_size);
      prompts.spans.push_back(
          {.row = row, .begin = end, .count = count, .grid = grid, .kind = image ? image_token : video_token});
      end += count;
    }
    // Before the tokens are written out.
    if (const auto length = static_cast<std::size_t>(end - first_token); length > options.max_tokens)
      too_long(static_cast<std::size_t>(row), batch_size, length, options);
    auto span = prompts.spans.begin() + static_cast<std::ptrdiff_t>(first_span);
    for (const TokenId word : words) {
      const bool repeated = word == image_token_ || word == video_token_;
      prompts.ids.insert(prompts.ids.end(), repeated ? static_cast<std::size_t>((span++)->count) : 1, word);
    }
    prompts.rows.append(end - first_token);
  }

  [[noreturn]] static void too_long(std::size_t i, std::size_t prompts, std::size_t tokens,
                                    const ProcessorOptions& options) {
    fail(prompts > 1 ? concat("prompt ", i, " has ") : std::string("the prompt has "), tokens,
         " tokens, over the limit of ", options.max_tokens, " (ProcessorOptions::max_tokens)");
  }

  Tokenizer tokenizer_;
  ImageProcessor image_processor_;
  VideoProcessor video_processor_;
  std::optional<ChatFormat> chat_format_;
  std::string no_chat_format_ = "this processor was made without a chat format";
  PaddingSide padding_side_;
  TokenId image_token_;
  TokenId video_token_;
  TokenId pad_token_;
  struct Source {
    std::filesystem::path folder;  // empty: made from parts
    bool given_format = false;
  } source_{};
};

}  // namespace qwen3vl
