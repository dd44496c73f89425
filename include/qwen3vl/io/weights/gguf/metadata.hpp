/// The metadata of a GGUF file by key: getters that check type and range and name the key and the file if they fail.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/io/weights/gguf/value.hpp"

namespace qwen3vl {

/// Views of the mapped file: valid as long as that is.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string file) : file_(std::move(file)) {}

  /// Whether there was none of this key.
  bool add(std::string_view key, const GgufValue& value) { return values_.emplace(key, value).second; }

  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// The value as it is stored, or nullptr.
  const GgufValue* find(std::string_view key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
  }
  /// All, sorted by key.
  const std::map<std::string_view, GgufValue>& values() const { return values_; }

  // Each throws Error if there is no such key, if its value is of another kind, or outside of the range.

  /// Valid UTF-8.
  std::string_view string(std::string_view key) const {
    const GgufValue& value = get(key, GgufValueType::string, "a string");
    return text(key, value.bytes);
  }
  bool boolean(std::string_view key) const { return get(key, GgufValueType::boolean, "BOOL").bytes[0] != std::byte{0}; }
  /// Of any integer type. No BOOL.
  template <class T = std::int64_t>
  T integer(std::string_view key, T least = std::numeric_limits<T>::lowest(),
            T most = std::numeric_limits<T>::max()) const {
    const GgufValue& value = get(key);
    if (!is_integer(value.type)) wrong(key, value, "an integer");
    return integer_at(key, value.type, value.bytes.data(), least, most);
  }
  /// FLOAT32, FLOAT64, or an integer; finite.
  double number(std::string_view key) const {
    const GgufValue& value = get(key);
    if (!is_number(value.type)) wrong(key, value, "a number");
    return number_at(key, value.type, value.bytes.data());
  }

  /// Views of the file, each valid UTF-8.
  std::vector<std::string_view> strings(std::string_view key) const {
    const GgufValue& value = get_array(key, "strings");
    if (value.element != GgufValueType::string) wrong(key, value, "an array of strings");
    std::vector<std::string_view> all;
    all.reserve(static_cast<std::size_t>(value.count));
    const std::byte* at = value.bytes.data();
    for (std::uint64_t i = 0; i < value.count; ++i) {
      std::uint64_t size;
      std::memcpy(&size, at, sizeof size);
      all.push_back(text(key, {at + sizeof size, static_cast<std::size_t>(size)}));
      at += sizeof size + size;
    }
    return all;
  }
  template <class T = std::int64_t>
  std::vector<T> integers(std::string_view key, T least = std::numeric_limits<T>::lowest(),
                          T most = std::numeric_limits<T>::max()) const {
    const GgufValue& value = get_array(key, "integers");
    if (!is_integer(value.element)) wrong(key, value, "an array of integers");
    return each<T>(value, [&](const std::byte* at) { return integer_at(key, value.element, at, least, most); });
  }
  std::vector<double> numbers(std::string_view key) const {
    const GgufValue& value = get_array(key, "numbers");
    if (!is_number(value.element)) wrong(key, value, "an array of numbers");
    return each<double>(value, [&](const std::byte* at) { return number_at(key, value.element, at); });
  }
  std::vector<bool> booleans(std::string_view key) const {
    const GgufValue& value = get_array(key, "BOOL");
    if (value.element != GgufValueType::boolean) wrong(key, value, "an array of BOOL");
    return each<bool>(value, [](const std::byte* at) { return *at != std::byte{0}; });
  }

 private:
  static bool is_integer(GgufValueType type) {
    return is_number(type) && type != GgufValueType::float32 && type != GgufValueType::float64;
  }
  static bool is_number(GgufValueType type) {
    return type != GgufValueType::string && type != GgufValueType::array && type != GgufValueType::boolean;
  }

  const GgufValue& get(std::string_view key) const {
    const GgufValue* const value = find(key);
    if (value == nullptr) fail(file_, " has no ", key);
    return *value;
  }
  const GgufValue& get(std::string_view key, GgufValueType type, std::string_view wanted) const {
    const GgufValue& value = get(key);
    if (value.type != type) wrong(key, value, wanted);
    return value;
  }
  const GgufValue& get_array(std::string_view key, std::string_view of) const {
    return get(key, GgufValueType::array, concat("an array of ", of));
  }
  [[noreturn]] void wrong(std::string_view key, const GgufValue& value, std::string_view wanted) const {
    const bool is_array = value.type == GgufValueType::array;
    fail(file_, ": ", key, " is ", name_of(value.type), is_array ? " of " : "",
         is_array ? name_of(value.element) : std::string_view{}, ", wanted ", wanted);
  }

  std::string_view text(std::string_view key, std::span<const std::byte> bytes) const {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (utf8::valid_prefix(text) != text.size())
      fail(file_, ": ", key, " holds a string that is not UTF-8: ", detail::shown(text));
    return text;
  }
  template <class T>
  T integer_at(std::string_view key, GgufValueType type, const std::byte* at, T least, T most) const {
    return detail::visit_number(type, [&](auto number) -> T {
      std::memcpy(&number, at, sizeof number);
      if constexpr (std::is_integral_v<decltype(number)>) {
        if (std::cmp_less(number, least) || std::cmp_greater(number, most))
          fail(file_, ": ", key, " is ", number, ", wanted a number from ", least, " to ", most);
      }
      return static_cast<T>(number);
    });
  }
  double number_at(std::string_view key, GgufValueType type, const std::byte* at) const {
    const double value = detail::visit_number(type, [&](auto number) {
      std::memcpy(&number, at, sizeof number);
      return static_cast<double>(number);
    });
    if (!std::isfinite(value)) fail(file_, ": ", key, " is ", value, ", wanted a finite number");
    return value;
  }
  template <class T, class F>
  static std::vector<T> each(const GgufValue& value, const F& f) {
    std::vector<T> all;
    all.reserve(static_cast<std::size_t>(value.count));
    const std::size_t size = value.count == 0 ? 0 : value.bytes.size() / static_cast<std::size_t>(value.count);
    for (std::size_t i = 0; i < value.count; ++i) all.push_back(f(value.bytes.data() + i * size));
    return all;
  }

  std::string file_;
  std::map<std::string_view, GgufValue> values_;
};

}  // namespace qwen3vl
