/// The orientation of an image file, from wherever Pillow takes it (ImageOps.exif_transpose): EXIF, else XMP.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/io/image/exif.hpp"
#include "qwen3vl/io/image/image.hpp"
#include "qwen3vl/io/image/image_kind.hpp"
#include "qwen3vl/io/image/stb.hpp"
#include "qwen3vl/io/image/webp_chunks.hpp"

namespace qwen3vl {
namespace detail {

/// What a file says about its orientation.
struct OrientationData {
  std::string exif;      ///< a TIFF structure
  std::string xmp, xml;  ///< XMP packets; `xml`, from a PNG's text, goes first

  int orientation() const {
    if (const auto found = tiff_orientation(std::as_bytes(std::span(exif)))) return *found;
    return xmp_orientation(xml.empty() ? xmp : xml).value_or(1);
  }
};

inline std::size_t big_endian(std::string_view bytes, std::size_t at, std::size_t count) {
  std::size_t value = 0;
  for (std::size_t i = at; i < at + count && i < bytes.size(); ++i)
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

/// Of a JPEG: segments of a marker and a length, until the scan begins. Between segments there may be fill bytes.
inline OrientationData jpeg_orientation(std::string_view file) {
  OrientationData found;
  for (std::size_t at = 0; (at = file.find('\xff', at)) != std::string_view::npos;) {
    at = std::min(file.find_first_not_of('\xff', at), file.size());  // any number of 0xff begins a marker
    if (at + 3 > file.size()) break;
    const auto marker = static_cast<unsigned char>(file[at++]);
    if (marker == 0xda || (marker != 0 && marker < 0xc0)) break;
    // Markers without a segment: stuffed bytes, restarts, beginnings, ends, reserved ones.
    if (marker == 0 || marker == 0xc8 || (marker >= 0xd0 && marker <= 0xd9) || (marker >= 0xf0 && marker <= 0xfd))
      continue;
    const std::size_t length = big_endian(file, at, 2);
    if (length < 2 || length > file.size() - at) break;
    const std::string_view body = file.substr(at + 2, length - 2);
    constexpr std::string_view exif("Exif\0\0", 6), xmp("http://ns.adobe.com/xap/1.0/\0", 29);
    // A long EXIF goes on in further segments.
    if (marker == 0xe1 && body.starts_with(exif)) found.exif += body.substr(exif.size());
    if (marker == 0xe1 && body.starts_with(xmp)) found.xmp = body.substr(xmp.size());
    at += length;
  }
  return found;
}

/// "Raw profile type exif", as ImageMagick writes it: three lines, then hexadecimal digits. Empty if it is not.
inline std::string raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  std::string bytes;
  int digits = 0, value = 0;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0 && c != '\n' && c != ' ' && c != '\r' && c != '\t' && c != '\f' && c != '\v') return {};
    if (digit < 0) continue;
    value = value << 4 | digit;
    if (++digits % 2 == 0) bytes += static_cast<char>(value & 0xff);
  }
  return bytes;
}

/// Of a PNG: eXIf, or text of certain names, packed or not.
inline OrientationData png_orientation(std::string_view file) {
  OrientationData found;
  std::string profile;
  constexpr std::size_t most = std::size_t{1} << 20;  // unpacked, as in Pillow
  for (std::size_t at = 8; at + 12 <= file.size();) {
    const std::size_t length = big_endian(file, at, 4);
    if (length > file.size() - at - 12) break;
    const std::string_view kind = file.substr(at + 4, 4), body = file.substr(at + 8, length);
    at += 12 + length;
    if (kind == "eXIf") found.exif = body;
    if (kind != "tEXt" && kind != "zTXt" && kind != "iTXt") continue;
    const std::size_t zero = body.find('\0');
    if (zero == std::string_view::npos) continue;
    const std::string_view key = body.substr(0, zero);
    const bool is_profile = key == "Raw profile type exif", is_xmp = key == "XML:com.adobe.xmp";
    if (kind == "tEXt" && key == "exif") found.exif = body.substr(zero + 1);
    if (!is_profile && !is_xmp) continue;
    std::string_view rest = body.substr(zero + 1);
    std::string text;
    if (kind == "tEXt") {
      text = rest;
    } else if (kind == "zTXt") {
      if (rest.size() > 1 && rest[0] == '\0') text = inflate(rest.substr(1), most);
    } else {
      // Whether it is packed and how; a language and a translated key, which end with zeros.
      if (rest.size() < 2) continue;
      const bool packed = rest[0] != '\0';
      if (packed && rest[1] != '\0') continue;
      rest.remove_prefix(2);
      const std::size_t language = rest.find('\0');
      if (language == std::string_view::npos) continue;
      rest.remove_prefix(language + 1);
      const std::size_t translated = rest.find('\0');
      if (translated == std::string_view::npos) continue;
      rest.remove_prefix(translated + 1);
      text = packed ? inflate(rest, most) : std::string(rest);
    }
    (is_profile ? profile : found.xml) = std::move(text);
  }
  if (found.exif.empty()) found.exif = raw_profile(profile);
  return found;
}

/// Of a WebP file: its chunks EXIF and XMP.
inline OrientationData webp_orientation(std::span<const std::byte> file) {
  const WebpChunks chunks = WebpScan(file).chunks();
  return {.exif = std::string(as_text(chunks.exif)), .xmp = std::string(as_text(chunks.xmp)), .xml = {}};
}

/// Turns an image upright, as Pillow's ImageOps.exif_transpose does.
inline Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool turned = orientation >= 5;  // rows become columns
  Image result{.height = turned ? image.width : image.height,
               .width = turned ? image.height : image.width,
               .channels = image.channels,
               .pixels = {}};
  result.resize_pixels();
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      int from_y = turned ? x : y, from_x = turned ? y : x;
      if (orientation == 3 || orientation == 4 || orientation == 7 || orientation == 6)
        from_y = image.height - 1 - from_y;
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
        from_x = image.width - 1 - from_x;
      std::copy_n(image.pixels.data() + image.offset(from_y, from_x), image.channels,
                  result.pixels.data() + result.offset(y, x));
    }
  }
  return result;
}

}  // namespace detail

/// The orientation stored in a JPEG, PNG or WebP file, 1 to 8; 1 (upright) if there is none.
inline int exif_orientation(std::span<const std::byte> file) {
  switch (image_kind(file)) {
    case ImageKind::jpeg:
      return detail::jpeg_orientation(detail::as_text(file)).orientation();
    case ImageKind::png:
      return detail::png_orientation(detail::as_text(file)).orientation();
    case ImageKind::webp:
      return detail::webp_orientation(file).orientation();
    default:
      return 1;
  }
}

}  // namespace qwen3vl
