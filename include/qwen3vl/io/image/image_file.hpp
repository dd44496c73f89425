/// Images from files: PNG, GIF and BMP by the library itself and stb_image, JPEG by it or by a decoder that is handed
/// over, WebP by such a decoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/mapped_file.hpp"
#include "qwen3vl/io/image/bmp_image.hpp"
#include "qwen3vl/io/image/gif_still.hpp"
#include "qwen3vl/io/image/image.hpp"
#include "qwen3vl/io/image/image_kind.hpp"
#include "qwen3vl/io/image/jpeg_check.hpp"
#include "qwen3vl/io/image/orientation.hpp"
#include "qwen3vl/io/image/png_check.hpp"
#include "qwen3vl/io/image/stb.hpp"
#include "qwen3vl/io/image/webp_chunks.hpp"

namespace qwen3vl {
namespace detail {

/// A PNG or JPEG file.
inline Image decode_png_or_jpeg(std::span<const std::byte> file, const std::string& name, const ImageLimits& limits,
                                JpegDecoder jpeg) {
  if (const char* const problem = jpeg_problem(file, limits.max_scans)) fail(name, " is damaged: ", problem);
  if (const char* const problem = png_problem(file)) fail(name, " is damaged: ", problem);
  const auto* const bytes = reinterpret_cast<const stb::stbi_uc*>(file.data());
  int width = 0, height = 0, channels = 0;
  if (stb::stbi_info_from_memory(bytes, static_cast<int>(file.size()), &width, &height, &channels) == 0)
    fail(name, " is not a PNG or JPEG image (", stb::stbi_failure_reason(), ")");
  check_pixel_limit(width < 1 ? 0 : static_cast<std::uint64_t>(height), static_cast<std::uint64_t>(width), name,
                    limits);
  std::optional<Image> image;
  if (jpeg != nullptr && file[0] == std::byte{0xff}) image = jpeg(file, height, width, name);
  if (!image) image = decode_by_stb(file, height, width, name);
  return *std::move(image);
}

/// A WebP file; of an animation the first frame.
inline Image decode_webp(std::span<const std::byte> file, const std::string& name, const ImageLimits& limits,
                         WebpDecoder webp) {
  const WebpChunks chunks = WebpScan(file).chunks();
  if (chunks.problem != nullptr) fail(name, " is damaged: ", chunks.problem);
  check_pixel_limit(chunks.height, chunks.width, name, limits);
  if (webp == nullptr)
    fail(name,
         " is a WebP file, which this program cannot read: it was built without libwebp. Convert it (dwebp FILE -o "
         "out.png), or build with it: apt-get install libwebp-dev, the CMake target qwen3vl::webp, linked_readers()");
  Image canvas{
      .height = static_cast<int>(chunks.height), .width = static_cast<int>(chunks.width), .channels = 4, .pixels = {}};
  canvas.resize_pixels();
  webp(chunks.frame, static_cast<int>(chunks.frame_height), static_cast<int>(chunks.frame_width),
       canvas.pixels.data() + canvas.offset(static_cast<int>(chunks.top), static_cast<int>(chunks.left)),
       canvas.offset(1, 0), name);
  if (chunks.alpha) return canvas;
  std::size_t to = 0;
  for (std::size_t from = 0; from < canvas.pixels.size(); from += 4, to += 3)
    for (std::size_t c = 0; c < 3; ++c) canvas.pixels[to + c] = canvas.pixels[from + c];
  canvas.pixels.resize(to);
  canvas.channels = 3;
  return canvas;
}

}  // namespace detail

/// Decodes an image file in memory and turns it upright: PNG, JPEG, BMP, WebP (with `readers.webp`), and the first
/// frame of a GIF or of an animated WebP file, each as Pillow opens it. Without `readers.jpeg`, stb_image decodes JPEG
/// files. `name` is for messages, and becomes that of the image. Throws Error; for other kinds of files it says how to
/// convert them.
inline Image decode_image(std::span<const std::byte> file, const std::string& name, const ImageLimits& limits = {},
                          const ImageReaders& readers = {}) {
  if (file.empty()) fail(name, " is empty; wanted an image");
  if (file.size() > limits.max_file_bytes || file.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    fail(name, " has ", file.size(), " bytes, more than the limit of ", limits.max_file_bytes,
         " (ImageLimits::max_file_bytes)");
  Image image;
  switch (image_kind(file)) {
    case ImageKind::png:
    case ImageKind::jpeg:
      image = detail::decode_png_or_jpeg(file, name, limits, readers.jpeg);
      break;
    case ImageKind::webp:
      image = detail::decode_webp(file, name, limits, readers.webp);
      break;
    case ImageKind::gif:
      image = detail::GifStill(file, name, limits).decode();
      break;
    case ImageKind::bmp:
      image = detail::BmpReader(file, name, limits).decode();
      break;
    case ImageKind::other:
      fail(name, foreign_image(file));
  }
  image.check();  // also of a caller's own decoder
  image = detail::upright(std::move(image), exif_orientation(file));
  image.name = name;
  if (image_kind(file) == ImageKind::gif) image.transparency = Transparency::colour;
  if (image_kind(file) == ImageKind::png) image.transparency = png_transparency(file);
  return image;
}

/// Reads an image from a file. Throws Error that names the file and says what is wrong.
inline Image load_image(const std::filesystem::path& path, const ImageLimits& limits = {},
                        const ImageReaders& readers = {}) {
  return decode_image(MappedFile::open(path).bytes(), path.string(), limits, readers);
}

}  // namespace qwen3vl
