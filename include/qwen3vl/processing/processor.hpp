/// Texts, conversations and pictures to model inputs, and generated tokens back to text  (Qwen3VLProcessor).
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

#include "qwen3vl/error.hpp"
#include "qwen3vl/io/image_file.hpp"
#include "qwen3vl/model/inputs.hpp"
#include "qwen3vl/processing/chat_format.hpp"
#include "qwen3vl/processing/chat_template.hpp"
#include "qwen3vl/processing/clean_up.hpp"
#include "qwen3vl/processing/image_processor.hpp"
#include "qwen3vl/processing/media.hpp"
#include "qwen3vl/processing/message.hpp"
#include "qwen3vl/processing/padding.hpp"
#include "qwen3vl/processing/placeholders.hpp"
#include "qwen3vl/processing/processor_config.hpp"
#include "qwen3vl/processing/tokenizer.hpp"

namespace qwen3vl {

/// How inputs are made; what transformers takes as keyword arguments of a processor.
struct ProcessorOptions {
  /// Relative paths of pictures in messages start here; default: the working directory.
  std::filesystem::path media_directory = {};
  /// Default: the `padding_side` of tokenizer_config.json, else left, because generation needs it.
  std::optional<PaddingSide> padding_side = std::nullopt;
};

/// How tokens become text.
struct DecodeOptions {
  bool skip_special_tokens = false;
  bool clean_up_tokenization_spaces = false;
};

/// Tokenizer, image processor and chat format of a checkpoint, working together.
class Processor {
 public:
  /// Reads the files of a checkpoint folder: the tokenizer's, preprocessor_config.json, the chat template, and the
  /// token ids in config.json if there is one. `chat_format` replaces what the template says. A missing or foreign
  /// template is an Error only where it is needed, in `render_chat_template` and `apply_chat_template`.
  static Processor from_pretrained(const std::filesystem::path& folder,
                                   std::optional<ChatFormat> chat_format = std::nullopt) {
    Processor processor(Tokenizer::from_pretrained(folder), ImageProcessor::from_pretrained(folder), chat_format,
                        ProcessorConfig::from_pretrained(folder));
    if (!chat_format) {
      try {
        processor.chat_format_ = chat_format_from_pretrained(folder);
      } catch (const Error& error) {
        processor.no_chat_format_ = error.what();
      }
    }
    return processor;
  }

  /// From parts. Throws Error if the tokenizer lacks a token that prompts need, or `config` gives it another id.
  Processor(Tokenizer tokenizer, ImageProcessor image_processor, std::optional<ChatFormat> chat_format,
            const ProcessorConfig& config = {})
      : tokenizer_(std::move(tokenizer)),
        image_processor_(std::move(image_processor)),
        chat_format_(chat_format),
        padding_side_(config.padding_side),
        image_token_(token(image_placeholder, config.image_token_id)),
        video_token_(token(video_placeholder, config.video_token_id)),
        pad_token_(token(config.pad_token, std::nullopt)) {}

  const Tokenizer& tokenizer() const { return tokenizer_; }
  const ImageProcessor& image_processor() const { return image_processor_; }
  TokenId pad_token_id() const { return pad_token_; }

  /// The chat format. Throws Error if the checkpoint's template is missing or foreign and none was given.
  const ChatFormat& chat_format() const {
    if (!chat_format_) fail(no_chat_format_);
    return *chat_format_;
  }

  // ---- to the model

  /// Model inputs for prompts with placeholders: `images` in the order of the `<|image_pad|>` of all texts.
  ModelInputs operator()(std::span<const std::string> texts, std::span<const Image> images = {},
                         const ProcessorOptions& options = {}) const {
    if (texts.empty()) fail("no text was given");
    // Checked before any pixel is touched; transformers' words.
    detail::check_placeholders(texts, image_placeholder, images.size(), "images");
    detail::check_placeholders(texts, video_placeholder, 0, "videos");
    ModelInputs inputs;
    if (!images.empty()) {
      auto processed = image_processor_(images);
      inputs.pixel_values = std::move(processed.pixel_values);
      inputs.image_grid_thw = std::move(processed.image_grid_thw);
    }
    const auto expanded = expand_image_placeholders(texts, inputs.image_grid_thw, image_processor_.merge_size());
    std::vector<std::vector<TokenId>> rows;
    rows.reserve(expanded.size());
    for (const std::string& text : expanded) rows.push_back(tokenizer_.encode(text));
    pad_rows(rows, pad_token_, options.padding_side.value_or(padding_side_), inputs);
    set_token_types(inputs);
    return inputs;
  }

  /// The same for one prompt.
  template <TextLike Text>
  ModelInputs operator()(const Text& text, std::span<const Image> images = {},
                         const ProcessorOptions& options = {}) const {
    const std::string texts[] = {std::string(std::string_view(text))};
    return (*this)(std::span<const std::string>(texts), images, options);
  }

  /// The prompt of a conversation, placeholders not expanded (`apply_chat_template(..., tokenize=False)`).
  std::string render_chat_template(const Conversation& messages, const ChatTemplateOptions& options = {}) const {
    return render_chat(messages, chat_format(), options);
  }

  /// Model inputs for a conversation; pictures are read from the files that its parts name. Parts without a name take
  /// theirs from `images`, in order. Throws Error naming the place of a part that cannot be had.
  ModelInputs apply_chat_template(const Conversation& messages, const ChatTemplateOptions& options = {},
                                  const ProcessorOptions& processor_options = {},
                                  std::span<const Image> images = {}) const {
    return apply_chat_template(std::span<const Conversation>(&messages, 1), options, processor_options, images);
  }

  /// Model inputs for a batch of conversations, padded to the longest.
  ModelInputs apply_chat_template(std::span<const Conversation> conversations, const ChatTemplateOptions& options = {},
                                  const ProcessorOptions& processor_options = {},
                                  std::span<const Image> images = {}) const {
    std::vector<std::string> prompts;
    for (const Conversation& messages : conversations) prompts.push_back(render_chat_template(messages, options));
    std::vector<Image> loaded;
    for (std::size_t i = 0; i < conversations.size(); ++i) {
      const std::string prefix = conversations.size() > 1 ? concat("conversation ", i, ": ") : std::string();
      load_media(conversations[i], prefix, processor_options, images, loaded);
    }
    if (!images.empty()) fail(images.size(), " pictures were handed over beside the messages for which no part asks");
    return (*this)(prompts, loaded, processor_options);
  }

  // ---- from the model

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
  std::vector<std::string> batch_decode(View<const TokenId, Cpu, dynamic, dynamic> rows,
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

  void set_token_types(ModelInputs& inputs) const {
    inputs.mm_token_type_ids = HostMatrix<std::uint8_t>(inputs.batch_size(), inputs.length());
    const auto type_of = [&](TokenId id) {
      return static_cast<std::uint8_t>(id == image_token_   ? image_token
                                       : id == video_token_ ? video_token
                                                            : text_token);
    };
    const auto ids = inputs.input_ids.span();
    std::transform(ids.begin(), ids.end(), inputs.mm_token_type_ids.data(), type_of);
  }

  /// Appends the conversation's pictures to `loaded`; those without a name are taken off the front of `images`.
  static void load_media(const Conversation& messages, const std::string& prefix, const ProcessorOptions& options,
                         std::span<const Image>& images, std::vector<Image>& loaded) {
    for (const auto& [part, place] : find_media(messages, ContentPart::Kind::video)) {
      fail(prefix, place, ": videos are not supported yet");
    }
    for (const auto& [part, place] : find_media(messages, ContentPart::Kind::image)) {
      if (part->source.empty()) {
        if (images.empty()) fail(prefix, place, ": names no file, and no picture was handed over for it");
        loaded.push_back(images.front());
        images = images.subspan(1);
        continue;
      }
      const auto path = media_path(part->source, options.media_directory, prefix + place);
      try {
        loaded.push_back(load_image(path));
      } catch (const Error& error) {
        fail(prefix, place, ": ", error.what());
      }
    }
  }

  Tokenizer tokenizer_;
  ImageProcessor image_processor_;
  std::optional<ChatFormat> chat_format_;
  std::string no_chat_format_ = "this processor was made without a chat format";
  PaddingSide padding_side_;
  TokenId image_token_;
  TokenId video_token_;
  TokenId pad_token_;
};

}  // namespace qwen3vl
