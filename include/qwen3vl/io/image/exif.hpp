/// The orientation of an image as recorded by the camera, in the places where a file can have it: EXIF (tag 0x0112) and
/// XMP (tiff:Orientation).
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace qwen3vl::detail {

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
  std::uint64_t number(std::size_t offset, int count) const {
    std::uint64_t value = 0;
    for (int i = 0; i < count; ++i)
      value |= byte(offset + static_cast<std::size_t>(i)) << (8 * (little_ ? i : count - 1 - i));
    return value;
  }

 private:
  std::uint64_t byte(std::size_t i) const { return static_cast<std::uint64_t>(bytes_[i]); }
  std::span<const std::byte> bytes_;
  bool little_ = false;
  bool valid_ = false;
};

/// A value of a TIFF field of `type` as a number; nullopt for types that are none. `size` is that of one value.
inline std::optional<double> tiff_number(const TiffReader& tiff, std::uint64_t type, std::size_t at) {
  const auto whole = [&](int bytes) { return static_cast<double>(tiff.number(at, bytes)); };
  switch (type) {
    case 3:  // SHORT
      return whole(2);
    case 4:   // LONG
    case 13:  // IFD
      return whole(4);
    case 16:  // LONG8
      return whole(8);
    case 6:  // SBYTE
      return static_cast<std::int8_t>(tiff.number(at, 1));
    case 8:  // SSHORT
      return static_cast<std::int16_t>(tiff.number(at, 2));
    case 9:  // SLONG
      return static_cast<std::int32_t>(tiff.number(at, 4));
    case 11:  // FLOAT
      return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(tiff.number(at, 4))));
    case 12:  // DOUBLE
      return std::bit_cast<double>(tiff.number(at, 8));
    case 5:  // RATIONAL
      return whole(4) / static_cast<double>(tiff.number(at + 4, 4));
    case 10:  // SRATIONAL
      return static_cast<double>(static_cast<std::int32_t>(tiff.number(at, 4))) /
             static_cast<double>(static_cast<std::int32_t>(tiff.number(at + 4, 4)));
    default:
      return std::nullopt;
  }
}

/// Bytes of one value of each type of field; 0: unknown.
inline std::size_t tiff_type_size(std::uint64_t type) {
  constexpr std::size_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
  return type < std::size(sizes) ? sizes[type] : 0;
}

/// The orientation in the first directory of a TIFF structure, which may begin with "Exif": 1 to 8, 1 for other values,
/// nullopt if there is none.
inline std::optional<int> tiff_orientation(std::span<const std::byte> bytes) {
  for (int i = 0; i < 2; ++i)
    if (bytes.size() >= 6 &&
        std::string_view(reinterpret_cast<const char*>(bytes.data()), 6) == std::string_view("Exif\0\0", 6))
      bytes = bytes.subspan(6);
  const TiffReader tiff(bytes);
  if (!tiff.valid()) return std::nullopt;
  const std::size_t directory = tiff.number(4, 4);
  if (!tiff.has(directory, 2)) return std::nullopt;
  const std::uint64_t entries = tiff.number(directory, 2);
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + std::size_t{12} * i;
    if (!tiff.has(entry, 12)) return std::nullopt;
    if (tiff.number(entry, 2) != 0x0112) continue;
    const std::uint64_t type = tiff.number(entry + 2, 2), count = tiff.number(entry + 4, 4);
    const std::size_t size = tiff_type_size(type);
    if (size == 0 || count == 0 || count > bytes.size() / size) continue;  // the next one may be whole
    // Values of more than four bytes lie elsewhere.
    const std::size_t at = size * count > 4 ? tiff.number(entry + 8, 4) : entry + 8;
    if (!tiff.has(at, size * count)) continue;
    const double value = tiff_number(tiff, type, at).value_or(1.0);
    return value >= 1 && value <= 8 && value == std::floor(value) ? static_cast<int>(value) : 1;
  }
  return std::nullopt;
}

/// The orientation in an XMP packet: the digit behind the first `tiff:Orientation="` or `tiff:Orientation>`.
inline std::optional<int> xmp_orientation(std::string_view xmp) {
  constexpr std::string_view name = "tiff:Orientation";
  for (std::size_t at = xmp.find(name); at != std::string_view::npos; at = xmp.find(name, at + 1)) {
    std::string_view rest = xmp.substr(at + name.size());
    rest.remove_prefix(rest.starts_with("=\"") ? 2 : rest.starts_with('>') ? 1 : rest.size());
    if (rest.empty() || rest[0] < '0' || rest[0] > '9') continue;
    return rest[0] >= '1' && rest[0] <= '8' ? rest[0] - '0' : 1;
  }
  return std::nullopt;
}

}  // namespace qwen3vl::detail
