/// Values of a GGUF file's metadata, and the reader of its header: every length is checked against the file before it
/// is used, and nothing is copied.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/file_limits.hpp"
#include "qwen3vl/base/utf8.hpp"

namespace qwen3vl {

/// As numbered in files.
enum class GgufValueType : std::uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};

constexpr std::string_view name_of(GgufValueType type) {
  constexpr std::string_view names[] = {"UINT8", "INT8",   "UINT16", "INT16",  "UINT32", "INT32",  "FLOAT32",
                                        "BOOL",  "STRING", "ARRAY",  "UINT64", "INT64",  "FLOAT64"};
  return names[static_cast<std::uint32_t>(type)];
}

/// A checked value: a view of the mapped file.
struct GgufValue {
  GgufValueType type = GgufValueType::uint8;
  GgufValueType element = GgufValueType::uint8;  ///< of an array
  std::uint64_t count = 1;                       ///< of an array
  std::span<const std::byte> bytes;              ///< of a number, a string's characters, an array's elements
};

namespace detail {

/// Calls `f` with a value of the number type. Strings and arrays are none.
template <class F>
decltype(auto) visit_number(GgufValueType type, F&& f) {
  switch (type) {
    case GgufValueType::uint8:
    case GgufValueType::boolean:
      return f(std::uint8_t{});
    case GgufValueType::int8:
      return f(std::int8_t{});
    case GgufValueType::uint16:
      return f(std::uint16_t{});
    case GgufValueType::int16:
      return f(std::int16_t{});
    case GgufValueType::uint32:
      return f(std::uint32_t{});
    case GgufValueType::int32:
      return f(std::int32_t{});
    case GgufValueType::uint64:
      return f(std::uint64_t{});
    case GgufValueType::int64:
      return f(std::int64_t{});
    case GgufValueType::float64:
      return f(double{});
    default:
      return f(float{});
  }
}

/// Reads a file's header in order. An error says what was being read: `reading`, which the caller keeps up to date.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, const std::string& file, const GgufLimits& limits)
      : bytes_(bytes), file_(file), limits_(limits) {}

  std::string reading = "its beginning";

  std::size_t position() const { return position_; }

  template <class... Parts>
  [[noreturn]] void broken(const Parts&... parts) const {
    fail(file_, " is not a valid GGUF file: ", parts..., "; download it again");
  }
  template <class... Parts>
  [[noreturn]] void over_limit(const Parts&... parts) const {
    fail(file_, " has ", parts...);
  }

  std::span<const std::byte> take(std::uint64_t size) {
    const std::size_t left = bytes_.size() - position_;
    if (size > left) broken(reading, " needs ", size, " bytes at ", position_, ", but the file ends after ", left);
    if (size > limits_.max_header_bytes - std::min(limits_.max_header_bytes, position_))
      over_limit("a header of more bytes than the limit of ", limits_.max_header_bytes,
                 " (GgufLimits::max_header_bytes): ", reading, " needs ", size, " at ", position_);
    const auto part = bytes_.subspan(position_, static_cast<std::size_t>(size));
    position_ += part.size();
    return part;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);  // little-endian, as every supported host is
    return value;
  }
  std::string_view string() {
    const auto bytes = take(number<std::uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// A name that messages can repeat as it is. C programs end names at a zero byte: two of them could be one there.
  std::string_view name() {
    const std::string_view name = string();
    if (name.empty()) broken(reading, " has an empty name");
    if (name.size() > limits_.max_name_bytes)
      over_limit("a name of ", name.size(), " bytes, over the limit of ", limits_.max_name_bytes,
                 " (GgufLimits::max_name_bytes): that of ", reading);
    if (utf8::valid_prefix(name) != name.size() ||
        std::ranges::any_of(name, [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }))
      broken(reading, " has a name with characters that cannot be printed: ", shown(name));
    return name;
  }
  /// The type of a value, and the value.
  GgufValue value() { return value(value_type(), 0); }

 private:
  GgufValueType value_type() {
    const auto type = number<std::uint32_t>();
    if (type > static_cast<std::uint32_t>(GgufValueType::float64))
      broken(reading, " has the value type ", type, ", which is not known");
    return static_cast<GgufValueType>(type);
  }

  static std::uint64_t size_of_number(GgufValueType type) {
    return visit_number(type, [](auto number) { return std::uint64_t{sizeof number}; });
  }

  GgufValue value(GgufValueType type, std::size_t depth) {
    GgufValue value{.type = type, .bytes = {}};
    if (type == GgufValueType::string) {
      const std::string_view text = string();
      value.bytes = std::as_bytes(std::span(text));
    } else if (type == GgufValueType::array) {
      elements(value, depth + 1);
    } else {
      value.bytes = take(size_of_number(type));
      if (type == GgufValueType::boolean) check_booleans(value.bytes);
    }
    return value;
  }

  void elements(GgufValue& value, std::size_t depth) {
    if (depth > limits_.max_array_depth)
      over_limit("arrays in arrays deeper than the limit of ", limits_.max_array_depth,
                 " (GgufLimits::max_array_depth): ", reading);
    value.element = value_type();
    value.count = number<std::uint64_t>();
    const bool is_string = value.element == GgufValueType::string, is_array = value.element == GgufValueType::array;
    // What an element takes at least: a string its length, an array its type and count.
    const std::uint64_t least = is_string ? 8 : is_array ? 12 : size_of_number(value.element);
    const std::size_t begin = position_, left = bytes_.size() - begin;
    if (value.count > left / least)
      broken(reading, " has ", value.count, " elements, but the file ends after ", left, " bytes");
    if (is_string) {
      for (std::uint64_t i = 0; i < value.count; ++i) string();
    } else if (is_array) {
      for (std::uint64_t i = 0; i < value.count; ++i) this->value(GgufValueType::array, depth);
    } else {
      const auto bytes = take(value.count * least);
      if (value.element == GgufValueType::boolean) check_booleans(bytes);
    }
    value.bytes = bytes_.subspan(begin, position_ - begin);
  }

  void check_booleans(std::span<const std::byte> bytes) const {
    if (std::ranges::any_of(bytes, [](std::byte byte) { return byte > std::byte{1}; }))
      broken(reading, " has a BOOL that is neither 0 nor 1");
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  const GgufLimits& limits_;
  std::size_t position_ = 0;
};

}  // namespace detail
}  // namespace qwen3vl
