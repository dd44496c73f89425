/// A look at a JPEG file's tables before stb_image gets it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qwen3vl {

/// What is wrong with a JPEG, or nullptr. Every Huffman table must have at most 256 codes, as the format allows:
/// stb_image up to 2.27 (Debian 12's) believes larger counts and writes past its tables. And there may be at most
/// `max_scans` scans: each costs the time of the whole picture, but ten bytes of the file. Files that are no JPEG, or
/// are broken in another way, pass: they are for the decoder to refuse.
inline const char* jpeg_problem(std::span<const std::byte> file, std::size_t max_scans) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(file[i]); };
  std::size_t at = 0, scans = 0;
  while (at < file.size() && byte(at) == 0xff) ++at;  // 0xff may be repeated before each marker, the first one, too
  if (at == 0 || at == file.size() || byte(at) != 0xd8) return nullptr;
  ++at;
  while (true) {
    // The next marker: 0xff and what is neither padding, nor a stuffed zero, nor a restart inside coded data.
    while (at + 1 < file.size() &&
           !(byte(at) == 0xff && byte(at + 1) != 0xff && byte(at + 1) != 0 && (byte(at + 1) & 0xf8) != 0xd0))
      ++at;
    if (at + 3 >= file.size()) return nullptr;
    const std::uint8_t marker = byte(at + 1);
    const auto length = static_cast<std::size_t>(byte(at + 2)) << 8 | byte(at + 3);
    if (length < 2 || marker == 0xd9) return nullptr;
    if (marker == 0xda && ++scans > max_scans) return "its JPEG has more scans than the limit (ImageLimits::max_scans)";
    if (marker == 0xc4) {
      const std::size_t end = at + 2 + length;
      std::size_t table = at + 4;
      while (table < end && table < file.size()) {
        std::size_t codes = 0;  // a file that ends here goes on as zeros for stb_image
        for (std::size_t i = table + 1; i <= table + 16 && i < file.size(); ++i) codes += byte(i);
        if (codes > 256) return "a Huffman table of more than 256 codes";
        table += 17 + codes;
      }
    }
    at += 2 + length;
  }
}

}  // namespace qwen3vl
