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

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/message.hpp"

namespace qwen3vl {

/// The value of `ChatTemplateOptions::tools` from JSON text: a list of functions, one function, or an object with the
/// list as `tools`. A function is {"type": "function", "function": {"name": ...}}, which is kept unchanged, or the
/// inner object alone, which is wrapped: the models are trained on that form. Throws Error that begins with `where`.
inline nlohmann::ordered_json tools_from_json(std::string_view text, const std::string& where,
                                              const MessageLimits& limits = {}) {
  nlohmann::ordered_json tools = parse_ordered_json(text, where, limits);
  if (tools.is_object()) {
    const auto list = tools.find("tools");
    nlohmann::ordered_json inner = list != tools.end() ? *list : nlohmann::ordered_json::array({tools});
    tools = std::move(inner);
  }
  if (!tools.is_array()) fail(where, ": must be a list of functions, is ", tools.type_name());
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const bool bare = !tools[i].is_object() || !tools[i].contains("function");
    const nlohmann::ordered_json& function = bare ? tools[i] : tools[i]["function"];
    // A function without a name could never be called; the file is likely something else.
    const bool named = function.is_object() && function.contains("name") && function["name"].is_string();
    if (!named) fail(where, ": tools[", i, "] is not a function with a \"name\"");
    if (!bare) continue;
    nlohmann::ordered_json wrapped;
    wrapped["type"] = "function";
    wrapped["function"] = std::move(tools[i]);
    tools[i] = std::move(wrapped);
  }
  return tools;
}

/// The same from a file.
inline nlohmann::ordered_json read_tools(const std::filesystem::path& file, const MessageLimits& limits = {}) {
  return tools_from_json(read_text_file(file, limits.max_bytes), file.string(), limits);
}

namespace detail {

/// JSON without commas before } or ].
inline std::string without_trailing_commas(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  std::size_t comma = std::string::npos;  // the place in `out` of one that nothing but blanks followed
  bool in_string = false, escaped = false;
  for (const char c : json) {
    if (!in_string && (c == '}' || c == ']') && comma != std::string::npos) out.erase(comma, 1);
    if (in_string || std::string_view(" \t\r\n").find(c) == std::string_view::npos)
      comma = !in_string && c == ',' ? out.size() : std::string::npos;
    if (c == '"' && !escaped) in_string = !in_string;
    escaped = in_string && c == '\\' && !escaped;
    out += c;
  }
  return out;
}

/// As parse_ordered_json, but tolerates models' most common mistake: a trailing comma.
inline nlohmann::ordered_json parse_generated_json(std::string_view text, std::string_view where) {
  try {
    return parse_ordered_json(text, where);
  } catch (const Error&) {
    const std::string repaired = without_trailing_commas(text);
    if (repaired.size() == text.size()) throw;
    return parse_ordered_json(repaired, where);
  }
}

}  // namespace detail

/// Parses the text between `<tool_call>` and `</tool_call>`, {"name": ..., "arguments": ...}; nullopt if it is
/// something else, with the reason in `error` on one line. Missing arguments mean none.
inline std::optional<ToolCall> tool_call_from_json(std::string_view text, std::string* error = nullptr) {
  const auto refuse = [&](std::string_view why) {
    if (error != nullptr) *error = detail::shown(why, 200);
    return std::nullopt;
  };
  nlohmann::ordered_json json;
  try {
    json = detail::parse_generated_json(text, "a tool call");
  } catch (const Error& wrong) {
    return refuse(wrong.what());  // the model wrote it, so it may be anything
  }
  if (!json.is_object()) return refuse(concat("a tool call must be an object, is ", json.type_name()));
  const auto name = json.find("name");
  if (name == json.end() || !name->is_string()) return refuse("a tool call has no \"name\" that is a string");
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
