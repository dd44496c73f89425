/// WebP files by libwebp, which Pillow also uses: the same pixels to the last bit. Needs libwebp: the CMake target
/// qwen3vl::webp.
#pragma once

#include <webp/decode.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"

namespace qwen3vl {

/// A WebpDecoder. Throws Error for damaged images.
inline void decode_by_libwebp(std::span<const std::byte> chunks, int height, int width, std::uint8_t* to,
                              std::size_t row_bytes, const std::string& name) {
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(chunks.data());
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) fail(name, ": libwebp is not of the version that this was compiled for");
  VP8StatusCode status = WebPGetFeatures(bytes, chunks.size(), &config.input);
  if (status == VP8_STATUS_OK && (config.input.width != width || config.input.height != height))
    fail(name, " is damaged: its image is of ", config.input.width, " x ", config.input.height, ", not ", width, " x ",
         height);
  if (status == VP8_STATUS_OK) {
    config.output.colorspace = MODE_RGBA;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = to;
    config.output.u.RGBA.stride = static_cast<int>(row_bytes);
    config.output.u.RGBA.size =
        row_bytes * static_cast<std::size_t>(height - 1) + std::size_t{4} * static_cast<std::size_t>(width);
    status = WebPDecode(bytes, chunks.size(), &config);
  }
  switch (status) {
    case VP8_STATUS_OK:
      return;
    case VP8_STATUS_OUT_OF_MEMORY:
      fail(name, " needs more memory than there is, or is damaged");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      fail(name, " is damaged: its image ends early");
    default:
      fail(name, " is damaged: libwebp cannot decode it (status ", static_cast<int>(status), ")");
  }
}

}  // namespace qwen3vl
