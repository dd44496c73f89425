/// From conversations to prompts, as the command line says.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "progress.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "settings.hpp"
#include "signals.hpp"
#include "video_settings.hpp"

namespace program {

/// A warning on standard error, which may hold a progress bar.
inline void warn(const std::string& text) {
  ProgressBar::clear();
  print_warning(text);
}

/// How the inputs of the command line are made. Media paths are relative to `folder`.
inline ProcessorOptions processor_options(const Arguments& arguments, const std::filesystem::path& folder) {
  return {.media_directory = folder,
          .min_pixels = arguments.min_pixels,
          .max_pixels = arguments.max_pixels,
          .max_video_pixels = arguments.max_video_pixels,
          .video_prompt = arguments.video_prompt,
          .video_progress =
              [bar = ProgressBar("reading the video")](auto done, auto total) mutable {
                Interruptible::check();
                bar(static_cast<std::size_t>(done), static_cast<std::size_t>(total));
              },
          .limits = arguments.limits.images,
          .readers = linked_readers(),
          .max_tokens = arguments.limits.max_tokens,
          .warn = warn};
}

/// Conversations as the model reads them, and the text of each prompt.
struct Prepared {
  Prompts prompts;
  std::vector<std::string> texts;
};

/// The processor of the checkpoint with the options of the command line.
class Preparation {
 public:
  explicit Preparation(const Arguments& arguments)
      : arguments_(arguments), processor_(Processor::from_pretrained(arguments.files(), std::nullopt, warn)) {
    if (changes_video_settings(arguments_))
      videos_ = video_settings(arguments_, processor_.video_processor().options());
  }

  const Processor& processor() const { return processor_; }

  /// Media paths are relative to `folder`; `images` are those of parts without a path.
  Prepared operator()(std::span<const Conversation> conversations, const ChatTemplateOptions& chat,
                      const std::filesystem::path& folder, std::span<const Image> images = {}) const {
    ProcessorOptions options = processor_options(arguments_, folder);
    options.videos = videos_;
    Prepared prepared{processor_.prompts(conversations, chat, options, images), {}};
    for (const Conversation& messages : conversations) {
      prepared.texts.push_back(processor_.render_chat_template(messages, chat));
      if (!arguments_.ignore_unknown) require_in_prompt(messages, chat, prepared.texts.back());
    }
    return prepared;
  }

 private:
  const Arguments& arguments_;
  Processor processor_;
  std::optional<VideoProcessorOptions> videos_;
};

}  // namespace program
