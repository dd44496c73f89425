/// The entries of a list of options: name, permitted values, and meaning. The lists are functions that
/// visit every member of a struct; reading, checking, merging, command lines and documentation follow from them.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// The values that a number may have, both ends included.
struct Range {
  static constexpr double unlimited = std::numeric_limits<double>::max();

  double lowest = -unlimited;  ///< infinities and NaN are in no range
  double highest = unlimited;

  constexpr bool has(double value) const { return value >= lowest && value <= highest; }
  constexpr bool is_open() const { return highest == unlimited; }

  /// "from 0 to 1", ">= 1", "> 0" (and "<= 9") or "finite".
  std::string text() const {
    const bool above_zero = lowest == std::numeric_limits<float>::min();
    if (above_zero) return is_open() ? "> 0" : concat("> 0 and <= ", number(highest));
    if (!is_open()) return concat("from ", number(lowest), " to ", number(highest));
    return lowest == -unlimited ? "finite" : concat(">= ", number(lowest));
  }

 private:
  static std::string number(double value) {
    const bool whole = value > -1e15 && value < 1e15 && value == static_cast<double>(static_cast<std::int64_t>(value));
    return whole ? concat(static_cast<std::int64_t>(value)) : concat(value);
  }
};

constexpr Range at_least(double lowest) { return {.lowest = lowest}; }
constexpr Range within(double lowest, double highest) { return {.lowest = lowest, .highest = highest}; }
/// Floats that can be divided by without becoming infinite at once.
constexpr Range above_zero{.lowest = std::numeric_limits<float>::min()};

struct Option {
  std::string_view name;
  Range range{};  ///< of numbers
  std::string_view help{};
};

/// Throws Error if `value` is a number, or an optional with one, outside of the option's range.
template <class T>
void check_option(const Option& option, const T& value) {
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    if (!option.range.has(static_cast<double>(value)))
      fail(option.name, " is ", value, "; it must be ", option.range.text());
  } else if constexpr (requires { value.has_value(); }) {
    if (value) check_option(option, *value);
  }
}

}  // namespace qwen3vl
