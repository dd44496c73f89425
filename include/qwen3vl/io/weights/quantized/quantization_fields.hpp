/// Reading quantisation settings: fields that count, fields that change nothing, and no others.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/json/fields.hpp"

namespace qwen3vl::detail {

/// Throws Error if `fields` has one that is in neither list and set: to something else than null, false, "" or nothing.
inline void require_known(const JsonFields& fields, std::span<const std::string_view> used,
                          std::span<const std::string_view> unused) {
  for (const auto& [name, value] : fields.object().items()) {
    const bool known = std::ranges::find(used, name) != used.end() || std::ranges::find(unused, name) != unused.end();
    const bool is_set = !value.is_null() && value != nlohmann::json(false) && value != nlohmann::json("") &&
                        !((value.is_object() || value.is_array()) && value.empty());
    if (!known && is_set)
      fail(fields.place(shown(name)), " is a setting of quantisation that is not known here; it is ",
           shown(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace), 60));
  }
}

/// Throws Error unless a string is one of these; a missing one is the first.
inline std::string one_of(const JsonFields& fields, std::string_view name, std::span<const std::string_view> values) {
  std::string value(values.front());
  fields.read(name, value);
  std::ranges::transform(value, value.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (std::ranges::find(values, value) != values.end()) return value;
  std::string wanted;
  for (const std::string_view one : values) wanted += concat(wanted.empty() ? "" : ", ", one);
  fields.wrong(name, values.size() == 1 ? wanted : "one of " + wanted);
}
inline std::string one_of(const JsonFields& fields, std::string_view name,
                          std::initializer_list<std::string_view> values) {
  return one_of(fields, name, std::span(values.begin(), values.size()));
}

/// A list of strings; none where it is missing or null.
inline std::vector<std::string> strings(const JsonFields& fields, std::string_view name) {
  std::vector<std::string> list;
  const nlohmann::json* const found = fields.find(name);
  if (found == nullptr) return list;
  if (!found->is_array()) fields.wrong(name, "a list of strings");
  for (const nlohmann::json& item : *found) {
    if (!item.is_string()) fields.wrong(name, "a list of strings");
    list.push_back(item.get<std::string>());
  }
  return list;
}

/// Throws Error if a field that would change how weights are read is set.
inline void require_unset(const JsonFields& fields, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    const nlohmann::json* const value = fields.find(name);
    if (value == nullptr || *value == nlohmann::json(false) ||
        ((value->is_object() || value->is_array()) && value->empty()))
      continue;
    fields.wrong(name, "none: this is not read");
  }
}

}  // namespace qwen3vl::detail
