/// Sizes of images on command lines.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

namespace qwen3vl::bench {

/// "512x384" as (width, height); nothing if it is not of that form.
inline std::optional<std::pair<int, int>> parse_size(std::string_view text) {
  int width = 0, height = 0;
  const char* const end = text.data() + text.size();
  const auto [x, wrong] = std::from_chars(text.data(), end, width);
  if (wrong != std::errc{} || x == end || *x != 'x') return std::nullopt;
  const auto [rest, wrong_too] = std::from_chars(x + 1, end, height);
  if (wrong_too != std::errc{} || rest != end || width < 1 || height < 1) return std::nullopt;
  if (width > 32768 || height > 32768) return std::nullopt;
  return std::pair{width, height};
}

}  // namespace qwen3vl::bench
