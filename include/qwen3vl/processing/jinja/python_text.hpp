/// Text as Python's `str` treats it: code points, cases, blanks, repr.
#pragma once

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/utf8.hpp"

namespace qwen3vl::jinja::python {

/// Characters whose upper or title case is more than one character, each before its case (SpecialCasing.txt).
inline constexpr std::u32string_view special_upper =
    U"\u00dfSS \u0149\u02bcN \u01f0J\u030c \u0390\u0399\u0308\u0301 \u03b0\u03a5\u0308\u0301 "
    U"\u0587\u0535\u0552 \u1e96H\u0331 \u1e97T\u0308 \u1e98W\u030a \u1e99Y\u030a \u1e9aA\u02be "
    U"\u1f50\u03a5\u0313 \u1f52\u03a5\u0313\u0300 \u1f54\u03a5\u0313\u0301 \u1f56\u03a5\u0313\u0342 "
    U"\u1f80\u1f08\u0399 \u1f81\u1f09\u0399 \u1f82\u1f0a\u0399 \u1f83\u1f0b\u0399 \u1f84\u1f0c\u0399 "
    U"\u1f85\u1f0d\u0399 \u1f86\u1f0e\u0399 \u1f87\u1f0f\u0399 \u1f88\u1f08\u0399 \u1f89\u1f09\u0399 "
    U"\u1f8a\u1f0a\u0399 \u1f8b\u1f0b\u0399 \u1f8c\u1f0c\u0399 \u1f8d\u1f0d\u0399 \u1f8e\u1f0e\u0399 "
    U"\u1f8f\u1f0f\u0399 \u1f90\u1f28\u0399 \u1f91\u1f29\u0399 \u1f92\u1f2a\u0399 \u1f93\u1f2b\u0399 "
    U"\u1f94\u1f2c\u0399 \u1f95\u1f2d\u0399 \u1f96\u1f2e\u0399 \u1f97\u1f2f\u0399 \u1f98\u1f28\u0399 "
    U"\u1f99\u1f29\u0399 \u1f9a\u1f2a\u0399 \u1f9b\u1f2b\u0399 \u1f9c\u1f2c\u0399 \u1f9d\u1f2d\u0399 "
    U"\u1f9e\u1f2e\u0399 \u1f9f\u1f2f\u0399 \u1fa0\u1f68\u0399 \u1fa1\u1f69\u0399 \u1fa2\u1f6a\u0399 "
    U"\u1fa3\u1f6b\u0399 \u1fa4\u1f6c\u0399 \u1fa5\u1f6d\u0399 \u1fa6\u1f6e\u0399 \u1fa7\u1f6f\u0399 "
    U"\u1fa8\u1f68\u0399 \u1fa9\u1f69\u0399 \u1faa\u1f6a\u0399 \u1fab\u1f6b\u0399 \u1fac\u1f6c\u0399 "
    U"\u1fad\u1f6d\u0399 \u1fae\u1f6e\u0399 \u1faf\u1f6f\u0399 \u1fb2\u1fba\u0399 \u1fb3\u0391\u0399 "
    U"\u1fb4\u0386\u0399 \u1fb6\u0391\u0342 \u1fb7\u0391\u0342\u0399 \u1fbc\u0391\u0399 \u1fc2\u1fca\u0399 "
    U"\u1fc3\u0397\u0399 \u1fc4\u0389\u0399 \u1fc6\u0397\u0342 \u1fc7\u0397\u0342\u0399 \u1fcc\u0397\u0399 "
    U"\u1fd2\u0399\u0308\u0300 \u1fd3\u0399\u0308\u0301 \u1fd6\u0399\u0342 \u1fd7\u0399\u0308\u0342 "
    U"\u1fe2\u03a5\u0308\u0300 \u1fe3\u03a5\u0308\u0301 \u1fe4\u03a1\u0313 \u1fe6\u03a5\u0342 "
    U"\u1fe7\u03a5\u0308\u0342 \u1ff2\u1ffa\u0399 \u1ff3\u03a9\u0399 \u1ff4\u038f\u0399 \u1ff6\u03a9\u0342 "
    U"\u1ff7\u03a9\u0342\u0399 \u1ffc\u03a9\u0399 \ufb00FF \ufb01FI \ufb02FL \ufb03FFI \ufb04FFL \ufb05ST "
    U"\ufb06ST \ufb13\u0544\u0546 \ufb14\u0544\u0535 \ufb15\u0544\u053b \ufb16\u054e\u0546 "
    U"\ufb17\u0544\u053d ";

inline constexpr std::u32string_view special_title =
    U"\u00dfSs \u0149\u02bcN \u01f0J\u030c \u0390\u0399\u0308\u0301 \u03b0\u03a5\u0308\u0301 "
    U"\u0587\u0535\u0582 \u1e96H\u0331 \u1e97T\u0308 \u1e98W\u030a \u1e99Y\u030a \u1e9aA\u02be "
    U"\u1f50\u03a5\u0313 \u1f52\u03a5\u0313\u0300 \u1f54\u03a5\u0313\u0301 \u1f56\u03a5\u0313\u0342 "
    U"\u1fb2\u1fba\u0345 \u1fb4\u0386\u0345 \u1fb6\u0391\u0342 \u1fb7\u0391\u0342\u0345 \u1fc2\u1fca\u0345 "
    U"\u1fc4\u0389\u0345 \u1fc6\u0397\u0342 \u1fc7\u0397\u0342\u0345 \u1fd2\u0399\u0308\u0300 "
    U"\u1fd3\u0399\u0308\u0301 \u1fd6\u0399\u0342 \u1fd7\u0399\u0308\u0342 \u1fe2\u03a5\u0308\u0300 "
    U"\u1fe3\u03a5\u0308\u0301 \u1fe4\u03a1\u0313 \u1fe6\u03a5\u0342 \u1fe7\u03a5\u0308\u0342 "
    U"\u1ff2\u1ffa\u0345 \u1ff4\u038f\u0345 \u1ff6\u03a9\u0342 \u1ff7\u03a9\u0342\u0345 \ufb00Ff \ufb01Fi "
    U"\ufb02Fl \ufb03Ffi \ufb04Ffl \ufb05St \ufb06St \ufb13\u0544\u0576 \ufb14\u0544\u0565 "
    U"\ufb15\u0544\u056b \ufb16\u054e\u0576 \ufb17\u0544\u056d ";
inline utf8proc_int32_t code(char32_t c) { return static_cast<utf8proc_int32_t>(c); }
inline utf8proc_category_t category(char32_t c) { return utf8proc_category(code(c)); }

/// `str.isspace` of a character; also what `strip()` takes away and what white space is in a regular expression.
inline bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}
inline bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}
inline bool is_alpha(char32_t c) {
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}
inline bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
/// Decimals, and the digits in superscripts, circles and so on (Numeric_Type=Digit).
inline bool is_digit(char32_t c) {
  constexpr std::array<std::array<char32_t, 2>, 22> others = {
      {{0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},   {0x2070, 0x2070},
       {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247C},   {0x2488, 0x2490},
       {0x24EA, 0x24EA},   {0x24F5, 0x24FD},   {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},
       {0x278A, 0x2792},   {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A},
       {0x1F100, 0x1F100}, {0x2070, 0x2070}}};
  return is_decimal(c) ||
         std::any_of(others.begin(), others.end(), [&](const auto& range) { return c >= range[0] && c <= range[1]; });
}
inline bool is_cased(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT ||
         utf8proc_toupper(code(c)) != code(c) || utf8proc_tolower(code(c)) != code(c);
}
inline bool is_lower(char32_t c) { return utf8proc_islower(code(c)) != 0 || category(c) == UTF8PROC_CATEGORY_LL; }
inline bool is_upper(char32_t c) { return utf8proc_isupper(code(c)) != 0 || category(c) == UTF8PROC_CATEGORY_LU; }

/// Length of the character at the start of valid text.
inline std::size_t width(std::string_view text) { return utf8::decode(text).length; }

inline std::u32string decode(std::string_view text) {
  std::u32string characters;
  characters.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Step next = utf8::decode(text.substr(i));
    characters += next.valid ? next.code_point : U'\uFFFD';
    i += next.length;
  }
  return characters;
}
inline std::string encode(std::u32string_view characters) {
  std::string text;
  text.reserve(characters.size());
  for (const char32_t c : characters) utf8::append(text, c);
  return text;
}

/// Where the character number `index` begins in `text`, its end if there are fewer.
inline std::size_t byte_of(std::string_view text, std::size_t index, bool is_ascii) {
  if (is_ascii) return std::min(index, text.size());
  std::size_t at = 0;
  while (index-- > 0 && at < text.size()) at += width(text.substr(at));
  return at;
}
inline std::size_t count(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

namespace detail {
inline void append_special(std::u32string& out, char32_t c, std::u32string_view table, utf8proc_int32_t simple) {
  if (c > 0x7F) {
    for (std::size_t at = 0; at < table.size(); at = table.find(U' ', at) + 1) {
      if (table[at] != c) continue;
      out += table.substr(at + 1, table.find(U' ', at) - at - 1);
      return;
    }
  }
  out += static_cast<char32_t>(simple);
}
inline void append_upper(std::u32string& out, char32_t c) {
  append_special(out, c, special_upper, utf8proc_toupper(code(c)));
}
inline void append_title(std::u32string& out, char32_t c) {
  append_special(out, c, special_title, utf8proc_totitle(code(c)));
}
/// A sigma at the end of a word is written differently.
inline bool is_final_sigma(std::u32string_view text, std::size_t at) {
  const auto ignored = [](char32_t c) {
    const auto kind = category(c);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
           kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK || c == U'\'' || c == U'.' || c == U':' ||
           c == U'\u00B7' || c == U'\u2019';
  };
  std::size_t before = at, after = at + 1;
  while (before > 0 && ignored(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  while (after < text.size() && ignored(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}
inline void append_lower(std::u32string& out, std::u32string_view text, std::size_t at) {
  const char32_t c = text[at];
  if (c == 0x130) {
    out += U"i\u0307";
  } else if (c == 0x3A3) {
    out += is_final_sigma(text, at) ? U'\u03C2' : U'\u03C3';
  } else {
    out += static_cast<char32_t>(utf8proc_tolower(code(c)));
  }
}
}  // namespace detail

inline std::string upper(std::string_view text) {
  std::string out(text);
  if (utf8::ascii_prefix(text) == text.size()) {
    for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    return out;
  }
  std::u32string upper;
  for (const char32_t c : decode(text)) detail::append_upper(upper, c);
  return encode(upper);
}

inline std::string lower(std::string_view text) {
  std::string out(text);
  if (utf8::ascii_prefix(text) == text.size()) {
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return out;
  }
  const std::u32string characters = decode(text);
  std::u32string lower;
  for (std::size_t i = 0; i < characters.size(); ++i) detail::append_lower(lower, characters, i);
  return encode(lower);
}

/// `str.title`, or `str.capitalize`, for which all text is one word.
inline std::string title(std::string_view text, bool one_word = false) {
  const std::u32string characters = decode(text);
  std::u32string out;
  bool in_word = false;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    if (in_word) {
      detail::append_lower(out, characters, i);
    } else {
      detail::append_title(out, characters[i]);
    }
    in_word = one_word || is_cased(characters[i]);
  }
  return encode(out);
}

inline std::string swapcase(std::string_view text) {
  const std::u32string characters = decode(text);
  std::u32string out;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    if (is_upper(characters[i])) {
      detail::append_lower(out, characters, i);
    } else if (is_lower(characters[i])) {
      detail::append_upper(out, characters[i]);
    } else {
      out += characters[i];
    }
  }
  return encode(out);
}

/// `text` without the characters at its ends that are in `chars`, or blanks.
inline std::string_view strip(std::string_view text, bool left = true, bool right = true,
                              const std::u32string* chars = nullptr) {
  const auto goes = [&](char32_t c) { return chars != nullptr ? chars->find(c) != std::u32string::npos : is_space(c); };
  while (left && !text.empty()) {
    const utf8::Step first = utf8::decode(text);
    if (!goes(first.code_point)) break;
    text.remove_prefix(first.length);
  }
  while (right && !text.empty()) {
    const char32_t last = utf8::decode_last(text);
    if (!goes(last)) break;
    text.remove_suffix(last < 0x80 ? 1 : last < 0x800 ? 2 : last < 0x10000 ? 3 : 4);
  }
  return text;
}

/// `str.splitlines`.
inline std::vector<std::string> split_lines(std::string_view text, bool keep_ends = false) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Step next = utf8::decode(text.substr(i));
    std::size_t end = i + next.length;
    if (is_line_break(next.code_point)) {
      if (next.code_point == '\r' && end < text.size() && text[end] == '\n') ++end;
      lines.emplace_back(text.substr(begin, (keep_ends ? end : i) - begin));
      begin = end;
    }
    i = end;
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

/// `repr` of a string.
inline std::string repr(std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  const auto hex = [&](char32_t c, int digits) {
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[(c >> shift) & 15];
  };
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] >= ' ' && text[i] < 0x7F && text[i] != quote && text[i] != '\\') {
      out += text[i++];
      continue;
    }
    const utf8::Step next = utf8::decode(text.substr(i));
    const char32_t c = next.code_point;
    const auto kind = category(c);
    const bool printable = c == ' ' || (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_SO);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      (out += '\\') += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      (out += '\\') += c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
    } else if (printable) {
      out += text.substr(i, next.length);
    } else {
      out += c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U";
      hex(c, c < 0x100 ? 2 : c < 0x10000 ? 4 : 8);
    }
    i += next.length;
  }
  return out + quote;
}

}  // namespace qwen3vl::jinja::python
