/// Resizing of arrays of numbers that are not bytes, as torchvision does it: in float, then back to the array's type.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"
#include "qwen3vl/processing/image/image_array.hpp"
#include "qwen3vl/processing/image/resize.hpp"
#include "qwen3vl/processing/image/resize_in_float.hpp"

namespace qwen3vl::detail {

/// Resizes `image.values`. Throws Error for filters and backends that the reference has not for such arrays.
inline Image resize_array(const Image& image, ImageSize size, Resample resample, ResizeBackend backend) {
  image.check_any();
  if (size == ImageSize{image.height, image.width}) return image;
  if (backend == ResizeBackend::pil || resample == Resample::box || resample == Resample::hamming)
    fail(
        "an array of numbers that are not bytes is resized by torchvision's nearest, lanczos, bilinear and bicubic "
        "only");
  Image result{.height = static_cast<int>(size.height),
               .width = static_cast<int>(size.width),
               .channels = image.channels,
               .pixels = {},
               .name = image.name,
               .array_type = image.array_type};
  if (resample != Resample::nearest) {
    result.values = filter_in_float(image, image.values, size, resample);
  } else {
    const std::vector<int> rows = nearest_sources(image.height, result.height, backend);
    const std::vector<int> columns = nearest_sources(image.width, result.width, backend);
    result.values.resize(result.offset(result.height, 0));
    float* to = result.values.data();
    for (const int row : rows)
      for (const int column : columns)
        to = std::copy_n(image.values.data() + image.offset(row, column), image.channels, to);
  }
  // uint16 is cut off, other integers are rounded.
  if (image.array_type != ArrayType::floating)
    for (float& value : result.values)
      value = as_type(image.array_type, image.array_type == ArrayType::u16 ? value : std::nearbyint(value));
  return result;
}

}  // namespace qwen3vl::detail
