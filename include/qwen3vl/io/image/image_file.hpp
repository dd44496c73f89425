/// Images from files: PNG by stb_image, JPEG by it or by a decoder that is handed over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/huge_pages.hpp"
#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/image/exif.hpp"
#include "qwen3vl/io/image/jpeg_check.hpp"
#include "qwen3vl/io/image/png_check.hpp"
#include "qwen3vl/io/image/stb_memory.hpp"

// stb_image as internal functions of each translation unit that includes this header, in a namespace of their own, so
// that a program may also use stb_image itself. Only PNG and JPEG are compiled in: the open bugs are in its other
// readers. The standard headers it needs are included first, outside the namespace.
#include <cassert>
#include <climits>
#include <cmath>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_MALLOC(bytes) ::qwen3vl::detail::StbMemory::allocate(bytes)
#define STBI_REALLOC(piece, bytes) ::qwen3vl::detail::StbMemory::reallocate(piece, bytes)
#define STBI_FREE(piece) ::std::free(piece)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
// Where coded data end early, stb_image shifts zeros by more than 31 bits; the result is zero and harmless.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("shift-exponent"))), apply_to = function)
#endif
namespace qwen3vl::stb {
#include <stb/stb_image.h>
}  // namespace qwen3vl::stb
#if defined(__clang__)
#pragma clang attribute pop
#endif
#pragma GCC diagnostic pop
#undef STB_IMAGE_IMPLEMENTATION
#undef STB_IMAGE_STATIC
#undef STBI_MALLOC
#undef STBI_REALLOC
#undef STBI_FREE

namespace qwen3vl {

/// An image of 1 to 4 channels (gray, gray and alpha, RGB, RGBA), row-major, channels interleaved: [height, width,
/// channels].
struct Image {
  int height = 0;
  int width = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels;

  std::size_t offset(int y, int x) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)) *
           static_cast<std::size_t>(channels);
  }
  /// Reserves memory for the pixels of height, width and channels.
  void reserve_pixels() {
    pixels.reserve(offset(height, 0));
    if (pixels.empty()) prefer_huge_pages(pixels.data(), pixels.capacity());
  }
  /// Resizes the pixels to height, width and channels; new ones are 0.
  void resize_pixels() {
    reserve_pixels();
    pixels.resize(offset(height, 0));
  }
  /// Throws Error if sizes and pixels disagree.
  void check() const {
    if (height < 1 || width < 1 || channels < 1 || channels > 4 || pixels.size() != offset(height, 0))
      fail("an image of ", height, " x ", width, " x ", channels, " with ", pixels.size(), " bytes of pixels");
  }
};

/// Limits of images and videos. A small file can hold an enormous image, so the header is checked before anything is
/// decoded. Errors name the limit.
struct ImageLimits {
  std::size_t max_pixels = 178'956'970;  ///< as in Pillow
  std::size_t max_file_bytes = std::size_t{1} << 30;
  std::size_t max_scans = 100;                    ///< of a JPEG; progressive ones have about ten
  std::size_t max_frames = std::size_t{1} << 21;  ///< of a video; 19 hours at 30 frames a second
  /// Pixels of all frames of a GIF together. A few bytes can encode thousands of pixels, so the file's size does not
  /// bound the time to decode it.
  std::uint64_t max_gif_pixels = std::uint64_t{1} << 36;
};

/// Decodes a JPEG file whose header says height x width, without turning it upright; nullopt falls back to stb_image.
/// `name` is for messages. Throws Error.
using JpegDecoder = std::optional<Image> (*)(std::span<const std::byte> file, int height, int width,
                                             const std::string& name);

namespace detail {

/// Decodes a PNG or JPEG file whose header says height x width with stb_image.
inline Image decode_by_stb(std::span<const std::byte> file, int height, int width, const std::string& name) {
  const StbMemory memory(StbMemory::for_image(height, width, file.size()));
  Image image;
  const std::unique_ptr<stb::stbi_uc, void (*)(void*)> pixels(
      stb::stbi_load_from_memory(reinterpret_cast<const stb::stbi_uc*>(file.data()), static_cast<int>(file.size()),
                                 &image.width, &image.height, &image.channels, 0),
      stb::stbi_image_free);
  if (!pixels && std::string_view(stb::stbi_failure_reason()) == "outofmem")
    fail(name, " needs more memory than there is, or than an image of ", width, " x ", height, " can need: damaged?");
  if (!pixels) fail(name, " is damaged: ", stb::stbi_failure_reason());
  image.reserve_pixels();
  image.pixels.assign(pixels.get(), pixels.get() + image.offset(image.height, 0));
  return image;
}

/// Turns an image upright, as Pillow's ImageOps.exif_transpose does.
inline Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool turned = orientation >= 5;  // rows become columns
  Image result{.height = turned ? image.width : image.height,
               .width = turned ? image.height : image.width,
               .channels = image.channels,
               .pixels = {}};
  result.resize_pixels();
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      int from_y = turned ? x : y, from_x = turned ? y : x;
      if (orientation == 3 || orientation == 4 || orientation == 7 || orientation == 6)
        from_y = image.height - 1 - from_y;
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
        from_x = image.width - 1 - from_x;
      std::copy_n(image.pixels.data() + image.offset(from_y, from_x), image.channels,
                  result.pixels.data() + result.offset(y, x));
    }
  }
  return result;
}

}  // namespace detail

/// Decodes a PNG or JPEG file in memory and turns it upright; `name` is for messages. Without `jpeg`, stb_image decodes
/// JPEG files. Throws Error.
inline Image decode_image(std::span<const std::byte> file, const std::string& name, const ImageLimits& limits = {},
                          JpegDecoder jpeg = nullptr) {
  if (file.empty()) fail(name, " is empty; wanted a PNG or JPEG image");
  if (file.size() > limits.max_file_bytes || file.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    fail(name, " has ", file.size(), " bytes, more than the limit of ", limits.max_file_bytes,
         " (ImageLimits::max_file_bytes)");
  if (const char* const problem = jpeg_problem(file, limits.max_scans)) fail(name, " is damaged: ", problem);
  if (const char* const problem = png_problem(file)) fail(name, " is damaged: ", problem);
  const auto* const bytes = reinterpret_cast<const stb::stbi_uc*>(file.data());
  const int size = static_cast<int>(file.size());
  int width = 0, height = 0, channels = 0;
  if (stb::stbi_info_from_memory(bytes, size, &width, &height, &channels) == 0)
    fail(name, " is not a PNG or JPEG image (", stb::stbi_failure_reason(), ")");
  if (width < 1 || height < 1 || static_cast<std::size_t>(width) > limits.max_pixels / static_cast<std::size_t>(height))
    fail(name, " is an image of ", width, " x ", height, ", over the limit of ", limits.max_pixels,
         " pixels (ImageLimits::max_pixels)");
  std::optional<Image> image;
  if (jpeg != nullptr && file[0] == std::byte{0xff}) image = jpeg(file, height, width, name);
  if (!image) image = detail::decode_by_stb(file, height, width, name);
  image->check();  // also of a caller's own decoder
  return detail::upright(*std::move(image), exif_orientation(file));
}

/// Reads an image from a file. Throws Error that names the file and says what is wrong.
inline Image load_image(const std::filesystem::path& path, const ImageLimits& limits = {}, JpegDecoder jpeg = nullptr) {
  return decode_image(MappedFile::open(path).bytes(), path.string(), limits, jpeg);
}

}  // namespace qwen3vl
