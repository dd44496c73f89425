/// The first frame of a GIF as a still image, exactly as Pillow opens it. (GifFile, for videos, composes frames as
/// FFmpeg does: other sizes and backgrounds.)
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/gif_lzw.hpp"
#include "qwen3vl/io/image/image.hpp"

namespace qwen3vl::detail {

/// Reads a GIF up to its first frame; what follows may be damaged.
class GifStill {
 public:
  GifStill(std::span<const std::byte> file, const std::string& name, const ImageLimits& limits)
      : file_(file), name_(name), limits_(limits) {}

  /// RGB, or RGBA if the frame has a transparent colour.
  Image decode() {
    std::uint32_t width = number(6), height = number(8);
    const int screen = byte(10);
    palette_at_ = 13;
    colours_ = table_size(screen);
    at_ = palette_at_ + 3 * colours_;
    find_frame();
    const std::uint32_t left = number(at_ + 1), top = number(at_ + 3), own_width = number(at_ + 5),
                        own_height = number(at_ + 7);
    if (own_width == 0 || own_height == 0) damaged("its frame has no pixels");
    // A frame that sticks out makes the image larger.
    width = std::max(width, left + own_width);
    height = std::max(height, top + own_height);
    check_pixel_limit(height, width, name_, limits_);
    const int flags = byte(at_ + 9);
    if (const std::size_t own = table_size(flags); own > 0) {
      palette_at_ = at_ + 10;
      colours_ = own;
      at_ += 3 * own;
    }
    const int colour_bits = byte(at_ + 10);
    if (colour_bits < 1 || colour_bits > 8) damaged(concat("its codes begin with ", colour_bits, " bits"));

    const auto palette = read_palette();
    Image image{.height = static_cast<int>(height),
                .width = static_cast<int>(width),
                .channels = transparent_ >= 0 ? 4 : 3,
                .pixels = {}};
    image.resize_pixels();
    // What the frame does not cover is transparent, or else of colour 0.
    const auto& around = palette[transparent_ >= 0 ? static_cast<std::size_t>(transparent_) : 0];
    const auto channels = static_cast<std::size_t>(image.channels);
    if (own_width != width || own_height != height)
      for (std::size_t i = 0; i < image.pixels.size(); i += channels)
        std::copy_n(around.begin(), channels, image.pixels.begin() + static_cast<std::ptrdiff_t>(i));

    GifLzw codes(data_blocks(at_ + 11), colour_bits);
    GifRows rows(static_cast<int>(own_height), (flags & 0x40) != 0);
    std::span<const std::uint8_t> run;
    for (std::uint32_t i = 0; i < own_height; ++i) {
      std::uint8_t* to =
          image.pixels.data() + image.offset(static_cast<int>(top) + rows.next(), static_cast<int>(left));
      for (std::uint32_t x = 0; x < own_width;) {
        if (run.empty() && (run = codes.next()).empty())
          damaged(concat("its data end or break off in row ", i, " of ", own_height));
        const auto count = std::min<std::size_t>(run.size(), own_width - x);
        for (const std::uint8_t colour : run.first(count)) to = std::copy_n(palette[colour].begin(), channels, to);
        run = run.subspan(count);
        x += static_cast<std::uint32_t>(count);
      }
    }
    return image;
  }

 private:
  using Colour = std::array<std::uint8_t, 4>;

  std::uint8_t byte(std::size_t at) const {
    if (at >= file_.size()) damaged("it ends early");
    return std::to_integer<std::uint8_t>(file_[at]);
  }
  std::uint32_t number(std::size_t at) const { return byte(at) | std::uint32_t{byte(at + 1)} << 8; }
  static std::size_t table_size(int flags) { return (flags & 0x80) != 0 ? std::size_t{2} << (flags & 7) : 0; }
  [[noreturn]] void damaged(std::string_view how) const { fail(name_, " is damaged: ", how); }

  /// Goes to the first frame, past extensions; of these the graphic control says which colour is transparent. As in
  /// Pillow, other bytes are skipped, and the last control with such a colour counts.
  void find_frame() {
    while (byte(at_) != 0x2c) {
      if (byte(at_) == 0x3b) damaged("it has no frames");
      if (byte(at_) != 0x21) {
        ++at_;
        continue;
      }
      if (byte(at_ + 1) == 0xf9 && byte(at_ + 2) >= 4 && (byte(at_ + 3) & 1) != 0) transparent_ = byte(at_ + 6);
      at_ += 2;
      while (const std::size_t size = byte(at_)) at_ += size + 1;
      ++at_;
    }
  }

  /// Without a palette, and beyond a short one, colours are shades of gray and black.
  std::array<Colour, 256> read_palette() const {
    std::array<Colour, 256> palette{};
    for (std::size_t i = 0; i < palette.size(); ++i) {
      const auto gray = static_cast<std::uint8_t>(colours_ == 0 ? i : 0);
      palette[i] = {gray, gray, gray, 255};
      for (std::size_t c = 0; c < 3 && i < colours_; ++c) palette[i][c] = byte(palette_at_ + 3 * i + c);
    }
    if (transparent_ >= 0) palette[static_cast<std::size_t>(transparent_)][3] = 0;
    return palette;
  }

  /// The chain of blocks from `begin` on, as far as the file has it.
  std::span<const std::uint8_t> data_blocks(std::size_t begin) const {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(file_.data());
    return {bytes + std::min(begin, file_.size()), file_.size() - std::min(begin, file_.size())};
  }

  std::span<const std::byte> file_;
  const std::string& name_;
  const ImageLimits& limits_;
  std::size_t at_ = 0, palette_at_ = 0, colours_ = 0;
  int transparent_ = -1;
};

}  // namespace qwen3vl::detail
