/// JSON text as Python's `json.dumps(value, ensure_ascii=False)` writes it: what the filter `tojson` puts into prompts.
/// Models were trained on tools and arguments in exactly this form, so separators and numbers must match exactly.
#pragma once

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// The maximum nesting of JSON in prompts and conversations; deeper values would only exhaust the stack.
inline constexpr int max_json_depth = 128;

/// `repr(number)` of Python: the shortest digits that read back as the same double, always with a point or an exponent
/// (`1.0`, `1e-05`, `1e+16`, `inf`, `nan`).
inline std::string python_float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  std::string_view shortest(buffer, static_cast<std::size_t>(end - buffer));  // [-]d[.ddd]e[+-]dd
  const std::string sign = shortest.front() == '-' ? "-" : "";
  shortest.remove_prefix(sign.size());
  const std::size_t e = shortest.find('e');
  std::string digits(shortest.substr(0, 1));
  if (e > 2) digits += shortest.substr(2, e - 2);
  int exponent = 0;
  const char* exponent_text = shortest.data() + e + 1 + (shortest[e + 1] == '+' ? 1 : 0);
  std::from_chars(exponent_text, end, exponent);

  // Python switches to an exponent below 1e-4 and from 1e16 on (float_repr_style "short").
  if (exponent < -4 || exponent >= 16) {
    std::string out = sign + digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    const std::string magnitude = std::to_string(std::abs(exponent));
    return out + (exponent < 0 ? "e-" : "e+") + (magnitude.size() < 2 ? "0" : "") + magnitude;
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const std::size_t whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.substr(0, whole) + "." + digits.substr(whole);
}

/// Appends `text` as a JSON string. Only what JSON demands is escaped: no HTML escapes, no `\u` for other alphabets.
inline void append_python_json_string(std::string& out, std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += hex[static_cast<unsigned char>(c) >> 4];
          out += hex[static_cast<unsigned char>(c) & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

/// Appends `value`. Throws Error where nesting exceeds `depth_left` and for values JSON does not have.
inline void append_python_json(std::string& out, const nlohmann::ordered_json& value, int depth_left = max_json_depth) {
  using Kind = nlohmann::ordered_json::value_t;
  if (value.is_structured() && depth_left <= 0) fail("JSON for a prompt is nested deeper than ", max_json_depth);
  switch (value.type()) {
    case Kind::null:
      out += "null";
      return;
    case Kind::boolean:
      out += value.get<bool>() ? "true" : "false";
      return;
    case Kind::number_integer:
      detail::append(out, value.get<std::int64_t>());
      return;
    case Kind::number_unsigned:
      detail::append(out, value.get<std::uint64_t>());
      return;
    case Kind::number_float: {
      const double number = value.get<double>();
      // json.dumps writes the three numbers that JSON lacks under JavaScript's names.
      if (std::isnan(number)) {
        out += "NaN";
      } else if (std::isinf(number)) {
        out += number < 0 ? "-Infinity" : "Infinity";
      } else {
        out += python_float_repr(number);
      }
      return;
    }
    case Kind::string:
      append_python_json_string(out, value.get_ref<const std::string&>());
      return;
    case Kind::array: {
      out += '[';
      bool first = true;
      for (const auto& element : value) {
        if (!first) out += ", ";
        first = false;
        append_python_json(out, element, depth_left - 1);
      }
      out += ']';
      return;
    }
    case Kind::object: {
      out += '{';
      bool first = true;
      for (const auto& [key, element] : value.get_ref<const nlohmann::ordered_json::object_t&>()) {
        if (!first) out += ", ";
        first = false;
        append_python_json_string(out, key);
        out += ": ";
        append_python_json(out, element, depth_left - 1);
      }
      out += '}';
      return;
    }
    case Kind::binary:
    case Kind::discarded:
      break;
  }
  fail("a value of type ", value.type_name(), " has no JSON form");
}

/// `json.dumps(value, ensure_ascii=False)`.
inline std::string python_json(const nlohmann::ordered_json& value) {
  std::string out;
  append_python_json(out, value);
  return out;
}

}  // namespace qwen3vl
