/// Reading JSON from files that may be anything.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "qwen3vl/error.hpp"

namespace qwen3vl {

/// How much JSON is read, and how deeply it may nest (the parser recurses when a value is destroyed).
struct JsonLimits {
  std::size_t max_bytes = 100'000'000;
  int max_depth = 100;
};

/// Parses JSON; `name` is for messages. Throws Error for malformed, too deep or repeated keys in one object.
inline nlohmann::json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits = {}) {
  using nlohmann::json;
  if (text.size() > limits.max_bytes)
    fail(name, " has ", text.size(), " bytes, more than the limit of ", limits.max_bytes);
  try {
    return json::parse(text, [&](int depth, json::parse_event_t, json&) {
      if (depth > limits.max_depth) fail(name, " nests deeper than ", limits.max_depth, " levels");
      return true;
    });
  } catch (const json::exception& error) {
    fail(name, " is not valid JSON: ", error.what());
  }
}

/// The whole of a text file. Throws Error if it cannot be read or has more than `max_bytes`.
inline std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes = 100'000'000) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) fail("cannot open ", path.string(), ": no such file");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail("cannot open ", path.string());
  std::string text;
  char buffer[65536];
  while (stream.read(buffer, sizeof buffer) || stream.gcount() > 0) {
    text.append(buffer, static_cast<std::size_t>(stream.gcount()));
    if (text.size() > max_bytes) fail(path.string(), " is larger than the limit of ", max_bytes, " bytes");
  }
  if (stream.bad()) fail("cannot read ", path.string());
  return text;
}

inline nlohmann::json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {}) {
  return parse_json(read_text_file(path, limits.max_bytes), path.string(), limits);
}

}  // namespace qwen3vl
