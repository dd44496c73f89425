/// Unicode normalisation form C by utf8proc, in time linear in the text.
#pragma once

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/utf8.hpp"

namespace qwen3vl {

namespace detail {

/// True for characters that NFC keeps and that never combine with what stands before them (NFC_Quick_Check=Yes and
/// combining class 0), so that text may be cut in front of them. Not all such characters, but most.
inline bool nfc_inert(char32_t c) {
  return c < 0x300 || (c >= 0x400 && c <= 0x482) || (c >= 0x2010 && c <= 0x2027) || (c >= 0x3001 && c <= 0x3029) ||
         (c >= 0x3031 && c <= 0x3098) || (c >= 0x30A0 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) ||
         (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xFF01 && c <= 0xFF60) || (c >= 0x1F300 && c <= 0x1F6FF);
}

/// Appends the NFC of `text` (valid UTF-8). Not utf8proc_map: that one sorts combining marks by insertion, which is
/// quadratic on a long run of them.
inline void append_nfc_segment(std::string& out, std::string_view text) {
  constexpr auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size());
  int boundary = 0;
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Step step = utf8::decode(text.substr(i));
    i += step.length;
    utf8proc_int32_t parts[32];  // the longest canonical decomposition has 4 characters
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(step.code_point), parts, 32, options, &boundary);
    if (count > 0 && count <= 32) {
      characters.insert(characters.end(), parts, parts + count);
    } else {
      characters.push_back(static_cast<utf8proc_int32_t>(step.code_point));
    }
  }
  const auto combining_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    begin = std::find_if(begin, characters.end(), combining_class);
    const auto end = std::find_if_not(begin, characters.end(), combining_class);
    if (end - begin > 1) {
      std::stable_sort(begin, end, [&](auto a, auto b) { return combining_class(a) < combining_class(b); });
    }
    begin = end;
  }
  const auto length =
      utf8proc_normalize_utf32(characters.data(), static_cast<utf8proc_ssize_t>(characters.size()), options);
  for (utf8proc_ssize_t i = 0; i < length; ++i) utf8::append(out, static_cast<char32_t>(characters[i]));
}

}  // namespace detail

/// The NFC of `text`, which must be valid UTF-8. Returns `text` itself if it is found to be in that form; else the
/// result is in `buffer`. Follows the Unicode version of utf8proc (14 in 2.8); the reference's tables are of Unicode 9,
/// so it does not reorder about a hundred newer combining marks.
inline std::string_view nfc(std::string_view text, std::string& buffer) {
  std::size_t i = utf8::ascii_prefix(text);
  std::size_t last = i == 0 ? 0 : i - 1;  // start of the last inert character
  std::size_t copied = 0;
  bool changed = false;
  while (i < text.size()) {
    utf8::Step step = utf8::decode(text.substr(i));
    if (detail::nfc_inert(step.code_point)) {
      last = i;
      i += step.length;
      continue;
    }
    // A segment for utf8proc: the inert character before, and all that may combine with it.
    std::size_t end = i + step.length;
    while (end < text.size()) {
      step = utf8::decode(text.substr(end));
      if (detail::nfc_inert(step.code_point)) break;
      end += step.length;
    }
    if (!changed) buffer.clear();
    changed = true;
    buffer.append(text.substr(copied, last - copied));
    detail::append_nfc_segment(buffer, text.substr(last, end - last));
    copied = last = i = end;
  }
  if (!changed) return text;
  buffer.append(text.substr(copied));
  return buffer;
}

/// A range of characters (code points), the second behind its end.
using CharacterRange = std::pair<std::int64_t, std::int64_t>;

/// For each byte of nfc(text), the characters of `text` that it stands for, the first of which has the number `first`.
/// As in Hugging Face tokenizers, which count: a composed character stands for the first of its parts, and characters
/// that were put in another order for what stood at their place.
inline std::vector<CharacterRange> nfc_alignment(std::string_view text, bool normalizes, std::int64_t first) {
  std::vector<CharacterRange> aligned;
  const auto add = [&](std::int64_t character, std::size_t bytes) {
    aligned.insert(aligned.end(), bytes, {character, character + 1});
  };
  std::string buffer;
  if (!normalizes || nfc(text, buffer) == text) {
    for (std::size_t i = 0; i < text.size(); ++first) {
      const std::size_t length = utf8::decode(text.substr(i)).length;
      add(first, length);
      i += length;
    }
    return aligned;
  }
  // The canonical composition, with how many characters each result adds to (or, below 0, takes from) the text.
  struct Character {
    utf8proc_int32_t code;
    int change;
    int combining_class;
  };
  std::vector<Character> characters;
  constexpr auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  int boundary = 0;
  for (std::size_t i = 0; i < text.size();) {
    const utf8::Step step = utf8::decode(text.substr(i));
    i += step.length;
    utf8proc_int32_t parts[32];
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(step.code_point), parts, 32, options, &boundary);
    for (utf8proc_ssize_t j = 0; j < count; ++j)
      characters.push_back({parts[j], j == 0 ? 0 : 1, utf8proc_get_property(parts[j])->combining_class});
  }
  const auto is_mark = [](const Character& c) { return c.combining_class != 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    begin = std::find_if(begin, characters.end(), is_mark);
    const auto end = std::find_if_not(begin, characters.end(), is_mark);
    std::stable_sort(begin, end, [](auto& a, auto& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
  const auto composed = [&](utf8proc_int32_t a, utf8proc_int32_t b) -> utf8proc_int32_t {
    utf8proc_int32_t pair[] = {a, b};
    return utf8proc_normalize_utf32(pair, 2, options) == 1 ? pair[0] : -1;
  };
  std::vector<Character> results;
  std::size_t starter = 0;
  bool has_starter = false;
  for (const Character& c : characters) {
    // Blocked by a mark of its own class or above between it and the starter.
    const bool blocked =
        !has_starter || (results.size() > starter + 1 && results.back().combining_class >= c.combining_class);
    if (!blocked) {
      if (const auto code = composed(results[starter].code, c.code); code >= 0) {
        results[starter].code = code;
        results[starter].change += c.change - 1;
        continue;
      }
    }
    if (c.combining_class == 0) {
      starter = results.size();
      has_starter = true;
    }
    results.push_back(c);
  }
  const std::int64_t begin = first;
  for (const Character& c : results) {
    std::string bytes;
    utf8::append(bytes, static_cast<char32_t>(c.code));
    if (c.change > 0) {
      add(std::max(begin, first - 1), bytes.size());
    } else {
      add(first, bytes.size());
      first += 1 - c.change;
    }
  }
  aligned.resize(buffer.size(), aligned.empty() ? CharacterRange{begin, begin} : aligned.back());
  return aligned;
}

}  // namespace qwen3vl
