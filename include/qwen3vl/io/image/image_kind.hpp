/// What kind of file the bytes of an image are.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace qwen3vl {

enum class ImageKind { png, jpeg, webp, gif, bmp, other };

namespace detail {

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Kinds that are not read: how they begin, what they are, and what to do.
struct ForeignKind {
  std::size_t at;
  std::string_view magic, what, advice;
};

// Programs in Debian's packages imagemagick, libheif-examples, libavif-bin, libjxl-tools, librsvg2-bin, poppler-utils.
inline constexpr std::string_view by_magick =
    "; convert it: magick FILE out.png (ImageMagick; before version 7: convert FILE out.png)";
inline constexpr std::string_view by_heif = "; convert it: heif-convert FILE out.png (libheif)";
inline constexpr std::string_view by_avif = "; convert it: avifdec FILE out.png (libavif)";
inline constexpr std::string_view by_jxl = "; convert it: djxl FILE out.png (libjxl)";
inline constexpr std::string_view as_video = "; hand it over as a video";

using namespace std::string_view_literals;
inline constexpr std::array foreign_kinds{
    ForeignKind{0, "II*\0"sv, "a TIFF", by_magick},
    ForeignKind{0, "MM\0*"sv, "a TIFF", by_magick},
    ForeignKind{0, "II+\0"sv, "a BigTIFF", by_magick},
    ForeignKind{0, "MM\0+"sv, "a BigTIFF", by_magick},
    ForeignKind{4, "ftypavif"sv, "an AVIF", by_avif},
    ForeignKind{4, "ftypavis"sv, "an AVIF", by_avif},
    ForeignKind{4, "ftyphei"sv, "a HEIC", by_heif},
    ForeignKind{4, "ftyphev"sv, "a HEIC", by_heif},
    ForeignKind{4, "ftypmif1"sv, "a HEIF", by_heif},
    ForeignKind{4, "ftypmsf1"sv, "a HEIF", by_heif},
    ForeignKind{4, "ftyp"sv, "a video", as_video},
    ForeignKind{0, "\x1a\x45\xdf\xa3"sv, "a video", as_video},
    ForeignKind{8, "AVI "sv, "a video", as_video},
    ForeignKind{0, "\xff\x0a"sv, "a JPEG XL", by_jxl},
    ForeignKind{0, "\0\0\0\x0cJXL "sv, "a JPEG XL", by_jxl},
    ForeignKind{0, "\0\0\0\x0cjP  "sv, "a JPEG 2000", by_magick},
    ForeignKind{0, "\xff\x4f\xff\x51"sv, "a JPEG 2000", by_magick},
    ForeignKind{0, "<svg"sv, "an SVG", "; convert it: rsvg-convert -o out.png FILE (librsvg)"},
    ForeignKind{0, "%PDF-"sv, "a PDF", "; convert its pages: pdftoppm -png FILE page (poppler)"},
    ForeignKind{0, "%!PS"sv, "a PostScript", by_magick},
    ForeignKind{0, "8BPS"sv, "a Photoshop", by_magick},
    ForeignKind{0, "gimp xcf"sv, "a GIMP", by_magick},
    ForeignKind{0, "\0\0\1\0"sv, "an icon", by_magick},
    ForeignKind{0, "\x76\x2f\x31\x01"sv, "an OpenEXR", by_magick},
    ForeignKind{0, "#?RADIANCE"sv, "a Radiance HDR", by_magick},
    ForeignKind{0, "DDS "sv, "a DDS", by_magick},
    ForeignKind{0, "qoif"sv, "a QOI", by_magick},
    ForeignKind{0, "P1\n"sv, "a PNM", by_magick},
    ForeignKind{0, "P2\n"sv, "a PNM", by_magick},
    ForeignKind{0, "P3\n"sv, "a PNM", by_magick},
    ForeignKind{0, "P4\n"sv, "a PNM", by_magick},
    ForeignKind{0, "P5\n"sv, "a PNM", by_magick},
    ForeignKind{0, "P6\n"sv, "a PNM", by_magick},
    ForeignKind{0, "version https://git-lfs"sv, "a pointer of Git LFS", "; get it: git lfs pull"},
    ForeignKind{0, "<!doctype html"sv, "a web page", "; was the page saved instead of its image?"},
    ForeignKind{0, "<html"sv, "a web page", "; was the page saved instead of its image?"},
};

}  // namespace detail

/// By the first bytes; names and media types are often wrong.
inline ImageKind image_kind(std::span<const std::byte> file) {
  const std::string_view text = detail::as_text(file.first(std::min<std::size_t>(file.size(), 16)));
  if (text.starts_with("\x89PNG\r\n\x1a\n")) return ImageKind::png;
  if (text.starts_with("\xff\xd8") || text.starts_with("\xff\xff")) return ImageKind::jpeg;
  if (text.starts_with("GIF87a") || text.starts_with("GIF89a")) return ImageKind::gif;
  if (text.starts_with("RIFF") && text.substr(std::min<std::size_t>(text.size(), 8)).starts_with("WEBP"))
    return ImageKind::webp;
  if (text.starts_with("BM")) return ImageKind::bmp;
  return ImageKind::other;
}

/// What a file of another kind is and what to do with it, to follow its name in an error.
inline std::string foreign_image(std::span<const std::byte> file) {
  std::string_view begin = detail::as_text(file.first(std::min<std::size_t>(file.size(), 1024)));
  // Text may begin with a byte order mark and white space.
  begin.remove_prefix(std::min(begin.find_first_not_of("\xef\xbb\xbf \t\r\n"), begin.size()));
  std::string markup(begin.starts_with('<') ? begin : std::string_view());
  for (char& c : markup) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  // An SVG may begin with what XML files do.
  const bool xml = markup.starts_with("<?xml") || markup.starts_with("<!--") || markup.starts_with("<!doctype svg");
  if (xml && markup.find("<svg") != std::string::npos) markup = "<svg";
  for (const detail::ForeignKind& kind : detail::foreign_kinds) {
    const std::string_view text = markup.empty() ? begin : std::string_view(markup);
    if (text.size() < kind.at || !text.substr(kind.at).starts_with(kind.magic)) continue;
    const bool image = kind.what != "a video" && kind.what != "a web page" && kind.what != "a pointer of Git LFS";
    return std::string(" is ").append(kind.what).append(image ? " file, which is not read" : "").append(kind.advice);
  }
  return " is not an image of a kind that is read (PNG, JPEG, WebP, GIF, BMP)";
}

}  // namespace qwen3vl
