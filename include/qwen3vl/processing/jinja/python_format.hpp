/// Python's formatting: `%`, `str.format` and the format specifications of both.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/processing/jinja/arithmetic.hpp"

namespace qwen3vl::jinja {

/// What stands after the colon of a replacement field, or between % and its letter.
struct FormatSpec {
  std::string fill = " ";
  char align = '\0', sign = '-', type = '\0', grouping = '\0';
  bool alternate = false, zero = false;
  std::int64_t width = 0, precision = -1;
};

namespace detail {

inline std::int64_t format_number(std::string_view text, std::size_t& at) {
  std::int64_t number = -1;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    number = std::max<std::int64_t>(number, 0) * 10 + (text[at] - '0');
    if (number > 1'000'000) raise("a width or precision over 1000000 is not supported");
  }
  return number;
}

inline std::string padded(std::string text, const FormatSpec& spec, char fallback) {
  const auto missing = spec.width - static_cast<std::int64_t>(python::count(text));
  if (missing <= 0) return text;
  const char align = spec.align != '\0' ? spec.align : spec.zero ? '=' : fallback;
  const std::int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  const std::string fill = spec.zero && spec.align == '\0' ? "0" : spec.fill;
  if (align == '=') {
    std::size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
    if (text.size() > sign + 1 && text[sign] == '0' &&
        std::string_view("xXob").find(text[sign + 1]) != std::string_view::npos)
      sign += 2;
    return text.substr(0, sign) + repeated(fill, missing) + text.substr(sign);
  }
  return repeated(fill, left) + text + repeated(fill, missing - left);
}

inline std::string signed_text(std::string digits, bool is_negative, char sign) {
  return (is_negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "") + std::move(digits);
}

inline std::string grouped(const std::string& digits, char separator, std::size_t every = 3) {
  const std::size_t whole = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

inline std::string integer_text(std::int64_t value, const FormatSpec& spec) {
  std::uint64_t rest = value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  const unsigned base = spec.type == 'b' ? 2 : spec.type == 'o' ? 8 : spec.type == 'x' || spec.type == 'X' ? 16 : 10;
  std::string digits;
  do {
    digits.insert(digits.begin(), (spec.type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[rest % base]);
    rest /= base;
  } while (rest != 0);
  if (spec.grouping != '\0') digits = grouped(digits, spec.grouping, base == 10 ? 3 : 4);
  if (spec.alternate && base != 10) digits = std::string("0") + spec.type + digits;
  return signed_text(std::move(digits), value < 0, spec.sign);
}

inline std::string float_text(double value, const FormatSpec& spec) {
  const bool percent = spec.type == '%', plain = spec.type == '\0';
  std::string digits;
  const double magnitude = std::fabs(percent ? value * 100.0 : value);
  const bool upper = spec.type == 'F' || spec.type == 'E' || spec.type == 'G';
  if (!std::isfinite(value)) {
    digits = std::isnan(value) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
  } else if (plain && spec.precision < 0) {
    digits = python_float_repr(magnitude);
  } else {
    if (spec.precision > 1000) raise("a precision over 1000 is not supported");
    const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
    char form[] = {'%', '.', '*', percent ? 'f' : plain ? 'g' : spec.type, '\0'};
    char alternate[] = {'%', '#', '.', '*', form[3], '\0'};
    char buffer[1400];
    const int size = std::snprintf(buffer, sizeof buffer, spec.alternate ? alternate : form, precision, magnitude);
    digits.assign(buffer, static_cast<std::size_t>(size));
    if (plain && digits.find_first_of(".e") == std::string::npos) digits += ".0";
  }
  if (spec.grouping != '\0') digits = grouped(digits, spec.grouping);
  if (percent) digits += '%';
  return signed_text(std::move(digits), std::signbit(value) && !std::isnan(value), spec.sign);
}

inline std::string cut(const std::string& text, std::int64_t precision) {
  if (precision < 0) return text;
  return text.substr(0, python::byte_of(text, static_cast<std::size_t>(precision), false));
}

}  // namespace detail

/// `format(value, spec)`.
inline std::string format_value(const Value& value, std::string_view text) {
  if (text.empty()) return str(value);
  if (!value.is_text() && !value.is_number())
    raise("unsupported format string passed to ", type_name(value), ".__format__");
  FormatSpec spec;
  std::size_t at = 0;
  const auto is_align = [&](std::size_t i) {
    return i < text.size() && std::string_view("<>=^").find(text[i]) != std::string_view::npos;
  };
  const std::size_t first = python::width(text);
  if (is_align(first)) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec.align = text[at++];
  }
  const auto skip = [&](char c) { return at < text.size() && text[at] == c && (++at, true); };
  const bool has_sign = at < text.size() && std::string_view("+- ").find(text[at]) != std::string_view::npos;
  if (has_sign) spec.sign = text[at++];
  spec.alternate = skip('#');
  if (skip('0') && spec.align == '\0') spec.zero = true;
  spec.width = std::max<std::int64_t>(detail::format_number(text, at), 0);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
  if (skip('.')) {
    spec.precision = detail::format_number(text, at);
    if (spec.precision < 0) raise("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) raise("Invalid format specifier");
  const auto unknown = [&] {
    raise("Unknown format code '", spec.type, "' for object of type '", type_name(value), "'");
  };
  if (value.is_text()) {
    if (spec.type != '\0' && spec.type != 's') unknown();
    if (has_sign) raise("Sign not allowed in string format specifier");
    if (spec.align == '=') raise("'=' alignment not allowed in string format specifier");
    if (spec.grouping != '\0' || spec.alternate) raise("Invalid format specifier for a string");
    const bool zero = std::exchange(spec.zero, false);
    if (zero) spec.fill = "0", spec.align = '<';
    return detail::padded(detail::cut(value.text().string, spec.precision), spec, '<');
  }
  if (spec.grouping != '\0' && spec.zero) raise("zero padding with grouping is not supported");
  const bool as_float = value.is(Type::number) || std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos;
  if (as_float && (value.is(Type::number) || spec.type != '\0')) {
    if (spec.type != '\0' && std::string_view("eEfFgG%").find(spec.type) == std::string_view::npos) unknown();
    return detail::padded(detail::float_text(value.number(), spec), spec, '>');
  }
  if (spec.type != '\0' && std::string_view("dboxXc").find(spec.type) == std::string_view::npos) unknown();
  if (spec.precision >= 0) raise("Precision not allowed in integer format specifier");
  if (spec.type == 'c') raise("the format code 'c' is not supported");
  return detail::padded(detail::integer_text(value.integer(), spec), spec, '>');
}

/// `format % arguments`.
inline std::string percent_format(const Value& format, const Value& arguments) {
  if (format.text().markup) raise("formatting text that is marked as safe is not supported");
  const std::string& text = format.text().string;
  const bool is_tuple = arguments.is(Type::sequence) && arguments.sequence().is_tuple();
  const bool is_mapping =
      arguments.is_dict() || arguments.is_undefined() || (arguments.is(Type::sequence) && !is_tuple);
  std::size_t used = 0;
  bool by_name = false;
  const auto next = [&]() -> Value {
    const std::size_t count = is_tuple ? arguments.sequence().items.size() : 1;
    if (used >= count) raise("not enough arguments for format string");
    return is_tuple ? arguments.sequence().items[used++] : (++used, arguments);
  };
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t percent = std::min(text.find('%', at), text.size());
    out.append(text, at, percent - at);
    if (percent == text.size()) break;
    at = percent + 1;
    FormatSpec spec;
    Value named;
    if (at < text.size() && text[at] == '(') {
      if (!arguments.is_dict()) raise("format requires a mapping");
      const std::size_t close = text.find(')', at);
      if (close == std::string::npos) raise("incomplete format key");
      const std::string key = text.substr(at + 1, close - at - 1);
      const Value* found = arguments.dict().find(key);
      if (found == nullptr) raise(python::repr(key));
      named = *found;
      by_name = true;
      at = close + 1;
    }
    bool left = false;
    for (; at < text.size() && std::string_view("#0- +").find(text[at]) != std::string_view::npos; ++at) {
      if (text[at] == '#') spec.alternate = true;
      if (text[at] == '0') spec.zero = true;
      if (text[at] == '-') left = true;
      if (text[at] == '+' || (text[at] == ' ' && spec.sign != '+')) spec.sign = text[at];
    }
    const auto star = [&](std::int64_t fallback) {
      if (at >= text.size() || text[at] != '*') return std::max(detail::format_number(text, at), fallback);
      ++at;
      const Value value = next();
      if (!value.is_integer()) raise("* wants int");
      if (value.integer() > 1'000'000 || value.integer() < -1'000'000) raise("a width over 1000000 is not supported");
      return value.integer();
    };
    spec.width = star(0);
    if (spec.width < 0) left = true, spec.width = -spec.width;
    if (at < text.size() && text[at] == '.') spec.precision = (++at, std::max<std::int64_t>(star(0), 0));
    while (at < text.size() && std::string_view("hlL").find(text[at]) != std::string_view::npos) ++at;
    if (at >= text.size()) raise("incomplete format");
    spec.type = text[at++];
    if (spec.type == '%') {
      out += '%';
      continue;
    }
    spec.align = left ? '<' : '\0';
    constexpr std::string_view known = "sradiuoxXeEfFgGc";
    if (known.find(spec.type) == std::string_view::npos)
      raise("unsupported format character '", spec.type, "' at index ", at - 1);
    const Value value = named.is_missing() ? next() : named;
    const bool is_word = spec.type == 's' || spec.type == 'r' || spec.type == 'a' || spec.type == 'c';
    if (is_word) {
      if (spec.type == 'a' || spec.type == 'c') raise("the format code '", spec.type, "' is not supported");
      spec.zero = false;
      out += detail::padded(detail::cut(spec.type == 's' ? str(value) : repr(value), spec.precision), spec, '>');
    } else if (std::string_view("eEfFgG").find(spec.type) != std::string_view::npos) {
      require_defined(value);
      if (!value.is_number()) raise("must be real number, not ", type_name(value));
      if (left) spec.zero = false;
      out += detail::padded(detail::float_text(value.number(), spec), spec, '>');
    } else {
      require_defined(value);
      const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
      if (!(decimal ? value.is_number() : value.is_integer()))
        raise("%", spec.type, " format: ", decimal ? "a real number" : "an integer", " is required, not ",
              type_name(value));
      if (value.is(Type::number) && !(std::fabs(value.number()) < 9e18)) raise("cannot convert float to integer");
      const std::int64_t integer = value.is_integer() ? value.integer() : static_cast<std::int64_t>(value.number());
      if (spec.type == 'i' || spec.type == 'u') spec.type = 'd';
      if (left) spec.zero = false;
      if (spec.precision >= 0) raise("a precision of an integer is not supported");
      out += detail::padded(detail::integer_text(integer, spec), spec, '>');
    }
    expect_memory(out.size());
  }
  const std::size_t given = is_tuple ? arguments.sequence().items.size() : 1;
  if (!by_name && !is_mapping && used < given) raise("not all arguments converted during string formatting");
  return out;
}

Value get_attribute(const Value& object, const std::string& name);
Value get_item(const Value& object, const Value& key);

/// `text.format(*args, **kwargs)`, where fields may name attributes and items (string.Formatter).
class Formatter {
 public:
  explicit Formatter(const Args& args) : args_(args) {}

  std::string format(std::string_view text, int depth = 2) {
    if (depth < 0) raise("Max string recursion exceeded");
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
      const char c = text[at];
      if (c != '{' && c != '}') {
        out += c;
        ++at;
        continue;
      }
      if (at + 1 < text.size() && text[at + 1] == c) {
        out += c;
        at += 2;
        continue;
      }
      if (c == '}') raise("Single '}' encountered in format string");
      std::size_t end = at + 1;
      for (int open = 1; open > 0; ++end) {
        if (end >= text.size())
          raise(at + 1 == text.size() ? "Single '{' encountered in format string"
                                      : "expected '}' before end of string");
        open += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
      }
      out += field(text.substr(at + 1, end - at - 2), depth);
      expect_memory(out.size());
      at = end;
    }
    return out;
  }

 private:
  std::string field(std::string_view text, int depth) {
    std::size_t end = 0;
    for (int brackets = 0; end < text.size() && (brackets > 0 || (text[end] != '!' && text[end] != ':')); ++end)
      brackets += text[end] == '[' ? 1 : text[end] == ']' ? -1 : 0;
    Value value = lookup(std::string(text.substr(0, end)));
    std::string_view rest = text.substr(end);
    if (!rest.empty() && rest.front() == '!') {
      const char conversion = rest.size() > 1 ? rest[1] : '\0';
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':')) raise("expected ':' after conversion specifier");
      if (conversion != 's' && conversion != 'r') raise("Unknown conversion specifier '", conversion, "'");
      value = Value::text(conversion == 's' ? str(value) : repr(value));
      rest.remove_prefix(2);
    }
    const std::string spec = rest.empty() ? std::string() : format(rest.substr(1), depth - 1);
    return format_value(value, spec);
  }

  Value lookup(std::string name) {
    const std::size_t end = std::min(name.find_first_of(".["), name.size());
    std::string first = name.substr(0, end);
    if (first.empty()) {
      if (manual_) raise("cannot switch from manual field specification to automatic field numbering");
      first = std::to_string(next_++);
    } else if (first.find_first_not_of("0123456789") == std::string::npos) {
      if (next_ > 0) raise("cannot switch from manual field specification to automatic field numbering");
      manual_ = true;
    }
    Value value = argument(first);
    for (std::size_t at = end; at < name.size();) {
      if (name[at] == '.') {
        const std::size_t stop = std::min(name.find_first_of(".[", at + 1), name.size());
        if (stop == at + 1) raise("Empty attribute in format string");
        value = get_attribute(value, name.substr(at + 1, stop - at - 1));
        at = stop;
      } else if (name[at] == '[') {
        const std::size_t stop = name.find(']', at);
        if (stop == std::string::npos) raise("Missing ']' in format string");
        const std::string key = name.substr(at + 1, stop - at - 1);
        if (key.empty()) raise("Empty attribute in format string");
        const bool is_number = key.find_first_not_of("0123456789") == std::string::npos && key.size() < 18;
        value = get_item(value, is_number ? Value::integer(std::stoll(key)) : Value::text(key));
        at = stop + 1;
      } else {
        raise("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value argument(const std::string& name) const {
    if (name.find_first_not_of("0123456789") == std::string::npos) {
      if (name.size() > 9 || std::stoul(name) >= args_.positional.size())
        raise("Replacement index ", name, " out of range for positional args tuple");
      return args_.positional[std::stoul(name)];
    }
    for (const auto& [key, value] : args_.named)
      if (key == name) return value;
    raise(python::repr(name));
  }

  const Args& args_;
  std::size_t next_ = 0;
  bool manual_ = false;
};

}  // namespace qwen3vl::jinja
