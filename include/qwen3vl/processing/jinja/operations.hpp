/// Python's operators, comparisons and conversions on the values of a template.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/json/python_json.hpp"
#include "qwen3vl/processing/jinja/python_text.hpp"
#include "qwen3vl/processing/jinja/value.hpp"

namespace qwen3vl::jinja {

using Type = Value::Type;

inline std::string_view type_name(const Value& value) {
  switch (value.type()) {
    case Type::missing:
    case Type::undefined:
      return "Undefined";
    case Type::none:
      return "NoneType";
    case Type::boolean:
      return "bool";
    case Type::integer:
      return "int";
    case Type::number:
      return "float";
    case Type::text:
      return value.text().markup ? "Markup" : "str";
    case Type::dict:
      return "dict";
    case Type::name_space:
      return "Namespace";
    case Type::iterator:
      return value.as<Iterator>()->name;
    case Type::callable:
      return value.as<Callable>()->type_name;
    case Type::sequence:
      break;
  }
  constexpr std::string_view names[] = {"list",      "tuple",       "_GroupTuple", "range",
                                        "dict_keys", "dict_values", "dict_items"};
  return names[static_cast<int>(value.sequence().kind)];
}

/// Using an undefined value is an error with its own message.
inline void require_defined(const Value& value) {
  if (value.is_undefined()) throw Failure(value.as<Undefined>()->message);
}

inline bool truthy(const Value& value) {
  switch (value.type()) {
    case Type::missing:
    case Type::undefined:
    case Type::none:
      return false;
    case Type::boolean:
    case Type::integer:
      return value.integer() != 0;
    case Type::number:
      return value.number() != 0.0;
    case Type::text:
      return !value.text().string.empty();
    case Type::sequence:
      return !value.sequence().items.empty();
    case Type::dict:
      return !value.dict().items.empty();
    default:
      return true;
  }
}

inline void append_repr(std::string& out, const Value& value);

/// `str(value)`.
inline std::string str(const Value& value) {
  if (value.is_text()) return value.text().string;
  if (value.is_undefined()) return {};
  std::string out;
  append_repr(out, value);
  return out;
}

inline std::string repr(const Value& value) {
  std::string out;
  append_repr(out, value);
  return out;
}

/// A value for an error message.
inline std::string shown(const Value& value) { return qwen3vl::detail::shown(repr(value), 80); }

inline void append_repr(std::string& out, const Value& value) {
  const auto list = [&](const Values& items, const char* open, const char* close) {
    out += open;
    for (const Value& item : items) {
      if (&item != &items.front()) out += ", ";
      append_repr(out, item);
    }
    out += close;
  };
  step();
  if (current_budget != nullptr && out.size() > current_budget->limits.max_memory)
    raise("a value is too long to be written");
  switch (value.type()) {
    case Type::missing:
    case Type::undefined:
      out += "Undefined";
      return;
    case Type::none:
      out += "None";
      return;
    case Type::boolean:
      out += value.integer() != 0 ? "True" : "False";
      return;
    case Type::integer:
      out += std::to_string(value.integer());
      return;
    case Type::number:
      out += python_float_repr(value.number());
      return;
    case Type::text:
      step(value.text().string.size() / 8);
      out +=
          value.text().markup ? "Markup(" + python::repr(value.text().string) + ")" : python::repr(value.text().string);
      return;
    case Type::dict: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.dict().items) {
        if (!std::exchange(first, false)) out += ", ";
        append_repr(out, key);
        out += ": ";
        append_repr(out, item);
      }
      out += '}';
      return;
    }
    case Type::sequence: {
      const Sequence& sequence = value.sequence();
      if (sequence.kind == Sequence::Kind::range) {
        out += concat("range(", sequence.range[0], ", ", sequence.range[1]);
        out += sequence.range[2] != 1 ? concat(", ", sequence.range[2], ")") : ")";
      } else if (sequence.is_tuple()) {
        list(sequence.items, "(", sequence.items.size() == 1 ? ",)" : ")");
      } else if (sequence.is_view()) {
        (out += type_name(value)) += '(';
        list(sequence.items, "[", "])");
      } else {
        list(sequence.items, "[", "]");
      }
      return;
    }
    case Type::callable:
      out += value.as<Callable>()->written();
      return;
    case Type::name_space: {
      static thread_local int depth = 0;  // a namespace can hold itself
      const struct Level {
        Level() {
          if (++depth > 50) --depth, raise("writing a namespace that holds itself is not supported");
        }
        ~Level() { --depth; }
      } level;
      out += "<Namespace {";
      bool first = true;
      for (const auto& [name, item] : value.as<Namespace>()->attributes) {
        if (!std::exchange(first, false)) out += ", ";
        (out += python::repr(name)) += ": ";
        append_repr(out, item);
      }
      out += "}>";
      return;
    }
    default:
      raise("writing a ", type_name(value), " is not supported");  // Python writes an address
  }
}

// ---- comparing

inline int compare_numbers(const Value& a, const Value& b) {  // -1, 0, 1; 2 if one is not a number
  if (a.is_integer() && b.is_integer()) return a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0;
  const double x = a.number(), y = b.number();
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

inline bool equals(const Value& a, const Value& b) {
  step();
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.type() != b.type()) return false;
  if (a.is_undefined() || a.is_none()) return true;
  if (a.object() == b.object() && !a.is(Type::number)) return true;
  if (a.is_text()) {
    if (a.text().string.size() == b.text().string.size()) step(a.text().string.size() / 16);
    return a.text().string == b.text().string;
  }
  if (a.is(Type::sequence)) {
    const Sequence &x = a.sequence(), &y = b.sequence();
    if (x.kind != y.kind && !(x.is_tuple() && y.is_tuple())) return false;
    if (x.kind == Sequence::Kind::values) return false;
    return std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), equals);
  }
  if (a.is_dict()) {
    if (a.dict().items.size() != b.dict().items.size()) return false;
    return std::all_of(a.dict().items.begin(), a.dict().items.end(), [&](const Dict::Item& item) {
      const Value* other = b.dict().find(item.first);
      return other != nullptr && equals(item.second, *other);
    });
  }
  return false;
}

/// `a op b` for <, <=, > and >=.
inline bool ordered(const Value& a, const Value& b, std::string_view op) {
  step();
  const auto by = [&](int order) {
    if (order == 2) return false;
    return op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
  };
  require_defined(a), require_defined(b);
  if (a.is_number() && b.is_number()) return by(compare_numbers(a, b));
  if (a.is_text() && b.is_text()) {
    step(std::min(a.text().string.size(), b.text().string.size()) / 16);
    const int order = a.text().string.compare(b.text().string);  // UTF-8 keeps the order of code points
    return by(order < 0 ? -1 : order > 0 ? 1 : 0);
  }
  if (a.is(Type::sequence) && b.is(Type::sequence)) {
    const Sequence &x = a.sequence(), &y = b.sequence();
    const bool lists = x.kind == Sequence::Kind::list && y.kind == Sequence::Kind::list;
    if (lists || (x.is_tuple() && y.is_tuple())) {
      for (std::size_t i = 0; i < std::min(x.items.size(), y.items.size()); ++i)
        if (!equals(x.items[i], y.items[i])) return ordered(x.items[i], y.items[i], op);
      return by(x.items.size() < y.items.size() ? -1 : x.items.size() > y.items.size() ? 1 : 0);
    }
    if (x.is_view()) raise("ordering views of dicts is not supported");
  }
  raise("'", op, "' not supported between instances of '", type_name(a), "' and '", type_name(b), "'");
}
inline bool less(const Value& a, const Value& b) { return ordered(a, b, "<"); }

/// Only what cannot change has a hash; keys of dicts and members of sets need one.
inline void require_hashable(const Value& value) {
  const bool is_list =
      value.is(Type::sequence) && !value.sequence().is_tuple() && value.sequence().kind != Sequence::Kind::range;
  if (value.is_dict() || is_list) raise("unhashable type: '", type_name(value), "'");
  if (value.is(Type::sequence) && value.sequence().is_tuple())
    for (const Value& item : value.sequence().items) require_hashable(item);
}

// ---- iterating

/// The characters of a text, one by one.
inline Values characters(const Text& text) {
  Values out;
  expect_memory(text.length * 128);
  out.reserve(text.length);
  for (std::size_t i = 0; i < text.string.size();) {
    const std::size_t length = python::width(std::string_view(text.string).substr(i));
    out.push_back(Value::text(text.string.substr(i, length)));
    i += length;
  }
  return out;
}

inline bool is_iterable(const Value& value) {
  return value.is_text() || value.is(Type::sequence) || value.is_dict() || value.is(Type::iterator) ||
         value.is_undefined();
}

/// `iter(value)`.
inline Next iterate(const Value& value) {
  if (value.is(Type::iterator)) return [value](Value& item) { return step(), value.as<Iterator>()->next(item); };
  if (value.is_undefined()) return [](Value&) { return false; };
  if (value.is(Type::sequence))
    return [value, i = std::size_t{0}](Value& item) mutable {
      const Values& items = value.sequence().items;
      return step(), i < items.size() && (item = items[i++], true);
    };
  if (value.is_dict())
    return [value, i = std::size_t{0}](Value& item) mutable {
      const auto& items = value.dict().items;
      return step(), i < items.size() && (item = items[i++].first, true);
    };
  if (value.is_text())
    return [value, i = std::size_t{0}](Value& item) mutable {
      const std::string_view rest = std::string_view(value.text().string).substr(i);
      if (step(), rest.empty()) return false;
      const std::size_t length = python::width(rest);
      item = Value::text(std::string(rest.substr(0, length)));
      i += length;
      return true;
    };
  raise("'", type_name(value), "' object is not iterable");
}

/// `list(value)`, as plain items.
inline Values items_of(const Value& value) {
  if (value.is(Type::sequence)) {
    expect_memory(value.sequence().items.size() * sizeof(Value));
    return value.sequence().items;
  }
  if (value.is_text()) return characters(value.text());
  Values items;
  const Next next = iterate(value);
  for (Value item; next(item);) {
    items.push_back(item);
    if (items.size() % 1024 == 0) expect_memory(items.size() * sizeof(Value));
  }
  return items;
}

/// `len(value)`.
inline std::size_t length(const Value& value) {
  if (value.is_text()) return value.text().length;
  if (value.is(Type::sequence)) return value.sequence().items.size();
  if (value.is_dict()) return value.dict().items.size();
  if (value.is_undefined()) return 0;
  raise("object of type '", type_name(value), "' has no len()");
}

/// `item in container`.
inline bool contains(const Value& container, const Value& item) {
  if (container.is_text()) {
    if (!item.is_text()) {
      raise("'in <string>' requires string as left operand, not ", type_name(item));
    }
    step(container.text().string.size() / 16);
    return container.text().string.find(item.text().string) != std::string::npos;
  }
  if (container.is_dict()) {
    require_hashable(item);
    return container.dict().find(item) != nullptr;
  }
  if (!is_iterable(container)) raise("argument of type '", type_name(container), "' is not iterable");
  const Next next = iterate(container);
  for (Value each; next(each);)
    if (equals(each, item)) return true;
  return false;
}

// ---- dicts

inline Dict::Dict(std::vector<Item> entries) : Object(64 + entries.size() * 2 * sizeof(Value)) {
  int inner = 0;
  const bool indexed = entries.size() > 8;
  items.reserve(entries.size());
  for (Item& entry : entries) {
    require_hashable(entry.first);
    // The first key stays in its place, the last value counts.
    if (const Value* earlier = find(entry.first)) {
      const_cast<Value&>(*earlier) = entry.second;
    } else {
      items.push_back(entry);
      if (indexed && entry.first.is_text()) texts_.emplace(entry.first.text().string, items.size() - 1);
    }
    inner = std::max(inner, detail::depth_of(entry.second));
  }
  depth = detail::checked_depth(inner);
}

inline const Value* Dict::find(std::string_view key) const {
  if (!texts_.empty()) {
    const auto found = texts_.find(key);
    return found == texts_.end() ? nullptr : &items[found->second].second;
  }
  for (const auto& [name, value] : items)
    if (name.is_text() && name.text().string == key) return &value;
  return nullptr;
}

inline const Value* Dict::find(const Value& key) const {
  if (key.is_text()) return find(key.text().string);
  for (const auto& [name, value] : items)
    if (equals(name, key)) return &value;
  return nullptr;
}

inline Value make_dict(std::vector<Dict::Item> items) { return {Type::dict, std::make_shared<Dict>(std::move(items))}; }

// ---- arithmetic

[[noreturn]] inline void too_big() { raise("an integer beyond 64 bits is not supported"); }

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

// ---- JSON

inline Value from_json(const nlohmann::ordered_json& json) {
  using Kind = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Kind::null:
      return Value::none();
    case Kind::boolean:
      return Value::boolean(json.get<bool>());
    case Kind::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Kind::number_unsigned:
      if (json.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) too_big();
      return Value::integer(json.get<std::int64_t>());
    case Kind::number_float:
      return Value::number(json.get<double>());
    case Kind::string: {
      const auto& text = json.get_ref<const std::string&>();
      return Value::text(utf8::valid_prefix(text) == text.size() ? text : utf8::lossy(text));
    }
    case Kind::array: {
      Values items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(item));
      return Value::list(std::move(items));
    }
    case Kind::object: {
      std::vector<Dict::Item> items;
      items.reserve(json.size());
      for (const auto& [key, item] : json.items()) items.emplace_back(Value::text(key), from_json(item));
      return make_dict(std::move(items));
    }
    default:
      raise("a value of type ", json.type_name(), " has no place in a template");
  }
}

/// `json.dumps(value, ensure_ascii=..., indent=..., separators=..., sort_keys=...)`.
struct JsonWriter {
  bool ensure_ascii = false, sort_keys = false, breaks_lines = false;
  std::string indent{}, item_separator = ", ", key_separator = ": ";
  std::string out{};

  void text(const std::string& value) {
    step(value.size() / 8);
    if (!ensure_ascii) return append_python_json_string(out, value);
    std::string plain;
    append_python_json_string(plain, value);
    const auto unit = [&](char32_t c) {
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4) out += "0123456789abcdef"[(c >> shift) & 15];
    };
    for (std::size_t i = 0; i < plain.size();) {
      const utf8::Step next = utf8::decode(std::string_view(plain).substr(i));
      const char32_t c = next.code_point;
      if (c < 0x80) {
        if (c == 0x7F)
          unit(c);
        else
          out += static_cast<char>(c);
      } else if (c < 0x10000) {
        unit(c);
      } else {
        unit(0xD800 + ((c - 0x10000) >> 10));
        unit(0xDC00 + ((c - 0x10000) & 0x3FF));
      }
      i += next.length;
    }
  }

  void line(int level) {
    if (!breaks_lines) return;
    out += '\n';
    for (int i = 0; i < level; ++i) out += indent;
  }

  std::string number(const Value& value) const {
    if (value.is(Type::boolean)) return value.integer() != 0 ? "true" : "false";
    if (value.is_integer()) return std::to_string(value.integer());
    if (std::isnan(value.number())) return "NaN";
    if (std::isinf(value.number())) return value.number() < 0 ? "-Infinity" : "Infinity";
    return python_float_repr(value.number());
  }

  void write(const Value& value, int level = 0) {
    step();
    expect_memory(out.size());
    if (value.is_none()) {
      out += "null";
    } else if (value.is_number()) {
      out += number(value);
    } else if (value.is_text()) {
      text(value.text().string);
    } else if (value.is(Type::sequence) &&
               (value.sequence().kind == Sequence::Kind::list || value.sequence().is_tuple())) {
      if (value.sequence().items.empty()) {
        out += "[]";
        return;
      }
      out += '[';
      bool first = true;
      for (const Value& item : value.sequence().items) {
        if (!std::exchange(first, false)) out += item_separator;
        line(level + 1);
        write(item, level + 1);
      }
      line(level);
      out += ']';
    } else if (value.is_dict()) {
      object(value.dict(), level);
    } else {
      raise("Object of type ", type_name(value), " is not JSON serializable");
    }
  }

  void object(const Dict& dict, int level) {
    if (dict.items.empty()) {
      out += "{}";
      return;
    }
    std::vector<Dict::Item> sorted;
    if (sort_keys) {
      sorted = dict.items;
      std::stable_sort(sorted.begin(), sorted.end(),
                       [](const auto& a, const auto& b) { return less(a.first, b.first); });
    }
    out += '{';
    bool first = true;
    for (const auto& [key, item] : sort_keys ? sorted : dict.items) {
      if (!std::exchange(first, false)) out += item_separator;
      line(level + 1);
      if (key.is_text()) {
        text(key.text().string);
      } else if (key.is_number() || key.is_none()) {
        ((out += '"') += key.is_none() ? "null" : number(key)) += '"';
      } else {
        raise("keys must be str, int, float, bool or None, not ", type_name(key));
      }
      out += key_separator;
      write(item, level + 1);
    }
    line(level);
    out += '}';
  }
};

}  // namespace qwen3vl::jinja
