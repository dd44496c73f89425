/// A conversation as transformers lays it out: messages with a role and a text or parts (text, images, videos).
///
///     Conversation messages = {user({image("cat.png"), text("What is this?")})};
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwen3vl/processing/chat/media_keys.hpp"

namespace qwen3vl {

/// One part of a message's content.
struct ContentPart {
  enum class Kind {
    text,
    image,
    video,
    other,  ///< a part of an unknown kind, which a chat template may know
  };

  Kind kind = Kind::text;
  /// Set for texts. An image may have one too, written where a format supports no images (a system message).
  std::optional<std::string> text;
  /// Path of the image or video, as written. Empty if the media are passed separately.
  std::string source;
  /// An image's file in memory instead of `source`: PNG, JPEG, ...
  std::string bytes{};
  /// A video given as a list of images instead of `source`.
  std::vector<std::string> frames;
  /// Sizes, frames and times, as qwen-vl-utils has them in messages.
  MediaKeys keys{};
  /// For videos: frames sampled in total, as transformers does it, instead of the processor's settings.
  std::optional<std::int64_t> num_frames{};
  /// For videos: the frame rate, where the source has none (a folder of images) or a wrong one.
  std::optional<double> source_fps{};

  bool operator==(const ContentPart&) const = default;
};

/// A call of a tool by the assistant. `arguments` is normally an object; a string is put into the prompt unchanged.
struct ToolCall {
  std::string name;
  nlohmann::ordered_json arguments;
};

/// One message. Roles: system, user, assistant, tool; what becomes of others, the chat template decides.
struct Message {
  /// No content (as when the assistant only calls tools), a text, or parts.
  using Content = std::variant<std::monostate, std::string, std::vector<ContentPart>>;

  std::string role;
  Content content;
  std::vector<ToolCall> tool_calls;
  /// The assistant's reasoning before its answer (Thinking models).
  std::optional<std::string> reasoning_content;
  /// What the message was read from, with all its keys: chat templates may know more of them. What the fields above say
  /// takes precedence where they were changed since.
  nlohmann::ordered_json json = nullptr;
  /// Of the fields above when `json` was read: whether they were changed since.
  std::uint64_t json_hash = 0;
};

/// Messages in order.
using Conversation = std::vector<Message>;

/// The builders' text parameter. A concept rather than `std::string`, because `user({"a", "b"})` would make one string
/// of the two pointers as if they were its begin and end; this way it does not compile.
template <class T>
concept TextLike = std::convertible_to<const T&, std::string_view>;

/// A text part.
template <TextLike Words>
ContentPart text(const Words& words) {
  return {.kind = ContentPart::Kind::text, .text = std::string(std::string_view(words)), .source = {}, .frames = {}};
}

/// An image from a file; without a path, the image is passed separately.
inline ContentPart image(std::string path = {}) {
  return {.kind = ContentPart::Kind::image, .text = {}, .source = std::move(path), .frames = {}};
}

/// An image whose file is in memory.
inline ContentPart image(std::span<const std::byte> file) {
  ContentPart part = image();
  part.bytes.assign(reinterpret_cast<const char*>(file.data()), file.size());
  return part;
}

/// A video from a file; without a path, the video is passed separately.
inline ContentPart video(std::string path = {}) {
  return {.kind = ContentPart::Kind::video, .text = {}, .source = std::move(path), .frames = {}};
}

template <TextLike Words>
Message user(const Words& words) {
  return {.role = "user", .content = std::string(std::string_view(words)), .tool_calls = {}, .reasoning_content = {}};
}

inline Message user(std::vector<ContentPart> parts) {
  return {.role = "user", .content = std::move(parts), .tool_calls = {}, .reasoning_content = {}};
}

template <TextLike Words>
Message assistant(const Words& words) {
  return {
      .role = "assistant", .content = std::string(std::string_view(words)), .tool_calls = {}, .reasoning_content = {}};
}

/// An assistant's message that calls tools.
inline Message assistant(std::vector<ToolCall> calls) {
  return {.role = "assistant", .content = {}, .tool_calls = std::move(calls), .reasoning_content = {}};
}

/// The system message. (Not named `system`: beside `using namespace qwen3vl`, a literal would reach the C library's
/// `system`, which runs it as a command.)
template <TextLike Words>
Message system_prompt(const Words& words) {
  return {.role = "system", .content = std::string(std::string_view(words)), .tool_calls = {}, .reasoning_content = {}};
}

/// A tool's result.
template <TextLike Words>
Message tool_result(const Words& words) {
  return {.role = "tool", .content = std::string(std::string_view(words)), .tool_calls = {}, .reasoning_content = {}};
}

inline Message tool_result(std::vector<ContentPart> parts) {
  return {.role = "tool", .content = std::move(parts), .tool_calls = {}, .reasoning_content = {}};
}

}  // namespace qwen3vl
