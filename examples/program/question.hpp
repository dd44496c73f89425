/// Questions to the model: conversations, with what their requests say about the chat template and about generation.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/chat/request_json.hpp"
#include "qwen3vl/processing/chat/tools.hpp"
#include "settings.hpp"

namespace program {

/// One request.
struct Question {
  Conversation messages;
  Settings settings;
  nlohmann::ordered_json id;         // to be given back
  std::optional<std::string> label;  // the answer that a row of a training set has
};

/// What the command line says.
inline Settings settings_of(const Arguments& arguments) {
  Settings settings{.generate = arguments.generate, .stop = arguments.stop};
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
  if (!request.tools.is_null() && !arguments.tools.empty())
    fail("the request has tools of its own; leave out --tools, or those");
  apply(std::move(request), question.settings);
  return question;
}

}  // namespace program
