/// Writes images to PNG and JPEG files, by stb_image_write.
#pragma once

#include <cassert>
#include <cerrno>
#include <cmath>
#include <cstdarg>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"

// As with stb_image: internal functions of each translation unit, in a namespace of their own, after the standard
// headers.
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
namespace qwen3vl::stb {
#include <stb/stb_image_write.h>
}  // namespace qwen3vl::stb
#pragma GCC diagnostic pop
#undef STB_IMAGE_WRITE_IMPLEMENTATION
#undef STB_IMAGE_WRITE_STATIC

namespace qwen3vl {

/// Whether the name's extension means PNG; JPEG otherwise. Throws Error for other extensions.
inline bool check_image_name(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  const bool png = extension == ".png";
  if (!png && extension != ".jpg" && extension != ".jpeg")
    fail("cannot write ", path.string(), ": images are written as .png, .jpg or .jpeg");
  return png;
}

/// Writes an image in the format of the name's extension (.png, .jpg, .jpeg). JPEG drops transparency. Throws Error
/// that names the file.
inline void write_image(const std::filesystem::path& path, const Image& image, int jpeg_quality = 95) {
  image.check();
  const bool png = check_image_name(path);
  if (jpeg_quality < 1 || jpeg_quality > 100) fail("jpeg_quality is ", jpeg_quality, "; it must be from 1 to 100");
  // The writer counts in int, including its compressed output in buffers that it doubles.
  if (image.pixels.size() + static_cast<std::size_t>(image.height) > std::size_t{1} << 29)
    fail("cannot write ", path.string(), ": ", image.height, " x ", image.width, " pixels are too many");
  if (!png && (image.height > 65535 || image.width > 65535))
    fail("cannot write ", path.string(), ": JPEG has at most 65535 pixels on a side");
  std::string bytes;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<std::size_t>(size));
  };
  const int done = png ? stb::stbi_write_png_to_func(append, &bytes, image.width, image.height, image.channels,
                                                     image.pixels.data(), image.width * image.channels)
                       : stb::stbi_write_jpg_to_func(append, &bytes, image.width, image.height, image.channels,
                                                     image.pixels.data(), jpeg_quality);
  if (done == 0) fail("cannot write ", path.string(), ": the image could not be encoded");
  errno = 0;
  std::ofstream stream(path, std::ios::binary);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  stream.close();
  if (!stream) detail::fail_on_file("write", path.string());
}

}  // namespace qwen3vl
