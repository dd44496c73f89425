/// BMP files as Pillow reads them: palettes, 16 to 32 bits with or without masks, run lengths.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/image/image.hpp"

namespace qwen3vl::detail {

class BmpReader {
 public:
  BmpReader(std::span<const std::byte> file, const std::string& name, const ImageLimits& limits)
      : file_(file), name_(name), limits_(limits) {}

  /// RGB, or RGBA where masks say that there is alpha. (32 bits without masks have none, whatever they hold.)
  Image decode() {
    read_header();
    Image image{.height = static_cast<int>(height_),
                .width = static_cast<int>(width_),
                .channels = bits_ > 8 && masks_[3] != 0 ? 4 : 3,
                .pixels = {}};
    if (compression_ == run_lengths_8 || compression_ == run_lengths_4) {
      const std::vector<std::uint8_t> indices = unpack_runs();
      image.resize_pixels();
      for (std::size_t y = 0; y < height_; ++y)
        for (std::size_t x = 0; x < width_; ++x)
          std::ranges::copy(palette_[indices[y * width_ + x]], pixel(image, y, x));
      return image;
    }
    const std::size_t stride = (width_ * bits_ + 31) / 32 * 4, used = (width_ * bits_ + 7) / 8;
    if (pixels_ > file_.size() || (height_ - 1) * stride + used > file_.size() - pixels_)
      damaged("it ends before its last row");
    image.resize_pixels();
    for (std::size_t y = 0; y < height_; ++y)
      for (std::size_t x = 0; x < width_; ++x) {
        const std::size_t row = pixels_ + y * stride;
        std::uint8_t* const to = pixel(image, y, x);
        if (bits_ <= 8) {
          const std::size_t bit = x * bits_;
          const unsigned shift = 8 - bits_ - static_cast<unsigned>(bit % 8);
          std::ranges::copy(palette_[number(row + bit / 8, 1) >> shift & ((1u << bits_) - 1)], to);
        } else {
          const std::uint32_t value = number(row + x * (bits_ / 8), bits_ / 8);
          for (int c = 0; c < image.channels; ++c) to[c] = channel(value, masks_[static_cast<std::size_t>(c)]);
        }
      }
    return image;
  }

 private:
  enum : std::uint32_t { plain = 0, run_lengths_8 = 1, run_lengths_4 = 2, bit_fields = 3 };

  /// `bytes` of the file, the lowest first.
  std::uint32_t number(std::size_t at, std::size_t bytes) const {
    if (bytes > file_.size() || at > file_.size() - bytes) damaged("it ends early");
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::to_integer<std::uint32_t>(file_[at + i]) << 8 * i;
    return value;
  }
  [[noreturn]] void damaged(std::string_view how) const { fail(name_, " is damaged: ", how); }
  [[noreturn]] void unsupported(std::string_view what) const {
    fail(name_, " is a BMP ", what, ", which is not read; convert it: magick FILE out.png (ImageMagick)");
  }

  void read_header() {
    constexpr std::size_t header = 14;
    const std::uint32_t size = number(header, 4);
    const bool old = size == 12;
    if (!old && size != 40 && size != 52 && size != 56 && size != 64 && size != 108 && size != 124)
      unsupported(concat("with a header of ", size, " bytes"));
    number(header + size - 1, 1);  // the whole header is there
    std::uint32_t colours = 0;
    if (old) {
      width_ = number(header + 4, 2), height_ = number(header + 6, 2);
      bits_ = number(header + 10, 2);
    } else {
      width_ = number(header + 4, 4), height_ = number(header + 8, 4);
      top_down_ = height_ >> 24 == 0xff;
      if (top_down_) height_ = (std::uint64_t{1} << 32) - height_;
      bits_ = number(header + 14, 2);
      compression_ = number(header + 16, 4);
      colours = number(header + 32, 4);
    }
    check_pixel_limit(height_, width_, name_, limits_);
    if (bits_ != 1 && bits_ != 4 && bits_ != 8 && bits_ != 16 && bits_ != 24 && bits_ != 32)
      unsupported(concat("of ", bits_, " bits per pixel"));
    std::size_t after = header + size;
    switch (compression_) {
      case plain:
        // 32 bits are blue, green, red and nothing.
        masks_ = bits_ == 16 ? Masks{0x7c00, 0x3e0, 0x1f, 0} : Masks{0xff0000, 0xff00, 0xff, 0};
        break;
      case bit_fields:
        for (std::size_t c = 0; c < 3; ++c) masks_[c] = number(header + 40 + 4 * c, 4);
        if (size == 40) after += 12;
        if (size >= 56) masks_[3] = number(header + 52, 4);
        if (masks_ == Masks{} && bits_ == 32) masks_ = {0xff0000, 0xff00, 0xff, 0xff000000};
        if (bits_ <= 8 || !std::ranges::all_of(masks_, [](std::uint32_t m) { return usable(m); }) || masks_[0] == 0 ||
            masks_[1] == 0 || masks_[2] == 0)
          unsupported("of these masks");
        if (bits_ < 32) masks_[3] = 0;
        break;
      case run_lengths_8:
      case run_lengths_4:
        if (bits_ > 8) unsupported("of run lengths without a palette");
        break;
      default:
        unsupported(concat("of compression ", compression_));
    }
    pixels_ = number(10, 4);
    if (bits_ > 8) {
      if (pixels_ == 0) pixels_ = after;
      return;
    }
    if (colours == 0) colours = 1u << bits_;
    if (colours > 65536) damaged(concat("a palette of ", colours, " colours"));
    const std::size_t entry = old ? 3 : 4;
    // Some say that their pixels begin where their palette does.
    if (pixels_ == header + size || pixels_ == 0) pixels_ = after + entry * colours;
    for (std::size_t i = 0; i < std::min<std::size_t>(colours, 256); ++i)
      for (std::size_t c = 0; c < 3; ++c)
        palette_[i][c] = static_cast<std::uint8_t>(number(after + entry * i + 2 - c, 1));
  }

  /// A run of at most eight bits.
  static bool usable(std::uint32_t mask) {
    if (mask == 0) return true;
    const std::uint32_t low = mask >> std::countr_zero(mask);
    return low <= 255 && (low & (low + 1)) == 0;
  }
  static std::uint8_t channel(std::uint32_t value, std::uint32_t mask) {
    const int shift = std::countr_zero(mask);
    return static_cast<std::uint8_t>((value & mask) >> shift) == 0
               ? std::uint8_t{0}
               : static_cast<std::uint8_t>(((value & mask) >> shift) * 255 / (mask >> shift));
  }

  std::uint8_t* pixel(Image& image, std::size_t y, std::size_t x) const {
    return image.pixels.data() + image.offset(static_cast<int>(top_down_ ? y : height_ - 1 - y), static_cast<int>(x));
  }

  /// Colour indices, row by row as in the file.
  std::vector<std::uint8_t> unpack_runs() const {
    const std::size_t size = width_ * height_;
    std::vector<std::uint8_t> data;
    data.reserve(size);
    const bool four = compression_ == run_lengths_4;
    const auto half = [&](std::uint32_t byte, std::size_t i) {
      return static_cast<std::uint8_t>(four ? (i % 2 == 0 ? byte >> 4 : byte & 15u) : byte);
    };
    std::size_t at = pixels_, x = 0;
    const auto zeros = [&](std::size_t count) { data.resize(std::min(size, data.size() + count)); };
    while (data.size() < size) {
      const std::uint32_t count = number(at, 1), byte = number(at + 1, 1);
      at += 2;
      if (count > 0) {
        const std::size_t room = width_ - std::min(x, width_), run = std::min<std::size_t>(count, room);
        for (std::size_t i = 0; i < run && data.size() < size; ++i) data.push_back(half(byte, i));
        x += run;
        if (run == 0 && x >= width_) continue;  // too much for the row
      } else if (byte == 0) {                   // the end of a row
        zeros((width_ - data.size() % width_) % width_);
        x = 0;
      } else if (byte == 1) {
        damaged("its run lengths end before its last row");
      } else if (byte == 2) {  // a jump to the right and up
        zeros(number(at, 1) + std::size_t{number(at + 1, 1)} * width_);
        at += 2;
        x = data.size() % width_;
      } else {  // as they are, padded to two bytes
        const std::size_t run = std::min<std::size_t>(byte, size - data.size());
        for (std::size_t i = 0; i < run; ++i) data.push_back(half(number(at + (four ? i / 2 : i), 1), i));
        at += four ? (run + 1) / 2 : run;
        at += at % 2;
        x += byte;
      }
    }
    return data;
  }

  using Masks = std::array<std::uint32_t, 4>;
  std::span<const std::byte> file_;
  const std::string& name_;
  const ImageLimits& limits_;
  std::uint64_t height_ = 0, width_ = 0;
  std::uint32_t bits_ = 0, compression_ = plain;
  bool top_down_ = false;
  std::size_t pixels_ = 0;
  Masks masks_{};
  std::array<std::array<std::uint8_t, 3>, 256> palette_{};
};

}  // namespace qwen3vl::detail
