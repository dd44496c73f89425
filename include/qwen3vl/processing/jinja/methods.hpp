/// Attributes and methods of the values of a template, as far as the sandbox allows them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwen3vl/processing/jinja/python_format.hpp"

namespace qwen3vl::jinja {

namespace methods {

inline Value like(const Text& self, std::string text) { return Value::text(std::move(text), self.markup); }

inline const std::string& text_of(const Value& value, std::string_view method) {
  require_defined(value);
  if (!value.is_text()) raise(method, "() argument must be str, not ", type_name(value));
  return value.text().string;
}
inline std::int64_t number_or(const Value& value, std::int64_t fallback) {
  return value.is_missing() ? fallback : index(value);
}

inline Value strip(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"chars"}, 0, true);
  const bool left = name != "rstrip", right = name != "lstrip";
  if (given[0].is_missing() || given[0].is_none())
    return like(self, std::string(python::strip(self.string, left, right)));
  if (!given[0].is_text()) {
    require_defined(given[0]);
    raise(name, " arg must be None or str");
  }
  const std::u32string chars = python::decode(given[0].text().string);
  step(self.string.size() / 16 * (chars.size() / 64 + 1));
  return like(self, std::string(python::strip(self.string, left, right, &chars)));
}

inline Value split(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"sep", "maxsplit"}, 0);
  const std::int64_t most = number_or(given[1], -1);
  const bool from_right = name == "rsplit";
  std::vector<std::string> parts;
  std::string_view rest = self.string;
  const auto more = [&] { return most < 0 || static_cast<std::int64_t>(parts.size()) < most; };
  if (given[0].is_missing() || given[0].is_none()) {
    const auto blank_at = [&](std::size_t at) { return python::is_space(utf8::decode(rest.substr(at)).code_point); };
    rest = python::strip(rest, !from_right, from_right);
    while (!rest.empty() && more()) {
      if (from_right) {
        std::size_t begin = rest.size(), last = begin;
        while (begin > 0) {
          last = begin - 1;
          while (last > 0 && (static_cast<unsigned char>(rest[last]) & 0xC0) == 0x80) --last;
          if (blank_at(last)) break;
          begin = last;
        }
        parts.emplace_back(rest.substr(begin));
        rest = python::strip(rest.substr(0, begin), false, true);
      } else {
        std::size_t end = 0;
        while (end < rest.size() && !blank_at(end)) end += python::width(rest.substr(end));
        parts.emplace_back(rest.substr(0, end));
        rest = python::strip(rest.substr(end), true, false);
      }
    }
    if (!rest.empty()) parts.emplace_back(rest);
  } else {
    if (!given[0].is_text()) {
      require_defined(given[0]);
      raise("must be str or None, not ", type_name(given[0]));
    }
    const std::string& separator = given[0].text().string;
    if (separator.empty()) raise("empty separator");
    while (more()) {
      const std::size_t at = from_right ? rest.rfind(separator) : rest.find(separator);
      if (at == std::string_view::npos) break;
      parts.emplace_back(from_right ? rest.substr(at + separator.size()) : rest.substr(0, at));
      rest = from_right ? rest.substr(0, at) : rest.substr(at + separator.size());
    }
    parts.emplace_back(rest);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  Values list;
  for (std::string& part : parts) list.push_back(like(self, std::move(part)));
  return Value::list(std::move(list));
}

inline std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t count) {
  std::string out;
  std::size_t at = 0;
  for (; count != 0; --count) {
    const std::size_t found = from.empty() ? at : text.find(from, at);
    if (found == std::string_view::npos) break;
    out.append(text.substr(at, found - at)).append(to);
    if (out.size() > (std::size_t{1} << 16)) expect_memory(out.size());
    at = found + from.size();
    if (!from.empty()) continue;
    if (at >= text.size()) return out;
    const std::size_t width = python::width(text.substr(at));
    out.append(text.substr(at, width));
    at += width;
  }
  return out.append(text.substr(std::min(at, text.size())));
}

/// The part of the text that `start` and `end`, in characters, leave; npos as the begin if there is none.
struct Part {
  std::string_view text;
  std::size_t begin_character = 0;
  bool exists = true;
};
inline Part part(const Text& self, const Value& start, const Value& end) {
  const auto size = static_cast<std::int64_t>(self.length);
  const auto bound = [&](const Value& given, std::int64_t fallback) {
    if (given.is_missing() || given.is_none()) return fallback;
    if (!given.is_integer()) raise("slice indices must be integers or None or have an __index__ method");
    const std::int64_t at = given.integer();
    return at < 0 ? std::max<std::int64_t>(at + size, 0) : at;
  };
  const std::int64_t from = bound(start, 0), to = std::min(bound(end, size), size);
  if (from > to) return {{}, 0, false};
  const std::size_t begin = python::byte_of(self.string, static_cast<std::size_t>(from), self.is_ascii());
  const std::string_view rest = std::string_view(self.string).substr(begin);
  return {rest.substr(0, python::byte_of(rest, static_cast<std::size_t>(to - from), self.is_ascii())),
          static_cast<std::size_t>(from)};
}

inline Value find(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"sub", "start", "end"}, 1, true);
  const std::string& wanted = text_of(given[0], name);
  const Part in = part(self, given[1], given[2]);
  step(in.text.size() / 8);
  if (name == "count") {
    std::int64_t count = 0;
    if (!in.exists) return Value::integer(0);
    if (wanted.empty()) return Value::integer(static_cast<std::int64_t>(python::count(in.text)) + 1);
    for (std::size_t at = in.text.find(wanted); at != std::string_view::npos;
         at = in.text.find(wanted, at + wanted.size()))
      ++count;
    return Value::integer(count);
  }
  const bool last = name == "rfind" || name == "rindex";
  const std::size_t at = !in.exists ? std::string_view::npos : last ? in.text.rfind(wanted) : in.text.find(wanted);
  if (at != std::string_view::npos)
    return Value::integer(static_cast<std::int64_t>(in.begin_character + python::count(in.text.substr(0, at))));
  if (name.ends_with("index")) raise("substring not found");
  return Value::integer(-1);
}

inline Value starts(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"prefix", "start", "end"}, 1, true);
  const Part in = part(self, given[1], given[2]);
  const auto is = [&](const Value& affix) {
    if (!affix.is_text()) {
      require_defined(affix);
      raise(name, " first arg must be str or a tuple of str, not ", type_name(affix));
    }
    const std::string& words = affix.text().string;
    return in.exists && (name == "startswith" ? in.text.starts_with(words) : in.text.ends_with(words));
  };
  if (given[0].is(Type::sequence) && given[0].sequence().is_tuple()) {
    const Values& affixes = given[0].sequence().items;
    return Value::boolean(std::any_of(affixes.begin(), affixes.end(), is));
  }
  return Value::boolean(is(given[0]));
}

inline Value join(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"iterable"}, 1, true);
  require_defined(given[0].is_undefined() ? Value::text("") : given[0]);
  if (!is_iterable(given[0])) raise("can only join an iterable");
  std::string out;
  std::size_t i = 0;
  const Next next = iterate(given[0]);
  for (Value item; next(item); ++i) {
    if (!item.is_text()) raise("sequence item ", i, ": expected str instance, ", type_name(item), " found");
    if (i > 0) out += self.string;
    out += self.markup ? escaped(item) : item.text().string;
    if (out.size() > (std::size_t{1} << 16)) expect_memory(out.size());
  }
  return like(self, std::move(out));
}

inline Value partition(const Text& self, Args& args, std::string_view name) {
  const std::string separator = text_of(args.bind(name, {"sep"}, 1, true)[0], name);
  if (separator.empty()) raise("empty separator");
  const bool last = name == "rpartition";
  const std::size_t at = last ? self.string.rfind(separator) : self.string.find(separator);
  const auto part = [&](std::string words) { return like(self, std::move(words)); };
  if (at == std::string::npos)
    return last ? Value::tuple({part(""), part(""), part(self.string)})
                : Value::tuple({part(self.string), part(""), part("")});
  return Value::tuple(
      {part(self.string.substr(0, at)), part(separator), part(self.string.substr(at + separator.size()))});
}

inline Value justify(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"width", "fillchar"}, 1, true);
  const std::string fill = given[1].is_missing() ? " " : text_of(given[1], name);
  if (python::count(fill) != 1) raise("The fill character must be exactly one character long");
  const std::int64_t missing = index(given[0]) - static_cast<std::int64_t>(self.length);
  if (missing <= 0) return like(self, self.string);
  std::int64_t left = name == "ljust" ? 0 : missing;
  if (name == "center") left = missing / 2 + (missing & index(given[0]) & 1);
  return like(self, repeated(fill, left) + self.string + repeated(fill, missing - left));
}

inline Value zfill(const Text& self, Args& args, std::string_view name) {
  const std::int64_t missing = index(args.bind(name, {"width"}, 1, true)[0]) - static_cast<std::int64_t>(self.length);
  const std::size_t sign = self.string.starts_with('-') || self.string.starts_with('+') ? 1 : 0;
  return like(self, self.string.substr(0, sign) + repeated("0", missing) + self.string.substr(sign));
}

inline Value remove_affix(const Text& self, Args& args, std::string_view name) {
  const std::string affix = text_of(args.bind(name, {"affix"}, 1, true)[0], name);
  const bool prefix = name == "removeprefix";
  if (prefix ? !self.string.starts_with(affix) : !self.string.ends_with(affix)) return like(self, self.string);
  return like(self, self.string.substr(prefix ? affix.size() : 0, self.string.size() - affix.size()));
}

inline Value convert(const Text& self, Args& args, std::string_view name) {
  args.bind(name, {}, 0, true);
  step(self.string.size() / 4);
  if (name == "upper") return like(self, python::upper(self.string));
  if (name == "lower") return like(self, python::lower(self.string));
  if (name == "swapcase") return like(self, python::swapcase(self.string));
  return like(self, python::title(self.string, name == "capitalize"));
}

inline Value check(const Text& self, Args& args, std::string_view name) {
  args.bind(name, {}, 0, true);
  const std::u32string all = python::decode(self.string);
  const auto each = [&](auto is) { return Value::boolean(!all.empty() && std::all_of(all.begin(), all.end(), is)); };
  if (name == "isascii") return Value::boolean(self.is_ascii());
  if (name == "isdigit") return each(python::is_digit);
  if (name == "isdecimal") return each(python::is_decimal);
  if (name == "isspace") return each(python::is_space);
  if (name == "isalpha") return each(python::is_alpha);
  if (name == "isalnum") return each([](char32_t c) { return python::is_alpha(c) || python::is_digit(c); });
  if (name == "istitle") {
    bool any = false, in_word = false;
    for (const char32_t c : all) {
      const bool upper = python::is_upper(c) || python::category(c) == UTF8PROC_CATEGORY_LT,
                 lower = python::is_lower(c);
      if ((upper && in_word) || (lower && !in_word)) return Value::boolean(false);
      in_word = upper || lower;
      any |= in_word;
    }
    return Value::boolean(any);
  }
  bool any = false;
  for (const char32_t c : all) {
    const bool upper = python::is_upper(c), lower = python::is_lower(c);
    if (name == "islower" ? upper || python::category(c) == UTF8PROC_CATEGORY_LT
                          : lower || python::category(c) == UTF8PROC_CATEGORY_LT)
      return Value::boolean(false);
    any |= upper || lower;
  }
  return Value::boolean(any);
}

inline Value replaced(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"old", "new", "count"}, 2, true);
  const std::string& from = text_of(given[0], name);
  const std::string to = self.markup ? escaped(given[1]) : text_of(given[1], name);
  step(self.string.size() / 8);
  return like(self, replace(self.string, from, to, number_or(given[2], -1)));
}

inline Value split_lines(const Text& self, Args& args, std::string_view name) {
  const Values given = args.bind(name, {"keepends"}, 0);
  Values lines;
  for (std::string& line : python::split_lines(self.string, !given[0].is_missing() && truthy(given[0])))
    lines.push_back(like(self, std::move(line)));
  return Value::list(std::move(lines));
}

inline Value formatted(const Text& self, Args& args, std::string_view) {
  if (self.markup) raise("formatting text that is marked as safe is not supported");
  return Value::text(Formatter(args).format(self.string));
}

using TextMethod = Value (*)(const Text&, Args&, std::string_view name);

inline const std::unordered_map<std::string_view, TextMethod>& of_text() {
  static const std::unordered_map<std::string_view, TextMethod> all = {{"strip", strip},
                                                                       {"lstrip", strip},
                                                                       {"rstrip", strip},
                                                                       {"split", split},
                                                                       {"rsplit", split},
                                                                       {"replace", replaced},
                                                                       {"find", find},
                                                                       {"rfind", find},
                                                                       {"index", find},
                                                                       {"rindex", find},
                                                                       {"count", find},
                                                                       {"startswith", starts},
                                                                       {"endswith", starts},
                                                                       {"join", join},
                                                                       {"partition", partition},
                                                                       {"rpartition", partition},
                                                                       {"center", justify},
                                                                       {"ljust", justify},
                                                                       {"rjust", justify},
                                                                       {"zfill", zfill},
                                                                       {"removeprefix", remove_affix},
                                                                       {"removesuffix", remove_affix},
                                                                       {"upper", convert},
                                                                       {"lower", convert},
                                                                       {"swapcase", convert},
                                                                       {"title", convert},
                                                                       {"capitalize", convert},
                                                                       {"isascii", check},
                                                                       {"isdigit", check},
                                                                       {"isdecimal", check},
                                                                       {"isspace", check},
                                                                       {"isalpha", check},
                                                                       {"isalnum", check},
                                                                       {"istitle", check},
                                                                       {"islower", check},
                                                                       {"isupper", check},
                                                                       {"splitlines", split_lines},
                                                                       {"format", formatted}};
  return all;
}

inline Value view(const Dict& dict, Sequence::Kind kind) {
  Values items;
  items.reserve(dict.items.size());
  for (const auto& [key, value] : dict.items)
    items.push_back(kind == Sequence::Kind::keys     ? key
                    : kind == Sequence::Kind::values ? value
                                                     : Value::tuple({key, value}));
  return make_sequence(kind, std::move(items));
}

inline Value dict_method(const Value& self, std::string_view name, Args& args) {
  const Dict& dict = self.dict();
  if (name == "get") {
    const Values given = args.bind(name, {"key", "default"}, 1, true);
    require_hashable(given[0]);
    const Value* found = dict.find(given[0]);
    return found != nullptr ? *found : given[1].is_missing() ? Value::none() : given[1];
  }
  args.bind(name, {}, 0, true);
  if (name == "copy") return self;  // it can never change
  return view(dict, name == "keys"     ? Sequence::Kind::keys
                    : name == "values" ? Sequence::Kind::values
                                       : Sequence::Kind::items);
}

/// `index` and `count` of lists and tuples.
inline Value list_method(const Value& self, std::string_view name, Args& args) {
  const Values& items = self.sequence().items;
  if (name == "copy") {
    args.bind(name, {}, 0, true);
    return self;
  }
  const Values given = args.bind(name, {"value", "start", "stop"}, 1, true);
  if (name == "count") {
    const auto same = [&](const Value& item) { return equals(item, given[0]); };
    return Value::integer(std::count_if(items.begin(), items.end(), same));
  }
  const auto size = static_cast<std::int64_t>(items.size());
  const auto bound = [&](const Value& value, std::int64_t fallback) {
    const std::int64_t at = number_or(value, fallback);
    return at < 0 ? std::max<std::int64_t>(at + size, 0) : std::min(at, size);
  };
  for (std::int64_t i = bound(given[1], 0); i < bound(given[2], size); ++i)
    if (equals(items[static_cast<std::size_t>(i)], given[0])) return Value::integer(i);
  raise(repr(given[0]), " is not in ", type_name(self));
}

inline bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace methods

namespace detail {

inline Value no_attribute(const Value& object, const Value& name) {
  if (name.is_text()) return Value::undefined_name(name.text().string, type_name(object));
  return Value::undefined(
      concat(object.is_none() ? "None" : concat(type_name(object), " object"), " has no element ", shown(name)));
}

inline Value unsafe(const Value& object, std::string_view name) {
  return Value::undefined(
      concat("access to attribute ", python::repr(name), " of ", python::repr(type_name(object)), " object is unsafe."),
      true);
}

/// `getattr(object, name)`; missing if there is none.
inline Value attribute(const Value& object, const std::string& name) {
  using methods::is_one_of;
  require_defined(object);
  if (object.is(Type::name_space)) {
    for (const auto& [key, value] : object.as<Namespace>()->attributes)
      if (key == name) return value;
    return {};
  }
  static constexpr std::string_view dunders[] = {
      "__class__", "__dict__",    "__doc__",          "__init__",     "__globals__", "__module__",
      "__len__",   "__getitem__", "__iter__",         "__eq__",       "__hash__",    "__str__",
      "__repr__",  "__reduce__",  "__subclasshook__", "__contains__", "__add__",     "__call__"};
  if (name.starts_with("__") && std::find(std::begin(dunders), std::end(dunders), name) != std::end(dunders))
    return unsafe(object, name);
  if (object.is(Type::callable)) return object.as<Callable>()->attribute(name).value_or(Value());
  if (object.is_text()) {
    const auto found = methods::of_text().find(name);
    if (found != methods::of_text().end())
      return make_function(
          [object, method = found](Args& args) { return method->second(object.text(), args, method->first); });
    if (is_one_of(name, {"casefold", "encode", "expandtabs", "format_map", "isidentifier", "isnumeric", "isprintable",
                         "maketrans", "translate"}))
      raise("the method str.", name, " is not supported");
    return {};
  }
  if (object.is_dict()) {
    // Most names are keys: the first letters of the methods tell.
    if (name.empty() || std::string_view("cpsugikvf").find(name.front()) == std::string_view::npos) return {};
    if (is_one_of(name, {"clear", "pop", "popitem", "setdefault", "update"})) return unsafe(object, name);
    if (is_one_of(name, {"get", "items", "keys", "values", "copy"}))
      return make_function([object, name](Args& args) { return methods::dict_method(object, name, args); });
    if (name == "fromkeys") raise("the method dict.fromkeys is not supported");
    return {};
  }
  if (object.is(Type::sequence)) {
    const Sequence& sequence = object.sequence();
    if (sequence.kind == Sequence::Kind::list &&
        is_one_of(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"}))
      return unsafe(object, name);
    if (!sequence.is_view() &&
        (name == "index" || name == "count" || (name == "copy" && sequence.kind == Sequence::Kind::list)))
      return make_function([object, name](Args& args) { return methods::list_method(object, name, args); });
    if (sequence.kind == Sequence::Kind::group && name == "grouper") return sequence.items[0];
    if (sequence.kind == Sequence::Kind::group && name == "list") return sequence.items[1];
    if (sequence.kind == Sequence::Kind::range && is_one_of(name, {"start", "stop", "step"}))
      return Value::integer(sequence.range[name == "start" ? 0 : name == "stop" ? 1 : 2]);
    if (sequence.is_view() && is_one_of(name, {"mapping", "isdisjoint"}))
      raise("the attribute ", name, " is not supported");
    return {};
  }
  if (object.is_number()) {
    if (object.is_integer() && is_one_of(name, {"real", "numerator"})) return Value::integer(object.integer());
    if (object.is_integer() && name == "imag") return Value::integer(0);
    if (object.is_integer() && name == "denominator") return Value::integer(1);
    if (object.is(Type::number) && name == "is_integer")
      return make_function(
          [x = object.number()](Args&) { return Value::boolean(x == std::floor(x) && std::isfinite(x)); });
    if (is_one_of(name, {"real", "imag", "as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes",
                         "to_bytes", "fromhex", "hex"}))
      raise("the attribute ", type_name(object), ".", name, " is not supported");
  }
  return {};
}

}  // namespace detail

/// `object.name`: an attribute, else an item, else undefined.
inline Value get_attribute(const Value& object, const std::string& name) {
  Value found = detail::attribute(object, name);
  if (!found.is_missing()) {
    return name.starts_with('_') && !found.is_undefined() ? detail::unsafe(object, name) : found;
  }
  const Value* item = object.is_dict() ? object.dict().find(name) : nullptr;
  if (item != nullptr) return *item;
  return Value::undefined_name(name, type_name(object));
}

/// `object[key]`: an item, else an attribute, else undefined.
inline Value get_item(const Value& object, const Value& key) {
  require_defined(object);
  Value found = lookup(object, key);
  if (!found.is_missing()) return found;
  if (key.is_text()) {
    found = detail::attribute(object, key.text().string);
    if (!found.is_missing()) return found;
  }
  return detail::no_attribute(object, key);
}

}  // namespace qwen3vl::jinja
