/// The images and videos of a conversation: their places and files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwen3vl/base/base64.hpp"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/processing/chat/message.hpp"

namespace qwen3vl {

/// An image or video of a conversation; `place` ("messages[0].content[1]") is for errors. Refers to the conversation.
struct MediaPart {
  const ContentPart* part;
  std::string place;
};

/// All parts of a kind, in the order of their placeholders in the prompt.
inline std::vector<MediaPart> find_media(const Conversation& messages, ContentPart::Kind kind) {
  std::vector<MediaPart> found;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto* parts = std::get_if<std::vector<ContentPart>>(&messages[i].content);
    if (parts == nullptr) continue;
    for (std::size_t j = 0; j < parts->size(); ++j) {
      if ((*parts)[j].kind == kind) found.push_back({&(*parts)[j], concat("messages[", i, "].content[", j, "]")});
    }
  }
  return found;
}

/// The file that `source` names: a path, relative to `directory` unless absolute, or a file:// address. Throws Error
/// for URLs that need the network and for data URLs.
inline std::filesystem::path media_path(std::string_view source, const std::filesystem::path& directory,
                                        std::string_view place) {
  if (source.starts_with("http://") || source.starts_with("https://")) {
    fail(place, ": ", detail::shown(source, 200),
         " is not fetched from the network: this library only reads files and has no network code. Download it and "
         "give the path, or put an image into the message as a data URL or as \"base64\"");
  }
  if (is_data_url(source))
    fail(place, ": a data URL is read for images and lists of frames only; give the path of a file");
  if (source.starts_with("file://")) source.remove_prefix(std::string_view("file://").size());
  if (source.empty()) fail(place, ": names no file");
  if (source.size() > 4096) fail(place, ": no path is as long as ", detail::shortened(source));
  if (source.find('\0') != std::string_view::npos) fail(place, ": a path with a zero byte");
  return directory / std::filesystem::path(source);
}

}  // namespace qwen3vl
