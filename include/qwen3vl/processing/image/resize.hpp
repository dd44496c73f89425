/// Antialiased resizing of 8-bit images, bit for bit as the reference's two backends do it: torchvision (the default
/// of transformers) and Pillow. Both filter along one axis, round to 8 bits, then filter along the other; they differ
/// in the precision of their fixed-point weights and in which axis comes first.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <type_traits>
#include <vector>

#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/processing/image/resize_kernels.hpp"
#include "qwen3vl/processing/image/smart_resize.hpp"

namespace qwen3vl {

/// Filters by their numbers in Pillow and in preprocessor_config.json.
enum class Resample { nearest = 0, lanczos = 1, bilinear = 2, bicubic = 3, box = 4, hamming = 5 };

/// The library whose arithmetic is reproduced.
enum class ResizeBackend { torchvision, pil };

namespace detail {

/// The filter at distance x, in source pixels at full scale.
template <class T>
T filter_value(Resample resample, T x) {
  constexpr T one = 1, pi = std::numbers::pi_v<T>;
  if (resample == Resample::box) return x > T(-0.5) && x <= T(0.5) ? one : T(0);
  x = std::abs(x);
  switch (resample) {
    case Resample::bilinear:
      return x < one ? one - x : T(0);
    case Resample::lanczos: {
      if (x >= T(3)) return T(0);
      if (x == T(0)) return one;
      const T px = x * pi;
      return std::sin(px) / px * (std::sin(px / T(3)) / (px / T(3)));
    }
    case Resample::hamming: {
      if (x >= one) return T(0);
      if (x == T(0)) return one;
      const T px = x * pi;
      constexpr T constant = 0.54f, cosine = 0.46f;  // floats in Pillow
      return std::sin(px) / px * (constant + cosine * std::cos(px));
    }
    default: {  // bicubic with a = -0.5
      constexpr T a = T(-0.5);
      if constexpr (std::is_same_v<T, float>) {  // as in PyTorch's builds with fused multiply-add
        if (x < one) return std::fma(std::fma(a + 2.0f, x, -(a + 3.0f)) * x, x, one);
        if (x < 2.0f) return std::fma(std::fma(std::fma(a, x, -5.0f * a), x, 8.0f * a), x, -4.0f * a);
      } else {
        if (x < one) return ((a + T(2)) * x - (a + T(3))) * x * x + one;
        if (x < T(2)) return (((x - T(5)) * x + T(8)) * x - T(4)) * a;
      }
      return T(0);
    }
  }
}

inline double filter_support(Resample resample) {
  switch (resample) {
    case Resample::box:
      return 0.5;
    case Resample::bilinear:
    case Resample::hamming:
      return 1.0;
    case Resample::lanczos:
      return 3.0;
    default:
      return 2.0;
  }
}

// The references add 0.5 and truncate; rounding functions differ at halves and below zero.
// NOLINTBEGIN(bugprone-incorrect-roundings)
inline AxisWeights axis_weights(std::int64_t from, std::int64_t to, Resample resample, ResizeBackend backend) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double filter_scale = std::max(scale, 1.0), support = filter_support(resample) * filter_scale;
  AxisWeights axis;
  axis.taps = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  std::vector<double> exact(static_cast<std::size_t>(to * axis.taps), 0.0);
  double largest = 0.0;
  for (std::int64_t i = 0; i < to; ++i) {
    const double center = scale * (static_cast<double>(i) + 0.5);
    const auto begin = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - support + 0.5));
    const auto end = std::min<std::int64_t>(from, static_cast<std::int64_t>(center + support + 0.5));
    double* const weights = exact.data() + i * axis.taps;
    double total = 0.0;
    for (std::int64_t j = begin; j < end; ++j) {
      weights[j - begin] = filter_value(resample, (static_cast<double>(j) - center + 0.5) / filter_scale);
      total += weights[j - begin];
    }
    for (std::int64_t j = 0; j < end - begin; ++j) {
      if (total != 0.0) weights[j] /= total;
      largest = std::max(largest, weights[j]);
    }
    axis.first.push_back(static_cast<std::int32_t>(begin));
    axis.count.push_back(static_cast<std::int32_t>(end - begin));
  }
  if (backend == ResizeBackend::pil) {
    axis.precision = 32 - 8 - 2;  // what 8-bit values and a sign leave of 32 bits
  } else {
    // As many bits as 16-bit weights hold.
    while (axis.precision < 22 && static_cast<int>(0.5 + largest * (1 << (axis.precision + 1))) < (1 << 15))
      ++axis.precision;
  }
  const double one = static_cast<double>(1 << axis.precision);
  for (const double weight : exact)
    axis.weight.push_back(static_cast<std::int32_t>(weight < 0 ? weight * one - 0.5 : weight * one + 0.5));
  axis.make_pairs();
  return axis;
}

// NOLINTEND(bugprone-incorrect-roundings)

inline Image resize_width(const Image& image, std::int64_t width, Resample resample, ResizeBackend backend) {
  const AxisWeights axis = axis_weights(image.width, width, resample, backend);
  Image result{.height = image.height, .width = static_cast<int>(width), .channels = image.channels, .pixels = {}};
  result.resize_pixels();
#pragma omp parallel for schedule(static) if (image.pixels.size() > 1000000)
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* const from = image.pixels.data() + image.offset(y, 0);
    std::uint8_t* const to = result.pixels.data() + result.offset(y, 0);
    switch (image.channels) {
      case 1:
        resize_row<1>(from, image.width, axis, to);
        break;
      case 2:
        resize_row<2>(from, image.width, axis, to);
        break;
      case 3:
        resize_row<3>(from, image.width, axis, to);
        break;
      default:
        resize_row<4>(from, image.width, axis, to);
    }
  }
  return result;
}

inline Image resize_height(const Image& image, std::int64_t height, Resample resample, ResizeBackend backend) {
  const AxisWeights axis = axis_weights(image.height, height, resample, backend);
  Image result{.height = static_cast<int>(height), .width = image.width, .channels = image.channels, .pixels = {}};
  result.resize_pixels();
  const std::size_t row = image.offset(1, 0);
#pragma omp parallel for schedule(static) if (image.pixels.size() > 1000000)
  for (int y = 0; y < result.height; ++y) {
    const auto at = static_cast<std::size_t>(y);
    weighted_rows(image.pixels.data() + image.offset(axis.first[at], 0), row,
                  axis.weight.data() + static_cast<std::int64_t>(y) * axis.taps, axis.count[at], axis.precision,
                  result.pixels.data() + result.offset(y, 0));
  }
  return result;
}

/// The source pixel of each new one along an axis: the one under its centre. If the centre lies between two, the result
/// depends on the references' rounding: torchvision (NEAREST_EXACT) subtracts half a pixel in float, with one rounding
/// as in its builds with fused multiply-add, and adds it again in double; Pillow accumulates steps in double.
inline std::vector<int> nearest_sources(int from, int to, ResizeBackend backend) {
  std::vector<int> sources(static_cast<std::size_t>(to));
  const double step = static_cast<double>(from) / static_cast<double>(to);
  const float scale = static_cast<float>(from) / static_cast<float>(to);
  double middle = step * 0.5;
  for (std::size_t i = 0; i < sources.size(); ++i, middle += step) {
    const float before = std::max(0.0f, std::fma(scale, static_cast<float>(i) + 0.5f, -0.5f));
    const float single = static_cast<float>(static_cast<double>(before) + 0.5);
    sources[i] = std::min(from - 1, static_cast<int>(backend == ResizeBackend::pil ? middle : single));
  }
  return sources;
}

inline Image resize_nearest(const Image& image, ImageSize size, ResizeBackend backend) {
  Image result{.height = static_cast<int>(size.height),
               .width = static_cast<int>(size.width),
               .channels = image.channels,
               .pixels = {}};
  result.resize_pixels();
  const std::vector<int> rows = nearest_sources(image.height, result.height, backend);
  const std::vector<int> columns = nearest_sources(image.width, result.width, backend);
  std::uint8_t* to = result.pixels.data();
  for (const int row : rows)
    for (const int column : columns)
      to = std::copy_n(image.pixels.data() + image.offset(row, column), image.channels, to);
  return result;
}

/// Whether columns are filtered before rows. The intermediate image is rounded, so the order matters. torchvision
/// always begins with the rows; Pillow since 13 with the columns if that removes more than twice as many pixels from
/// the height as from the width.
inline bool columns_first(const Image& image, ImageSize size, ResizeBackend backend) {
  const std::int64_t lower = image.height - size.height, narrower = image.width - size.width;
  return backend == ResizeBackend::pil && lower > 0 && lower > 2 * narrower;
}

}  // namespace detail

/// Resizes an image. Box and Hamming filters are always Pillow's: torchvision has none.
inline Image resize(const Image& image, ImageSize size, Resample resample = Resample::bicubic,
                    ResizeBackend backend = ResizeBackend::torchvision) {
  image.check();
  if (size.height < 1 || size.width < 1 || size.height > (1 << 20) || size.width > (1 << 20))
    fail("cannot resize to ", size.height, " x ", size.width, " pixels");
  if (resample == Resample::box || resample == Resample::hamming) backend = ResizeBackend::pil;
  if (resample == Resample::nearest) return detail::resize_nearest(image, size, backend);
  // An axis that keeps its size is not filtered.
  const auto along_x = [&](const Image& from) {
    return size.width == from.width ? from : detail::resize_width(from, size.width, resample, backend);
  };
  const auto along_y = [&](const Image& from) {
    return size.height == from.height ? from : detail::resize_height(from, size.height, resample, backend);
  };
  return detail::columns_first(image, size, backend) ? along_x(along_y(image)) : along_y(along_x(image));
}

}  // namespace qwen3vl
