/// A message as a chat template sees it, and the last one of a conversation where the answer continues it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/processing/chat/control_tokens.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/jinja/python_text.hpp"

namespace qwen3vl {

namespace detail {

/// {"type": "image_url", "image_url": {"url": ...}}, OpenAI's.
inline bool is_image_url(const nlohmann::ordered_json& part) {
  return part.is_object() && part.contains("image_url") && part.contains("type") && part["type"] == "image_url";
}

}  // namespace detail

/// The message as it was given, without keys that are null; a part {"type": "image_url", "image_url": {"url": ...}} is
/// {"type": "image", "url": ...}, and reasoning stands under the two names that templates read. In most messages there
/// is nothing to change: then it is the message's own JSON, else `own`.
inline const nlohmann::ordered_json& template_message(const Message& message, nlohmann::ordered_json& own) {
  using Json = nlohmann::ordered_json;
  using detail::message_json::reasoning_names;
  const Json& given = detail::message_json::message_to_json(message, own);
  bool has_null = false, has_url = false;
  const char* reasoning = nullptr;
  for (const char* const name : reasoning_names)
    if (reasoning == nullptr && given.contains(name) && !given[name].is_null()) reasoning = name;
  for (const auto& [key, value] : given.get_ref<const Json::object_t&>()) {
    has_null |= value.is_null();
    has_url |= key == "content" && value.is_array() && std::any_of(value.begin(), value.end(), detail::is_image_url);
  }
  if (!has_null && !has_url && reasoning == nullptr) return given;

  Json changed = Json::object();
  if (reasoning != nullptr) changed["thinking"] = given[reasoning];
  for (const auto& [key, value] : given.items())
    if (!value.is_null()) changed[key] = value;
  if (reasoning != nullptr) changed["reasoning_content"] = given[reasoning];
  if (has_url) {
    for (Json& part : changed["content"]) {
      if (!detail::is_image_url(part)) continue;
      Json url = part["image_url"];
      if (url.is_object()) url = url.value("url", "");
      part = {{"type", "image"}, {"url", std::move(url)}};
    }
  }
  return own = std::move(changed);
}

/// The final message of a conversation, to be continued. The template decides where its text goes and may move or drop
/// it, so that the end of the text is marked in what the template sees and found again in what it wrote.
class ContinuedMessage {
 public:
  /// `field`: the field to continue; `source`: the template's; `marks`: of control tokens, or null. Throws Error if
  /// there is nothing to continue.
  ContinuedMessage(const Message& message, const std::string& field, const std::string& source,
                   const ControlTokens* marks) {
    using detail::message_json::reasoning_names;
    nlohmann::ordered_json own;
    json_ = template_message(message, own);
    if (marks != nullptr) marks->mark(json_);
    const auto given = json_.find(field);
    if (given == json_.end())
      fail("continue_final_message is set but the final message has no \"", field, "\" to continue!");
    std::vector<std::string> names = {field};
    if (std::find(std::begin(reasoning_names), std::end(reasoning_names), field) != std::end(reasoning_names)) {
      names.clear();
      for (const char* alias : reasoning_names)
        if (json_.contains(alias) && json_[alias] == *given) names.emplace_back(alias);
    }
    if (std::none_of(names.begin(), names.end(),
                     [&](const auto& each) { return source.find(each) != std::string::npos; }))
      fail("continue_final_message is set to \"", field, "\" but this is not an accepted field in the chat_template");
    if (given->is_array()) {
      const auto has_text = [](const auto& part) {
        return part.is_object() && part.contains("text") && part["text"].is_string();
      };
      const auto part = std::find_if(given->rbegin(), given->rend(), has_text);
      if (part == given->rend())
        fail("continue_final_message is set but we could not find any text to continue in the final message!");
      begun_ = (*part)["text"].template get<std::string>();
      (*part)["text"] = begun_ + std::string(mark);
      return;
    }
    if (!given->is_string())
      fail("continue_final_message is set, but \"", field, "\" of the final message is ", given->type_name());
    begun_ = given->get<std::string>();
    for (const std::string& each : names) json_[each] = begun_ + std::string(mark);
  }

  /// What the template sees.
  const nlohmann::ordered_json& json() const { return json_; }

  /// Cuts what the template wrote behind the text. Throws Error if the text is not there.
  void cut(std::string& text) const {
    namespace python = jinja::python;
    const std::size_t at = text.rfind(python::strip(mark));
    if (at == std::string::npos || text.find(python::strip(begun_)) == std::string::npos)
      fail(
          "continue_final_message is set but the final message does not appear in the chat after applying the chat "
          "template: it deletes or changes portions of the final message");
    const bool spacing_kept = std::string_view(text).substr(at).starts_with(mark);
    text.resize(at);
    if (!spacing_kept) text.resize(python::strip(text, false, true).size());
  }

 private:
  static constexpr std::string_view mark = "CONTINUE_FINAL_MESSAGE_TAG ";

  nlohmann::ordered_json json_;
  std::string begun_;
};

}  // namespace qwen3vl
