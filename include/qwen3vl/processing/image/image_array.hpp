/// Arrays of numbers as images, as transformers takes NumPy arrays and PyTorch tensors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"

namespace qwen3vl {

/// Where an array has its channels (`input_data_format`).
enum class ChannelDimension { first, last };

namespace detail {

template <class T>
constexpr ArrayType array_type_of() {
  if constexpr (std::is_floating_point_v<T>) {
    return ArrayType::floating;
  } else if constexpr (std::is_same_v<T, std::uint8_t>) {
    return ArrayType::u8;
  } else if constexpr (std::is_same_v<T, std::uint16_t>) {
    return ArrayType::u16;
  } else if constexpr (std::is_same_v<T, std::int16_t>) {
    return ArrayType::i16;
  } else {
    return std::is_same_v<T, std::int32_t> ? ArrayType::i32 : ArrayType::none;
  }
}

/// The largest value of a type, which stands for 1 where transparency is computed.
inline float white_of(ArrayType type) {
  switch (type) {
    case ArrayType::u8:
      return 255.0f;
    case ArrayType::u16:
      return 65535.0f;
    case ArrayType::i16:
      return 32767.0f;
    default:
      return 1.0f;
  }
}

/// A number cut off to what the array's type holds; what is out of range wraps around, as in PyTorch.
inline float as_type(ArrayType type, float value) {
  switch (type) {
    case ArrayType::u8:
      return static_cast<std::uint8_t>(static_cast<std::int64_t>(value));
    case ArrayType::u16:
      return static_cast<std::uint16_t>(static_cast<std::int64_t>(value));
    case ArrayType::i16:
      return static_cast<std::int16_t>(static_cast<std::int64_t>(value));
    case ArrayType::i32:
      return std::trunc(value);
    default:
      return value;
  }
}

}  // namespace detail

/// Where an array of this shape, of three extents, has its channels, as transformers infers it: where there are 1, 3
/// or 4. Throws Error where that is so on no side, or on both, which is not guessed. (transformers then takes the
/// first, with a warning.)
inline ChannelDimension infer_channel_dimension_format(std::span<const std::int64_t> shape) {
  const auto channels = [](std::int64_t n) { return n == 1 || n == 3 || n == 4; };
  const std::string text = concat("[", shape[0], ", ", shape[1], ", ", shape[2], "]");
  if (channels(shape[0]) && channels(shape[2]))
    fail("the channel dimension is ambiguous in an array of ", text, "; give input_data_format");
  if (channels(shape[0])) return ChannelDimension::first;
  if (!channels(shape[2]))
    fail("Unable to infer channel dimension format: an array of ", text,
         " has 1, 3 or 4 channels neither first nor last");
  return ChannelDimension::last;
}

/// An image of an array of shape [channels, height, width], [height, width, channels] or [height, width]. `numbers`: a
/// vector, span, ... of std::uint8_t, uint16_t, int16_t, int32_t, float or double. They keep their scale: the image
/// processor multiplies by rescale_factor (1 / 255) whatever the type, so that arrays from 0 to 1 want `do_rescale` off
/// and 16-bit ones another factor, as in transformers. Numbers that are not bytes are resized in float. Throws Error
/// for shapes that do not fit.
template <std::ranges::contiguous_range Numbers>
Image image_from_array(const Numbers& numbers, std::vector<std::int64_t> shape,
                       std::optional<ChannelDimension> input_data_format = std::nullopt) {
  using T = std::remove_cv_t<std::ranges::range_value_t<Numbers>>;
  constexpr ArrayType type = detail::array_type_of<T>();
  static_assert(type != ArrayType::none, "an image is made of uint8, uint16, int16, int32, float or double");
  const std::span<const T> from(numbers);
  std::string text;
  std::uint64_t count = 1;
  for (const std::int64_t extent : shape) {
    text += concat(text.empty() ? "[" : ", ", extent);
    constexpr auto most = std::numeric_limits<std::int32_t>::max();
    count =
        extent < 1 || extent > most || count > std::uint64_t{1} << 31 ? 0 : count * static_cast<std::uint64_t>(extent);
  }
  if (shape.size() == 2) shape.insert(shape.begin(), 1), input_data_format = ChannelDimension::first;
  if (shape.size() != 3 || count == 0 || count != from.size())
    fail("an array of shape ", text.empty() ? "[" : text, "] with ", from.size(), " numbers is no image");
  if (!input_data_format) input_data_format = infer_channel_dimension_format(shape);
  const bool first = *input_data_format == ChannelDimension::first;
  const std::int64_t height = shape[first ? 1 : 0], width = shape[first ? 2 : 1], channels = shape[first ? 0 : 2];
  if (channels > 4) fail("an image of ", channels, " channels; wanted at most 4");
  Image image{.height = static_cast<int>(height),
              .width = static_cast<int>(width),
              .channels = static_cast<int>(channels),
              .pixels = {},
              .array_type = type};
  const auto fill = [&]<class To>(std::vector<To>& to) {
    const auto area = static_cast<std::size_t>(height * width), step = static_cast<std::size_t>(channels);
    to.resize(from.size());
    for (std::size_t i = 0; i < area; ++i)
      for (std::size_t c = 0; c < step; ++c)
        to[i * step + c] = static_cast<To>(from[first ? c * area + i : i * step + c]);
  };
  if constexpr (type == ArrayType::u8) {
    fill(image.pixels);
  } else {
    fill(image.values);
  }
  return image;
}

namespace detail {

/// An array as RGB (convert_to_rgb of transformers' torchvision backend): gray becomes three equal channels, and
/// transparency is laid over white in float, which rounds other than Pillow. Throws Error for transparent floats
/// outside 0 to 1 and for 32-bit integers.
inline Image convert_array_to_rgb(const Image& image) {
  image.check_any();
  if (image.channels == 3) return image;
  const bool bytes = image.values.empty();
  if (image.channels == 2) fail("an array of 2 channels cannot become RGB; wanted 1, 3 or 4");
  Image rgb{.height = image.height,
            .width = image.width,
            .channels = 3,
            .pixels = {},
            .name = image.name,
            .array_type = image.array_type};
  if (bytes) {
    rgb.resize_pixels();
  } else {
    rgb.values.resize(rgb.offset(rgb.height, 0));
  }
  const float white = white_of(image.array_type);
  if (image.channels == 4 && image.array_type == ArrayType::i32)
    fail("transparency of 32-bit integers is not defined; wanted 8 or 16 bits, or floats");
  if (image.channels == 4 && image.array_type == ArrayType::floating) {
    const auto [lowest, highest] = std::ranges::minmax(image.values);
    if (!(lowest >= 0.0f && highest <= 1.0f))
      fail("The image to be converted to RGB contains values outside the range [0, 1], got [", lowest, ", ", highest,
           "].");
  }
  const auto step = static_cast<std::size_t>(image.channels);
  const std::size_t count = image.offset(image.height, 0) / step;
  const auto inverse = static_cast<float>(1.0 / static_cast<double>(white));
  const float scale = static_cast<float>(static_cast<double>(white) + 1.0 - 1e-3);
  const auto number = [&](std::size_t i) { return bytes ? static_cast<float>(image.pixels[i]) : image.values[i]; };
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      float value = number(i * step + (step == 4 ? c : 0));
      if (step == 4) {
        const float alpha = number(i * step + 3) * inverse;
        value = value * inverse * alpha + (1.0f - alpha);
        if (image.array_type != ArrayType::floating) value = as_type(image.array_type, value * scale);
      }
      if (bytes) {
        rgb.pixels[i * 3 + c] = static_cast<std::uint8_t>(value);
      } else {
        rgb.values[i * 3 + c] = value;
      }
    }
  }
  return rgb;
}

}  // namespace detail
}  // namespace qwen3vl
