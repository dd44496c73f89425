// Images for the examples, drawn here: one shape of one colour on a noisy background.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>

#include "qwen3vl/io/image/image_file.hpp"

enum Shape { circle, square, triangle, diamond };
constexpr int shapes = 4;
constexpr const char* shape_names[shapes] = {"circle", "square", "triangle", "diamond"};
enum Colour { red, green, blue, yellow };
constexpr int colours = 4;
constexpr const char* colour_names[colours] = {"red", "green", "blue", "yellow"};
constexpr std::uint8_t rgb[colours][3] = {{205, 40, 40}, {50, 160, 60}, {50, 80, 200}, {240, 205, 60}};

// 96 x 96 pixels; place, size and background are random.
inline qwen3vl::Image draw(Shape shape, Colour colour, std::mt19937& random) {
  constexpr int side = 96;
  qwen3vl::Image image{.height = side, .width = side, .channels = 3, .pixels = {}};
  const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };  // the same on every machine
  const int radius = 14 + below(12), x0 = radius + below(static_cast<unsigned>(side - 2 * radius)),
            y0 = radius + below(static_cast<unsigned>(side - 2 * radius)), ground = 90 + below(80);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const int dx = x - x0, dy = y - y0;
      const bool inside = shape == circle     ? dx * dx + dy * dy <= radius * radius
                          : shape == square   ? std::max(std::abs(dx), std::abs(dy)) <= radius * 4 / 5
                          : shape == triangle ? dy <= radius && 2 * std::abs(dx) <= dy + radius
                                              : std::abs(dx) + std::abs(dy) <= radius;
      for (const std::uint8_t value : rgb[colour])
        image.pixels.push_back(static_cast<std::uint8_t>((inside ? value : ground) - 12 + below(24)));
    }
  }
  return image;
}
