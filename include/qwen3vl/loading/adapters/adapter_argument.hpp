/// An adapter of a command line.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/model/forward_types.hpp"

namespace qwen3vl {

/// "DIR" or "DIR=SCALE". A folder whose own name ends in such a number is meant itself.
inline AdapterFolder adapter_of(const std::string& text) {
  AdapterFolder adapter{.folder = text, .scale = 1.0f};
  const std::size_t equals = text.rfind('=');
  std::error_code ignored;
  if (equals == text.npos || std::filesystem::exists(text, ignored)) return adapter;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + equals + 1, end, adapter.scale);
  if (error != std::errc() || stop != end || !std::isfinite(adapter.scale))
    fail("the scale of the adapter ", text, " is not a number: give DIR or DIR=SCALE");
  adapter.folder = text.substr(0, equals);
  return adapter;
}

}  // namespace qwen3vl
