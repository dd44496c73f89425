/// Reading conversations from JSON in the layout of transformers (and of the OpenAI-style variants it accepts).
/// Every error names its place, as in "messages[2].content[0].text: ...".
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/base64.hpp"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/message.hpp"

namespace qwen3vl {

namespace detail::message_json {

using Json = nlohmann::ordered_json;

/// Servers disagree on the name of the reasoning; transformers accepts all three, in this order.
inline constexpr const char* reasoning_names[] = {"reasoning_content", "thinking", "reasoning"};

/// A string; anything else is an error at `place`.
inline const std::string& expect_string(const Json& value, const std::string& place) {
  if (!value.is_string()) wrong_value(place, value, "a string");
  return value.get_ref<const std::string&>();
}

/// Where an image or video lies: a string, or OpenAI's {"url": ...}. Lists of strings go to `frames`, if that is given.
inline void read_source(const Json& value, const std::string& place, std::string& source,
                        std::vector<std::string>* frames) {
  if (value.is_object()) {
    const Json* url = find_value(value, "url");
    if (url == nullptr) fail(place, ": has no \"url\"");
    source = expect_string(*url, place + ".url");
  } else if (value.is_array() && frames != nullptr) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      frames->push_back(expect_string(value[i], concat(place, "[", i, "]")));
    }
  } else {
    source = expect_string(value, place);
  }
}

/// An image: the name of its file, or its bytes as a data URL or as base64.
inline void read_image(const Json& value, const std::string& place, bool base64, ContentPart& part) {
  read_source(value, place, part.source, nullptr);
  if (is_data_url(part.source)) {
    part.bytes = decode_data_url(part.source, place);
  } else if (base64) {
    part.bytes = decode_base64(part.source, place);
  } else {
    return;
  }
  if (part.bytes.empty()) fail(place, ": has no data");
  part.source.clear();
}

/// What stands beside an image or a video: the keys of qwen-vl-utils, and `num_frames`.
inline void read_media_keys(const Json& value, const std::string& place, ContentPart& part) {
  part.keys = media_keys_from_json(value, place);
  const Json* const frames = part.kind == ContentPart::Kind::video ? find_value(value, "num_frames") : nullptr;
  if (frames == nullptr) return;
  const double count = frames->is_number() ? frames->get<double>() : 0.0;
  if (!(count >= 1.0 && count <= 1e9)) wrong_value(place + ".num_frames", *frames, "a number of frames");
  part.num_frames = static_cast<std::int64_t>(count);
  if (part.keys.any())
    fail(place, ": num_frames excludes ", part.keys.first(), "; beside that, the number of frames is nframes");
}

inline ContentPart read_part(const Json& value, const std::string& place) {
  if (!value.is_object()) fail(place, ": must be an object such as {\"type\": \"text\", ...}, is ", value.type_name());
  const Json* type = find_value(value, "type");
  const std::string type_name = type == nullptr ? "" : expect_string(*type, place + ".type");

  ContentPart part;
  part.kind = ContentPart::Kind::other;
  if (const Json* words = find_value(value, "text")) part.text = expect_string(*words, place + ".text");
  // The chat formats' own order of tests: the mere presence of a key decides, images before videos before text.
  if (type_name == "image" || value.contains("image") || value.contains("image_url")) {
    part.kind = ContentPart::Kind::image;
  } else if (type_name == "video" || value.contains("video")) {
    part.kind = ContentPart::Kind::video;
  } else if (part.text) {
    part.kind = ContentPart::Kind::text;
  } else if (type_name == "text") {
    fail(place, ": a part of type text needs a \"text\"");
  } else if (type == nullptr) {
    fail(place, ": a part without a \"type\" must have one of the keys text, image, image_url and video");
  }
  if (part.kind == ContentPart::Kind::image) {
    const char* taken = nullptr;
    for (const char* key : {"image", "image_url", "url", "path", "base64"}) {
      const Json* const source = find_value(value, key);
      if (source == nullptr) continue;
      if (taken != nullptr) fail(place, ": has both \"", taken, "\" and \"", key, "\"; which is the image?");
      taken = key;
      read_image(*source, place + "." + key, key == std::string_view("base64"), part);
    }
  } else if (part.kind == ContentPart::Kind::video) {
    for (const char* key : {"video", "url", "path"}) {
      if (const Json* source = find_value(value, key)) {
        read_source(*source, place + "." + key, part.source, &part.frames);
        break;
      }
    }
  }
  if (part.kind == ContentPart::Kind::image || part.kind == ContentPart::Kind::video)
    read_media_keys(value, place, part);
  return part;
}

inline Message::Content read_content(const Json& message, const std::string& place) {
  const Json* value = find_value(message, "content");
  if (value == nullptr) return {};
  if (value->is_string()) return value->get<std::string>();
  if (!value->is_array()) fail(place, ".content: must be a string or a list of parts, is ", value->type_name());
  std::vector<ContentPart> parts;
  for (std::size_t i = 0; i < value->size(); ++i) {
    parts.push_back(read_part((*value)[i], concat(place, ".content[", i, "]")));
  }
  return parts;
}

inline ToolCall read_tool_call(const Json& value, const std::string& place) {
  if (!value.is_object()) fail(place, ": must be an object, is ", value.type_name());
  // Two layouts are in use: OpenAI's {"type": "function", "function": {...}} and the bare function.
  const Json* call = find_value(value, "function");
  const std::string call_place = call == nullptr ? place : place + ".function";
  if (call == nullptr) call = &value;
  if (!call->is_object()) fail(call_place, ": must be an object, is ", call->type_name());
  const Json* name = find_value(*call, "name");
  if (name == nullptr) fail(call_place, ": has no \"name\"");
  const auto arguments = call->find("arguments");
  if (arguments == call->end()) fail(call_place, ": has no \"arguments\"");
  return {expect_string(*name, call_place + ".name"), *arguments};
}

/// Tells whether a message's fields were changed since it was read. Not of numbers beside images and videos, which no
/// message in JSON is written with.
inline std::uint64_t fields_hash(const Message& message) {
  std::uint64_t hash = 1;  // 0: was not read
  const auto add = [&](std::string_view text) {
    hash = (hash ^ std::hash<std::string_view>{}(text)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  };
  add(message.role);
  add(message.reasoning_content ? "r" : "");
  if (message.reasoning_content) add(*message.reasoning_content);
  add(std::string_view("nwp").substr(message.content.index(), 1));
  if (const auto* const words = std::get_if<std::string>(&message.content)) add(*words);
  if (const auto* const parts = std::get_if<std::vector<ContentPart>>(&message.content)) {
    for (const ContentPart& part : *parts) {
      add(std::string_view("tivo").substr(static_cast<std::size_t>(part.kind), 1));
      add(part.text ? "t" : "");
      if (part.text) add(*part.text);
      add(part.source);
      add(part.bytes);
      for (const std::string& frame : part.frames) add(frame);
    }
  }
  for (const ToolCall& call : message.tool_calls) {
    add(call.name);
    add(call.arguments.dump());
  }
  return hash;
}

inline Message read_message(const Json& value, const std::string& place) {
  if (!value.is_object()) fail(place, ": must be an object with a role and a content, is ", value.type_name());
  Message message;
  message.json = value;
  const Json* role = find_value(value, "role");
  if (role == nullptr) fail(place, ": has no \"role\"");
  message.role = expect_string(*role, place + ".role");
  message.content = read_content(value, place);
  if (const Json* calls = find_value(value, "tool_calls")) {
    if (!calls->is_array()) fail(place, ".tool_calls: must be a list, is ", calls->type_name());
    for (std::size_t i = 0; i < calls->size(); ++i) {
      message.tool_calls.push_back(read_tool_call((*calls)[i], concat(place, ".tool_calls[", i, "]")));
    }
  }
  for (const char* key : reasoning_names) {
    if (const Json* reasoning = find_value(value, key)) {
      message.reasoning_content = expect_string(*reasoning, place + "." + key);
      break;
    }
  }
  message.json_hash = fields_hash(message);
  return message;
}

/// A part that was not read from JSON.
inline Json part_to_json(const ContentPart& part) {
  Json json = Json::object();
  const char* const kind = part.kind == ContentPart::Kind::image   ? "image"
                           : part.kind == ContentPart::Kind::video ? "video"
                                                                   : "text";
  json["type"] = kind;
  if (part.kind == ContentPart::Kind::image || part.kind == ContentPart::Kind::video) {
    json[kind] = part.frames.empty() ? Json(part.source) : Json(part.frames);
  }
  if (part.text) json["text"] = *part.text;
  return json;
}

inline Json content_to_json(const Message::Content& content) {
  if (const auto* words = std::get_if<std::string>(&content)) return *words;
  const auto* parts = std::get_if<std::vector<ContentPart>>(&content);
  if (parts == nullptr) return nullptr;
  Json list = Json::array();
  for (const ContentPart& part : *parts) list.push_back(part_to_json(part));
  return list;
}

inline Json tool_calls_to_messages_json(const std::vector<ToolCall>& calls) {
  Json list = Json::array();
  for (const ToolCall& call : calls)
    list.push_back({{"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  return list;
}

inline bool same_calls(const std::vector<ToolCall>& a, const std::vector<ToolCall>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const ToolCall& x, const ToolCall& y) {
    return x.name == y.name && x.arguments == y.arguments;
  });
}

/// What the message was read from; a field that was changed since, or that never was JSON, is written anew, in `own`.
inline const Json& message_to_json(const Message& message, Json& own) {
  if (message.json.is_object() && message.json_hash == fields_hash(message)) return message.json;
  own = message.json.is_object() ? message.json : Json::object();
  const Message read = own.empty() ? Message{} : read_message(own, "Message::json");
  if (own.empty() || message.role != read.role) own["role"] = message.role;
  if (message.content != read.content) own["content"] = content_to_json(message.content);
  if (message.reasoning_content != read.reasoning_content) {
    for (const char* key : {"reasoning", "thinking"}) own.erase(key);
    own["reasoning_content"] = message.reasoning_content ? Json(*message.reasoning_content) : Json();
  }
  if (!same_calls(message.tool_calls, read.tool_calls))
    own["tool_calls"] = tool_calls_to_messages_json(message.tool_calls);
  return own;
}

}  // namespace detail::message_json

/// Messages as JSON, in the layout that messages_from_json reads.
inline nlohmann::ordered_json messages_to_json(const Conversation& messages) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Message& message : messages) {
    nlohmann::ordered_json own;
    list.push_back(detail::message_json::message_to_json(message, own));
  }
  return list;
}

/// Reads a list of messages, or an object with such a list as `messages`. Throws Error naming the place of a fault.
template <std::same_as<nlohmann::ordered_json> Json>
Conversation messages_from_json(const Json& value) {
  if (value.is_object()) {
    const auto* list = find_value(value, "messages");
    if (list == nullptr) fail("messages: an object without \"messages\" is no conversation");
    if (!list->is_array()) fail("messages: must be a list of messages, is ", list->type_name());
    return messages_from_json(*list);
  }
  if (!value.is_array()) fail("messages: must be a list of messages, is ", value.type_name());
  Conversation messages;
  for (std::size_t i = 0; i < value.size(); ++i) {
    messages.push_back(detail::message_json::read_message(value[i], concat("messages[", i, "]")));
  }
  return messages;
}

/// The same from JSON text.
inline Conversation messages_from_json(std::string_view text, const MessageLimits& limits = {}) {
  return messages_from_json(parse_ordered_json(text, "messages", limits));
}

}  // namespace qwen3vl
