/// Questions to the model: conversations, with what their requests say about the chat template and about generation.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "arguments.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/processing/chat/chat_template.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/chat/request_json.hpp"
#include "qwen3vl/processing/chat/tools.hpp"
#include "qwen3vl/processing/placeholders.hpp"

namespace program {

/// How a conversation becomes a prompt, and how it is answered.
struct Settings {
  ChatTemplateOptions chat;
  GenerateOptions generate;
  std::vector<std::string> stop;  // texts that end the answer
  std::string own;                // what a request says of this, as JSON: equal ones can be answered together
};

/// One request.
struct Question {
  Conversation messages;
  Settings settings;
  nlohmann::ordered_json id;         // to be given back
  std::optional<std::string> label;  // the answer that a row of a training set has
};

/// What the command line says.
inline Settings settings_of(const Arguments& arguments) {
  Settings settings{.chat = {.add_generation_prompt = true, .sanitize_control_tokens = true},
                    .generate = arguments.generate,
                    .stop = arguments.stop,
                    .own = {}};
  if (arguments.thinking) settings.chat.enable_thinking = true;
  if (!arguments.tools.empty()) settings.chat.tools = read_tools(arguments.tools, arguments.limits.messages);
  return settings;
}

/// A conversation with the message of --system before it. Throws Error if it has a system message of its own: which of
/// the two counts cannot be known.
inline Conversation with_system(const Arguments& arguments, Conversation messages) {
  if (arguments.system.empty()) return messages;
  for (const Message& message : messages)
    if (message.role == "system") fail("the conversation has a system message of its own; leave out --system, or that");
  messages.insert(messages.begin(), system_prompt(arguments.system));
  return messages;
}

/// The names of what a request can say about generation.
inline const std::vector<std::string_view>& generation_names() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    GenerateOptions none;
    for_each_generation_option([&](const GenerationOption& option, const auto&) { all.push_back(option.name); }, none);
    return all;
  }();
  return names;
}

/// Puts what `json` says, by the names of generation_config.json, into `generate`.
inline void read_generation(const nlohmann::json& json, GenerateOptions& generate) {
  GenerateOptions said;
  GenerationConfig config = generation_config_from_json(json, "request");
  for_each_generation_option(
      [&](const GenerationOption& option, const auto& value, auto& own) {
        if (json.contains(option.name)) own = value;
      },
      config, said);
  JsonFields(json, "request").read("seed", said.seed, at_least(0));
  choose_sampling(said);
  for_each_generation_option(
      [&](const GenerationOption&, const auto& value, auto& own) {
        if (value) own = value;
      },
      said, generate);
  if (said.do_sample == false) generate.temperature.reset();
}

/// Throws Error where a text has the mark of an image or video: it would be text to the model
/// (sanitize_control_tokens), and who wrote it by hand meant an image.
inline void refuse_placeholders(const Conversation& messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto check = [&](std::string_view text) {
      for (const std::string_view mark : {image_placeholder, video_placeholder})
        if (text.find(mark) != std::string_view::npos)
          fail("messages[", i, "]: its text has ", mark, "; give images and videos as parts of the message");
    };
    if (const auto* const text = std::get_if<std::string>(&messages[i].content)) check(*text);
    if (const auto* const parts = std::get_if<std::vector<ContentPart>>(&messages[i].content))
      for (const ContentPart& part : *parts)
        if (part.text) check(*part.text);
  }
}

/// Reads a request of --messages or a line of --batch; `defaults` are of the command line, and the request goes first.
inline Question read_question(const Arguments& arguments, const Settings& defaults, std::string_view json) {
  ChatRequest request = request_from_json(json, {.generation_fields = generation_names(),
                                                 .ignore_unknown = arguments.ignore_unknown,
                                                 .limits = arguments.limits.messages});
  Question question{.messages = with_system(arguments, messages_from_json(request.messages)),
                    .settings = defaults,
                    .id = std::move(request.id),
                    .label = std::move(request.label)};
  refuse_placeholders(question.messages);
  Settings& settings = question.settings;
  nlohmann::ordered_json own;
  if (!request.tools.is_null()) {
    if (!arguments.tools.empty()) fail("the request has tools of its own; leave out --tools, or those");
    own["tools"] = request.tools;
    settings.chat.tools = std::move(request.tools);
  }
  if (request.continue_final_message) {
    own["continue_final_message"] = *request.continue_final_message;
    settings.chat.continue_final_message = *request.continue_final_message;
    if (*request.continue_final_message) settings.chat.add_generation_prompt = false;
  }
  if (request.add_generation_prompt) {
    own["add_generation_prompt"] = *request.add_generation_prompt;
    settings.chat.add_generation_prompt = *request.add_generation_prompt;
  }
  if (!request.chat_template_kwargs.is_null()) {
    own["chat_template_kwargs"] = request.chat_template_kwargs;
    settings.chat.chat_template_kwargs = std::move(request.chat_template_kwargs);
  }
  if (!request.generation.empty()) {
    own["generation"] = request.generation;
    read_generation(nlohmann::json(request.generation), settings.generate);
  }
  if (!request.stop.empty()) {
    own["stop"] = request.stop;
    settings.stop.insert(settings.stop.end(), request.stop.begin(), request.stop.end());
  }
  if (!own.is_null()) settings.own = own.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
  return question;
}

}  // namespace program
