/// The byte-level alphabet of GPT-2: each of the 256 bytes is written as one printable character, so that a vocabulary
/// can be stored as text ("Ġthe" is " the"). Source: openai/gpt-2 `bytes_to_unicode`.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "qwen3vl/base/utf8.hpp"

namespace qwen3vl::byte_level {

namespace detail {

/// Printable Latin-1 characters stand for themselves; the 68 other bytes are U+0100.. in order.
constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<char16_t, 256> character{};      // byte -> character
  std::array<std::int16_t, 256 + 68> byte{};  // character -> byte, or -1

  constexpr Alphabet() {
    byte.fill(-1);
    unsigned next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const unsigned c = stands_for_itself(b) ? b : next++;
      character[b] = static_cast<char16_t>(c);
      byte[c] = static_cast<std::int16_t>(b);
    }
  }
};

inline constexpr Alphabet alphabet;

}  // namespace detail

/// The text that stands for `bytes` in a vocabulary.
inline std::string to_text(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) utf8::append(out, detail::alphabet.character[static_cast<unsigned char>(b)]);
  return out;
}

/// The bytes that a vocabulary entry stands for, or nothing when it has a character outside the alphabet.
inline std::optional<std::string> to_bytes(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Step step = utf8::decode(text.substr(i));
    if (!step.valid || step.code_point >= detail::alphabet.byte.size()) return std::nullopt;
    const int byte = detail::alphabet.byte[step.code_point];
    if (byte < 0) return std::nullopt;
    out += static_cast<char>(byte);
    i += step.length;
  }
  return out;
}

}  // namespace qwen3vl::byte_level
