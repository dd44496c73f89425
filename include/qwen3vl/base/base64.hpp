/// Base64 (RFC 4648), and data URLs (RFC 2397) made of it. Errors show no more than the beginning of the text: it may
/// be megabytes long, and private.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {
namespace detail {

/// The beginning of a long text for an error: "iVBORw0KGgoAAAAN... (12345 characters)".
inline std::string shortened(std::string_view text, std::size_t longest = 40) {
  if (text.size() <= longest) return shown(text);
  return concat(shown(text, longest), " (", text.size(), " characters)");
}

/// Value of each character: 0 to 63, or one of the below.
inline constexpr std::uint8_t base64_space = 64, base64_padding = 65, base64_unknown = 66;
inline constexpr std::array<std::uint8_t, 256> base64_values = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(base64_unknown);
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < digits.size(); ++i)
    values[static_cast<unsigned char>(digits[i])] = static_cast<std::uint8_t>(i);
  values['-'] = 62;  // the alphabet for URLs
  values['_'] = 63;
  for (const char c : {' ', '\t', '\r', '\n'}) values[static_cast<unsigned char>(c)] = base64_space;
  values['='] = base64_padding;
  return values;
}();

}  // namespace detail

/// The bytes of base64 in the ordinary alphabet or that for URLs, with white space anywhere and with or without
/// padding. Throws Error that begins with `place`.
inline std::string decode_base64(std::string_view text, std::string_view place) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t bits = 0;
  std::size_t digits = 0, padding = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::uint8_t value = detail::base64_values[static_cast<unsigned char>(text[i])];
    if (value == detail::base64_space) continue;
    if (value == detail::base64_padding) {
      ++padding;
      continue;
    }
    if (value == detail::base64_unknown)
      fail(place, " is not base64: character ", i, " of ", text.size(), " is '", detail::shown(text.substr(i, 1)),
           "'; it begins with ", detail::shortened(text));
    if (padding > 0) fail(place, " is not base64: it goes on after the padding, at character ", i, " of ", text.size());
    bits = bits << 6 | value;
    if (++digits % 4 == 0)
      for (const int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xff);
  }
  const std::size_t rest = digits % 4;
  if (rest == 1 || padding > 2 || (padding > 0 && (rest + padding) % 4 != 0))
    fail(place, " is not base64: ", digits, " characters and ", padding,
         " of padding are no whole number of bytes; is it cut off?");
  if (rest >= 2) bytes += static_cast<char>(bits >> (rest == 2 ? 4 : 10) & 0xff);
  if (rest == 3) bytes += static_cast<char>(bits >> 2 & 0xff);
  return bytes;
}

inline bool is_data_url(std::string_view text) {
  return text.size() >= 5 && (text.starts_with("data:") || text.starts_with("DATA:") || text.starts_with("Data:"));
}

/// The bytes of `data:image/png;base64,...`; the media type is not looked at. Data are taken as base64 even if
/// ";base64" is missing, as transformers does. Throws Error that begins with `place`.
inline std::string decode_data_url(std::string_view url, std::string_view place) {
  // The parts before the comma are short; a comma far behind is not theirs.
  const std::size_t comma = url.substr(0, 1024).find(',');
  if (comma == std::string_view::npos)
    fail(place, ": a data URL without a comma before its data: ", detail::shortened(url));
  std::string_view data = url.substr(comma + 1);
  if (data.find('%') == std::string_view::npos) return decode_base64(data, concat(place, ": the data URL"));
  // "+", "/" and "=" may be written %2B, %2F and %3D.
  std::string plain;
  plain.reserve(data.size());
  const auto nibble = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  for (std::size_t i = 0; i < data.size(); ++i) {
    const bool escape = data[i] == '%' && i + 2 < data.size() && nibble(data[i + 1]) >= 0 && nibble(data[i + 2]) >= 0;
    plain += escape ? static_cast<char>(nibble(data[i + 1]) * 16 + nibble(data[i + 2])) : data[i];
    if (escape) i += 2;
  }
  return decode_base64(plain, concat(place, ": the data URL"));
}

}  // namespace qwen3vl
