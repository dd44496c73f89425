/// --limit NAME=VALUE: limits of external input, by the names in errors and docs/limits.md.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/file_limits.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/json/json_text.hpp"

namespace program {

/// The limits that the program passes on to the library.
struct Limits {
  qwen3vl::ImageLimits images{};
  qwen3vl::MessageLimits messages{};
  qwen3vl::SafetensorsLimits checkpoint{};
  qwen3vl::GgufLimits gguf{};
  std::size_t max_tokens = 0;  ///< 0: that of ProcessorOptions

  /// Sets one from "NAME=VALUE". Throws Error that lists the names or the limit's possible values.
  void set(std::string_view text) {
    const std::size_t equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    std::string names;
    bool found = false;
    each([&](std::string_view one, auto& value) {
      names += (names.empty() ? "" : ", ") + std::string(one);
      if (one != name || equals == std::string_view::npos) return;
      found = true;
      const std::string_view digits = text.substr(equals + 1);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      if (error != std::errc() || end != digits.data() + digits.size() || value < 1)
        qwen3vl::fail("--limit ", name, ": '", digits, "' is no number from 1 to ",
                      std::numeric_limits<std::decay_t<decltype(value)>>::max());
    });
    if (!found) qwen3vl::fail("--limit: '", text, "' is not NAME=VALUE with one of ", names);
  }

 private:
  template <class Visit>
  void each(const Visit& visit) {
    visit("ImageLimits::max_pixels", images.max_pixels);
    visit("ImageLimits::max_file_bytes", images.max_file_bytes);
    visit("ImageLimits::max_scans", images.max_scans);
    visit("ImageLimits::max_frames", images.max_frames);
    visit("ImageLimits::max_gif_pixels", images.max_gif_pixels);
    visit("ProcessorOptions::max_tokens", max_tokens);
    visit("MessageLimits::max_bytes", messages.max_bytes);
    visit("SafetensorsLimits::max_header_bytes", checkpoint.max_header_bytes);
    visit("SafetensorsLimits::max_tensors", checkpoint.max_tensors);
    visit("SafetensorsLimits::max_rank", checkpoint.max_rank);
    visit("GgufLimits::max_header_bytes", gguf.max_header_bytes);
    visit("GgufLimits::max_name_bytes", gguf.max_name_bytes);
    visit("GgufLimits::max_keys", gguf.max_keys);
    visit("GgufLimits::max_array_depth", gguf.max_array_depth);
    visit("GgufLimits::max_tensors", gguf.max_tensors);
    visit("GgufLimits::max_rank", gguf.max_rank);
    visit("GgufLimits::max_files", gguf.max_files);
  }
};

}  // namespace program
