#include "program/input/question.hpp"

#include <filesystem>
#include <utility>

#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/chat/tools.hpp"

namespace program {

Settings settings_of(const Arguments& arguments) {
  Settings settings{.generate = arguments.generate, .stop = arguments.stop};
  if (arguments.thinking) settings.chat.enable_thinking = true;
  if (!arguments.tools.empty()) settings.chat.tools = read_tools(arguments.tools, arguments.limits.messages);
  return settings;
}

Conversation with_system(const Arguments& arguments, Conversation messages) {
  if (arguments.system.empty()) return messages;
  for (const Message& message : messages)
    if (message.role == "system") fail("the conversation has a system message of its own; leave out --system, or that");
  messages.insert(messages.begin(), system_prompt(arguments.system));
  return messages;
}

Question read_question(const Arguments& arguments, const Settings& defaults, std::string_view json) {
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

Message question(const std::string& words, std::size_t images, const std::vector<std::string>& videos,
                 const Arguments& arguments) {
  std::vector<ContentPart> parts(images, image());
  for (const std::string& file : videos) {
    ContentPart part = video(std::filesystem::absolute(file).string());
    part.source_fps = arguments.source_fps;
    parts.push_back(std::move(part));
  }
  parts.push_back(text(words));
  return user(std::move(parts));
}

}  // namespace program
