/// Source of a template to tokens, as jinja2's lexer makes them with `trim_blocks` and `lstrip_blocks`.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/processing/jinja/python_text.hpp"
#include "qwen3vl/processing/jinja/value.hpp"

namespace qwen3vl::jinja {

/// An error on a line of the source.
class SyntaxError : public Failure {
 public:
  SyntaxError(int at, const std::string& what) : Failure(what), line(at) {}
  int line;
};

template <class... Parts>
[[noreturn]] void syntax_error(int line, const Parts&... parts) {
  throw SyntaxError(line, concat(parts...));
}

struct Token {
  enum class Kind { data, block_begin, block_end, variable_begin, variable_end, name, text, integer, number, op, end };
  Kind kind = Kind::end;
  int line = 1;
  std::string value{};
  std::int64_t integer = 0;
  double number = 0.0;
};

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)) {
    if (!source_.empty() && source_.back() == '\n') source_.pop_back();  // keep_trailing_newline is off
  }

  std::vector<Token> tokens() {
    while (at_ < source_.size()) root();
    add(Token::Kind::end);
    return std::move(tokens_);
  }

 private:
  using Kind = Token::Kind;

  static std::string normalized(std::string_view source) {
    std::string out;
    for (std::size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
      out += source[i] == '\r' ? '\n' : source[i];
    }
    return utf8::lossy(out);
  }

  std::string_view rest(std::size_t from) const { return std::string_view(source_).substr(from); }
  bool starts(std::string_view words) const { return rest(at_).starts_with(words); }
  Token& add(Kind kind, std::string value = {}) {
    return tokens_.emplace_back(Token{.kind = kind, .line = line_, .value = std::move(value)});
  }
  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  std::size_t after_blanks(std::size_t from) const {
    while (from < source_.size()) {
      const utf8::Step next = utf8::decode(rest(from));
      if (!python::is_space(next.code_point)) break;
      from += next.length;
    }
    return from;
  }

  /// Text up to a tag, and the tag. `sign` follows the tag's two characters; `begin` is where the tag is.
  void data(std::size_t begin, char sign, bool is_variable) {
    std::string_view text = rest(at_).substr(0, begin - at_);
    if (sign == '-') {
      text = python::strip(text, false, true);
    } else if (sign != '+' && !is_variable) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t start = newline == std::string_view::npos ? 0 : newline + 1;
      // Only a line's first tag: what stands before it on the line must be blank, and the line must begin here.
      if ((start > 0 || line_starting_) && python::strip(text.substr(start)).empty() && start < text.size())
        text = text.substr(0, start);
    }
    if (!text.empty()) add(Kind::data, std::string(text));
    advance(begin);
  }

  char sign_at(std::size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  void root() {
    std::size_t begin = at_;
    for (;; ++begin) {
      begin = source_.find('{', begin);
      if (begin == std::string::npos) {
        add(Kind::data, source_.substr(at_));
        advance(source_.size());
        return;
      }
      const char next = begin + 1 < source_.size() ? source_[begin + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') break;
    }
    const char kind = source_[begin + 1], sign = sign_at(begin + 2);
    const std::size_t inside = begin + (sign != '\0' ? 3 : 2);
    data(begin, sign, kind == '{');
    if (kind == '#') return comment(inside);
    if (kind == '%' && raw(inside)) return;
    add(kind == '{' ? Kind::variable_begin : Kind::block_begin);
    advance(inside);
    expression(kind == '{' ? "}}" : "%}", kind == '{' ? Kind::variable_end : Kind::block_end);
  }

  /// After a tag that ends at `end`: blanks go if it was written with a minus, one line break if it is not a variable.
  void end_tag(std::size_t end, char sign, bool trims) {
    if (sign == '-') {
      end = after_blanks(end);
    } else if (trims && sign != '+' && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    line_starting_ = end > at_ && source_[end - 1] == '\n';
    advance(end);
  }

  void comment(std::size_t inside) {
    const std::size_t end = source_.find("#}", inside);
    if (end == std::string::npos && inside < source_.size()) syntax_error(line_, "Missing end of comment tag");
    if (end == std::string::npos) return advance(inside);  // jinja2 does not notice
    const char sign = end > inside ? sign_at(end - 1) : '\0';
    end_tag(end + 2, sign, true);
  }

  bool raw(std::size_t inside) {
    const auto tag = [&](std::size_t from, std::string_view name) -> std::size_t {  // the end of "name %", or npos
      const std::size_t word = after_blanks(from);
      if (!rest(word).starts_with(name)) return std::string::npos;
      return after_blanks(word + name.size());
    };
    std::size_t end = tag(inside, "raw");
    if (end == std::string::npos) return false;
    if (rest(end).starts_with("-%}")) {
      end = after_blanks(end + 3);
    } else if (rest(end).starts_with("%}")) {
      end += 2;
    } else {
      return false;
    }
    line_starting_ = source_[end - 1] == '\n';
    advance(end);
    for (std::size_t begin = at_;; ++begin) {
      begin = source_.find("{%", begin);
      if (begin == std::string::npos && at_ < source_.size()) syntax_error(line_, "Missing end of raw directive");
      if (begin == std::string::npos) return true;  // nor this
      const char sign = sign_at(begin + 2);
      const std::size_t close = tag(begin + (sign != '\0' ? 3 : 2), "endraw");
      if (close == std::string::npos) continue;
      const char close_sign = sign_at(close);
      if (!rest(close + (close_sign != '\0' ? 1 : 0)).starts_with("%}")) continue;
      data(begin, sign, false);
      end_tag(close + (close_sign != '\0' ? 3 : 2), close_sign, true);
      return true;
    }
  }

  void expression(std::string_view end, Kind end_kind) {
    std::vector<char> open;
    while (at_ < source_.size()) {
      const bool is_block = end_kind == Kind::block_end;
      if (open.empty()) {
        const char sign = sign_at(at_);
        const bool signed_end = sign != '\0' && (is_block || sign == '-') && rest(at_ + 1).starts_with(end);
        if (signed_end || starts(end)) {
          add(end_kind);
          return end_tag(at_ + end.size() + (signed_end ? 1 : 0), signed_end ? sign : '\0', is_block);
        }
      }
      const std::size_t blank = after_blanks(at_);
      if (blank != at_) {
        advance(blank);
      } else if (!number() && !name() && !text()) {
        op(open);
      }
    }
    // The parser finds that the end is missing.
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  /// Digits with single underscores between them, from `from`; its end, or `from` if there are none.
  template <class Digit>
  std::size_t digits(std::size_t from, Digit is) const {
    std::size_t end = from;
    while (end < source_.size() && (is(source_[end]) || (source_[end] == '_' && end > from && source_[end - 1] != '_' &&
                                                         end + 1 < source_.size() && is(source_[end + 1]))))
      ++end;
    return end;
  }

  bool number() {
    if (!is_digit(source_[at_])) return false;
    const auto plain = [&](std::size_t end) {
      std::string words = source_.substr(at_, end - at_);
      std::erase(words, '_');
      return words;
    };
    const std::size_t whole = digits(at_, is_digit);
    std::size_t end = whole;
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1]))
        end = digits(end + 1, is_digit);
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        const std::size_t from = end + (sign_at(end + 1) != '\0' ? 2 : 1);
        const std::size_t exponent = digits(from, is_digit);
        if (exponent > from) end = exponent;
      }
      if (end > whole) {
        const std::string words = plain(end);
        Token& token = add(Kind::number);
        const auto parsed = std::from_chars(words.data(), words.data() + words.size(), token.number);
        if (parsed.ec == std::errc::result_out_of_range)
          token.number = words.find("e-") != std::string::npos || words.find("E-") != std::string::npos
                             ? 0.0
                             : std::numeric_limits<double>::infinity();
        advance(end);
        return true;
      }
    }
    int base = 10;
    std::size_t from = at_;
    const char letter = at_ + 1 < source_.size() ? static_cast<char>(source_[at_ + 1] | 0x20) : '\0';
    if (source_[at_] == '0' && (letter == 'b' || letter == 'o' || letter == 'x')) {
      base = letter == 'b' ? 2 : letter == 'o' ? 8 : 16;
      const auto is = [&](char c) {
        const char lower = static_cast<char>(c | 0x20);
        return base == 16 ? is_digit(c) || (lower >= 'a' && lower <= 'f') : c >= '0' && c < '0' + base;
      };
      from = at_ + 2 + (at_ + 2 < source_.size() && source_[at_ + 2] == '_' ? 1 : 0);
      end = digits(from, is);
      if (end == from) base = 10, from = at_, end = at_ + 1;
    } else if (source_[at_] == '0') {
      end = digits(at_, [](char c) { return c == '0'; });
    }
    std::string words = plain(end).substr(base == 10 ? 0 : 2);
    Token& token = add(Kind::integer);
    const auto parsed = std::from_chars(words.data(), words.data() + words.size(), token.integer, base);
    if (parsed.ec != std::errc()) syntax_error(line_, "the integer ", words.substr(0, 40), " does not fit 64 bits");
    advance(end);
    return true;
  }

  bool name() {
    const auto is_start = [](char32_t c) {
      return c == '_' || (c < 0x80 ? (c | 0x20) >= 'a' && (c | 0x20) <= 'z'
                                   : python::is_alpha(c) || python::category(c) == UTF8PROC_CATEGORY_NL);
    };
    std::size_t end = at_;
    while (end < source_.size()) {
      const utf8::Step next = utf8::decode(rest(end));
      const auto kind = python::category(next.code_point);
      const bool continues =
          (next.code_point >= '0' && next.code_point <= '9') ||
          (next.code_point >= 0x80 && (kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC ||
                                       kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_PC));
      if (!is_start(next.code_point) && (end == at_ || !continues)) break;
      end += next.length;
    }
    if (end == at_) return false;
    add(Kind::name, source_.substr(at_, end - at_));
    advance(end);
    return true;
  }

  bool text() {
    const char quote = source_[at_];
    if (quote != '\'' && quote != '"') return false;
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return false;
    add(Kind::text, unescaped(rest(at_ + 1).substr(0, end - at_ - 1)));
    advance(end + 1);
    return true;
  }

  std::string unescaped(std::string_view text) const {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\') {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      constexpr std::string_view names = "abfnrtv\\'\"", values = "\a\b\f\n\r\t\v\\'\"";
      const std::size_t known = names.find(c);
      std::uint32_t code = 0;
      if (c == '\n') {
        // a line break after a backslash is nothing
      } else if (known != std::string_view::npos) {
        out += values[known];
      } else if (c >= '0' && c <= '7') {
        std::size_t end = i;
        while (end < text.size() && end < i + 3 && text[end] >= '0' && text[end] <= '7') ++end;
        std::from_chars(text.data() + i, text.data() + end, code, 8);
        utf8::append(out, code);
        i = end - 1;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const std::size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        const std::string_view digits = text.substr(i + 1, length);
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        if (digits.size() < length || parsed.ptr != digits.data() + digits.size())
          syntax_error(line_, "truncated \\", c, " escape");
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
          syntax_error(line_, "the escape \\", c, digits, " is no character");
        utf8::append(out, code);
        i += length;
      } else if (c == 'N') {
        syntax_error(line_, "the escape \\N is not supported");
      } else {
        (out += '\\') += c;
      }
    }
    return out;
  }

  void op(std::vector<char>& open) {
    for (const std::string_view known : {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                         "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"}) {
      if (!starts(known)) continue;
      const char c = known.front();
      if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
      if (c == ')' || c == ']' || c == '}') {
        if (open.empty()) syntax_error(line_, "unexpected '", c, "'");
        if (open.back() != c) syntax_error(line_, "unexpected '", c, "', expected '", open.back(), "'");
        open.pop_back();
      }
      add(Kind::op, std::string(known));
      return advance(at_ + known.size());
    }
    syntax_error(line_, "unexpected char ", python::repr(rest(at_).substr(0, python::width(rest(at_)))));
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace qwen3vl::jinja
