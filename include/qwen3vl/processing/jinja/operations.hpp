/// Python's conversions, comparisons and iteration on the values of a template.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
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
    case Type::big:
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

inline std::string Undefined::message() const {
  if (!is_name) return name;
  if (type.empty()) return concat(python::repr(name), " is undefined");
  const std::string what =
      type == "NoneType" ? "None" : concat(type == "Namespace" ? "jinja2.utils." : "", type, " object");
  return concat("'", what, "' has no attribute ", python::repr(name));
}

/// Using an undefined value is an error with its own message.
inline void require_defined(const Value& value) {
  if (value.is_undefined()) throw Failure(value.as<Undefined>()->message());
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
    case Type::big:
      out += std::to_string(value.big());
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

[[noreturn]] inline void too_big() { raise("an integer beyond 64 bits is not supported"); }

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
  if (a.is(Type::big)) return a.big() == b.big();
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
  if (a.is(Type::big) || b.is(Type::big)) too_big();
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
    inner = std::max(inner, detail::depth_of(entry.second));
    // The first key stays in its place, the last value counts.
    if (const Value* earlier = find(entry.first)) {
      const_cast<Value&>(*earlier) = entry.second;
    } else {
      items.push_back(std::move(entry));
      const Value& key = items.back().first;
      if (indexed && key.is_text()) texts_.emplace(key.text().string, items.size() - 1);
    }
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

}  // namespace qwen3vl::jinja
