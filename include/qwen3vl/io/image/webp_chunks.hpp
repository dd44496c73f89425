/// The chunks of a WebP file (RIFF). What is in them is decoded by a library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "qwen3vl/io/image/image_kind.hpp"

namespace qwen3vl::detail {

/// Where the first image of a WebP file is, and what goes with it.
struct WebpChunks {
  std::uint32_t width = 0, height = 0;  ///< of the canvas
  bool alpha = false;                   ///< as the header has it
  /// The first frame: its place on the canvas, its chunks. The canvas around it is transparent black.
  std::uint32_t left = 0, top = 0, frame_width = 0, frame_height = 0;
  std::span<const std::byte> frame;
  std::span<const std::byte> exif, xmp;
  const char* problem = nullptr;  ///< what is wrong with the file
};

class WebpScan {
 public:
  /// Of a file that begins as a WebP file does.
  explicit WebpScan(std::span<const std::byte> file) : file_(file) {}

  WebpChunks chunks() {
    const std::size_t end = std::size_t{8} + number(file_, 4, 4);
    if (file_.size() < 20 || end < 20 || end > file_.size()) return broken("it ends early");
    std::span<const std::byte> rest = file_.subspan(12, end - 12);
    const bool extended = text(rest, 0) == "VP8X";
    std::uint32_t flags = 0;
    if (extended) {
      const auto header = next(rest).data;
      if (header.size() < 10) return broken("its header is cut off");
      flags = number(header, 0, 1);
      found_.width = number(header, 4, 3) + 1, found_.height = number(header, 7, 3) + 1;
      found_.alpha = (flags & 0x10) != 0;
    }
    const bool animated = (flags & 0x02) != 0;
    while (rest.size() >= 8 && found_.problem == nullptr) {
      const std::span<const std::byte> from = rest;
      const Chunk chunk = next(rest);
      if (chunk.data.data() == nullptr) return broken("a chunk reaches past its end");
      if (chunk.name == "ANMF" && animated && found_.frame.empty()) {
        animation_frame(chunk.data);
      } else if ((chunk.name == "ALPH" || chunk.name == "VP8 " || chunk.name == "VP8L") && !animated &&
                 found_.frame.empty()) {
        still(from);
      } else if (chunk.name == "EXIF" && (flags & 0x08) != 0 && found_.exif.empty()) {
        found_.exif = chunk.data;
      } else if (chunk.name == "XMP " && (flags & 0x04) != 0 && found_.xmp.empty()) {
        found_.xmp = chunk.data;
      }
      if (!extended) break;  // a plain file has one chunk
    }
    if (found_.frame.empty() && found_.problem == nullptr) return broken("it has no image");
    return found_;
  }

 private:
  struct Chunk {
    std::string_view name;
    std::span<const std::byte> data;  // without memory if the chunk reaches past the end
  };

  static std::uint32_t number(std::span<const std::byte> bytes, std::size_t at, std::size_t count) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count && at + i < bytes.size(); ++i)
      value |= std::to_integer<std::uint32_t>(bytes[at + i]) << 8 * i;
    return value;
  }
  static std::string_view text(std::span<const std::byte> bytes, std::size_t at) {
    return as_text(bytes).substr(at < bytes.size() ? at : bytes.size(), 4);
  }

  /// Takes a chunk off the front; its data are padded to an even size.
  static Chunk next(std::span<const std::byte>& rest) {
    if (rest.size() < 8) return {};
    const std::size_t size = number(rest, 4, 4);
    if (size > rest.size() - 8) return {};
    const Chunk chunk{text(rest, 0), rest.subspan(8, size)};
    rest = rest.subspan(rest.size() - 8 - size > 0 ? 8 + size + size % 2 : 8 + size);
    return chunk;
  }

  WebpChunks broken(const char* how) {
    found_.problem = how;
    return found_;
  }

  /// The chunks from ALPH, if there is one, to VP8 or VP8L; sets the frame's size and what it says about alpha.
  bool image_chunks(std::span<const std::byte> from, bool& has_alpha) {
    std::span<const std::byte> rest = from;
    bool alph = false;
    while (rest.size() >= 8) {
      const Chunk chunk = next(rest);
      if (chunk.data.data() == nullptr) break;
      alph = alph || chunk.name == "ALPH";
      if (chunk.name != "VP8 " && chunk.name != "VP8L") continue;
      const auto end = static_cast<std::size_t>(chunk.data.data() + chunk.data.size() - from.data());
      if (chunk.name == "VP8L") {
        if (chunk.data.size() < 5 || number(chunk.data, 0, 1) != 0x2f) break;
        const std::uint32_t bits = number(chunk.data, 1, 4);
        found_.frame_width = (bits & 0x3fff) + 1, found_.frame_height = (bits >> 14 & 0x3fff) + 1;
        has_alpha = (bits >> 28 & 1) != 0;
      } else {
        if (chunk.data.size() < 10 || number(chunk.data, 3, 3) != 0x2a019d) break;
        found_.frame_width = number(chunk.data, 6, 2) & 0x3fff, found_.frame_height = number(chunk.data, 8, 2) & 0x3fff;
      }
      has_alpha = has_alpha || alph;
      found_.frame = from.first(end);
      return true;
    }
    found_.problem = "its image is cut off";
    return false;
  }

  void still(std::span<const std::byte> from) {
    if (!image_chunks(from, found_.alpha)) return;
    if (found_.width == 0) found_.width = found_.frame_width, found_.height = found_.frame_height;
    if (found_.width != found_.frame_width || found_.height != found_.frame_height)
      found_.problem = "its image is not of the size that its header says";
  }

  void animation_frame(std::span<const std::byte> data) {
    if (data.size() < 16) {
      found_.problem = "its first frame is cut off";
      return;
    }
    found_.left = 2 * number(data, 0, 3), found_.top = 2 * number(data, 3, 3);
    const std::uint32_t width = number(data, 6, 3) + 1, height = number(data, 9, 3) + 1;
    bool ignored = false;
    if (!image_chunks(data.subspan(16), ignored)) return;
    if (found_.frame_width != width || found_.frame_height != height || found_.left + width > found_.width ||
        found_.top + height > found_.height)
      found_.problem = "its first frame does not fit into it";
  }

  std::span<const std::byte> file_;
  WebpChunks found_;
};

}  // namespace qwen3vl::detail
