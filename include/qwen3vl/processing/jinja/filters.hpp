/// The filters of templates: jinja2's, with transformers' `tojson`.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwen3vl/processing/jinja/methods.hpp"
#include "qwen3vl/processing/jinja/tests.hpp"

namespace qwen3vl::jinja {

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

inline Getter attribute_getter(const Value& attribute, bool ignores_case = false, Value fallback = {}) {
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

inline bool given(const Value& value) { return !value.is_missing() && !value.is_none(); }
inline bool flag(const Value& value) { return !value.is_missing() && truthy(value); }
inline Value soft_text(const Value& value) { return value.is_text() ? value : Value::text(str(value)); }

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
  const Value fallback = options[0].is_missing() ? Value::integer(0) : options[0];
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
  return found.is_missing() ? Value::undefined(detail::no_attribute(value, options[0])) : get_attribute(value, name);
}

using Filter = Value (*)(const Value&, Args&);

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

inline bool is_filter(std::string_view name) { return filters::all().count(name) != 0; }

inline Value call_filter(const Value& name, const Value& value, Args& args) {
  const auto found = name.is_text() ? filters::all().find(name.text().string) : filters::all().end();
  if (found == filters::all().end()) raise("No filter named ", repr(name), ".");
  step();
  return found->second(value, args);
}

}  // namespace qwen3vl::jinja
