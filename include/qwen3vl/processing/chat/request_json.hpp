/// Requests as other tools write them, brought into one form: a list of messages in the layout of transformers,
/// OpenAI's request object, a line of OpenAI's batch files, and the rows of training sets (ShareGPT, LLaMA-Factory,
/// ms-swift).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/request_messages.hpp"
#include "qwen3vl/processing/chat/tools.hpp"

namespace qwen3vl {

/// What a request asks for.
struct ChatRequest {
  nlohmann::ordered_json messages;  ///< a list in the layout of transformers, for messages_from_json()
  nlohmann::ordered_json tools;     ///< as tools_from_json(); null: none
  /// Settings by the names of generation_config.json (OpenAI's `max_tokens` is `max_new_tokens` and so on).
  nlohmann::ordered_json generation = nlohmann::ordered_json::object();
  std::vector<std::string> stop;                 ///< the answer ends where it writes one of these
  std::optional<bool> add_generation_prompt{};   ///< for the chat template
  std::optional<bool> continue_final_message{};  ///< for the chat template
  nlohmann::ordered_json chat_template_kwargs;   ///< an object of variables for the chat template; null: none
  nlohmann::ordered_json id;                     ///< `custom_id` or `id`, to be given back; null: none
  std::optional<std::string> label{};            ///< the answer that a row of a training set ends with
};

namespace detail::request_json {

/// Settings of generation: transformers' names, and OpenAI's for the same things.
inline void read_generation(Keys& keys, const RequestOptions& options, ChatRequest& request) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> other_names{
      {{"max_tokens", "max_new_tokens"}, {"max_completion_tokens", "max_new_tokens"}, {"n", "num_return_sequences"}}};
  const auto known = [&](std::string_view name) {
    return std::ranges::find(options.generation_fields, name) != options.generation_fields.end();
  };
  const auto set = [&](std::string_view key, std::string_view name) {
    const Json* const value = known(name) ? keys.find(key) : nullptr;
    if (value == nullptr) return;
    if (request.generation.contains(name)) fail(keys.place(key), ": ", name, " is given twice, by another name too");
    request.generation[std::string(name)] = *value;
  };
  for (const std::string_view name : options.generation_fields) set(name, name);
  for (const auto& [key, name] : other_names) set(key, name);
  if (const Json* const bias = known("sequence_bias") ? keys.find("logit_bias") : nullptr) {
    if (!bias->is_object()) wrong_value(keys.place("logit_bias"), *bias, "an object of token ids and numbers");
    Json list = Json::array();
    for (const auto& [id, value] : bias->items()) {
      const Json token = Json::parse(id, nullptr, false);
      if (!token.is_number_unsigned()) wrong_value(keys.place("logit_bias"), Json(id), "a token id");
      list.push_back({Json::array({token}), value});
    }
    if (!list.empty()) request.generation["sequence_bias"] = std::move(list);
  }
  if (const Json* const stop = keys.find("stop")) {
    const auto add = [&](const Json& text) {
      if (!text.is_string() || text.get_ref<const std::string&>().empty())
        wrong_value(keys.place("stop"), *stop, "a text, or a list of texts");
      request.stop.push_back(text.get<std::string>());
    };
    if (stop->is_array()) {
      for (const Json& text : *stop) add(text);
    } else {
      add(*stop);
    }
  }
}

/// The tools, unless the request says that none is to be called.
inline void read_tools(Keys& keys, const RequestOptions& options, ChatRequest& request) {
  const Json* const choice = keys.find("tool_choice");
  const Json* tools = keys.find("tools");
  if (choice != nullptr && *choice != "auto" && *choice != "none" && !options.ignore_unknown)
    wrong_value(keys.place("tool_choice"), *choice, "\"auto\" or \"none\" (a call cannot be forced)");
  keys.only("parallel_tool_calls", true, options);
  if (tools == nullptr || (choice != nullptr && *choice == "none")) return;
  // LLaMA-Factory and ms-swift have them as JSON text.
  const std::string text = tools->is_string() ? tools->get<std::string>() : tools->dump();
  if (text.empty()) return;
  request.tools = tools_from_json(text, keys.place("tools"), options.limits);
  if (request.tools.empty()) request.tools = nullptr;
}

inline ChatRequest read(const Json& value, const RequestOptions& options) {
  ChatRequest request;
  if (value.is_array()) {
    request.messages = messages(value, "messages", options);
    return request;
  }
  Keys keys(value, "");
  if (const Json* const body = keys.find("body")) {  // a line of OpenAI's batch files
    request = read(*body, options);
    for (const char* key : {"method", "url"}) keys.find(key);
    if (const Json* const id = keys.find("custom_id")) request.id = *id;
    keys.done(options);
    return request;
  }
  request.add_generation_prompt = keys.boolean("add_generation_prompt");
  request.continue_final_message = keys.boolean("continue_final_message");
  for (const char* key : {"id", "custom_id"})
    if (const Json* const id = keys.find(key)) request.id = *id;
  const Json* list = keys.find("messages");
  const bool is_sharegpt = list == nullptr;
  if (is_sharegpt) list = keys.find("conversations");
  if (list == nullptr) fail("messages: an object without \"messages\" (or \"conversations\") is no conversation");
  request.messages = messages(*list, is_sharegpt ? "conversations" : "messages", options);
  if (const Json* const system = keys.find("system")) {
    if (!system->is_string()) wrong_value("system", *system, "a text");
    if (std::ranges::any_of(request.messages, [](const Json& one) { return one["role"] == "system"; }))
      fail("system: the messages have a system message of their own");
    if (!system->get_ref<const std::string&>().empty())
      request.messages.insert(request.messages.begin(), Json{{"role", "system"}, {"content", *system}});
  }
  bool is_row = is_sharegpt;
  for (const std::string kind : {"image", "video"}) {
    std::vector<Json> media;
    for (const std::string& key : {kind, kind + "s"}) {
      const Json* const found = keys.find(key);
      if (found == nullptr) continue;
      is_row = true;
      for (Json& part : media_of(*found, kind, key)) media.push_back(std::move(part));
    }
    // Text that says <image> in a conversation without such lists is only text.
    if (is_row && !(media.empty() && !value.contains(kind + "s")))
      place_media(request.messages, media, concat("<", kind, ">"));
  }
  // What a training set wants to be answered is not part of the question.
  if (is_row && request.messages.size() > 1 && request.messages.back()["role"] == "assistant" &&
      request.messages.back()["content"].is_string() && !request.continue_final_message.value_or(false)) {
    request.label = request.messages.back()["content"].get<std::string>();
    request.messages.erase(request.messages.size() - 1);
  }
  read_tools(keys, options, request);
  read_generation(keys, options, request);
  if (const Json* const kwargs = keys.find("chat_template_kwargs")) {
    if (!kwargs->is_object()) wrong_value("chat_template_kwargs", *kwargs, "an object");
    request.chat_template_kwargs = *kwargs;
  }
  // Which model, for whom, and whether the answer is streamed is not up to the request here.
  for (const char* key : {"model", "user", "stream"}) keys.find(key);
  keys.only("response_format", Json::object({{"type", "text"}}), options);
  keys.only("logprobs", false, options);
  keys.done(options);
  return request;
}

}  // namespace detail::request_json

/// Reads a request. Throws Error that names the place of a fault, and every key, type of part and value that means
/// nothing here.
inline ChatRequest request_from_json(std::string_view text, const RequestOptions& options = {}) {
  return detail::request_json::read(parse_ordered_json(text, "request", options.limits), options);
}

}  // namespace qwen3vl
