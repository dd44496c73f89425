/// The two chat formats of Qwen3-VL, Instruct and Thinking, in C++: the output of the checkpoints' Jinja templates.
/// chat_template.hpp recognises which one a checkpoint uses.
#pragma once

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/python_json.hpp"
#include "qwen3vl/processing/chat/message.hpp"

namespace qwen3vl {

/// The chat format of a checkpoint.
struct ChatFormat {
  enum class Kind { instruct, thinking };
  Kind kind = Kind::instruct;
  /// An Instruct format that opens the answer with `<think>` if `ChatTemplateOptions::enable_thinking` is set.
  bool has_thinking_switch = false;

  bool operator==(const ChatFormat&) const = default;
};

/// Options of rendering a conversation; names as in transformers' `apply_chat_template`.
struct ChatTemplateOptions {
  /// End with the opening of an assistant's message, so that the model answers.
  bool add_generation_prompt = false;
  /// Leave the last message open, so that the model continues it. Excludes `add_generation_prompt`.
  bool continue_final_message = false;
  /// Write "Picture 1: ", "Video 1: " and so on before images and videos.
  bool add_vision_id = false;
  /// Only for formats with `has_thinking_switch`; the others ignore it, as in transformers.
  bool enable_thinking = false;
  /// A list of JSON schemas of functions that the model may call; null or empty: none.
  nlohmann::ordered_json tools = nullptr;
};

namespace detail {

/// Both formats share the ChatML frame and the tools; contents differ in many details, so each has its own rules for a
/// message.
class ChatWriter {
 public:
  ChatWriter(const Conversation& messages, const ChatFormat& format, const ChatTemplateOptions& options)
      : messages_(messages), format_(format), options_(options) {}

  std::string write() {
    if (messages_.empty()) fail("messages: the conversation is empty");
    write_head();
    if (format_.kind == ChatFormat::Kind::thinking) {
      const std::size_t query = last_query();
      for (std::size_t i = 0; i < messages_.size(); ++i) write_thinking(i, query);
    } else {
      for (std::size_t i = 0; i < messages_.size(); ++i) write_instruct(i);
    }
    if (options_.add_generation_prompt) write_generation_prompt();
    return std::move(out_);
  }

 private:
  /// The system message comes first in any case, because tools are described inside it.
  void write_head() {
    const bool has_system = messages_.front().role == "system";
    const auto& tools = options_.tools;
    if (!tools.is_null() && !tools.is_array()) fail("tools: must be a list of functions, is ", tools.type_name());
    if (tools.empty()) {  // null or []
      if (has_system) out_ += "<|im_start|>system\n" + system_content() + "<|im_end|>\n";
      return;
    }
    out_ += "<|im_start|>system\n";
    if (has_system) out_ += system_content() + "\n\n";
    out_ +=
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";
    for (std::size_t i = 0; i < tools.size(); ++i) {
      if (!tools[i].is_object()) fail("tools[", i, "]: must be an object, is ", tools[i].type_name());
      out_ += '\n';
      append_python_json(out_, tools[i]);
    }
    out_ +=
        "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";
  }

  /// Instruct ignores images in a system message. Thinking writes them, but counts them later, when it visits the
  /// message again: a first image there is "Picture 0".
  std::string system_content() {
    const auto& content = messages_.front().content;
    return format_.kind == ChatFormat::Kind::thinking ? media_and_text(content, false) : text_only(content);
  }

  void write_generation_prompt() {
    out_ += "<|im_start|>assistant\n";
    const bool opens_thought =
        format_.kind == ChatFormat::Kind::thinking || (format_.has_thinking_switch && options_.enable_thinking);
    if (opens_thought) out_ += "<think>\n";
  }

  // ---- contents

  /// Texts, images and videos in order. `count` says whether images seen here advance the numbering.
  std::string media_and_text(const Message::Content& content, bool count) {
    if (const auto* words = std::get_if<std::string>(&content)) return *words;
    std::string out;
    const auto* parts = std::get_if<std::vector<ContentPart>>(&content);
    if (parts == nullptr) return out;
    for (const ContentPart& part : *parts) {
      if (part.kind == ContentPart::Kind::image) {
        if (count) ++images_;
        if (options_.add_vision_id) out += concat("Picture ", images_, ": ");
        out += "<|vision_start|><|image_pad|><|vision_end|>";
      } else if (part.kind == ContentPart::Kind::video) {
        if (count) ++videos_;
        if (options_.add_vision_id) out += concat("Video ", videos_, ": ");
        out += "<|vision_start|><|video_pad|><|vision_end|>";
      } else if (part.text) {
        out += *part.text;
      }
    }
    return out;
  }

  /// Only texts, including the alternative texts of images.
  static std::string text_only(const Message::Content& content) {
    if (const auto* words = std::get_if<std::string>(&content)) return *words;
    std::string out;
    if (const auto* parts = std::get_if<std::vector<ContentPart>>(&content)) {
      for (const ContentPart& part : *parts) out += part.text.value_or("");
    }
    return out;
  }

  // ---- messages

  void write_instruct(std::size_t i) {
    const Message& message = messages_[i];
    if (message.role == "user") {
      out_ += "<|im_start|>user\n" + media_and_text(message.content, true) + "<|im_end|>\n";
    } else if (message.role == "assistant") {
      // Reasoning inside the content stays, reasoning_content is not written: Instruct models do not think.
      out_ += "<|im_start|>assistant\n" + text_only(message.content);
      // A list of parts counts as content here even if all its texts are empty.
      const auto* words = std::get_if<std::string>(&message.content);
      const auto* parts = std::get_if<std::vector<ContentPart>>(&message.content);
      write_tool_calls(message, (words != nullptr && !words->empty()) || (parts != nullptr && !parts->empty()));
      out_ += "<|im_end|>\n";
    } else if (message.role == "tool") {
      write_tool_result(i, media_and_text(message.content, true));
    }
    // Later system messages and unknown roles are left out.
  }

  void write_thinking(std::size_t i, std::size_t query) {
    const Message& message = messages_[i];
    std::string content = media_and_text(message.content, true);  // for every role: all images are counted
    if (message.role == "user" || (message.role == "system" && i > 0)) {
      out_ += "<|im_start|>" + message.role + "\n" + content + "<|im_end|>\n";
    } else if (message.role == "assistant") {
      std::string reasoning;
      if (message.reasoning_content) {
        reasoning = *message.reasoning_content;
      } else {
        split_thought(content, reasoning);
      }
      // Reasoning is kept only for the last query (over several tool calls): earlier reasoning costs context and was
      // absent in training. The last message always has reasoning, as a generated one would.
      const bool is_last = i + 1 == messages_.size();
      out_ += "<|im_start|>assistant\n";
      if (i > query && (is_last || !reasoning.empty())) {
        out_ += "<think>\n" + strip_newlines(reasoning, true, true) + "\n</think>\n\n" +
                strip_newlines(content, true, false);
      } else {
        out_ += content;
      }
      write_tool_calls(message, !content.empty());
      out_ += "<|im_end|>\n";
    } else if (message.role == "tool") {
      write_tool_result(i, content);
    }
  }

  /// "<think>\nreason\n</think>\n\nanswer" becomes "answer" and "reason"; content without `</think>` stays as it is.
  static void split_thought(std::string& content, std::string& reasoning) {
    constexpr std::string_view open = "<think>";
    constexpr std::string_view close = "</think>";
    const std::size_t first = content.find(close);
    if (first == std::string::npos) return;
    std::string before = strip_newlines(std::string_view(content).substr(0, first), false, true);
    const std::size_t opened = before.rfind(open);
    if (opened != std::string::npos) before.erase(0, opened + open.size());
    reasoning = strip_newlines(before, true, false);
    content = strip_newlines(std::string_view(content).substr(content.rfind(close) + close.size()), true, false);
  }

  static std::string strip_newlines(std::string_view words, bool left, bool right) {
    while (left && !words.empty() && words.front() == '\n') words.remove_prefix(1);
    while (right && !words.empty() && words.back() == '\n') words.remove_suffix(1);
    return std::string(words);
  }

  /// The last user query. A user message that only wraps a tool's response does not count: some clients send results
  /// that way. Without a query, no message counts as answered after it.
  std::size_t last_query() {
    for (std::size_t i = messages_.size(); i-- > 0;) {
      if (messages_[i].role != "user") continue;
      const std::string content = media_and_text(messages_[i].content, false);
      if (!(content.starts_with("<tool_response>") && content.ends_with("</tool_response>"))) return i;
    }
    return messages_.size() - 1;
  }

  // ---- tools

  void write_tool_calls(const Message& message, bool has_content) {
    bool first = true;
    for (const ToolCall& call : message.tool_calls) {
      if (!first || has_content) out_ += '\n';
      first = false;
      out_ += "<tool_call>\n{\"name\": \"" + call.name + "\", \"arguments\": ";
      if (call.arguments.is_string()) {
        out_ += call.arguments.get_ref<const std::string&>();  // JSON already (OpenAI's layout)
      } else {
        append_python_json(out_, call.arguments);
      }
      out_ += "}\n</tool_call>";
    }
  }

  /// Results are sent as a user message; consecutive results share one.
  void write_tool_result(std::size_t i, const std::string& content) {
    if (i == 0 || messages_[i - 1].role != "tool") out_ += "<|im_start|>user";
    out_ += "\n<tool_response>\n" + content + "\n</tool_response>";
    if (i + 1 == messages_.size() || messages_[i + 1].role != "tool") out_ += "<|im_end|>\n";
  }

  const Conversation& messages_;
  const ChatFormat& format_;
  const ChatTemplateOptions& options_;
  std::string out_;
  std::size_t images_ = 0;
  std::size_t videos_ = 0;
};

/// The text that `continue_final_message` continues: the content, or its last part with a text.
inline std::string* final_text(Message& message) {
  if (auto* words = std::get_if<std::string>(&message.content)) return words;
  auto* parts = std::get_if<std::vector<ContentPart>>(&message.content);
  if (parts == nullptr) {
    fail("continue_final_message is set, but the final message has no content to continue");
  }
  for (auto part = parts->rbegin(); part != parts->rend(); ++part) {
    if (part->text) return &*part->text;
  }
  fail("continue_final_message is set, but the final message has no text to continue");
}

/// Renders the conversation with a marker at the end of the last message and cuts there, as transformers does, because
/// the format decides where that message ends and may move or drop it.
inline std::string write_continued(Conversation messages, const ChatFormat& format,
                                   const ChatTemplateOptions& options) {
  constexpr std::string_view mark = "CONTINUE_FINAL_MESSAGE_TAG ";
  if (messages.empty()) fail("messages: the conversation is empty");
  std::string* words = final_text(messages.back());
  constexpr std::string_view blanks = " \t\n\v\f\r";
  const std::size_t begin = std::min(words->find_first_not_of(blanks), words->size());
  const std::string stripped = words->substr(begin, words->find_last_not_of(blanks) + 1 - begin);
  *words += mark;
  std::string prompt = ChatWriter(messages, format, options).write();
  const std::size_t end = prompt.rfind(mark);
  if (end == std::string::npos || prompt.find(stripped) == std::string::npos) {
    fail("continue_final_message is set, but the chat format does not write the final message as it is given");
  }
  prompt.resize(end);
  return prompt;
}

}  // namespace detail

/// The prompt for `messages`, equal to transformers' `apply_chat_template(..., tokenize=False)` with the template of
/// the released Qwen3-VL Instruct or Thinking models. Throws Error for an empty conversation, for tools that are not
/// a list of objects, and where `continue_final_message` finds nothing to continue.
inline std::string render_chat(const Conversation& messages, const ChatFormat& format,
                               const ChatTemplateOptions& options = {}) {
  if (!options.continue_final_message) return detail::ChatWriter(messages, format, options).write();
  if (options.add_generation_prompt) {
    fail("add_generation_prompt starts a new message and continue_final_message continues the last one; set only one");
  }
  return detail::write_continued(messages, format, options);
}

}  // namespace qwen3vl
