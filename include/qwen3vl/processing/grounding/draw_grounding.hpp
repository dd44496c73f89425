/// Draws an answer's boxes and points into the image.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/processing/grounding/grounding.hpp"
#include "qwen3vl/processing/image/convert_rgb.hpp"

// A small font as rectangles; like stb_image, internal to each translation unit and in the library's namespace.
#include <math.h>
#include <stdlib.h>
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wold-style-cast"
namespace qwen3vl::stb {
#include <stb/stb_easy_font.h>
}  // namespace qwen3vl::stb
#pragma GCC diagnostic pop

namespace qwen3vl {

struct DrawOptions {
  int line_width = 0;  ///< in pixels; 0: chosen by the image's size
  bool labels = true;  ///< non-ASCII characters become "?"
};

namespace detail {

class Pen {
 public:
  using Colour = std::array<std::uint8_t, 3>;

  explicit Pen(Image& image) : image_(image) {}

  /// [x1, x2) x [y1, y2), clipped to the image.
  void fill(int x1, int y1, int x2, int y2, const Colour& colour) {
    x1 = std::clamp(x1, 0, image_.width), x2 = std::clamp(x2, x1, image_.width);
    y1 = std::clamp(y1, 0, image_.height), y2 = std::clamp(y2, y1, image_.height);
    for (int y = y1; y < y2; ++y)
      for (int x = x1; x < x2; ++x) std::ranges::copy(colour, image_.pixels.data() + image_.offset(y, x));
  }

  /// Lines of `width` along the inside of the edge.
  void frame(int x1, int y1, int x2, int y2, int width, const Colour& colour) {
    fill(x1, y1, x2, std::min(y1 + width, y2), colour);
    fill(x1, std::max(y2 - width, y1), x2, y2, colour);
    fill(x1, y1, std::min(x1 + width, x2), y2, colour);
    fill(std::max(x2 - width, x1), y1, x2, y2, colour);
  }

  void disc(int x, int y, int radius, const Colour& colour) {
    for (int dy = -radius; dy <= radius; ++dy) {
      const int half = static_cast<int>(std::sqrt(static_cast<double>(radius) * radius - static_cast<double>(dy) * dy));
      fill(x - half, y + dy, x + half + 1, y + dy + 1, colour);
    }
  }

  /// A line of text on a background, moved into the image; (x, y) is its lower left corner.
  void words(int x, int y, std::string_view label, int scale, const Colour& ground) {
    constexpr std::size_t longest = 60;
    std::string ascii;
    for (std::size_t i = 0; i < label.size() && ascii.size() < longest; ++i) {
      const auto c = static_cast<unsigned char>(label[i]);
      if (c >= 0x80 && c < 0xc0) continue;  // one "?" per multi-byte character
      ascii += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '?';
    }
    if (ascii.empty()) return;
    std::vector<float> quads(longest * 176);  // letters have up to 11 rectangles of 4 corners of 4 values
    const int count = stb::stb_easy_font_print(0, 0, ascii.data(), nullptr, quads.data(),
                                               static_cast<int>(quads.size() * sizeof(float)));
    const int width = (stb::stb_easy_font_width(ascii.data()) + 2) * scale, height = 11 * scale;
    x = std::clamp(x, 0, std::max(0, image_.width - width));
    y = std::clamp(y, std::min(height, image_.height), image_.height);
    fill(x, y - height, x + width, y, ground);
    const bool bright = 3 * ground[0] + 6 * ground[1] + ground[2] > 1400;
    const Colour ink = bright ? Colour{0, 0, 0} : Colour{255, 255, 255};
    for (int i = 0; i < count; ++i) {
      const float* const corner = quads.data() + static_cast<std::ptrdiff_t>(i) * 16;
      const auto place = [&](float value, int from) { return from + static_cast<int>(value + 1.0f) * scale; };
      fill(place(corner[0], x), place(corner[1], y - height), place(corner[8], x), place(corner[9], y - height), ink);
    }
  }

 private:
  Image& image_;
};

}  // namespace detail

/// The image as RGB with boxes, points and labels; equal labels have equal colours.
inline Image draw_grounding(const Image& original, std::span<const GroundedObject> objects,
                            const DrawOptions& options = {}) {
  constexpr detail::Pen::Colour colours[] = {{230, 25, 75},  {60, 180, 75},  {0, 130, 200},  {255, 225, 25},
                                             {245, 130, 48}, {145, 30, 180}, {70, 240, 240}, {240, 50, 230}};
  if (options.line_width < 0) fail("line_width is ", options.line_width);
  Image image = convert_to_rgb(original);
  detail::Pen pen(image);
  const int smaller = std::min(image.height, image.width);
  const int line = options.line_width > 0 ? std::min(options.line_width, smaller) : std::max(1, smaller / 200);
  const int scale = std::max(1, smaller / 400);
  std::vector<std::string_view> labels;  // their positions select the colours
  const auto colour_of = [&](const std::string& label) {
    const auto known = std::find(labels.begin(), labels.end(), label);
    const auto number = known - labels.begin();
    if (known == labels.end() && labels.size() < std::size(colours)) labels.push_back(label);
    return colours[static_cast<std::size_t>(number) % std::size(colours)];
  };
  // Labels last, so that no box covers them.
  for (const bool writing : {false, true})
    for (const GroundedObject& object : objects) {
      const auto colour = colour_of(object.label);
      int x = 0, y = 0;
      if (const auto* box = std::get_if<GroundedBox>(&object.place)) {
        // Places may be the caller's own.
        const auto pixel = [](double value, int size) {
          return static_cast<int>(std::lround(std::clamp(std::isfinite(value) ? value : 0.0, 0.0, double(size))));
        };
        x = pixel(box->x1, image.width), y = pixel(box->y1, image.height);
        const int x2 = std::max(pixel(box->x2, image.width), x + 1), y2 = std::max(pixel(box->y2, image.height), y + 1);
        if (!writing) pen.frame(x, y, x2, y2, line, colour);
      } else {
        const auto& point = std::get<GroundedPoint>(object.place);
        const auto pixel = [](double value, int size) {
          return static_cast<int>(std::clamp(std::isfinite(value) ? value : 0.0, 0.0, double(size - 1)));
        };
        const int radius = 2 * line + 1;
        x = pixel(point.x, image.width), y = pixel(point.y, image.height);
        if (!writing) {
          pen.disc(x, y, radius + line, {255, 255, 255});
          pen.disc(x, y, radius, colour);
        }
        x += radius + line, y -= radius;
      }
      if (writing && options.labels) pen.words(x, y, object.label, scale, colour);
    }
  return image;
}

}  // namespace qwen3vl
