/// From conversations to prompts, as the command line says.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "arguments.hpp"
#include "progress.hpp"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "signals.hpp"
#include "video_settings.hpp"

namespace program {

/// A warning on standard error, which may hold a progress bar.
inline void warn(const std::string& text) {
  ProgressBar::clear();
  print_warning(text);
}

/// The longest word of a text: what a template that writes the text leaves in it, however it trims and quotes.
inline std::string_view longest_word(std::string_view text) {
  const auto in_word = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
  };
  std::string_view longest;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && in_word(text[end])) ++end;
    if (end - i > longest.size()) longest = text.substr(i, end - i);
    i = end + 1;
  }
  return longest;
}

/// Throws Error if the chat template dropped the tools, or a message of somebody else than the assistant (whose
/// reasoning templates leave out on purpose): the answer would be to another question.
inline void require_in_prompt(const Conversation& messages, const ChatTemplateOptions& chat,
                              const std::string& prompt) {
  const auto require = [&](std::string_view text, const std::string& what) {
    if (prompt.find(longest_word(text)) == std::string::npos)
      fail(what, " not in the prompt: the checkpoint's chat template drops it (--inputs shows the prompt)");
  };
  if (chat.tools.is_array())
    for (std::size_t i = 0; i < chat.tools.size(); ++i)
      require(chat.tools[i]["function"]["name"].get<std::string>(), concat("tools[", i, "] is"));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    const std::string what = concat("messages[", i, "] (", detail::shown(message.role, 20), ") is");
    if (message.role == "assistant") continue;
    if (const auto* const text = std::get_if<std::string>(&message.content)) require(*text, what);
    if (const auto* const parts = std::get_if<std::vector<ContentPart>>(&message.content))
      for (const ContentPart& part : *parts)
        if (part.kind == ContentPart::Kind::text && part.text) require(*part.text, what);
  }
}

/// The processor of the checkpoint with the options of the command line.
class Preparation {
 public:
  explicit Preparation(const Arguments& arguments)
      : arguments_(arguments), processor_(Processor::from_pretrained(arguments.model, std::nullopt, warn)) {
    if (changes_video_settings(arguments_))
      videos_ = video_settings(arguments_, processor_.video_processor().options());
  }

  const Processor& processor() const { return processor_; }

  /// Media paths are relative to `folder`; `images` are those of parts without a path.
  Prompts operator()(std::span<const Conversation> conversations, const ChatTemplateOptions& chat,
                     const std::filesystem::path& folder, std::span<const Image> images = {}) const {
    const ProcessorOptions options{.media_directory = folder,
                                   .videos = videos_,
                                   .min_pixels = arguments_.min_pixels,
                                   .max_pixels = arguments_.max_pixels,
                                   .max_video_pixels = arguments_.max_video_pixels,
                                   .video_prompt = arguments_.video_prompt,
                                   .video_progress =
                                       [bar = ProgressBar("reading the video")](auto done, auto total) mutable {
                                         Interruptible::check();
                                         bar(static_cast<std::size_t>(done), static_cast<std::size_t>(total));
                                       },
                                   .limits = arguments_.limits.images,
                                   .readers = linked_readers(),
                                   .max_tokens = arguments_.limits.max_tokens,
                                   .warn = warn};
    Prompts prompts = processor_.prompts(conversations, chat, options, images);
    if (!arguments_.ignore_unknown)
      for (const Conversation& messages : conversations)
        require_in_prompt(messages, chat, processor_.render_chat_template(messages, chat));
    return prompts;
  }

 private:
  const Arguments& arguments_;
  Processor processor_;
  std::optional<VideoProcessorOptions> videos_;
};

}  // namespace program
