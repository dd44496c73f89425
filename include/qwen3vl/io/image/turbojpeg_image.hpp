/// JPEG files by libjpeg-turbo, which Pillow also uses: pixels equal those of transformers to the last bit, at twice
/// the speed of stb_image, whose pixels differ slightly. Needs libturbojpeg: the CMake target qwen3vl::jpeg.
#pragma once

#include <turbojpeg.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"

namespace qwen3vl {

namespace detail {

/// Four inks as RGB, as Pillow converts them: it takes all for inverted, as Adobe's programs store them.
inline Image rgb_of_inks(const Image& inks) {
  Image rgb{.height = inks.height, .width = inks.width, .channels = 3, .pixels = {}};
  rgb.resize_pixels();
  std::uint8_t* to = rgb.pixels.data();
  for (std::size_t i = 0; i < inks.pixels.size(); i += 4)
    for (std::size_t c = 0; c < 3; ++c) {
      const int light = inks.pixels[i + 3], product = (255 - inks.pixels[i + c]) * light + 128;
      *to++ = static_cast<std::uint8_t>(std::max(0, light - ((product >> 8) + product) / 256));
    }
  return rgb;
}

}  // namespace detail

/// A JpegDecoder. `file` has passed jpeg_problem(), and width and height are within the limits. Nothing for what
/// libjpeg takes for no JPEG. Throws Error for files that end too early.
inline std::optional<Image> decode_by_turbojpeg(std::span<const std::byte> file, int height, int width,
                                                const std::string& name) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (!decoder) fail(name, ": out of memory for a JPEG decoder");
  const auto* const bytes = reinterpret_cast<const unsigned char*>(file.data());
  const auto size = static_cast<unsigned long>(file.size());  // NOLINT(google-runtime-int): its type
  int own_width = 0, own_height = 0, sampling = 0, colors = 0;
  // As in Pillow, warnings still give an image.
  if ((tjDecompressHeader3(decoder.get(), bytes, size, &own_width, &own_height, &sampling, &colors) != 0 &&
       tjGetErrorCode(decoder.get()) != TJERR_WARNING) ||
      own_width != width || own_height != height)
    return std::nullopt;
  const bool inks = colors == TJCS_CMYK || colors == TJCS_YCCK, gray = colors == TJCS_GRAY;
  Image image{.height = height, .width = width, .channels = inks ? 4 : gray ? 1 : 3, .pixels = {}};
  image.resize_pixels();
  if (tjDecompress2(decoder.get(), bytes, size, image.pixels.data(), width, 0, height,
                    inks   ? TJPF_CMYK
                    : gray ? TJPF_GRAY
                           : TJPF_RGB,
                    0) != 0) {
    // Only a file that ends too early is refused.
    const std::string_view problem = tjGetErrorStr2(decoder.get());
    if (tjGetErrorCode(decoder.get()) != TJERR_WARNING || problem.find("Premature end") != std::string_view::npos)
      fail(name, " is damaged: ", problem);
  }
  return inks ? detail::rgb_of_inks(image) : image;
}

}  // namespace qwen3vl
