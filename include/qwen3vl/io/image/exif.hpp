/// The orientation of an image as recorded by the camera (EXIF tag 0x0112).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace qwen3vl {
namespace detail {

/// The bytes of a TIFF structure, with bounds-checked reads.
class TiffReader {
 public:
  explicit TiffReader(std::span<const std::byte> bytes) : bytes_(bytes) {
    if (bytes_.size() < 8) return;
    little_ = byte(0) == 'I';
    valid_ = (byte(0) == 'I' && byte(1) == 'I') || (byte(0) == 'M' && byte(1) == 'M');
  }
  bool valid() const { return valid_; }
  bool has(std::size_t offset, std::size_t count) const {
    return offset <= bytes_.size() && count <= bytes_.size() - offset;
  }
  std::uint32_t number(std::size_t offset, int count) const {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i)
      value |= byte(offset + static_cast<std::size_t>(i)) << (8 * (little_ ? i : count - 1 - i));
    return value;
  }

 private:
  std::uint32_t byte(std::size_t i) const { return static_cast<std::uint32_t>(bytes_[i]); }
  std::span<const std::byte> bytes_;
  bool little_ = false;
  bool valid_ = false;
};

/// The orientation (1 to 8) in the first directory of a TIFF structure; 1 if there is none.
inline int tiff_orientation(std::span<const std::byte> bytes) {
  const TiffReader tiff(bytes);
  if (!tiff.valid()) return 1;
  const std::size_t directory = tiff.number(4, 4);
  if (!tiff.has(directory, 2)) return 1;
  const std::uint32_t entries = tiff.number(directory, 2);
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + std::size_t{12} * i;
    if (!tiff.has(entry, 12)) return 1;
    if (tiff.number(entry, 2) != 0x0112) continue;
    const std::uint32_t value = tiff.number(entry + 8, 2);  // a SHORT, at the start of its field
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace detail

/// The orientation stored in a JPEG or PNG file; 1 (upright) if there is none.
inline int exif_orientation(std::span<const std::byte> file) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(file[i]); };
  const auto big = [&](std::size_t i, int count) {
    std::size_t value = 0;
    for (int k = 0; k < count; ++k) value = value << 8 | byte(i + static_cast<std::size_t>(k));
    return value;
  };
  const auto matches = [&](std::size_t i, const char* text, std::size_t count) {
    for (std::size_t k = 0; k < count; ++k)
      if (byte(i + k) != static_cast<std::uint8_t>(text[k])) return false;
    return true;
  };
  if (file.size() >= 4 && byte(0) == 0xff && byte(1) == 0xd8) {
    // JPEG: segments of a marker and a length, until the scan begins.
    for (std::size_t at = 2; at + 4 <= file.size() && byte(at) == 0xff && byte(at + 1) != 0xda;) {
      const std::size_t length = big(at + 2, 2);
      if (length < 2 || length > file.size() - at - 2) return 1;
      if (byte(at + 1) == 0xe1 && length >= 8 && matches(at + 4, "Exif", 4))
        return detail::tiff_orientation(file.subspan(at + 10, length - 8));
      at += 2 + length;
    }
  } else if (file.size() >= 8 && matches(0, "\x89PNG\r\n\x1a\n", 8)) {
    for (std::size_t at = 8; at + 12 <= file.size();) {
      const std::size_t length = big(at, 4);
      if (length > file.size() - at - 12) return 1;
      if (matches(at + 4, "eXIf", 4)) return detail::tiff_orientation(file.subspan(at + 8, length));
      at += 12 + length;
    }
  }
  return 1;
}

}  // namespace qwen3vl
