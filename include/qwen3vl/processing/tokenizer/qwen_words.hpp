/// Hand-written word splitting of Qwen's tokenizers, for words decided by ASCII bytes alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace qwen3vl::detail {

/// The one pattern that `qwen_ascii_word` stands for.
inline constexpr std::string_view qwen_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class AsciiClass : std::uint8_t { letter, digit, space, newline, other, not_ascii };

inline constexpr auto ascii_classes = [] {
  std::array<AsciiClass, 256> classes{};
  for (unsigned c = 0; c < 256; ++c) {
    const unsigned lower = c | 0x20;
    classes[c] = c >= 0x80                                         ? AsciiClass::not_ascii
                 : lower >= 'a' && lower <= 'z'                    ? AsciiClass::letter
                 : c >= '0' && c <= '9'                            ? AsciiClass::digit
                 : c == '\r' || c == '\n'                          ? AsciiClass::newline
                 : c == ' ' || c == '\t' || c == '\v' || c == '\f' ? AsciiClass::space
                                                                   : AsciiClass::other;
  }
  return classes;
}();

/// Where the match of `qwen_pattern` that starts at `start` (< text.size()) ends; 0 if a non-ASCII character affects
/// it, so that the regex must decide. The alternatives of the pattern are tried in order; each comment names the one (1
/// to 7) that matches.
inline std::size_t qwen_ascii_word(std::string_view text, std::size_t start) {
  constexpr std::size_t undecided = 0;
  const auto class_at = [&](std::size_t i) { return ascii_classes[static_cast<unsigned char>(text[i])]; };
  const auto is = [&](std::size_t i, AsciiClass c) { return i < text.size() && class_at(i) == c; };
  // 2, from the first letter on.
  const auto letters = [&](std::size_t i) {
    while (is(i, AsciiClass::letter)) ++i;
    return is(i, AsciiClass::not_ascii) ? undecided : i;
  };
  // 4, from the first character that is no space, letter or digit on.
  const auto others = [&](std::size_t i) {
    while (is(i, AsciiClass::other)) ++i;
    if (is(i, AsciiClass::not_ascii)) return undecided;
    while (is(i, AsciiClass::newline)) ++i;
    return i;
  };
  const std::size_t next = start + 1;
  switch (class_at(start)) {
    case AsciiClass::not_ascii:
      return undecided;
    case AsciiClass::letter:
      return letters(next);
    case AsciiClass::digit:
      return next;  // 3
    case AsciiClass::other:
      if (is(next, AsciiClass::not_ascii)) return undecided;
      if (text[start] == '\'' && is(next, AsciiClass::letter)) {
        const char first = static_cast<char>(text[next] | 0x20);
        if (first == 's' || first == 't' || first == 'm' || first == 'd') return next + 1;  // 1
        if (first == 'r' || first == 'v' || first == 'l') {
          if (is(next + 1, AsciiClass::not_ascii)) return undecided;
          const char second = first == 'l' ? 'l' : 'e';
          if (next + 1 < text.size() && (text[next + 1] | 0x20) == second) return next + 2;  // 1
        }
      }
      return is(next, AsciiClass::letter) ? letters(next) : others(next);
    case AsciiClass::space:
      if (is(next, AsciiClass::letter)) return letters(next);
      if (text[start] == ' ' && is(next, AsciiClass::other)) return others(next);
      break;
    case AsciiClass::newline:
      break;
  }
  // White space: up to and with its last line break (5); else all but its last character, which belongs to the word
  // that follows (6); else all of it (6 at the end of the text, 7 for a single one).
  std::size_t end = start, after_newline = 0;
  for (; end < text.size(); ++end) {
    const AsciiClass c = class_at(end);
    if (c == AsciiClass::newline) {
      after_newline = end + 1;
    } else if (c != AsciiClass::space) {
      break;
    }
  }
  if (is(end, AsciiClass::not_ascii)) return undecided;
  if (after_newline != 0) return after_newline;
  return end == text.size() || end == next ? end : end - 1;
}

}  // namespace qwen3vl::detail
