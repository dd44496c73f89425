/// Reads JSON from untrusted files.
#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/pending_file.hpp"

namespace qwen3vl {

/// Limits of JSON files.
struct JsonLimits {
  std::size_t max_bytes = 100'000'000;
  int max_depth = 100;       ///< levels of objects and arrays
  bool unique_keys = false;  ///< refuse duplicate keys in an object; otherwise the last one wins, as in Python
};

/// Parses JSON; `name` is for messages. Throws Error if it is malformed or beyond the limits.
inline nlohmann::json parse_json(std::string_view text, const std::string& name, const JsonLimits& limits = {}) {
  using nlohmann::json;
  using Event = json::parse_event_t;
  if (text.size() > limits.max_bytes)
    fail(name, " has ", text.size(), " bytes, more than the limit of ", limits.max_bytes, " (JsonLimits::max_bytes)");
  // The parser takes this byte for the end of the text and would ignore the rest.
  if (text.find('\0') != std::string_view::npos) fail(name, " is not valid JSON: it contains a zero byte");
  std::vector<std::set<std::string>> keys;  // of each open object
  const auto check = [&](int depth, Event event, json& value) {
    if ((event == Event::object_start || event == Event::array_start) && depth >= limits.max_depth)
      fail(name, " nests deeper than ", limits.max_depth, " levels (JsonLimits::max_depth)");
    if (!limits.unique_keys) return true;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second)
      fail(name, " has the key '", detail::shown(value.get<std::string>()), "' twice in one object");
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    fail(name, " is not valid JSON: ", detail::shown(error.what(), 200));
  }
}

/// The whole of a text file. Throws Error if it cannot be read or has more than `max_bytes`.
inline std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes = 100'000'000) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    fail("cannot open ", path.string(), ": it is not a file");
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) detail::fail_on_file("open", path.string());
  std::string text;
  char buffer[65536];
  while (stream.read(buffer, sizeof buffer) || stream.gcount() > 0) {
    text.append(buffer, static_cast<std::size_t>(stream.gcount()));
    if (text.size() > max_bytes) fail(path.string(), " is larger than the limit of ", max_bytes, " bytes");
  }
  if (stream.bad()) detail::fail_on_file("read", path.string());
  return text;
}

inline nlohmann::json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {}) {
  return parse_json(read_text_file(path, limits.max_bytes), path.string(), limits);
}

/// Writes `json` as transformers writes its settings: two spaces, sorted keys (of nlohmann::json), a line break at the
/// end. The file appears whole or not at all. Throws Error.
inline void write_json_file(const std::filesystem::path& path, const nlohmann::json& json) {
  const std::string text = json.dump(2) + "\n";
  detail::PendingFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace qwen3vl
