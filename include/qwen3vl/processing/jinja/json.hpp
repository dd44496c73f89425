/// Values of a template from JSON, and back as `json.dumps` writes them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/json/python_json.hpp"
#include "qwen3vl/processing/jinja/arithmetic.hpp"

namespace qwen3vl::jinja {

/// Makes values of JSON, of one rendering.
class JsonValues {
 public:
  using Change = std::function<std::string(const std::string& text)>;

  /// `change`, if given, is applied to each string that is not a key.
  Value operator()(const nlohmann::ordered_json& json, const Change* change = nullptr) {
    using Kind = nlohmann::ordered_json::value_t;
    switch (json.type()) {
      case Kind::null:
        return Value::none();
      case Kind::boolean:
        return Value::boolean(json.get<bool>());
      case Kind::number_integer:
        return Value::integer(json.get<std::int64_t>());
      case Kind::number_unsigned:
        if (json.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
          return Value::big(json.get<std::uint64_t>());
        return Value::integer(json.get<std::int64_t>());
      case Kind::number_float:
        return Value::number(json.get<double>());
      case Kind::string: {
        const auto& given = json.get_ref<const std::string&>();
        std::string text = utf8::valid_prefix(given) == given.size() ? given : utf8::lossy(given);
        return Value::text(change != nullptr ? (*change)(text) : std::move(text));
      }
      case Kind::array: {
        Values items;
        items.reserve(json.size());
        for (const auto& item : json) items.push_back((*this)(item, change));
        return Value::list(std::move(items));
      }
      case Kind::object: {
        std::vector<Dict::Item> items;
        items.reserve(json.size());
        for (const auto& [name, item] : json.get_ref<const nlohmann::ordered_json::object_t&>())
          items.emplace_back(key(name), (*this)(item, change));
        return make_dict(std::move(items));
      }
      default:
        raise("a value of type ", json.type_name(), " has no place in a template");
    }
  }

 private:
  /// Most objects have the same few keys (role, content, ...): their texts are made once.
  Value key(const std::string& name) {
    for (const Value& known : keys_)
      if (known.text().string == name) return known;
    Value made = Value::text(name);
    if (keys_.size() < 16) keys_.push_back(made);
    return made;
  }

  Values keys_;
};

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
    } else if (value.is(Type::big)) {
      out += std::to_string(value.big());
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
