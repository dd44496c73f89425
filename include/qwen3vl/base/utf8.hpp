/// UTF-8: decoding one character at a time, validation, and the lossy repair that Python's `errors="replace"` and
/// Rust's `from_utf8_lossy` do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace qwen3vl::utf8 {

/// U+FFFD, what invalid bytes are replaced by.
inline constexpr std::string_view replacement = "\xEF\xBF\xBD";

/// One decoding step. When `valid` is false, `length` bytes are a maximal invalid subsequence (Unicode 14, 3.9, "U+FFFD
/// Substitution of Maximal Subparts"), and `truncated` says that they are a correct beginning cut off by the end.
struct Step {
  char32_t code_point = 0;
  std::uint8_t length = 1;
  bool valid = false;
  bool truncated = false;
};

/// Decodes the character at the start of `text`, which must not be empty.
inline Step decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const std::uint8_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte carries the checks for overlong forms, surrogates and code points above U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code_point = lead & (0xFFu >> (length + 1));
  for (std::uint8_t i = 1; i < length; ++i) {
    if (i >= text.size()) return {0, i, false, true};
    const unsigned next = byte(i);
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xBF)) return {0, i, false, false};
    code_point = (code_point << 6) | (next & 0x3F);
  }
  return {code_point, length, true, false};
}

/// Decodes the last character of `text`, which must be valid UTF-8 and not empty.
inline char32_t decode_last(std::string_view text) {
  std::size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return decode(text.substr(start)).code_point;
}

/// Length in bytes of the longest prefix of ASCII bytes.
inline std::size_t ascii_prefix(std::string_view text) {
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t chunk;
    std::memcpy(&chunk, text.data() + i, 8);
    if (chunk & 0x8080808080808080u) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

/// Length in bytes of the longest valid prefix of `text`.
inline std::size_t valid_prefix(std::string_view text) {
  std::size_t i = 0;
  while (true) {
    i += ascii_prefix(text.substr(i));
    if (i == text.size()) return i;
    while (i < text.size() && static_cast<unsigned char>(text[i]) >= 0x80) {
      const Step step = decode(text.substr(i));
      if (!step.valid) return i;
      i += step.length;
    }
  }
}

/// Appends one code point, which must be a Unicode scalar value.
inline void append(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

/// Appends `bytes` with each maximal invalid subsequence replaced by U+FFFD. With `keep_truncated`, a character cut off
/// at the end is left alone; returns the number of bytes consumed.
inline std::size_t append_lossy(std::string& out, std::string_view bytes, bool keep_truncated = false) {
  std::size_t i = 0;
  while (i < bytes.size()) {
    const std::size_t good = valid_prefix(bytes.substr(i));
    out.append(bytes.substr(i, good));
    i += good;
    if (i == bytes.size()) break;
    const Step step = decode(bytes.substr(i));
    if (step.truncated && keep_truncated) break;
    out += replacement;
    i += step.length;
  }
  return i;
}

/// `bytes` as valid UTF-8, each maximal invalid subsequence replaced by U+FFFD.
inline std::string lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  append_lossy(out, bytes);
  return out;
}

/// `text` for an error message: quoted, on one line, control and invalid bytes escaped, cut after `limit` bytes.
inline std::string quoted(std::string_view text, std::size_t limit = 60) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out = "\"";
  std::size_t i = 0;
  while (i < text.size() && i < limit) {
    const Step step = decode(text.substr(i));
    if (step.valid && step.code_point >= 0x20 && step.code_point != 0x7F && !(step.code_point >> 5 == 4)) {
      out.append(text.substr(i, step.length));
    } else {
      for (std::size_t k = i; k < i + step.length; ++k) {
        const auto byte = static_cast<unsigned char>(text[k]);
        out += "\\x";
        out += digits[byte >> 4];
        out += digits[byte & 15];
      }
    }
    i += step.length;
  }
  return out + (i < text.size() ? "...\"" : "\"");
}

}  // namespace qwen3vl::utf8
