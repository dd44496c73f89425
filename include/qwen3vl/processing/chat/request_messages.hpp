/// The messages of a request in the layout of transformers, from the layouts of other tools: OpenAI's parts, ShareGPT's
/// roles, and rows of training sets with their images and videos beside the messages.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/json/python_json.hpp"
#include "qwen3vl/processing/chat/media_keys.hpp"

namespace qwen3vl {

/// How requests are read.
struct RequestOptions {
  /// The settings of generation that the caller can apply.
  std::span<const std::string_view> generation_fields{};
  /// Pass over keys, parts and values that mean nothing here, instead of an Error that names them.
  bool ignore_unknown = false;
  MessageLimits limits{};
};

namespace detail::request_json {

using Json = nlohmann::ordered_json;

/// The keys of one object; those that nobody asks for are unknown.
class Keys {
 public:
  Keys(const Json& object, std::string place) : object_(object), place_(std::move(place)) {
    if (!object.is_object()) wrong_value(place_.empty() ? "request" : place_, object, "an object");
  }

  /// The value of a key; nullptr where it is missing or null.
  const Json* find(std::string_view key) {
    known_.emplace_back(key);
    return find_value(object_, key);
  }
  std::string place(std::string_view key) const { return place_.empty() ? std::string(key) : concat(place_, ".", key); }

  std::optional<bool> boolean(std::string_view key) {
    const Json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_boolean()) wrong_value(place(key), *value, "true or false");
    return value->get<bool>();
  }
  /// A key that may only have a value which changes nothing here.
  void only(std::string_view key, const Json& value, const RequestOptions& options) {
    const Json* const found = find(key);
    if (found != nullptr && *found != value && !options.ignore_unknown)
      wrong_value(place(key), *found, concat(value.dump(), " (other values are not supported)"));
  }

  /// Throws Error that names what nobody asked for, but for null and empty lists, which say nothing.
  void done(const RequestOptions& options) const {
    if (options.ignore_unknown) return;
    std::string unknown;
    for (const auto& [key, value] : object_.items()) {
      if (value.is_null() || (value.is_array() && value.empty())) continue;
      if (std::ranges::find(known_, key) == known_.end())
        unknown += concat(unknown.empty() ? "" : ", ", shown(key, 40));
    }
    if (!unknown.empty())
      fail(place_.empty() ? "request" : place_, ": means nothing here: ", unknown,
           "; leave it out, or pass over it (--ignore-unknown)");
  }

 private:
  const Json& object_;
  std::string place_;
  std::vector<std::string> known_;
};

/// One part of a message: known keys of its type only. OpenAI's `video_url` becomes a `video`.
inline Json part(const Json& value, const std::string& place, const RequestOptions& options) {
  Keys keys(value, place);
  const Json* const type = keys.find("type");
  if (type != nullptr && !type->is_string()) wrong_value(keys.place("type"), *type, "a string");
  const std::string name = type != nullptr               ? type->get<std::string>()
                           : value.contains("text")      ? "text"
                           : value.contains("video")     ? "video"
                           : value.contains("image")     ? "image"
                           : value.contains("image_url") ? "image_url"
                                                         : "";
  const auto find_media_keys = [&](bool video) {
    MediaKeys none;
    for_each_media_key(
        [&](MediaKeyUse use, const Option& key, const auto&) {
          if (video || use == MediaKeyUse::every) keys.find(key.name);
        },
        none);
    if (video) keys.find("num_frames");
  };
  Json out = value;
  if (name == "text") {
    keys.find("text");
  } else if (name == "image" || name == "image_url") {
    for (const char* key : {"image", "image_url", "url", "path", "base64", "text"}) keys.find(key);
    find_media_keys(false);
    if (const Json* const url = find_value(value, "image_url"); url != nullptr && url->is_object()) {
      Keys inner(*url, keys.place("image_url"));
      inner.find("url");
      inner.only("detail", "auto", options);
      inner.done(options);
    }
  } else if (name == "video" || name == "video_url") {
    for (const char* key : {"video", "url", "path"}) keys.find(key);
    find_media_keys(true);
    if (const Json* const url = keys.find("video_url")) {
      out.erase("video_url");
      out["type"] = "video";
      out["video"] = url->is_object() ? url->value("url", Json()) : *url;
      if (!out["video"].is_string())
        wrong_value(keys.place("video_url"), *url, "a string, or an object with a \"url\"");
    }
  } else if (!options.ignore_unknown) {
    fail(place, ": a part of type \"", shown(name, 40),
         "\" means nothing here (text, image, image_url, video, video_url); leave it out, or pass over it "
         "(--ignore-unknown)");
  } else {
    return Json();
  }
  keys.done(options);
  return out;
}

/// Whether a tool's result is a list of parts, not data of its own.
inline bool is_parts(const Json& content) {
  return content.is_array() && std::ranges::all_of(content, [](const Json& one) {
           return one.is_object() && (one.contains("type") || one.contains("text"));
         });
}

/// The calls of a `function_call` message of a training set: JSON text of one call or a list of them.
inline Json calls_of(const std::string& text, const std::string& place, const RequestOptions& options) {
  Json calls = parse_ordered_json(text, place, options.limits);
  return calls.is_array() ? calls : Json::array({std::move(calls)});
}

/// One message with transformers' names of roles and keys.
inline Json message(const Json& value, const std::string& place, const RequestOptions& options) {
  Keys keys(value, place);
  Json out;
  const bool sharegpt = value.contains("from");
  const Json* role = keys.find(sharegpt ? "from" : "role");
  if (role == nullptr) fail(place, ": has no \"role\"");
  if (!role->is_string()) wrong_value(keys.place(sharegpt ? "from" : "role"), *role, "a string");
  std::string name = role->get<std::string>();
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> roles{{{"human", "user"},
                                                                                {"gpt", "assistant"},
                                                                                {"observation", "tool"},
                                                                                {"tool_response", "tool"},
                                                                                {"function_call", "assistant"},
                                                                                {"tool_call", "assistant"}}};
  const bool is_call = name == "function_call" || name == "tool_call";
  for (const auto& [from, to] : roles)
    if (name == from) name = to;
  out["role"] = name;
  const std::string content_key = sharegpt ? "value" : "content";
  if (const Json* const content = keys.find(content_key)) {
    const std::string content_place = keys.place(content_key);
    if (is_call) {
      if (!content->is_string()) wrong_value(content_place, *content, "JSON text of a call");
      out["content"] = "";
      out["tool_calls"] = calls_of(content->get<std::string>(), content_place, options);
    } else if (name == "tool" && (content->is_object() || (content->is_array() && !is_parts(*content)))) {
      out["content"] = python_json(*content);  // data: the model reads it as JSON
    } else if (content->is_array()) {
      out["content"] = Json::array();
      for (std::size_t i = 0; i < content->size(); ++i) {
        Json one = part((*content)[i], concat(content_place, "[", i, "]"), options);
        if (!one.is_null()) out["content"].push_back(std::move(one));
      }
    } else {
      out["content"] = *content;
    }
  } else if (is_call && !value.contains("tool_calls")) {
    fail(keys.place(content_key), ": missing; wanted the JSON text of a call");
  } else {
    out["content"] = nullptr;
  }
  for (const char* key : {"tool_calls", "tool_call_id", "name", "reasoning_content", "reasoning", "thinking"})
    if (const Json* const found = keys.find(key)) out[key] = *found;
  keys.done(options);
  // Templates can see the order of the keys, and may read those that mean nothing here.
  Json ordered = Json::object();
  for (const auto& [key, given] : value.items()) {
    const std::string name_here = sharegpt && key == "from" ? "role" : sharegpt && key == "value" ? "content" : key;
    if (ordered.contains(name_here)) continue;
    const auto found = out.find(name_here);
    ordered[name_here] = found != out.end() ? std::move(*found) : given;
  }
  for (auto& [key, made] : out.items())
    if (!ordered.contains(key)) ordered[key] = std::move(made);
  return ordered;
}

/// The images or videos of a row, as parts.
inline std::vector<Json> media_of(const Json& value, const std::string& kind, const std::string& place) {
  std::vector<Json> parts;
  const auto add = [&](const Json& one, const std::string& where) {
    Json part{{"type", kind}};
    const bool frames = kind == "video" && one.is_array();
    if (one.is_string() || frames) {
      part[kind] = one;
    } else if (one.is_object() && find_value(one, "bytes") != nullptr) {
      part["base64"] = one["bytes"];
    } else if (one.is_object() && find_value(one, "path") != nullptr) {
      part[kind] = one["path"];
    } else {
      wrong_value(where, one, "the name of a file, or an object with \"path\" or \"bytes\" (base64)");
    }
    parts.push_back(std::move(part));
  };
  if (!value.is_array()) {
    add(value, place);
  } else {
    for (std::size_t i = 0; i < value.size(); ++i) add(value[i], concat(place, "[", i, "]"));
  }
  return parts;
}

/// Puts the media of a row where its texts say `<image>` and `<video>`; where none says so, before the first text of
/// the user, as ms-swift does.
inline void place_media(Json& messages, std::vector<Json> media, const std::string& marker) {
  const auto find_marker = [&](const Json& one) {
    return one["content"].is_string() ? one["content"].get_ref<const std::string&>().find(marker) : std::string::npos;
  };
  std::size_t used = 0;
  const auto split = [&](const std::string& text, Json& parts) {
    std::size_t begin = 0;
    for (std::size_t at = text.find(marker); at != std::string::npos; at = text.find(marker, begin)) {
      if (at > begin) parts.push_back({{"type", "text"}, {"text", text.substr(begin, at - begin)}});
      if (used < media.size()) parts.push_back(media[used]);
      ++used;
      begin = at + marker.size();
    }
    if (begin < text.size()) parts.push_back({{"type", "text"}, {"text", text.substr(begin)}});
  };
  const bool marked = std::ranges::any_of(messages, [&](const Json& one) {
    if (find_marker(one) != std::string::npos) return true;
    return one["content"].is_array() && std::ranges::any_of(one["content"], [&](const Json& part) {
             return part.contains("text") && part["text"].is_string() &&
                    part["text"].get_ref<const std::string&>().find(marker) != std::string::npos;
           });
  });
  for (Json& one : messages) {
    Json& content = one["content"];
    Json parts = Json::array();
    if (marked && find_marker(one) != std::string::npos) {
      split(content.get<std::string>(), parts);
    } else if (marked && content.is_array()) {
      for (const Json& part : content) {
        if (part.contains("text") && part["text"].is_string()) {
          split(part["text"].get<std::string>(), parts);
        } else {
          parts.push_back(part);
        }
      }
    } else if (!marked && one["role"] == "user") {
      for (Json& part : media) parts.push_back(std::move(part));
      if (content.is_string()) parts.push_back({{"type", "text"}, {"text", content}});
      if (content.is_array())
        for (const Json& part : content) parts.push_back(part);
      content = std::move(parts);
      return;
    } else {
      continue;
    }
    content = std::move(parts);
  }
  if (used != media.size())
    fail("the messages say ", marker, " ", used, " times, for ", media.size(),
         marker == "<image>" ? " images" : " videos");
}

inline Json messages(const Json& list, const std::string& place, const RequestOptions& options) {
  if (!list.is_array()) wrong_value(place, list, "a list of messages");
  Json out = Json::array();
  for (std::size_t i = 0; i < list.size(); ++i) out.push_back(message(list[i], concat(place, "[", i, "]"), options));
  return out;
}

}  // namespace detail::request_json

}  // namespace qwen3vl
