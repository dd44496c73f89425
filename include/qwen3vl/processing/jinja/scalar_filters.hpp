/// Filters of numbers and texts.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/processing/jinja/methods.hpp"

namespace qwen3vl::jinja::filters {

inline bool given(const Value& value) { return !value.is_missing() && !value.is_none(); }
inline bool flag(const Value& value) { return !value.is_missing() && truthy(value); }
inline Value soft_text(const Value& value) { return value.is_text() ? value : Value::text(str(value)); }

// ---- numbers

/// `int(text, base)`.
inline std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t base) {
  text = python::strip(text);
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  const char letter = text.size() > 1 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : '\0';
  const std::int64_t prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  const bool has_prefix = prefix != 0 && (base == prefix || base == 0);
  if (has_prefix) text.remove_prefix(2);
  if (base == 0) base = has_prefix ? prefix : 10;
  if (base < 2 || base > 36) raise("int() base must be >= 2 and <= 36, or 0");
  if (has_prefix && text.starts_with('_')) text.remove_prefix(1);
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_' && i > 0 && text[i - 1] != '_' && i + 1 < text.size()) continue;
    digits += text[i];
  }
  if (digits.empty() || digits.front() == '-' || digits.front() == '+') return std::nullopt;
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (parsed.ptr != digits.data() + digits.size() || parsed.ec == std::errc::invalid_argument) return std::nullopt;
  if (parsed.ec != std::errc() || value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    too_big();
  return is_negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
}

/// `float(text)`.
inline std::optional<double> parse_float(std::string_view text) {
  text = python::strip(text);
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto is_digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };
    if (text[i] == '_' && i > 0 && is_digit(i - 1) && is_digit(i + 1)) continue;
    digits += text[i];
  }
  std::string_view rest = digits;
  const bool is_negative = rest.starts_with('-');
  if (is_negative || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest.empty() || rest.front() == '-' || rest.front() == '+' || rest.find('(') != std::string_view::npos)
    return std::nullopt;
  double value = 0.0;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (parsed.ptr != rest.data() + rest.size() || parsed.ec == std::errc::invalid_argument) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) value = std::strtod(std::string(rest).c_str(), nullptr);
  return is_negative ? -value : value;
}

inline std::int64_t truncated(double value) {
  if (std::isinf(value)) raise("cannot convert float infinity to integer");
  if (std::fabs(value) >= 9.2e18) too_big();
  return static_cast<std::int64_t>(value);
}

inline Value to_integer(const Value& value, Args& args) {
  const Values options = args.bind("int", {"default", "base"}, 0);
  require_defined(value);
  Value fallback = options[0].is_missing() ? Value::integer(0) : options[0];
  if (value.is_integer()) return Value::integer(value.integer());
  if (value.is(Type::number)) return std::isnan(value.number()) ? fallback : Value::integer(truncated(value.number()));
  if (!value.is_text()) return fallback;
  const std::string& text = value.text().string;
  if (const auto whole = parse_integer(text, options[1].is_missing() ? 10 : index(options[1])))
    return Value::integer(*whole);
  const auto number = parse_float(text);
  return number && std::isfinite(*number) ? Value::integer(truncated(*number)) : fallback;
}

inline Value to_float(const Value& value, Args& args) {
  const Values options = args.bind("float", {"default"}, 0);
  require_defined(value);
  if (value.is_number()) return Value::number(value.number());
  const auto number = value.is_text() ? parse_float(value.text().string) : std::nullopt;
  if (number) return Value::number(*number);
  return options[0].is_missing() ? Value::number(0.0) : options[0];
}

inline Value round(const Value& value, Args& args) {
  const Values options = args.bind("round", {"precision", "method"}, 0);
  const std::string method = options[1].is_missing() ? "common" : str(options[1]);
  if (method != "common" && method != "ceil" && method != "floor") raise("method must be common, ceil or floor");
  const bool whole = options[0].is_missing();
  if (!whole && options[0].is_none() && method == "common" && value.is(Type::number))
    return Value::integer(truncated(std::nearbyint(value.number())));
  const std::int64_t precision = whole || options[0].is_none() ? 0 : index(options[0]);
  require_defined(value);
  if (!value.is_number()) raise("type ", type_name(value), " doesn't define __round__ method");
  if (precision > 300 || precision < -300) raise("a precision beyond 300 is not supported");
  if (method != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision)), scaled = value.number() * scale;
    const double rounded = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
    return Value::number(rounded / scale);
  }
  if (value.is_integer()) {
    if (precision >= 0) return Value::integer(value.integer());
    if (precision < -18) return Value::integer(0);
    std::int64_t unit = 1;
    for (std::int64_t i = precision; i < 0; ++i) unit *= 10;
    const std::int64_t low = floor_divided(value.integer(), unit), rest = value.integer() - low * unit;
    const bool up = rest > unit - rest || (rest == unit - rest && low % 2 != 0);
    std::int64_t result = 0;
    if (__builtin_mul_overflow(up ? low + 1 : low, unit, &result)) too_big();
    return Value::integer(result);
  }
  if (!std::isfinite(value.number())) return value;
  if (precision < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    return Value::number(std::nearbyint(value.number() / unit) * unit);
  }
  char buffer[700];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value.number(), std::chars_format::fixed,
                                 static_cast<int>(precision))
                       .ptr;
  double rounded = 0.0;
  std::from_chars(buffer, end, rounded);
  return Value::number(rounded);
}

inline Value absolute(const Value& value, Args& args) {
  args.bind("abs", {}, 0);
  if (value.is(Type::number)) return Value::number(std::fabs(value.number()));
  if (!value.is_integer()) raise("bad operand type for abs(): '", type_name(value), "'");
  return value.integer() < 0 ? negative(value) : Value::integer(value.integer());
}

// ---- texts

inline Value title(const Value& value, Args& args) {
  args.bind("title", {}, 0);
  const Value subject = soft_text(value);
  const std::string& text = subject.text().string;
  std::string out;
  const auto separates = [](char32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || python::is_space(c);
  };
  for (std::size_t at = 0; at < text.size();) {
    const bool separator = separates(utf8::decode(std::string_view(text).substr(at)).code_point);
    std::size_t end = at;
    while (end < text.size() && separates(utf8::decode(std::string_view(text).substr(end)).code_point) == separator)
      end += python::width(std::string_view(text).substr(end));
    const std::size_t first = at + python::width(std::string_view(text).substr(at));
    out += python::upper(text.substr(at, first - at)) + python::lower(text.substr(first, end - first));
    at = end;
  }
  return Value::text(std::move(out));
}

inline Value indent(const Value& value, Args& args) {
  const Values options = args.bind("indent", {"width", "first", "blank"}, 0);
  require_defined(value);
  if (!value.is_text()) raise("unsupported operand type(s) for +=: '", type_name(value), "' and 'str'");
  const std::string with =
      options[0].is_text() ? options[0].text().string : repeated(" ", options[0].is_missing() ? 4 : index(options[0]));
  const std::vector<std::string> lines = python::split_lines(value.text().string + "\n");
  std::string out;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    const bool indented = i == 0 ? flag(options[1]) : !lines[i].empty() || flag(options[2]);
    if (indented) out += with;
    out += lines[i];
    if (out.size() > (std::size_t{1} << 16)) expect_memory(out.size());
  }
  return methods::like(value.text(), std::move(out));
}

inline Value truncate(const Value& value, Args& args) {
  const Values options = args.bind("truncate", {"length", "killwords", "end", "leeway"}, 0);
  const std::int64_t most = options[0].is_missing() ? 255 : index(options[0]);
  const std::string end = options[2].is_missing() ? "..." : str(options[2]);
  const std::int64_t leeway = given(options[3]) ? index(options[3]) : 5;
  const auto end_length = static_cast<std::int64_t>(python::count(end));
  if (most < end_length) raise("expected length >= ", end_length, ", got ", most);
  if (leeway < 0) raise("expected leeway >= 0, got ", leeway);
  if (static_cast<std::int64_t>(length(value)) <= most + leeway) return value;
  if (!value.is_text()) raise("truncating a ", type_name(value), " is not supported");
  const std::string& text = value.text().string;
  std::string kept =
      text.substr(0, python::byte_of(text, static_cast<std::size_t>(most - end_length), value.text().is_ascii()));
  if (!flag(options[1])) {
    const std::size_t space = kept.rfind(' ');
    if (space != std::string::npos) kept.resize(space);
  }
  return Value::text(kept + end);
}

inline Value wordcount(const Value& value, Args& args) {
  args.bind("wordcount", {}, 0);
  std::int64_t count = 0;
  bool inside = false;
  for (const char32_t c : python::decode(str(value))) {
    const bool word = c == '_' || python::is_alpha(c) || python::is_digit(c);
    count += word && !inside;
    inside = word;
  }
  return Value::integer(count);
}

inline std::string url_quoted(const Value& value, bool in_query) {
  std::string out;
  for (const char c : str(value)) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                      c == '.' || c == '-' || c == '~' || (c == '/' && !in_query);
    if (safe) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += '%';
      out += "0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4];
      out += "0123456789ABCDEF"[static_cast<unsigned char>(c) & 15];
    }
  }
  return out;
}

inline Value urlencode(const Value& value, Args& args) {
  args.bind("urlencode", {}, 0);
  if (value.is_text() || !is_iterable(value)) return Value::text(url_quoted(value, false));
  const Values pairs =
      value.is_dict() ? methods::view(value.dict(), Sequence::Kind::items).sequence().items : items_of(value);
  std::string out;
  for (const Value& pair : pairs) {
    const Values both = items_of(pair);
    if (both.size() != 2)
      raise(both.size() < 2 ? "not enough values to unpack" : "too many values to unpack (expected 2)");
    if (!out.empty()) out += '&';
    out += url_quoted(both[0], true) + "=" + url_quoted(both[1], true);
  }
  return Value::text(std::move(out));
}

}  // namespace qwen3vl::jinja::filters
