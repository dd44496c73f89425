/// Checks that stb_image omits for PNG files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qwen3vl {

/// What is wrong with the chunks of a PNG, or nullptr. stb_image allocates a chunk's stated length before comparing it
/// with the file (2 GiB for a file of 50 bytes), and keeps the name of an unknown chunk in memory shared by all
/// threads. Files that are not PNGs or are broken in other ways pass: the decoder rejects them.
inline const char* png_problem(std::span<const std::byte> file) {
  const auto number = [&](std::size_t i) {
    std::uint32_t value = 0;
    for (std::size_t k = 0; k < 4; ++k) value = value << 8 | std::to_integer<std::uint32_t>(file[i + k]);
    return value;
  };
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

}  // namespace qwen3vl
