/// What stb_image omits about PNG files: some checks, and what is transparent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qwen3vl/io/image/image.hpp"

namespace qwen3vl {

namespace detail {

/// The big-endian number at `at`, which must be within the file.
inline std::uint32_t png_number(std::span<const std::byte> file, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t k = 0; k < 4; ++k) value = value << 8 | std::to_integer<std::uint32_t>(file[at + k]);
  return value;
}

}  // namespace detail

/// What is wrong with the chunks of a PNG, or nullptr. stb_image allocates a chunk's stated length before comparing it
/// with the file (2 GiB for a file of 50 bytes), and keeps the name of an unknown chunk in memory shared by all
/// threads. Files that are not PNGs or are broken in other ways pass: the decoder rejects them.
inline const char* png_problem(std::span<const std::byte> file) {
  const auto number = [&](std::size_t i) { return detail::png_number(file, i); };
  if (file.size() < 8 || number(0) != 0x89504e47 || number(4) != 0x0d0a1a0a) return nullptr;
  for (std::size_t at = 8; at + 8 <= file.size();) {
    const std::size_t length = number(at), left = file.size() - at - 8;
    if (length > left) return "a chunk of its PNG reaches past its end";
    const std::uint32_t kind = number(at + 4);
    switch (kind) {
      case 0x49454e44:  // IEND
        return nullptr;
      case 0x49484452:  // IHDR
      case 0x504c5445:  // PLTE
      case 0x49444154:  // IDAT
      case 0x43674249:  // CgBI, Apple's
        break;
      default:
        constexpr std::uint32_t optional = 1u << 29;  // lower-case first letter
        if ((kind & optional) == 0) return "a chunk of its PNG is of a kind that is not known";
    }
    if (left - length < 4) return "its PNG ends within a chunk";
    at += 8 + length + 4;
  }
  return "its PNG has no end";
}

/// How a PNG in which png_problem() found nothing says what is transparent. A table of palette entries counts as one
/// colour where Pillow takes it so: one is transparent, and the others are not.
inline Transparency png_transparency(std::span<const std::byte> file) {
  const auto byte = [&](std::size_t i) { return i < file.size() ? std::to_integer<std::uint32_t>(file[i]) : 0; };
  const auto number = [&](std::size_t i) { return detail::png_number(file, i); };
  constexpr std::size_t colour_type = 25;
  constexpr std::uint32_t palette = 3, alpha = 4, trns = 0x74524e53;
  if ((byte(colour_type) & alpha) != 0) return Transparency::alpha;
  if (byte(colour_type) != palette) return Transparency::colour;
  for (std::size_t at = 8; at + 8 <= file.size(); at += 12 + std::size_t{number(at)}) {
    if (number(at + 4) != trns) continue;
    int transparent = 0, others = 0;
    for (std::size_t i = 0; i < number(at) && at + 8 + i < file.size(); ++i) {
      transparent += byte(at + 8 + i) == 0;
      others += byte(at + 8 + i) != 0 && byte(at + 8 + i) != 255;
    }
    return transparent == 1 && others == 0 ? Transparency::colour : Transparency::colours;
  }
  return Transparency::colours;
}

}  // namespace qwen3vl
