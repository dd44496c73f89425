/// Typed access to fields of a JSON object, with errors that name the field.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// The string `object[key]`; throws Error if it is missing or something else. `where` names the object.
inline std::string json_string(const nlohmann::json& object, const char* key, const std::string& where) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_string()) fail(where, ".", key, ": must be a string");
  return at->get<std::string>();
}

/// The boolean `object[key]`, `fallback` if it is missing or null; throws Error if it is something else.
inline bool json_bool(const nlohmann::json& object, const char* key, bool fallback, const std::string& where) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return fallback;
  if (!at->is_boolean()) fail(where, ".", key, ": must be true or false");
  return at->get<bool>();
}

/// The `type` of a part of tokenizer.json.
inline std::string json_type(const nlohmann::json& object, const std::string& where) {
  if (!object.is_object()) fail(where, ": must be an object with a type");
  return json_string(object, "type", where);
}

}  // namespace qwen3vl
