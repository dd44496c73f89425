/// Reads objects from JSON written by a model, mistakes included: nothing is an error, and unreadable parts are
/// skipped.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/utf8.hpp"

namespace qwen3vl::detail {

/// A key and its value: the last text, and all numbers, including quoted ones and those in nested lists.
struct LooseField {
  std::string key;  ///< in lower case
  std::string text;
  std::vector<double> numbers;
};

struct LooseObject {
  std::vector<LooseField> fields;
};

/// Takes linear time, except for unterminated strings, whose search is bounded.
class LooseJsonReader {
 public:
  explicit LooseJsonReader(std::string_view text) : text_(text) {}

  std::vector<LooseObject> read() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '{') {
        open_.emplace_back();
        ++at_;
      } else if (open_.empty()) {
        at_ = std::min(text_.find('{', at_), text_.size());  // text around the JSON
      } else if (c == '}') {
        close();
        ++at_;
      } else if (c == '"' || c == '\'') {
        name_or_text(quoted());
      } else if (is_digit(c) || ((c == '-' || c == '+' || c == '.') && is_digit(peek(1)))) {
        number();
      } else if (is_word(c)) {
        const std::size_t begin = at_;
        while (at_ < text_.size() && is_word(text_[at_])) ++at_;
        name_or_text(std::string(text_.substr(begin, at_ - begin)), /*is_bare=*/true);
      } else if (text_.substr(at_).starts_with("```")) {  // the fence ends before the JSON does
        while (!open_.empty()) close();
        at_ += 3;
      } else {
        ++at_;  // commas, brackets, blanks
      }
    }
    while (!open_.empty()) close();
    return std::move(objects_);
  }

 private:
  static constexpr std::size_t max_fields = 256;

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  /// Bytes of letters; all of them outside of ASCII count.
  static bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
  }
  char peek(std::size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  std::size_t skip_blanks(std::size_t at) const {
    while (at < text_.size() && is_blank(text_[at])) ++at;
    return at;
  }

  void close() {
    objects_.push_back(std::move(open_.back()));
    open_.pop_back();
  }

  LooseField& value() {
    auto& fields = open_.back().fields;
    if (fields.empty()) fields.emplace_back();
    return fields.back();
  }

  void name_or_text(std::string word, bool is_bare = false) {
    const std::size_t next = skip_blanks(at_);
    if (next < text_.size() && text_[next] == ':') {
      at_ = next + 1;
      std::transform(word.begin(), word.end(), word.begin(),
                     [](char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); });
      // A repeated key: the end of one object and the beginning of the next are missing.
      const auto& fields = open_.back().fields;
      const auto same = [&](const LooseField& field) { return field.key == word; };
      if (fields.size() >= max_fields || std::any_of(fields.begin(), fields.end(), same)) {
        close();
        open_.emplace_back();
      }
      open_.back().fields.push_back({std::move(word), {}, {}});
      return;
    }
    LooseField& field = value();
    if (!is_bare) {
      double number = 0.0;  // ["10", "20"]
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
      if (error == std::errc() && end == word.data() + word.size() && is_digit(*(end - 1)))
        field.numbers.push_back(number);
      field.text = std::move(word);
    } else if (word != "null" && word != "true" && word != "false" && word != "None") {
      if (!field.text.empty()) field.text += ' ';  // words without quotes
      field.text += word;
    }
  }

  void number() {
    double result = 0.0;
    if (text_[at_] == '+') ++at_;
    const char* const begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), result);
    const auto length = std::max<std::ptrdiff_t>(end - begin, 1);
    at_ += static_cast<std::size_t>(length);
    // At the end of the answer the last digits may be missing.
    if (at_ == text_.size()) return;
    if (error == std::errc()) value().numbers.push_back(result);
    if (error == std::errc::result_out_of_range) value().numbers.push_back(*begin == '-' ? -1e300 : 1e300);
  }

  /// Whether a key in quotes begins at `at`.
  bool begins_key(std::size_t at) const {
    if (at >= text_.size() || (text_[at] != '"' && text_[at] != '\'')) return false;
    std::size_t end = at + 1;
    while (end < text_.size() && end - at < 64 && is_word(text_[end])) ++end;
    if (end == at + 1 || end >= text_.size() || text_[end] != text_[at]) return false;
    const std::size_t next = skip_blanks(end + 1);
    return next < text_.size() && text_[next] == ':';
  }

  /// Whether the quote at `at` ends a string. Models forget to escape inner quotes, so the quote must be followed by
  /// JSON punctuation, or by a key with a missing comma.
  bool ends_string(std::size_t at) const {
    const std::size_t next = skip_blanks(at + 1);
    return next >= text_.size() || std::string_view(",:}]`").find(text_[next]) != std::string_view::npos ||
           begins_key(next);
  }

  std::string quoted() {
    constexpr std::size_t longest = 1024;
    const char quote = text_[at_++];
    const std::size_t begin = at_, limit = std::min(text_.size(), begin + longest);
    std::string out;
    for (std::size_t i = begin; i < limit;) {
      if (text_[i] == '\\' && i + 1 < limit) {
        i = unescape(i + 1, limit, out);
      } else if (i > begin && is_blank(text_[i - 1]) && begins_key(i)) {  // the end of this string is missing
        at_ = i;
        return ended(std::move(out));
      } else if (text_[i] == quote && ends_string(i)) {
        at_ = i + 1;
        return out;
      } else {
        out += text_[i++];
      }
    }
    // Unterminated: up to the end of the line.
    at_ = std::min(text_.find('\n', begin), limit);
    return ended(std::string(text_.substr(begin, at_ - begin)));
  }

  /// A string without the punctuation that should have followed it.
  static std::string ended(std::string words) {
    while (!words.empty() && (is_blank(words.back()) || words.back() == ',' || words.back() == '}')) words.pop_back();
    return words;
  }

  /// Appends the character of the escape at `i`, after the backslash; returns the end of the escape.
  std::size_t unescape(std::size_t i, std::size_t limit, std::string& out) const {
    constexpr std::string_view names = "nrtbf", values = "\n\r\t\b\f";
    const auto hex = [&](std::size_t at, std::uint32_t& code) {
      if (at + 4 > limit) return false;
      const char* const begin = text_.data() + at;
      return std::from_chars(begin, begin + 4, code, 16).ptr == begin + 4;
    };
    std::uint32_t code = 0, low = 0;
    if (text_[i] == 'u' && hex(i + 1, code)) {
      i += 5;
      if (code >= 0xd800 && code < 0xdc00 && text_.substr(i, 2) == "\\u" && hex(i + 2, low) && low >= 0xdc00 &&
          low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        i += 6;
      }
      utf8::append(out, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
      return i;
    }
    const std::size_t known = names.find(text_[i]);
    out += known == std::string_view::npos ? text_[i] : values[known];
    return i + 1;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<LooseObject> open_;
  std::vector<LooseObject> objects_;
};

/// All objects in `text`, inner ones before those around them.
inline std::vector<LooseObject> read_loose_json(std::string_view text) { return LooseJsonReader(text).read(); }

/// The numbers in a text, in order.
inline std::vector<double> numbers_in(std::string_view text) {
  auto objects = read_loose_json("{" + std::string(text) + " }");
  std::vector<double> numbers;
  for (const LooseObject& object : objects)
    for (const LooseField& field : object.fields)
      numbers.insert(numbers.end(), field.numbers.begin(), field.numbers.end());
  return numbers;
}

/// The text inside of a Markdown fence, if there is one, without blanks around it.
inline std::string_view without_fence(std::string_view text) {
  const auto trim = [](std::string_view& words) {
    while (!words.empty() && std::string_view(" \t\r\n").find(words.front()) != std::string_view::npos)
      words.remove_prefix(1);
    while (!words.empty() && std::string_view(" \t\r\n").find(words.back()) != std::string_view::npos)
      words.remove_suffix(1);
  };
  if (const auto fence = text.find("```"); fence != std::string_view::npos) {
    text.remove_prefix(fence + 3);
    while (!text.empty() && text.front() >= 'a' && text.front() <= 'z') text.remove_prefix(1);  // "json"
    text = text.substr(0, text.find("```"));
  }
  trim(text);
  return text;
}

}  // namespace qwen3vl::detail
