/// An image in memory, the limits of what is read from files, and the decoders that need a library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/huge_pages.hpp"

namespace qwen3vl {

/// The numbers of an array that is used as an image (image_from_array).
enum class ArrayType { none, u8, u16, i16, i32, floating };

/// How a file says what is transparent: by an alpha channel, or by calling one colour transparent (a GIF, most PNGs
/// with a tRNS chunk) or several.
enum class Transparency { alpha, colour, colours };

/// An image of 1 to 4 channels (gray, gray and alpha, RGB, RGBA), row-major, channels interleaved: [height, width,
/// channels].
struct Image {
  int height = 0;
  int width = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels;
  std::string name{};                               ///< where it came from, for messages; may be empty
  Transparency transparency = Transparency::alpha;  ///< what channel 2 or 4 was in the file
  /// Of an array: the type of its numbers, and, unless they are bytes, these instead of `pixels`.
  ArrayType array_type = ArrayType::none;
  std::vector<float> values{};

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
  /// Throws Error if sizes and pixels disagree, or if there are none because the image is an array of other numbers.
  void check() const {
    if (!values.empty()) fail("the image is an array of numbers that are not bytes, which cannot be used here");
    if (height < 1 || width < 1 || channels < 1 || channels > 4 || pixels.size() != offset(height, 0))
      fail("an image of ", height, " x ", width, " x ", channels, " with ", pixels.size(), " bytes of pixels");
  }
  /// The same for images whose numbers may be of any type.
  void check_any() const {
    if (values.empty()) return check();
    if (height < 1 || width < 1 || channels < 1 || channels > 4 || values.size() != offset(height, 0))
      fail("an array of ", height, " x ", width, " x ", channels, " with ", values.size(), " numbers");
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

/// Decodes the chunks of one image of a WebP file (an optional ALPH, then VP8 or VP8L) of height x width to RGBA pixels
/// at `to`, whose rows are `row_bytes` apart. `name` is for messages. Throws Error.
using WebpDecoder = void (*)(std::span<const std::byte> chunks, int height, int width, std::uint8_t* to,
                             std::size_t row_bytes, const std::string& name);

/// Decoders that the library does not have itself, as values that are handed to what reads images. linked_readers()
/// (io/video/linked_readers.hpp) has those that a program links.
struct ImageReaders {
  JpegDecoder jpeg = nullptr;  ///< null: stb_image
  WebpDecoder webp = nullptr;  ///< null: WebP files are an Error
};

namespace detail {

/// Throws Error for an image of no pixels or of more than the limit.
inline void check_pixel_limit(std::uint64_t height, std::uint64_t width, const std::string& name,
                              const ImageLimits& limits) {
  if (width < 1 || height < 1 || width > limits.max_pixels / height)
    fail(name, " is an image of ", width, " x ", height, ", over the limit of ", limits.max_pixels,
         " pixels (ImageLimits::max_pixels)");
}

}  // namespace detail
}  // namespace qwen3vl
