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
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/tokenizer/clean_up.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"

namespace qwen3vl {

/// Tokenizer, image and video processors and chat format of a checkpoint.
class Processor {
 public:
  /// Reads the files of a checkpoint folder: the tokenizer's, preprocessor_config.json and
  /// video_preprocessor_config.json, the chat template, and the token ids in config.json if there is one. `chat_format`
  /// overrides the template. A missing or unsupported template is an Error only when it is needed, in
  /// `render_chat_template` and `apply_chat_template`.
  static Processor from_pretrained(const std::filesystem::path& folder,
                                   std::optional<ChatFormat> chat_format = std::nullopt) {
    const TokenizerSettings settings = TokenizerSettings::from_pretrained(folder);
    PreprocessorFiles files(folder);
    Processor processor(Tokenizer(TokenizerFile::read(folder / "tokenizer.json"), settings),
                        ImageProcessor::from_pretrained(files), chat_format,
                        ProcessorConfig::from_pretrained(folder, settings), VideoProcessor::from_pretrained(files));
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

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ImageProcessor& image_processor() const { return image_processor_; }
  const VideoProcessor& video_processor() const { return video_processor_; }
  TokenId pad_token_id() const { return pad_token_; }

  /// The chat format. Throws Error if the checkpoint's template is missing or unsupported and none was given.
  const ChatFormat& chat_format() const {
    if (!chat_format_) fail(no_chat_format_);
    return *chat_format_;
  }

  // ---- inputs of the model

  /// Prompts from texts with placeholders: `images` in the order of `<|image_pad|>` in all texts, `videos` in that of
  /// `<|video_pad|>`. generate() accepts the result.
  Prompts prompts(std::span<const std::string> texts, std::span<const Image> images = {},
                  const ProcessorOptions& options = {}, std::span<Video> videos = {}) const {
    std::vector<AboutVideo> about_videos(videos.size());
    for (std::size_t i = 0; i < videos.size(); ++i) about_videos[i] = {nullptr, concat("video ", i), {}};
    return process(texts, images, options, videos, about_videos);
  }

  /// Prompts from conversations; images and videos are read from the files that their parts name. Parts without a name
  /// take theirs from `images` and `videos`, in order. Throws Error naming the part that cannot be read.
  Prompts prompts(std::span<const Conversation> conversations, const ChatTemplateOptions& options = {},
                  const ProcessorOptions& processor_options = {}, std::span<const Image> images = {},
                  std::span<Video> videos = {}) const {
    std::vector<std::string> texts;
    for (const Conversation& messages : conversations) texts.push_back(render_chat_template(messages, options));
    const ImageProcessor image_processor =
        processor_options.images ? ImageProcessor(*processor_options.images) : image_processor_;
    const VideoProcessorOptions& video_options =
        processor_options.videos ? *processor_options.videos : video_processor_.options();
    LoadedMedia media;
    for (std::size_t i = 0; i < conversations.size(); ++i) {
      const MediaLoader loader{processor_options, image_processor, video_options,
                               conversations.size() > 1 ? concat("conversation ", i, ": ") : std::string()};
      loader.load_images(conversations[i], images, media);
      loader.load_videos(conversations[i], videos, media);
    }
    if (!images.empty()) fail(images.size(), " images were handed over beside the messages for which no part asks");
    if (!videos.empty()) fail(videos.size(), " videos were handed over beside the messages for which no part asks");
    std::vector<AboutVideo> about_videos;
    for (std::size_t i = 0; i < media.videos.size(); ++i)
      about_videos.push_back(
          {media.video_options[i] ? &*media.video_options[i] : nullptr, media.video_places[i], media.video_files[i]});
    return process(texts, media.images, processor_options, media.videos, about_videos);
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

  /// Options of a single video, and how error messages refer to it.
  struct AboutVideo {
    const VideoProcessorOptions* options = nullptr;
    std::string place;
    std::string file;
  };

  Prompts process(std::span<const std::string> texts, std::span<const Image> images, const ProcessorOptions& options,
                  std::span<Video> videos, std::span<const AboutVideo> about_videos) const {
    if (texts.empty()) fail("no text was given");
    // Checked before the pixels are read; error texts as in transformers.
    detail::check_placeholders(texts, image_placeholder, images.size(), "images");
    detail::check_placeholders(texts, video_placeholder, videos.size(), "videos");
    Prompts prompts;
    Media& media = prompts.media;
    if (!images.empty()) {
      auto processed = options.images ? ImageProcessor(*options.images)(images) : image_processor_(images);
      media.pixel_values = std::move(processed.pixel_values);
      media.image_grid_thw = std::move(processed.image_grid_thw);
    }
    std::vector<VideoPatches> patches;
    for (std::size_t i = 0; i < videos.size(); ++i) {
      const VideoProcessorOptions* const own = about_videos[i].options;
      const VideoProcessorOptions& settings = own != nullptr   ? *own
                                              : options.videos ? *options.videos
                                                               : video_processor_.options();
      try {
        patches.push_back(VideoProcessor(settings)(videos[i], options.video_progress));
      } catch (const Error& error) {
        // Errors in the settings are not about this video.
        if (std::string_view(error.what()).starts_with("`num_frames` and `fps`")) throw;
        detail::fail_about(about_videos[i].place, about_videos[i].file, error.what());
      }
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
    // Throws if a placeholder produced no token. Content ids are left to the prompt cache: hashing takes as long as
    // producing the pixels.
    pixels_of(prompts.spans, media);
    return prompts;
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
};

}  // namespace qwen3vl
