/// The rows of docs/options.md, as they follow from the lists of options.
#pragma once

#include <boost/test/unit_test.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwen3vl/base/option.hpp"
#include "support/test_files.hpp"

namespace qwen3vl::test {

template <class T>
requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) std::string default_text(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return concat(static_cast<int>(value));
  } else {
    return concat(value);
  }
}
template <class T>
requires(std::is_arithmetic_v<T>) std::string default_text(const std::optional<T>& value) {
  return value ? default_text(*value) : "none";
}
template <class T>
requires(std::is_arithmetic_v<T>) std::string default_text(const std::vector<T>& values) {
  std::string text;
  for (const T& value : values) text += concat(text.empty() ? "" : ", ", value);
  return values.empty() ? "none" : text;
}

/// That docs/options.md has this row.
inline void check_row(const Option& option, const std::string& default_value, bool has_range) {
  static const std::string page = read_file(QWEN3VL_TEST_DATA "/../docs/options.md");
  const std::string row = concat("| `", option.name, "` | ", default_value, " | ", has_range ? option.range.text() : "",
                                 " | ", option.help, " |");
  BOOST_TEST(page.find(row + "\n") != std::string::npos, "docs/options.md lacks this row:\n" << row);
}

/// The same for a member with its default.
template <class T>
void check_row(const Option& option, const T& member) {
  check_row(option, default_text(member), option.range.text() != "finite");
}

}  // namespace qwen3vl::test
