/// Antialiased resizing in float32, as PyTorch does it (torch.nn.functional.interpolate): both axes are filtered before
/// anything is rounded.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "qwen3vl/io/image/image.hpp"
#include "qwen3vl/processing/image/resize.hpp"
#include "qwen3vl/processing/image/smart_resize.hpp"

namespace qwen3vl {
namespace detail {

/// What each new row (or column) takes of the old ones.
struct FloatAxis {
  std::vector<std::int64_t> first;
  std::vector<std::vector<float>> weights;
};

/// The bicubic filter (a = -0.5) is fused as torch's is built.
inline float float_filter(Resample resample, float x) {
  if (resample != Resample::bicubic) return filter_value(resample, x);
  x = std::abs(x);
  if (x < 1.0f) return std::fma(std::fma(1.5f, x, -2.5f) * x, x, 1.0f);
  if (x < 2.0f) return std::fma(std::fma(std::fma(-0.5f, x, 2.5f), x, -4.0f), x, 2.0f);
  return 0.0f;
}

/// torch's weights of an antialiased filter, in its mix of float and double, fused as it is built.
inline FloatAxis float_axis(std::int64_t from, std::int64_t to, Resample resample) {
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  const float support = std::max(1.0f, scale) * static_cast<float>(filter_support(resample));
  const float inverse = scale >= 1.0f ? static_cast<float>(1.0 / static_cast<double>(scale)) : 1.0f;
  FloatAxis axis;
  for (std::int64_t i = 0; i < to; ++i) {
    const auto center = static_cast<float>(static_cast<double>(scale) * (static_cast<double>(i) + 0.5));
    const auto cut = [](float place) {
      const double shifted = static_cast<double>(place) + 0.5;
      return static_cast<std::int64_t>(shifted);
    };
    const std::int64_t first = std::max<std::int64_t>(0, cut(center - support));
    const std::int64_t end = std::min(from, cut(center + support));
    std::vector<float> weights;
    float total = 0.0f;
    for (std::int64_t j = first; j < end; ++j) {
      const double distance = static_cast<double>(static_cast<float>(j) - center) + 0.5;
      weights.push_back(float_filter(resample, static_cast<float>(distance * static_cast<double>(inverse))));
      total += weights.back();
    }
    for (float& weight : weights) weight /= total;
    axis.first.push_back(first);
    axis.weights.push_back(std::move(weights));
  }
  return axis;
}

/// Whether torch, as it is built, fuses the multiplication and the addition of term i of `count`: behind the first,
/// groups of four are multiplied at once and then added one after the other; what is left over is fused.
inline bool is_fused(std::size_t i, std::size_t count) { return i > (count - 1) / 4 * 4; }

/// sum + number * weight. In double, the product is exact, so that no compiler can fuse it with the sum.
inline float add_term(float sum, float number, float weight, bool fused) {
  if (fused) return std::fma(number, weight, sum);
  return sum + static_cast<float>(static_cast<double>(number) * static_cast<double>(weight));
}

/// The numbers [height, width, channels] of an image, filtered to [size.height, size.width, channels].
template <class T>
std::vector<float> filter_in_float(const Image& image, const std::vector<T>& numbers, ImageSize size,
                                   Resample resample) {
  if (size.height < 1 || size.width < 1 || size.height > (1 << 20) || size.width > (1 << 20))
    fail("cannot resize to ", size.height, " x ", size.width, " pixels");
  const FloatAxis columns = float_axis(image.width, size.width, resample),
                  rows = float_axis(image.height, size.height, resample);
  const auto channels = static_cast<std::size_t>(image.channels), width = static_cast<std::size_t>(size.width);
  const std::size_t line = width * channels;
  std::vector<float> narrow(static_cast<std::size_t>(image.height) * line);
#pragma omp parallel for schedule(static) if (numbers.size() > 1000000)
  for (int y = 0; y < image.height; ++y)
    for (std::size_t x = 0; x < width; ++x) {
      const std::vector<float>& weights = columns.weights[x];
      const T* const from = numbers.data() + image.offset(y, static_cast<int>(columns.first[x]));
      for (std::size_t c = 0; c < channels; ++c) {
        float sum = static_cast<float>(from[c]) * weights[0];
        for (std::size_t j = 1; j < weights.size(); ++j)
          sum = add_term(sum, static_cast<float>(from[j * channels + c]), weights[j], is_fused(j, weights.size()));
        narrow[static_cast<std::size_t>(y) * line + x * channels + c] = sum;
      }
    }
  std::vector<float> result(static_cast<std::size_t>(size.height) * line);
#pragma omp parallel for schedule(static) if (numbers.size() > 1000000)
  for (std::int64_t y = 0; y < size.height; ++y) {
    const auto row = static_cast<std::size_t>(y);
    const std::vector<float>& weights = rows.weights[row];
    const float* const from = narrow.data() + static_cast<std::size_t>(rows.first[row]) * line;
    float* const sums = result.data() + row * line;
    for (std::size_t i = 0; i < line; ++i) sums[i] = from[i] * weights[0];
    for (std::size_t j = 1; j < weights.size(); ++j) {
      const bool fused = is_fused(j, weights.size());
      for (std::size_t i = 0; i < line; ++i) sums[i] = add_term(sums[i], from[j * line + i], weights[j], fused);
    }
  }
  return result;
}

}  // namespace detail

/// Bytes, bicubic, as torchvision.transforms.functional.resize (the older one) does it; qwen-vl-utils resizes the
/// frames of videos so. An image that has the size already is not filtered.
inline Image resize_in_float(const Image& image, ImageSize size) {
  image.check();
  if (size == ImageSize{image.height, image.width}) return image;
  const std::vector<float> sums = detail::filter_in_float(image, image.pixels, size, Resample::bicubic);
  Image result{.height = static_cast<int>(size.height),
               .width = static_cast<int>(size.width),
               .channels = image.channels,
               .pixels = {}};
  result.resize_pixels();
  std::ranges::transform(sums, result.pixels.begin(), [](float sum) {
    return static_cast<std::uint8_t>(std::nearbyint(std::clamp(sum, 0.0f, 255.0f)));
  });
  return result;
}

}  // namespace qwen3vl
