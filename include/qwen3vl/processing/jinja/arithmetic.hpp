/// Python's arithmetic, subscripts and slices on the values of a template.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/processing/jinja/operations.hpp"

namespace qwen3vl::jinja {

inline std::string repeated(std::string_view text, std::int64_t count) {
  const std::size_t times = count > 0 ? static_cast<std::size_t>(count) : 0;
  if (!text.empty() && times > std::numeric_limits<std::size_t>::max() / 2 / text.size()) raise("a text is too long");
  expect_memory(text.size() * times);
  std::string out;
  out.reserve(text.size() * times);
  for (std::size_t i = 0; i < times && !text.empty(); ++i) out += text;
  return out;
}

/// `markupsafe.escape`.
inline std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}
/// The text of `value` inside of one that is marked as safe.
inline std::string escaped(const Value& value) {
  return value.is_text() && value.text().markup ? value.text().string : escaped(str(value));
}

std::string percent_format(const Value& format, const Value& arguments);

inline std::int64_t floor_divided(std::int64_t a, std::int64_t b) {
  if (b == -1) {
    if (a == std::numeric_limits<std::int64_t>::min()) too_big();
    return -a;
  }
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

inline Value power(const Value& a, const Value& b) {
  if (!a.is_integer() || !b.is_integer() || b.integer() < 0) {
    if (a.number() == 0.0 && b.number() < 0.0) raise("0.0 cannot be raised to a negative power");
    const double result = std::pow(a.number(), b.number());
    if (a.number() < 0.0 && std::isfinite(a.number()) && std::isfinite(b.number()) &&
        b.number() != std::floor(b.number()))
      raise("complex numbers are not supported");
    if (std::isinf(result) && std::isfinite(a.number()) && std::isfinite(b.number()))
      raise("(34, 'Numerical result out of range')");
    return Value::number(result);
  }
  std::int64_t result = 1, base = a.integer();
  for (std::int64_t exponent = b.integer(); exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) too_big();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) too_big();
  }
  return Value::integer(result);
}

inline Value arithmetic(const Value& a, const Value& b, std::string_view op) {
  if (op == "**") return power(a, b);
  if (a.is_integer() && b.is_integer() && op != "/") {
    const std::int64_t x = a.integer(), y = b.integer();
    std::int64_t result = 0;
    bool overflow = false;
    if (op == "+") overflow = __builtin_add_overflow(x, y, &result);
    if (op == "-") overflow = __builtin_sub_overflow(x, y, &result);
    if (op == "*") overflow = __builtin_mul_overflow(x, y, &result);
    if (overflow) too_big();
    if (op == "//" || op == "%") {
      if (y == 0) raise("integer ", op == "%" ? "modulo" : "division or modulo", " by zero");
      result = op == "//" ? floor_divided(x, y)
               : y == -1  ? 0
                          : ((x % y) != 0 && (x < 0) != (y < 0) ? x % y + y : x % y);
    }
    return Value::integer(result);
  }
  const double x = a.number(), y = b.number();
  if (op == "+") return Value::number(x + y);
  if (op == "-") return Value::number(x - y);
  if (op == "*") return Value::number(x * y);
  if (y == 0.0)
    raise(op == "/"    ? (a.is_integer() && b.is_integer() ? "division by zero" : "float division by zero")
          : op == "//" ? "float floor division by zero"
                       : "float modulo");
  if (op == "/") return Value::number(x / y);
  double rest = std::fmod(x, y);
  if (rest != 0.0 ? (rest < 0.0) != (y < 0.0) : false) rest += y;
  if (rest == 0.0) rest = std::copysign(0.0, y);
  if (op == "%") return Value::number(rest);
  double quotient = (x - std::fmod(x, y)) / y;
  if (std::fmod(x, y) != 0.0 && (std::fmod(x, y) < 0.0) != (y < 0.0)) quotient -= 1.0;
  double floor = std::floor(quotient);
  if (quotient - floor > 0.5) floor += 1.0;
  return Value::number(quotient == 0.0 ? std::copysign(0.0, x / y) : floor);
}

/// `a op b` for + - * / // % **.
inline Value binary(const Value& a, const Value& b, std::string_view op) {
  if (op == "%" && a.is_text()) return Value::text(percent_format(a, b));
  require_defined(a), require_defined(b);
  if (a.is(Type::big) || b.is(Type::big)) too_big();
  if (a.is_number() && b.is_number()) return arithmetic(a, b, op);
  if (op == "+" && a.is_text() && b.is_text()) {
    const bool markup = a.text().markup || b.text().markup;
    expect_memory(a.text().string.size() + b.text().string.size());
    return Value::text(markup ? escaped(a) + escaped(b) : a.text().string + b.text().string, markup);
  }
  const auto is_list = [](const Value& value) {
    return value.is(Type::sequence) && value.sequence().kind == Sequence::Kind::list;
  };
  const auto is_tuple = [](const Value& value) { return value.is(Type::sequence) && value.sequence().is_tuple(); };
  if (op == "+" && ((is_list(a) && is_list(b)) || (is_tuple(a) && is_tuple(b)))) {
    const Values &x = a.sequence().items, &y = b.sequence().items;
    expect_memory((x.size() + y.size()) * sizeof(Value));
    Values all = x;
    all.insert(all.end(), y.begin(), y.end());
    return is_list(a) ? Value::list(std::move(all)) : Value::tuple(std::move(all));
  }
  if (op == "*" && (a.is_integer() || b.is_integer())) {
    const Value &many = a.is_integer() ? b : a, &times = a.is_integer() ? a : b;
    if (many.is_text()) return Value::text(repeated(many.text().string, times.integer()), many.text().markup);
    if (is_list(many) || is_tuple(many)) {
      Values all;
      const Values& items = many.sequence().items;
      const std::int64_t count = items.empty() ? 0 : std::max<std::int64_t>(times.integer(), 0);
      if (static_cast<std::uint64_t>(count) > std::uint64_t{1} << 40) raise("a list is too long");
      expect_memory(items.size() * static_cast<std::size_t>(count) * sizeof(Value));
      for (std::int64_t i = 0; i < count; ++i) all.insert(all.end(), items.begin(), items.end());
      return is_list(many) ? Value::list(std::move(all)) : Value::tuple(std::move(all));
    }
  }
  if (op == "+" && a.is_text()) raise("can only concatenate str (not \"", type_name(b), "\") to str");
  if (op == "*" && (a.is_text() || b.is_text() || is_list(a) || is_list(b)))
    raise("can't multiply sequence by non-int of type '", type_name(a.is_text() || is_list(a) ? b : a), "'");
  raise("unsupported operand type(s) for ", op == "**" ? "** or pow()" : op, ": '", type_name(a), "' and '",
        type_name(b), "'");
}

inline Value negative(const Value& value) {
  require_defined(value);
  if (value.is(Type::big)) too_big();
  if (value.is(Type::number)) return Value::number(-value.number());
  if (!value.is_integer()) raise("bad operand type for unary -: '", type_name(value), "'");
  if (value.integer() == std::numeric_limits<std::int64_t>::min()) too_big();
  return Value::integer(-value.integer());
}

// ---- subscripts

/// An argument that Python takes as an index.
inline std::int64_t index(const Value& value) {
  require_defined(value);
  if (!value.is_integer()) raise("'", type_name(value), "' object cannot be interpreted as an integer");
  return value.integer();
}

/// `value[start:stop:stride]`; missing or none is the default.
inline Value slice(const Value& value, const Value& start, const Value& stop, const Value& stride) {
  require_defined(value);
  const auto number = [](const Value& given, std::int64_t fallback) {
    if (given.is_missing() || given.is_none()) return fallback;
    if (!given.is_integer()) raise("slice indices must be integers or None or have an __index__ method");
    return given.integer();
  };
  const bool is_text = value.is_text();
  if (value.is_dict()) raise("unhashable type: 'slice'");
  if (!is_text && (!value.is(Type::sequence) || value.sequence().is_view()))
    raise("'", type_name(value), "' object is not subscriptable");
  const auto size = static_cast<std::int64_t>(length(value));
  const std::int64_t by = number(stride, 1);
  if (by == 0) raise("slice step cannot be zero");
  const auto clamped = [&](std::int64_t at) {
    if (at < 0)
      at = at < -size ? -1 : at + size;
    else if (at >= size)
      at = size;
    return by > 0 ? std::clamp<std::int64_t>(at, 0, size) : std::clamp<std::int64_t>(at, -1, size - 1);
  };
  const auto bound = [&](const Value& given, std::int64_t fallback) {
    return given.is_missing() || given.is_none() ? fallback : clamped(number(given, 0));
  };
  const std::int64_t from = bound(start, by > 0 ? 0 : size - 1), to = bound(stop, by > 0 ? size : -1);
  if (is_text) {
    const Text& text = value.text();
    if (by == 1) {
      if (from >= to) return Value::text("", text.markup);
      const std::size_t begin = python::byte_of(text.string, static_cast<std::size_t>(from), text.is_ascii());
      const std::string_view rest = std::string_view(text.string).substr(begin);
      return Value::text(
          std::string(rest.substr(0, python::byte_of(rest, static_cast<std::size_t>(to - from), text.is_ascii()))),
          text.markup);
    }
    const std::u32string all = python::decode(text.string);
    std::u32string out;
    for (std::int64_t i = from; by > 0 ? i < to : i > to;) {
      out += all[static_cast<std::size_t>(i)];
      if (__builtin_add_overflow(i, by, &i)) break;
    }
    return Value::text(python::encode(out), text.markup);
  }
  Values out;
  for (std::int64_t i = from; by > 0 ? i < to : i > to;) {
    out.push_back(value.sequence().items[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (value.sequence().kind == Sequence::Kind::range) raise("slices of a range are not supported");
  return value.sequence().is_tuple() ? Value::tuple(std::move(out)) : Value::list(std::move(out));
}

/// `object[key]` of text, lists and dicts; missing where Python raises LookupError or TypeError.
inline Value lookup(const Value& object, const Value& key) {
  if (object.is_dict()) {
    const bool hashable = !key.is_dict() && !(key.is(Type::sequence) && !key.sequence().is_tuple());
    const Value* found = hashable ? object.dict().find(key) : nullptr;
    return found != nullptr ? *found : Value();
  }
  if (!key.is_integer()) return {};
  const bool is_text = object.is_text();
  if (!is_text && !(object.is(Type::sequence) && !object.sequence().is_view())) return {};
  const auto size = static_cast<std::int64_t>(length(object));
  const std::int64_t at = key.integer() < 0 ? key.integer() + size : key.integer();
  if (at < 0 || at >= size) return {};
  if (!is_text) return object.sequence().items[static_cast<std::size_t>(at)];
  const Text& text = object.text();
  const std::string_view rest =
      std::string_view(text.string).substr(python::byte_of(text.string, static_cast<std::size_t>(at), text.is_ascii()));
  return Value::text(std::string(rest.substr(0, python::width(rest))), text.markup);
}

}  // namespace qwen3vl::jinja
