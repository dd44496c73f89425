/// The filters of templates: jinja2's, with transformers' `tojson`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwen3vl/processing/jinja/json.hpp"
#include "qwen3vl/processing/jinja/methods.hpp"
#include "qwen3vl/processing/jinja/scalar_filters.hpp"
#include "qwen3vl/processing/jinja/tests.hpp"

namespace qwen3vl::jinja {

/// Null for an unknown name.
Filter find_filter(std::string_view name);
Value call_filter(const Value& name, const Value& value, Args& args);

namespace filters {

using Getter = std::function<Value(const Value&)>;

inline Value lowered(const Value& value) {
  return value.is_text() ? Value::text(python::lower(value.text().string)) : value;
}

/// The parts of "a.b.0".
inline Values attribute_parts(const Value& attribute) {
  if (attribute.is_missing() || attribute.is_none()) return {};
  if (!attribute.is_text()) return {attribute};
  Values parts;
  const std::string& path = attribute.text().string;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('.', at), path.size());
    const std::string part = path.substr(at, end - at);
    const bool is_number =
        !part.empty() && part.find_first_not_of("0123456789") == std::string::npos && part.size() < 18;
    parts.push_back(is_number ? Value::integer(std::stoll(part)) : Value::text(part));
    at = end + 1;
  }
  return parts;
}

inline Getter attribute_getter(const Value& attribute, bool ignores_case = false, const Value& fallback = {}) {
  return [parts = attribute_parts(attribute), ignores_case, fallback](Value item) {
    for (const Value& part : parts) {
      item = get_item(item, part);
      if (item.is_undefined() && !fallback.is_missing() && !fallback.is_none()) item = fallback;
    }
    return ignores_case ? lowered(item) : item;
  };
}

/// Items made when they are first asked for.
template <class Make>
Value lazily(Make make) {
  return make_iterator([make, items = std::optional<Values>(), i = std::size_t{0}](Value& item) mutable {
    if (!items) items = make();
    return i < items->size() && (item = (*items)[i++], true);
  });
}

inline Value text_method(const Value& value, std::string_view name, Args& args) {
  const Value text = soft_text(value);
  return methods::of_text().at(name)(text.text(), args, name);
}

inline Value sorted(Values items, const Getter& key, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  keyed.reserve(items.size());
  for (Value& item : items) {
    Value by = key(item);
    keyed.emplace_back(std::move(by), std::move(item));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first) : less(a.first, b.first);
  });
  Values out;
  out.reserve(keyed.size());
  for (auto& [by, item] : keyed) out.push_back(std::move(item));
  return Value::list(std::move(out));
}

inline Value sort(const Value& value, Args& args) {
  const Values options = args.bind("sort", {"reverse", "case_sensitive", "attribute"}, 0);
  std::vector<Getter> getters;
  if (options[2].is_text()) {
    const std::string& all = options[2].text().string;
    for (std::size_t at = 0; at <= all.size();) {
      const std::size_t end = std::min(all.find(',', at), all.size());
      getters.push_back(attribute_getter(Value::text(all.substr(at, end - at)), !flag(options[1])));
      at = end + 1;
    }
  } else {
    getters.push_back(attribute_getter(options[2], !flag(options[1])));
  }
  const Getter key = [&](const Value& item) {
    Values keys;
    for (const Getter& getter : getters) keys.push_back(getter(item));
    return Value::list(std::move(keys));
  };
  return sorted(items_of(value), key, flag(options[0]));
}

inline Value dictsort(const Value& value, Args& args) {
  const Values options = args.bind("dictsort", {"case_sensitive", "by", "reverse"}, 0);
  const std::string by = options[1].is_missing() ? "key" : str(options[1]);
  if (by != "key" && by != "value") raise("You can only sort by either \"key\" or \"value\"");
  require_defined(value);
  if (!value.is_dict()) raise("'", type_name(value), "' object has no attribute 'items'");
  const Getter key = [&](const Value& item) {
    const Value& part = item.sequence().items[by == "key" ? 0 : 1];
    return flag(options[0]) ? part : lowered(part);
  };
  return sorted(methods::view(value.dict(), Sequence::Kind::items).sequence().items, key, flag(options[2]));
}

inline Value groupby(const Value& value, Args& args) {
  const Values options = args.bind("groupby", {"attribute", "default", "case_sensitive"}, 1);
  const Getter key = attribute_getter(options[0], !flag(options[2]), options[1]);
  const Getter shown_key = attribute_getter(options[0], false, options[1]);
  const Value all = sorted(items_of(value), key, false);
  Values groups, group;
  const auto finish = [&] {
    if (group.empty()) return;
    Value name = shown_key(group.front());
    groups.push_back(make_sequence(Sequence::Kind::group, {std::move(name), Value::list(std::exchange(group, {}))}));
  };
  for (const Value& item : all.sequence().items) {
    if (!group.empty() && !equals(key(group.front()), key(item))) finish();
    group.push_back(item);
  }
  finish();
  return Value::list(std::move(groups));
}

inline Value unique(const Value& value, Args& args) {
  const Values options = args.bind("unique", {"case_sensitive", "attribute"}, 0);
  return make_iterator([next = Next(), value, seen = Values(),
                        key = attribute_getter(options[1], !flag(options[0]))](Value& item) mutable {
    if (!next) next = iterate(value);
    while (next(item)) {
      Value found = key(item);
      require_hashable(found);
      if (std::any_of(seen.begin(), seen.end(), [&](const Value& old) { return equals(old, found); })) continue;
      seen.push_back(std::move(found));
      return true;
    }
    return false;
  });
}

inline Value extreme(const Value& value, Args& args, const char* name, bool smallest) {
  const Values options = args.bind(name, {"case_sensitive", "attribute"}, 0);
  const Getter key = attribute_getter(options[1], !flag(options[0]));
  const Next next = iterate(value);
  Value best, best_key;
  for (Value item; next(item);) {
    Value found = key(item);
    if (best.is_missing() || (smallest ? less(found, best_key) : less(best_key, found))) best = item, best_key = found;
  }
  return best.is_missing() ? Value::undefined("No aggregated item, sequence was empty.") : best;
}

inline Value sum(const Value& value, Args& args) {
  const Values options = args.bind("sum", {"attribute", "start"}, 0);
  const Getter key = attribute_getter(options[0]);
  Value total = options[1].is_missing() ? Value::integer(0) : options[1];
  if (total.is_text()) raise("sum() can't sum strings [use ''.join(seq) instead]");
  const Next next = iterate(value);
  for (Value item; next(item);) total = binary(total, given(options[0]) ? key(item) : item, "+");
  return total;
}

inline Value join(const Value& value, Args& args) {
  const Values options = args.bind("join", {"d", "attribute"}, 0);
  const std::string between = options[0].is_missing() ? "" : str(options[0]);
  const Getter key = attribute_getter(options[1]);
  const Next next = iterate(value);
  std::string out;
  bool first = true;
  for (Value item; next(item);) {
    if (!std::exchange(first, false)) out += between;
    out += str(given(options[1]) ? key(item) : item);
    if (out.size() > (std::size_t{1} << 16)) expect_memory(out.size());
  }
  return Value::text(std::move(out));
}

inline Value map(const Value& value, Args& args) {
  if (!truthy(value)) return lazily([] { return Values(); });
  return make_iterator([next = Next(), value, args, get = Getter()](Value& item) mutable {
    if (!next) {
      next = iterate(value);
      const auto attribute =
          std::find_if(args.named.begin(), args.named.end(), [](const auto& a) { return a.first == "attribute"; });
      if (args.positional.empty() && attribute != args.named.end()) {
        const Values options = args.bind("map", {"attribute", "default"}, 1);
        get = attribute_getter(options[0], false, options[1]);
      } else {
        if (args.positional.empty()) raise("map requires a filter argument");
        Args rest{{args.positional.begin() + 1, args.positional.end()}, args.named};
        get = [name = args.positional[0], rest](const Value& each) {
          Args copy = rest;
          return call_filter(name, each, copy);
        };
      }
    }
    if (!next(item)) return false;
    item = get(item);
    return true;
  });
}

inline Value select(const Value& value, Args& args, bool keeps, bool by_attribute) {
  if (!truthy(value)) return lazily([] { return Values(); });
  return make_iterator([next = Next(), value, args, keeps, by_attribute, get = Getter()](Value& item) mutable {
    const std::size_t skip = by_attribute ? 1 : 0;
    if (!next) {
      if (args.positional.size() < skip) raise("Missing parameter for attribute name");
      next = iterate(value);
      get = attribute_getter(by_attribute ? args.positional[0] : Value());
    }
    while (next(item)) {
      const Value subject = get(item);
      bool found = false;
      if (args.positional.size() > skip) {
        Args rest{{args.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1, args.positional.end()}, args.named};
        found = call_test(args.positional[skip], subject, rest);
      } else {
        found = truthy(subject);
      }
      if (found == keeps) return true;
    }
    return false;
  });
}

// ---- sequences

inline Value first(const Value& value, Args& args) {
  args.bind("first", {}, 0);
  Value item;
  return iterate(value)(item) ? item : Value::undefined("No first item, sequence was empty.");
}

inline Value last(const Value& value, Args& args) {
  args.bind("last", {}, 0);
  if (!is_iterable(value) || value.is(Type::iterator)) raise("'", type_name(value), "' object is not reversible");
  const Values items = items_of(value);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

inline Value reverse(const Value& value, Args& args) {
  args.bind("reverse", {}, 0);
  if (value.is_text()) return slice(value, {}, {}, Value::integer(-1));
  if (!is_iterable(value)) raise("argument must be iterable");
  Values items = items_of(value);
  std::reverse(items.begin(), items.end());
  if (value.is(Type::iterator)) return Value::list(std::move(items));
  return make_iterator(iterate(Value::list(std::move(items))), "reversed");
}

inline Value batch(const Value& value, Args& args) {
  const Values options = args.bind("batch", {"linecount", "fill_with"}, 1);
  return lazily([value, options] {
    Values rows, row;
    const Next next = iterate(value);
    const auto full = [&] { return equals(Value::integer(static_cast<std::int64_t>(row.size())), options[0]); };
    for (Value item; next(item);) {
      if (full()) rows.push_back(Value::list(std::exchange(row, {})));
      row.push_back(item);
    }
    if (row.empty()) return rows;
    if (given(options[1]) && less(Value::integer(static_cast<std::int64_t>(row.size())), options[0])) {
      expect_memory(static_cast<std::size_t>(std::min<std::int64_t>(index(options[0]), std::int64_t{1} << 40)) *
                    sizeof(Value));
      row.resize(static_cast<std::size_t>(index(options[0])), options[1]);
    }
    rows.push_back(Value::list(std::move(row)));
    return rows;
  });
}

inline Value slices(const Value& value, Args& args) {
  const Values options = args.bind("slice", {"slices", "fill_with"}, 1);
  return lazily([value, options] {
    const Values items = items_of(value);
    const std::int64_t count = index(options[0]), size = static_cast<std::int64_t>(items.size());
    if (count == 0) raise("integer division or modulo by zero");
    expect_memory(static_cast<std::size_t>(std::clamp<std::int64_t>(count, 0, std::int64_t{1} << 40)) * sizeof(Value));
    Values out;
    std::int64_t at = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t many = size / count + (i < size % count ? 1 : 0);
      Values part(items.begin() + at, items.begin() + at + many);
      at += many;
      if (given(options[1]) && i >= size % count) part.push_back(options[1]);
      out.push_back(Value::list(std::move(part)));
    }
    return out;
  });
}

inline Value tojson(const Value& value, Args& args) {
  const Values options = args.bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonWriter writer{.ensure_ascii = flag(options[0]), .sort_keys = flag(options[3])};
  if (given(options[1])) {
    writer.breaks_lines = true;
    writer.item_separator = ",";
    writer.indent = options[1].is_text() ? options[1].text().string : repeated(" ", index(options[1]));
  }
  if (given(options[2])) {
    const Values both = items_of(options[2]);
    if (both.size() != 2 || !both[0].is_text() || !both[1].is_text()) raise("separators must be two strings");
    writer.item_separator = both[0].text().string;
    writer.key_separator = both[1].text().string;
  }
  writer.write(value);
  return Value::text(std::move(writer.out));
}

inline Value format(const Value& value, Args& args) {
  if (!args.positional.empty() && !args.named.empty())
    raise("can't handle positional and keyword arguments at the same time");
  if (args.named.empty()) return Value::text(percent_format(soft_text(value), Value::tuple(args.positional)));
  std::vector<Dict::Item> items;
  for (auto& [name, argument] : args.named) items.emplace_back(Value::text(name), argument);
  return Value::text(percent_format(soft_text(value), make_dict(std::move(items))));
}

inline Value attribute(const Value& value, Args& args) {
  const Values options = args.bind("attr", {"name"}, 1);
  if (!options[0].is_text()) raise("attribute name must be string, not '", type_name(options[0]), "'");
  const std::string& name = options[0].text().string;
  const Value found = detail::attribute(value, name);
  return found.is_missing() ? detail::no_attribute(value, options[0]) : get_attribute(value, name);
}

inline const std::unordered_map<std::string_view, Filter>& all() {
#define QWEN3VL_METHOD(name)                                                            \
  {                                                                                     \
    name, [](const Value& value, Args& args) { return text_method(value, name, args); } \
  }
#define QWEN3VL_UNSUPPORTED(name)                                                                                   \
  {                                                                                                                 \
    name, [](const Value&, Args&) -> Value { raise("the filter '", name, "' is not supported in chat templates"); } \
  }
  static constexpr Filter escape = [](const Value& value, Args&) { return Value::text(escaped(value), true); };
  static constexpr Filter size = [](const Value& value, Args& args) {
    args.bind("length", {}, 0);
    return Value::integer(static_cast<std::int64_t>(length(value)));
  };
  static constexpr Filter fallback = [](const Value& value, Args& args) {
    const Values options = args.bind("default", {"default_value", "boolean"}, 0);
    const bool replaces = value.is_undefined() || (flag(options[1]) && !truthy(value));
    return !replaces ? value : options[0].is_missing() ? Value::text("") : options[0];
  };
  static const std::unordered_map<std::string_view, Filter> filters = {
      QWEN3VL_METHOD("capitalize"),
      QWEN3VL_METHOD("lower"),
      QWEN3VL_METHOD("upper"),
      {"center",
       [](const Value& value, Args& args) {
         Args width{{args.bind("center", {"width"}, 0)[0]}, {}};
         if (width.positional[0].is_missing()) width.positional[0] = Value::integer(80);
         return text_method(value, "center", width);
       }},
      {"trim",
       [](const Value& value, Args& args) {
         Args chars{{args.bind("trim", {"chars"}, 0)[0]}, {}};
         if (chars.positional[0].is_missing()) chars.positional.clear();
         return text_method(value, "strip", chars);
       }},
      {"replace",
       [](const Value& value, Args& args) {
         const Values options = args.bind("replace", {"old", "new", "count"}, 2);
         return Value::text(methods::replace(str(value), str(options[0]), str(options[1]),
                                             given(options[2]) ? index(options[2]) : -1));
       }},
      {"items",
       [](const Value& value, Args& args) {
         args.bind("items", {}, 0);
         return lazily([value] {
           if (value.is_undefined()) return Values();
           if (!value.is_dict()) raise("Can only get item pairs from a mapping.");
           return methods::view(value.dict(), Sequence::Kind::items).sequence().items;
         });
       }},
      {"list",
       [](const Value& value, Args& args) {
         args.bind("list", {}, 0);
         if (!is_iterable(value)) iterate(value);
         return Value::list(items_of(value));
       }},
      {"string", [](const Value& value, Args& args) { return args.bind("string", {}, 0), soft_text(value); }},
      {"safe", [](const Value& value, Args& args) { return args.bind("safe", {}, 0), Value::text(str(value), true); }},
      {"forceescape", [](const Value& value, Args&) { return Value::text(escaped(str(value)), true); }},
      {"min", [](const Value& value, Args& args) { return extreme(value, args, "min", true); }},
      {"max", [](const Value& value, Args& args) { return extreme(value, args, "max", false); }},
      {"select", [](const Value& value, Args& args) { return select(value, args, true, false); }},
      {"reject", [](const Value& value, Args& args) { return select(value, args, false, false); }},
      {"selectattr", [](const Value& value, Args& args) { return select(value, args, true, true); }},
      {"rejectattr", [](const Value& value, Args& args) { return select(value, args, false, true); }},
      {"abs", absolute},
      {"attr", attribute},
      {"batch", batch},
      {"count", size},
      {"d", fallback},
      {"default", fallback},
      {"dictsort", dictsort},
      {"e", escape},
      {"escape", escape},
      {"first", first},
      {"float", to_float},
      {"format", format},
      {"groupby", groupby},
      {"indent", indent},
      {"int", to_integer},
      {"join", join},
      {"last", last},
      {"length", size},
      {"map", map},
      {"reverse", reverse},
      {"round", round},
      {"slice", slices},
      {"sort", sort},
      {"sum", sum},
      {"title", title},
      {"tojson", tojson},
      {"truncate", truncate},
      {"unique", unique},
      {"urlencode", urlencode},
      {"wordcount", wordcount},
      QWEN3VL_UNSUPPORTED("filesizeformat"),
      QWEN3VL_UNSUPPORTED("pprint"),
      QWEN3VL_UNSUPPORTED("random"),
      QWEN3VL_UNSUPPORTED("striptags"),
      QWEN3VL_UNSUPPORTED("urlize"),
      QWEN3VL_UNSUPPORTED("wordwrap"),
      QWEN3VL_UNSUPPORTED("xmlattr")};
#undef QWEN3VL_METHOD
#undef QWEN3VL_UNSUPPORTED
  return filters;
}

}  // namespace filters

inline Filter find_filter(std::string_view name) {
  const auto found = filters::all().find(name);
  return found == filters::all().end() ? nullptr : found->second;
}

inline Value call_filter(const Value& name, const Value& value, Args& args) {
  const Filter filter = name.is_text() ? find_filter(name.text().string) : nullptr;
  if (filter == nullptr) raise("No filter named ", repr(name), ".");
  step();
  return filter(value, args);
}

}  // namespace qwen3vl::jinja
