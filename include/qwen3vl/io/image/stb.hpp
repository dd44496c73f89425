/// stb_image for PNG and JPEG files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"
#include "qwen3vl/io/image/stb_memory.hpp"

// Internal functions of each translation unit that includes this header, in a namespace of their own, so
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

namespace qwen3vl::detail {

/// Decodes a PNG or JPEG file whose header says height x width.
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

/// Unpacks zlib data of at most `most` bytes; empty if they are more, or damaged.
inline std::string inflate(std::string_view data, std::size_t most) {
  std::string text(most, '\0');
  const StbMemory memory(StbMemory::least);
  const int size =
      stb::stbi_zlib_decode_buffer(text.data(), static_cast<int>(most), data.data(), static_cast<int>(data.size()));
  text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return text;
}

}  // namespace qwen3vl::detail
