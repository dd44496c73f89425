/// Images of any channels as RGB (transformers' convert_to_rgb).
#pragma once

#include <cstdint>
#include <utility>

#include "qwen3vl/io/image/image_file.hpp"

namespace qwen3vl {
namespace detail {

/// `value` over white with `alpha`: Pillow's alpha_composite, which rounds value * alpha / 255 with seven extra bits.
inline std::uint8_t over_white(std::uint8_t value, std::uint8_t alpha) {
  const std::uint32_t sum = (std::uint32_t{value} * alpha + 255u * (255u - alpha)) * 128u + (0x80u << 7);
  return static_cast<std::uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
}

}  // namespace detail

/// Gray becomes three equal channels; transparency is laid over white.
inline Image convert_to_rgb(Image image) {
  image.check();
  if (image.channels == 3) return image;
  Image rgb{.height = image.height, .width = image.width, .channels = 3, .pixels = {}};
  rgb.reserve_pixels();
  const bool has_alpha = image.channels % 2 == 0, gray = image.channels < 3;
  const auto step = static_cast<std::size_t>(image.channels);
  for (std::size_t i = 0; i < image.pixels.size(); i += step)
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint8_t value = image.pixels[i + (gray ? 0 : c)];
      rgb.pixels.push_back(has_alpha ? detail::over_white(value, image.pixels[i + step - 1]) : value);
    }
  return rgb;
}

}  // namespace qwen3vl
