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
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/chat/chat_template.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/load_media.hpp"
#include "qwen3vl/processing/placeholders.hpp"
#include "qwen3vl/processing/processor_config.hpp"
#include "qwen3vl/processing/processor_files.hpp"
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/prompt_writer.hpp"
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

/// Tokenizer, image and video processors and chat template of a checkpoint.
class Processor {
 public:
  /// Reads the files of a checkpoint (a folder, a name in the Hub's cache, GGUF files: see CheckpointFiles): the
  /// tokenizer's, preprocessor_config.json and video_preprocessor_config.json, the chat template, and the token ids in
  /// config.json if there is one. `chat_template` takes the place of the checkpoint's. A faulty template is an Error
  /// only when it is needed, in `render_chat_template` and `apply_chat_template`; a checkpoint without one gets that of
  /// the Instruct models. `warn` is told of settings that have no effect.
  static Processor from_pretrained(const CheckpointFiles& checkpoint,
                                   std::optional<ChatTemplate> chat_template = std::nullopt,
                                   const Warn& warn = print_warning) {
    const CheckpointFiles files = checkpoint.warning(warn);
    std::error_code ignored;
    if (files.gguf() == nullptr && !std::filesystem::exists(files.path() / "tokenizer.json", ignored))
      require_checkpoint_folder(files.path());
    const TokenizerSettings settings = TokenizerSettings::from_pretrained(files);
    PreprocessorFiles preprocessors(files);
    preprocessors.warn_about_others(warn);
    const bool given_template = chat_template.has_value();
    Processor processor(Tokenizer(Tokenizer::read_file(files), settings),
                        ImageProcessor::from_pretrained(preprocessors, warn), std::move(chat_template),
                        ProcessorConfig::from_pretrained(files, settings),
                        VideoProcessor::from_pretrained(preprocessors, warn));
    processor.source_ = {files, given_template};
    if (!given_template) {
      try {
        processor.chat_template_ = ChatTemplate::from_pretrained(files, &settings.chat_template);
      } catch (const Error& error) {
        processor.no_chat_template_ = error.what();
      }
    }
    if (processor.chat_template_) processor.chat_template_->set_special_tokens(settings.special_tokens);
    processor.chat_control_tokens_ = settings.chat_control_tokens;
    return processor;
  }

  /// From parts. Throws Error if the tokenizer lacks a token that prompts need, or if `config` gives it a different id.
  Processor(Tokenizer tokenizer, ImageProcessor image_processor, std::optional<ChatTemplate> chat_template,
            const ProcessorConfig& config = {}, VideoProcessor video_processor = VideoProcessor())
      : tokenizer_(std::move(tokenizer)),
        image_processor_(std::move(image_processor)),
        video_processor_(std::move(video_processor)),
        chat_template_(std::move(chat_template)),
        padding_side_(config.padding_side),
        image_token_(token(image_placeholder, config.image_token_id)),
        video_token_(token(video_placeholder, config.video_token_id)),
        pad_token_(token(config.pad_token, std::nullopt)) {}

  /// Copies the files that from_pretrained read (tokenizer, settings of images and videos, chat template) to `folder`,
  /// unchanged; with a model's save_pretrained it becomes a whole checkpoint. Throws Error for a processor from parts
  /// or with a chat template of the caller's, for which there are no files.
  void save_pretrained(const std::filesystem::path& folder) const {
    if (!source_.files)
      fail("a processor made from parts cannot be saved: only one of from_pretrained has files to copy");
    if (source_.given_template)
      fail("a processor with a given chat template cannot be saved: its template is in no file; load it without");
    save_processor_files(*source_.files, folder);
  }

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ImageProcessor& image_processor() const { return image_processor_; }
  const VideoProcessor& video_processor() const { return video_processor_; }
  TokenId pad_token_id() const { return pad_token_; }

  /// The chat template. Throws Error if the checkpoint's has a fault.
  const ChatTemplate& chat_template() const {
    if (!chat_template_) fail(no_chat_template_);
    return *chat_template_;
  }

  /// The tokens that `sanitize_control_tokens` encodes as text in what users write: special tokens, and the other added
  /// tokens that tokenizer_config.json lists as `chat_control_tokens`, or else that stand in the template.
  std::vector<std::string> control_tokens(const ChatTemplateOptions& options = {}) const {
    const std::string source = chat_template().literal_text(options);
    std::vector<std::string> tokens;
    for (const AddedToken& token : tokenizer_.added_tokens()) {
      const auto& listed = chat_control_tokens_;
      const bool is_named =
          listed ? std::find(listed->begin(), listed->end(), token.content) != listed->end()
                 : source.find(token.content) != std::string::npos && !jinja::python::strip(token.content).empty();
      if (token.special || is_named) tokens.push_back(token.content);
    }
    return tokens;
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
    std::vector<Pieces> pieces;
    for (const std::string& text : texts) pieces.push_back({PromptPiece{text}});
    return process(pieces, images, {}, videos, about_videos, options,
                   ImageProcessor(options.image_options(image_processor_.options())));
  }

  /// Prompts from conversations; images and videos are read from the files that their parts name. Parts without a name
  /// take theirs from `images` and `videos`, in order. Throws Error naming the part that cannot be read, or the
  /// conversation in whose prompt the placeholders are not as many as its images and videos.
  Prompts prompts(std::span<const Conversation> conversations, const ChatTemplateOptions& options = {},
                  const ProcessorOptions& processor_options = {}, std::span<const Image> images = {},
                  std::span<Video> videos = {}) const {
    const auto prefix = [&](std::size_t i) {
      return conversations.size() > 1 ? concat("conversation ", i, ": ") : std::string();
    };
    if (processor_options.warn) {
      for (const std::string& name : chat_template().unread(options))
        processor_options.warn(concat("the chat template does not read ", name, ", which has no effect"));
      if (options.return_assistant_tokens_mask && !chat_template().marks_generations(options))
        processor_options.warn(
            "return_assistant_tokens_mask is set, but the chat template has no {% generation %} blocks: no token is "
            "marked");
    }
    std::vector<Pieces> prompts;
    for (std::size_t i = 0; i < conversations.size(); ++i) {
      try {
        prompts.push_back(rendered_pieces(conversations[i], options));
      } catch (const Error& error) {
        fail(prefix(i), error.what());
      }
      check_media(prompts.back(), conversations[i], prefix(i));
    }
    const ImageProcessor image_processor(processor_options.image_options(image_processor_.options()));
    const VideoProcessorOptions video_options = processor_options.video_options(video_processor_.options());
    LoadedMedia media;
    for (std::size_t i = 0; i < conversations.size(); ++i) {
      const MediaLoader loader{processor_options, image_processor, video_options, prefix(i)};
      loader.load_images(conversations[i], images, media);
      loader.load_videos(conversations[i], videos, media);
    }
    if (!images.empty()) fail(images.size(), " images were handed over beside the messages for which no part asks");
    if (!videos.empty()) fail(videos.size(), " videos were handed over beside the messages for which no part asks");
    return process(prompts, media.images, media.image_sizes, media.videos, media.about_videos, processor_options,
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

  /// The prompt of a conversation, placeholders not expanded (`apply_chat_template(..., tokenize=False)`). Texts do not
  /// show which control tokens `sanitize_control_tokens` made plain text.
  std::string render_chat_template(const Conversation& messages, const ChatTemplateOptions& options = {}) const {
    std::string text;
    for (const PromptPiece& piece : rendered_pieces(messages, options)) text += piece.text;
    return text;
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
    std::string text = tokenizer_.decode(ids, options.skip_special_tokens.value_or(false));
    if (!options.clean_up_tokenization_spaces) return text;
    if (options.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output)
      return clean_up_tokenization(std::move(text));
    warn_about_clean_up();
    return text;
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

  /// The answers in generated tokens: `batch_decode`, without special tokens unless `options` keeps them.
  template <class Rows>
  std::vector<std::string> post_process_image_text_to_text(const Rows& generated, DecodeOptions options = {}) const {
    options.skip_special_tokens = options.skip_special_tokens.value_or(true);
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
    index_t length = prompts.rows.longest();
    const bool differ = prompts.rows.total() != length * prompts.batch_size();
    if (options.padding == Padding::do_not_pad && differ)
      fail("the prompts have up to ", length, " tokens, but not all as many; they need padding to be one batch");
    if (options.padding == Padding::max_length) {
      const index_t wanted = max_length(options).value_or(length);
      if (length > wanted && differ)
        fail("a prompt has ", length, " tokens, more than max_length ", wanted, "; give truncation or a larger one");
      if (constexpr index_t most = index_t{1} << 24; wanted > most)
        fail("max_length is ", wanted, ", more than the ", most, " tokens that a prompt is padded to");
      length = std::max(length, wanted);
    }
    const index_t multiple = options.pad_to_multiple_of.value_or(1);
    if (multiple < 1 || multiple > index_t{1} << 24)
      fail("pad_to_multiple_of is ", multiple, "; it must be from 1 to 2^24");
    length = (length + multiple - 1) / multiple * multiple;
    return to_padded(std::move(prompts), pad_token_, options.padding_side.value_or(padding_side_), length);
  }

  std::optional<index_t> max_length(const ProcessorOptions& options) const {
    if (!options.max_length) return tokenizer_.model_max_length();
    if (*options.max_length < 1) fail("max_length is ", *options.max_length, "; it must be at least 1");
    if (options.truncation == false && options.padding != Padding::max_length)
      fail("max_length has no effect without truncation or Padding::max_length");
    return options.max_length;
  }

  /// The length that prompts are cut to.
  std::optional<index_t> truncated_length(const ProcessorOptions& options) const {
    const std::optional<index_t> longest = max_length(options);
    const bool by_default = options.max_length && options.padding != Padding::max_length;
    return options.truncation.value_or(by_default) ? longest : std::nullopt;
  }

  using Pieces = std::vector<PromptPiece>;

  Pieces rendered_pieces(const Conversation& messages, const ChatTemplateOptions& options) const {
    if (!options.sanitize_control_tokens) {
      jinja::Rendered rendered = chat_template().render(messages, options);
      PromptPiece whole{std::move(rendered.text)};
      if (options.return_assistant_tokens_mask) whole.of_assistant = std::move(rendered.generations);
      return {std::move(whole)};
    }
    const std::vector<std::string> tokens = control_tokens(options);
    return ControlTokens(tokens).pieces(chat_template().render(messages, options, tokens).text);
  }

  /// Throws Error unless a conversation's prompt has a placeholder for each of its images and videos.
  static void check_media(const Pieces& prompt, const Conversation& messages, const std::string& prefix) {
    const auto check = [&](std::string_view placeholder, ContentPart::Kind kind, std::string_view what) {
      const std::size_t media = find_media(messages, kind).size();
      std::size_t found = 0;
      for (const PromptPiece& piece : prompt)
        if (!piece.as_text) found += detail::count_occurrences(piece.text, placeholder);
      if (found != media)
        fail(prefix, "the prompt has ", found, " ", placeholder, " and the messages have ", media, " ", what, ": ",
             found < media ? "the chat template drops some" : "the chat template or a text adds some");
    };
    check(image_placeholder, ContentPart::Kind::image, "images");
    check(video_placeholder, ContentPart::Kind::video, "videos");
  }

  /// A prompt's tokens. A piece within it is encoded behind a line break, as transformers does, whose tokens go again.
  std::vector<TokenId> encode(const Pieces& prompt) const {
    std::vector<TokenId> ids;
    const std::vector<TokenId> line_break = tokenizer_.encode("\n");
    for (const PromptPiece& piece : prompt) {
      const auto encoded = [&](const std::string& text) {
        return piece.as_text ? tokenizer_.encode_without_added_tokens(text) : tokenizer_.encode(text);
      };
      const bool is_first = &piece == &prompt.front();
      std::vector<TokenId> found = encoded(is_first ? piece.text : "\n" + piece.text);
      if (!is_first && found.size() >= line_break.size() &&
          std::equal(line_break.begin(), line_break.end(), found.begin())) {
        found.erase(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(line_break.size()));
      } else if (!is_first) {
        found = encoded(piece.text);
      }
      const auto control = piece.as_text ? tokenizer_.token_to_id(piece.text) : std::nullopt;
      if (control && std::find(found.begin(), found.end(), *control) != found.end())
        fail("cannot sanitize ", utf8::quoted(piece.text), ": the tokenizer produces it from plain text");
      ids.insert(ids.end(), found.begin(), found.end());
    }
    return ids;
  }

  Prompts process(std::vector<Pieces> pieces, std::span<const Image> images,
                  std::span<const std::optional<ImageSize>> image_sizes, std::span<Video> videos,
                  std::span<const AboutVideo> about_videos, const ProcessorOptions& options,
                  const ImageProcessor& image_processor) const {
    if (pieces.empty()) fail("no text was given");
    std::vector<std::string> texts;  // all that can have placeholders
    for (const Pieces& prompt : pieces)
      for (const PromptPiece& piece : prompt)
        if (!piece.as_text) detail::append_parts(piece, texts);
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
    detail::PromptWriter writer({.image_token = image_token_,
                                 .video_token = video_token_,
                                 .image_merge_size = image_processor_.merge_size(),
                                 .video_merge_size = video_processor_.options().merge_size,
                                 .batch_size = pieces.size(),
                                 .max_tokens = options.max_tokens,
                                 .truncated_length = truncated_length(options),
                                 .truncation_side = options.truncation_side.value_or(tokenizer_.truncation_side())},
                                prompts);
    const std::vector<std::string> with_times = write_timestamps(texts, features.timestamps, options.video_prompt);
    auto written = with_times.begin();
    for (Pieces& prompt : pieces) {
      for (PromptPiece& piece : prompt)
        if (!piece.as_text) written = detail::join_parts(written, piece);
      if (const auto& of_assistant = prompt.front().of_assistant) {
        const std::string& text = prompt.front().text;
        const auto row = tokenizer_(text, {.return_offsets_mapping = true}).rows.front();
        writer.append(row.input_ids, detail::overlapping(text, row.offset_mapping, *of_assistant));
      } else {
        writer.append(encode(prompt));
      }
    }
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

  Tokenizer tokenizer_;
  ImageProcessor image_processor_;
  VideoProcessor video_processor_;
  std::optional<ChatTemplate> chat_template_;
  std::string no_chat_template_ = "this processor was made without a chat template";
  std::optional<std::vector<std::string>> chat_control_tokens_;
  PaddingSide padding_side_;
  TokenId image_token_;
  TokenId video_token_;
  TokenId pad_token_;
  struct Source {
    std::optional<CheckpointFiles> files;  // none: made from parts
    bool given_template = false;
  } source_{};
};

}  // namespace qwen3vl
