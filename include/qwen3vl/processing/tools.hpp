/// Tools that the model may call: reading their descriptions, and its calls.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/error.hpp"
#include "qwen3vl/io/json_file.hpp"
#include "qwen3vl/processing/json_text.hpp"
#include "qwen3vl/processing/message.hpp"

namespace qwen3vl {

/// The value of `ChatTemplateOptions::tools` from JSON text: a list of functions, one function, or an object with the
/// list as `tools`. A function is {"type": "function", "function": {"name": ...}} or the inner object alone; both are
/// written into the prompt as they are. Throws Error that begins with `where`.
inline nlohmann::ordered_json tools_from_json(std::string_view text, const std::string& where) {
  nlohmann::ordered_json tools = parse_ordered_json(text, where);
  if (tools.is_object()) {
    const auto list = tools.find("tools");
    nlohmann::ordered_json inner = list != tools.end() ? *list : nlohmann::ordered_json::array({tools});
    tools = std::move(inner);
  }
  if (!tools.is_array()) fail(where, ": must be a list of functions, is ", tools.type_name());
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const nlohmann::ordered_json* function = &tools[i];
    if (function->is_object() && function->contains("function")) function = &(*function)["function"];
    // A function without a name could never be called; the file is likely something else.
    const bool named = function->is_object() && function->contains("name") && (*function)["name"].is_string();
    if (!named) fail(where, ": tools[", i, "] is not a function with a \"name\"");
  }
  return tools;
}

/// The same from a file.
inline nlohmann::ordered_json read_tools(const std::filesystem::path& file) {
  return tools_from_json(read_text_file(file, max_json_bytes), file.string());
}

/// What stands between <tool_call> and </tool_call>, {"name": ..., "arguments": ...}, as a call; nothing if it is
/// something else. Missing arguments are none.
inline std::optional<ToolCall> tool_call_from_json(std::string_view text) {
  nlohmann::ordered_json json;
  try {
    json = parse_ordered_json(text, "tool call");
  } catch (const Error&) {
    return std::nullopt;  // the model wrote it, so that it may be anything
  }
  if (!json.is_object()) return std::nullopt;
  const auto name = json.find("name");
  if (name == json.end() || !name->is_string()) return std::nullopt;
  const auto arguments = json.find("arguments");
  return ToolCall{.name = name->get<std::string>(),
                  .arguments = arguments == json.end() ? nlohmann::ordered_json::object() : std::move(*arguments)};
}

/// Calls as JSON, a list of {"name": ..., "arguments": ...}.
inline nlohmann::ordered_json tool_calls_to_json(std::span<const ToolCall> calls) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ToolCall& call : calls) {
    nlohmann::ordered_json one;
    one["name"] = call.name;
    one["arguments"] = call.arguments;
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace qwen3vl
