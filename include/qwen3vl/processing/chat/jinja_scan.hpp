/// A small reader of Jinja sources: enough to find what a chat template writes at the end of a prompt. It splits a
/// template into texts, outputs and blocks, and understands string constants and simple conditions; it executes
/// nothing.
#pragma once

#include <cctype>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl::detail::jinja {

/// A text between tags, the inside of `{{ }}`, or the inside of `{% %}`.
struct Piece {
  enum class Kind { text, output, block };
  Kind kind = Kind::text;
  std::string body;
};

constexpr std::string_view blanks = " \t\n\v\f\r";

inline std::string_view trim(std::string_view s) {
  const std::size_t begin = s.find_first_not_of(blanks);
  if (begin == std::string_view::npos) return {};
  return s.substr(begin, s.find_last_not_of(blanks) + 1 - begin);
}

/// The position after the string constant that begins at `at`, or npos if it does not end.
inline std::size_t skip_string(std::string_view s, std::size_t at) {
  const char quote = s[at];
  for (std::size_t i = at + 1; i < s.size(); ++i) {
    if (s[i] == '\\') {
      ++i;
    } else if (s[i] == quote) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

/// Where the tag that opened before `at` closes with `close`; constants and nested brackets are skipped.
inline std::size_t find_close(std::string_view s, std::size_t at, std::string_view close) {
  int depth = 0;
  while (at < s.size()) {
    if (depth == 0 && s.substr(at, 2) == close) return at;
    if (s[at] == '"' || s[at] == '\'') {
      at = skip_string(s, at);
      if (at == std::string_view::npos) return at;
      continue;
    }
    if (s[at] == '(' || s[at] == '[' || s[at] == '{') ++depth;
    if ((s[at] == ')' || s[at] == ']' || s[at] == '}') && depth > 0) --depth;
    ++at;
  }
  return std::string_view::npos;
}

/// Splits `source`, with whitespace removed as transformers configures Jinja (trim_blocks, lstrip_blocks). Throws Error
/// for tags that do not close.
inline std::vector<Piece> split(std::string_view source, std::string_view where) {
  std::vector<Piece> pieces;
  std::size_t at = 0;
  bool strip_left = false;    // the tag before ended in "-"
  bool after_block = false;   // the tag before was a block or comment: the newline right after it goes
  bool at_line_start = true;  // whether an untouched text begins a line
  if (source.ends_with('\n')) source.remove_suffix(1);  // Jinja drops one last newline
  while (at <= source.size()) {
    std::size_t open = source.find('{', at);
    while (open != std::string_view::npos && open + 1 < source.size() &&
           std::string_view("{%#").find(source[open + 1]) == std::string_view::npos) {
      open = source.find('{', open + 1);
    }
    const bool last = open == std::string_view::npos || open + 1 >= source.size();
    std::string_view words = source.substr(at, last ? std::string_view::npos : open - at);
    const char mark = last ? '\0' : source[open + 1];
    const char control = last || open + 2 >= source.size() ? '\0' : source[open + 2];
    if (strip_left) {
      const std::size_t begin = words.find_first_not_of(blanks);
      words.remove_prefix(begin == std::string_view::npos ? words.size() : begin);
      at_line_start = false;
    } else if (after_block && words.starts_with('\n')) {
      words.remove_prefix(1);
      at_line_start = true;
    }
    if (control == '-') {
      words = words.substr(0, words.find_last_not_of(blanks) + 1);
    } else if (!last && mark != '{' && control != '+') {
      const std::size_t end = words.find_last_not_of(" \t");
      const bool whole = end == std::string_view::npos;
      if (whole ? at_line_start : words[end] == '\n') words = words.substr(0, whole ? 0 : end + 1);
    }
    if (!words.empty()) pieces.push_back({Piece::Kind::text, std::string(words)});
    if (last) break;

    const std::string_view close_mark = mark == '{' ? "}}" : mark == '%' ? "%}" : "#}";
    const std::size_t inside = open + 2;
    const std::size_t close = mark == '#' ? source.find(close_mark, inside) : find_close(source, inside, close_mark);
    if (close == std::string_view::npos) fail(where, ": the tag at byte ", open, " does not close");
    std::string_view body = source.substr(inside, close - inside);
    if (body.starts_with('-') || body.starts_with('+')) body.remove_prefix(1);
    strip_left = body.ends_with('-');
    if (strip_left || body.ends_with('+')) body.remove_suffix(1);
    after_block = mark != '{';
    at_line_start = false;
    at = close + 2;
    body = trim(body);
    if (mark == '%' && body == "raw") fail(where, ": {% raw %} is not read");
    if (mark != '#') {
      pieces.push_back({mark == '{' ? Piece::Kind::output : Piece::Kind::block, std::string(body)});
    }
  }
  return pieces;
}

/// A name, a string constant (value without quotes, escapes resolved) or a sign.
struct Token {
  enum class Kind { name, string, sign };
  Kind kind = Kind::sign;
  std::string value;
};

/// The value of the constant `quoted` ("...", '...').
inline std::string unescape(std::string_view quoted) {
  std::string out;
  for (std::size_t i = 1; i + 1 < quoted.size(); ++i) {
    if (quoted[i] != '\\' || i + 2 >= quoted.size()) {
      out += quoted[i];
      continue;
    }
    switch (const char c = quoted[++i]) {
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'r':
        out += '\r';
        break;
      case '\\':
      case '\'':
      case '"':
        out += c;
        break;
      default:
        (out += '\\') += c;  // others never occur in what is compared here
    }
  }
  return out;
}

inline std::vector<Token> tokenize(std::string_view expression) {
  std::vector<Token> tokens;
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  for (std::size_t i = 0; i < expression.size();) {
    const char c = expression[i];
    std::size_t end = i + 1;
    if (blanks.find(c) != std::string_view::npos) {
      i = end;
      continue;
    }
    if (c == '"' || c == '\'') {
      end = skip_string(expression, i);
      if (end == std::string_view::npos) end = expression.size();
      tokens.push_back({Token::Kind::string, unescape(expression.substr(i, end - i))});
    } else if (is_word(c)) {
      while (end < expression.size() && is_word(expression[end])) ++end;
      tokens.push_back({Token::Kind::name, std::string(expression.substr(i, end - i))});
    } else {
      if ((c == '=' || c == '!') && end < expression.size() && expression[end] == '=') ++end;
      tokens.push_back({Token::Kind::sign, std::string(expression.substr(i, end - i))});
    }
    i = end;
  }
  return tokens;
}

/// The value of an expression that is only string constants joined by `+` or `~`.
inline std::optional<std::string> constant(std::string_view expression) {
  const auto tokens = tokenize(expression);
  std::string out;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i % 2 == 0 && tokens[i].kind == Token::Kind::string) {
      out += tokens[i].value;
    } else if (i % 2 == 0 || tokens[i].kind != Token::Kind::sign ||
               (tokens[i].value != "+" && tokens[i].value != "~")) {
      return std::nullopt;
    }
  }
  if (tokens.size() % 2 == 0) return std::nullopt;
  return out;
}

/// The value of a name in a condition.
enum class Truth { undefined, no, yes };

/// Evaluates conditions made of known names, `not`, `and`, `or`, `is [not] defined/true/false/none`, `== true/false`
/// and parentheses. Anything else has no value.
template <class Lookup>
class Condition {
 public:
  Condition(std::string_view text, const Lookup& lookup) : tokens_(tokenize(text)), lookup_(lookup) {}

  std::optional<bool> value() {
    if (tokens_.size() > 64) return std::nullopt;  // bounds the recursion, too
    const auto result = any();
    return at_ == tokens_.size() ? result : std::nullopt;
  }

 private:
  bool take(std::string_view word) {
    if (at_ >= tokens_.size() || tokens_[at_].kind == Token::Kind::string || tokens_[at_].value != word) return false;
    ++at_;
    return true;
  }
  std::optional<bool> any() {
    auto left = all();
    while (left && take("or")) {
      const auto right = all();
      left = right ? std::optional(*left || *right) : std::nullopt;
    }
    return left;
  }
  std::optional<bool> all() {
    auto left = one();
    while (left && take("and")) {
      const auto right = one();
      left = right ? std::optional(*left && *right) : std::nullopt;
    }
    return left;
  }
  std::optional<bool> one() {
    if (take("not")) {
      const auto inner = one();
      return inner ? std::optional(!*inner) : std::nullopt;
    }
    if (take("(")) {
      const auto inner = any();
      return take(")") ? inner : std::nullopt;
    }
    if (at_ >= tokens_.size() || tokens_[at_].kind != Token::Kind::name) return std::nullopt;
    const std::optional<Truth> truth = lookup_(tokens_[at_++].value);
    if (!truth) return std::nullopt;
    if (take("is")) {
      const bool negated = take("not");
      if (take("defined")) return (*truth != Truth::undefined) != negated;
      if (take("undefined")) return (*truth == Truth::undefined) != negated;
      if (take("true") || take("True")) return (*truth == Truth::yes) != negated;
      if (take("false") || take("False")) return (*truth == Truth::no) != negated;
      if (take("none") || take("None")) return negated;
      return std::nullopt;
    }
    if (take("==")) {
      if (take("true") || take("True")) return *truth == Truth::yes;
      if (take("false") || take("False")) return *truth == Truth::no;
      return std::nullopt;
    }
    return *truth == Truth::yes;
  }

  std::vector<Token> tokens_;
  const Lookup& lookup_;
  std::size_t at_ = 0;
};

}  // namespace qwen3vl::detail::jinja
