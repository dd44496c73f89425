/// JPEG files by libjpeg-turbo, which Pillow also uses: pixels equal those of transformers to the last bit, at twice
/// the speed of stb_image, whose pixels differ slightly. Needs libturbojpeg; comes with the CMake target qwen3vl::jpeg.
#pragma once

#include <turbojpeg.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image_file.hpp"

namespace qwen3vl {

/// A JpegDecoder. `file` has passed jpeg_problem(), and width and height are within the limits. Nothing for what
/// libjpeg does not make gray or RGB (CMYK), or takes for no JPEG. Throws Error for files that end too early.
inline std::optional<Image> decode_by_turbojpeg(std::span<const std::byte> file, int height, int width,
                                                const std::string& name) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (!decoder) fail(name, ": out of memory for a JPEG decoder");
  const auto* const bytes = reinterpret_cast<const unsigned char*>(file.data());
  const auto size = static_cast<unsigned long>(file.size());  // NOLINT(google-runtime-int): its type
  int own_width = 0, own_height = 0, sampling = 0, colors = 0;
  if (tjDecompressHeader3(decoder.get(), bytes, size, &own_width, &own_height, &sampling, &colors) != 0 ||
      own_width != width || own_height != height || colors == TJCS_CMYK || colors == TJCS_YCCK)
    return std::nullopt;
  const bool gray = colors == TJCS_GRAY;
  Image image{.height = height, .width = width, .channels = gray ? 1 : 3, .pixels = {}};
  image.resize_pixels();
  if (tjDecompress2(decoder.get(), bytes, size, image.pixels.data(), width, 0, height, gray ? TJPF_GRAY : TJPF_RGB,
                    0) != 0) {
    // As in Pillow, warnings still give an image; only a file that ends too early is refused.
    const std::string_view problem = tjGetErrorStr2(decoder.get());
    if (tjGetErrorCode(decoder.get()) != TJERR_WARNING || problem.find("Premature end") != std::string_view::npos)
      fail(name, " is damaged: ", problem);
  }
  return image;
}

namespace detail {

/// Plugs libjpeg-turbo in before main, unless something else is; see jpeg_decoder.
inline const bool turbojpeg_decodes_jpegs = [] {
  JpegDecoder none = nullptr;
  return jpeg_decoder.compare_exchange_strong(none, &decode_by_turbojpeg);
}();

}  // namespace detail
}  // namespace qwen3vl
