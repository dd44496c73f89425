/// Reading JSON objects field by field, with errors that name the file and the field and show what is there.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"

namespace qwen3vl {

/// The value of `key` (of nlohmann's json or ordered_json); nullptr where it is missing or null.
template <class Json>
const Json* find_value(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// Throws Error: `config.json: text_config.hidden_size is "4096", wanted an integer`.
template <class Json>
[[noreturn]] void wrong_value(std::string_view place, const Json& value, std::string_view wanted) {
  const std::string found = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  fail(place, " is ", detail::shown(found, 60), ", wanted ", wanted);
}

/// The fields of one object, which must outlive this. Unless noted otherwise, a missing or null field leaves the
/// variable unchanged, and any other value of the wrong type or range is an Error.
class JsonFields {
 public:
  /// `where` names the object, `separator` stands between that and the name of a field: "config.json: text_config.".
  JsonFields(const nlohmann::json& object, std::string where, std::string_view separator = ": ")
      : object_(object), where_(std::move(where)), separator_(separator) {
    if (!object_.is_object()) fail(where_, " is not a JSON object");
  }

  const std::string& where() const { return where_; }
  const nlohmann::json& object() const { return object_; }
  /// How errors name a field.
  std::string place(std::string_view name) const { return concat(where_, separator_, name); }
  const nlohmann::json* find(std::string_view name) const { return find_value(object_, name); }
  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Whether the field is there, and null.
  bool is_null(std::string_view name) const { return object_.contains(name) && !has(name); }
  /// The fields of an object inside; of an empty one where it is missing or null.
  JsonFields section(std::string_view name) const {
    static const nlohmann::json empty = nlohmann::json::object();
    const nlohmann::json* const found = find(name);
    return {found != nullptr ? *found : empty, place(name), "."};
  }

  void read(std::string_view name, bool& value) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    if (!found->is_boolean()) wrong(name, "true or false");
    value = found->get<bool>();
  }

  void read(std::string_view name, std::string& value) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    if (!found->is_string()) wrong(name, "a string");
    value = found->get<std::string>();
  }

  template <std::integral T>
  requires(!std::same_as<T, bool>) void read(std::string_view name, T& value, Range range) const {
    if (const nlohmann::json* const found = find(name)) value = static_cast<T>(integer(name, *found, range));
  }

  template <std::floating_point T>
  void read(std::string_view name, T& value, Range range = {}) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    const double number = found->is_number() ? found->get<double>() : std::numeric_limits<double>::quiet_NaN();
    constexpr double most = std::numeric_limits<T>::max();
    if (!range.has(number) || number > most || number < -most)
      wrong(name, range.text() == "finite" ? "a number" : "a number " + range.text());
    value = static_cast<T>(number);
  }

  /// Null is none.
  template <class T>
  void read(std::string_view name, std::optional<T>& value, Range range) const {
    if (is_null(name)) value.reset();
    if (!has(name)) return;
    T found{};
    read(name, found, range);
    value = found;
  }

  /// One integer or a list of them.
  void read(std::string_view name, std::vector<std::int32_t>& values, Range range) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    values.clear();
    const auto add = [&](const nlohmann::json& item) {
      values.push_back(static_cast<std::int32_t>(integer(name, item, range)));
    };
    if (!found->is_array()) return add(*found);
    for (const nlohmann::json& item : *found) add(item);
  }

  /// A list of `least` to `most` numbers; a number is a list of one, where that is the least.
  void read(std::string_view name, std::vector<double>& values, std::size_t least, std::size_t most) const {
    const nlohmann::json* const found = find(name);
    if (found == nullptr) return;
    if (found->is_number() && least == 1) {
      values = {found->get<double>()};
      return;
    }
    const auto is_number = [](const nlohmann::json& item) { return item.is_number(); };
    if (!found->is_array() || found->size() < least || found->size() > most ||
        !std::all_of(found->begin(), found->end(), is_number))
      wrong(name, concat("a list of ", least, " to ", most, " numbers"));
    values = found->get<std::vector<double>>();
  }

  /// The field of an option, by its name and range.
  template <class T>
  void read(const Option& option, T& value) const {
    if constexpr (requires { read(option.name, value, option.range); }) {
      read(option.name, value, option.range);
    } else {
      read(option.name, value);
    }
  }

  /// A string that must be there.
  std::string string(std::string_view name) const {
    if (!has(name)) fail(place(name), " is missing, wanted a string");
    std::string value;
    read(name, value);
    return value;
  }

  /// A boolean, `fallback` if it is missing or null.
  bool boolean(std::string_view name, bool fallback) const {
    read(name, fallback);
    return fallback;
  }

  /// `item`, of the field `name`, as an integer; from none upwards, at most what 31 bits hold.
  std::int64_t integer(std::string_view name, const nlohmann::json& item, Range range) const {
    if (range.is_open()) range.highest = std::numeric_limits<std::int32_t>::max();
    range.lowest = std::max(range.lowest, double{std::numeric_limits<std::int32_t>::min()});
    const auto lowest = static_cast<std::int64_t>(range.lowest), highest = static_cast<std::int64_t>(range.highest);
    const bool fits = item.is_number_unsigned() ? item.get<std::uint64_t>() <= static_cast<std::uint64_t>(highest)
                                                : item.is_number_integer();
    const std::int64_t value = fits ? item.get<std::int64_t>() : 0;
    if (!fits || value < lowest || value > highest) wrong(name, concat("an integer from ", lowest, " to ", highest));
    return value;
  }

  /// Throws Error about a field that is there.
  [[noreturn]] void wrong(std::string_view name, std::string_view wanted) const {
    wrong_value(place(name), *object_.find(name), wanted);
  }

 private:
  const nlohmann::json& object_;
  std::string where_;
  std::string_view separator_;
};

}  // namespace qwen3vl
