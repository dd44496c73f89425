#include "roofline_svg.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

namespace qwen3vl::bench {
namespace {

template <class... Values>
std::string format(const char* pattern, Values... values) {
  std::array<char, 512> buffer;
  std::snprintf(buffer.data(), buffer.size(), pattern, values...);
  return buffer.data();
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '&') {
      result += "&amp;";
    } else {
      result += c;
    }
  }
  return result;
}

/// A logarithmic axis over whole decades.
struct Axis {
  double low, high;      // powers of ten
  double begin, length;  // in pixels

  Axis(double smallest, double largest, double begin_, double length_)
      : low(std::floor(std::log10(smallest))),
        high(std::max(low + 1, std::ceil(std::log10(largest)))),
        begin(begin_),
        length(length_) {}
  double at(double value) const { return begin + (std::log10(value) - low) / (high - low) * length; }
};

constexpr std::array<const char*, 6> colours{"#0b61a4", "#c0392b", "#1e8449", "#8e44ad", "#b9770e", "#566573"};

class Plot {
 public:
  Plot(const Roof& roof, const std::vector<RooflinePoint>& points)
      : roof_(roof),
        points_(points),
        x_(bounds(true).first, bounds(true).second, left, width),
        y_(bounds(false).first, bounds(false).second, top + height, -height) {}

  std::string draw(const std::string& title) {
    const double legend_bottom = top + 40 + 16.0 * static_cast<double>(points_.size());
    const double bottom = std::max(top + height + 60, legend_bottom);
    svg_ = format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
        left + width + legend, bottom);
    text(left, 24, escaped(title), "font-size=\"16\"");
    grid();
    roofs();
    points();
    return svg_ + "</svg>\n";
  }

 private:
  static constexpr double left = 70, top = 50, width = 620, height = 460, legend = 560;

  /// The highest of the arithmetic roofs.
  double peak() const { return std::max({roof_.fma_all, roof_.bf16_all, roof_.int8_all}); }

  std::pair<double, double> bounds(bool horizontal) const {
    const double ridge = peak() / roof_.read_all;
    double low = horizontal ? ridge / 10 : roof_.fma_one, high = horizontal ? ridge * 10 : peak() * 1.2;
    for (const RooflinePoint& point : points_) {
      const double value =
          horizontal ? point.operations_per_second / point.bytes_per_second : point.operations_per_second;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    return {low, high};
  }

  void text(double x, double y, const std::string& content, const std::string& attributes = "") {
    svg_ += format("<text x=\"%.1f\" y=\"%.1f\" ", x, y) + attributes + ">" + content + "</text>\n";
  }
  void line(double x1, double y1, double x2, double y2, const char* attributes) {
    svg_ += format("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, attributes);
  }

  void grid() {
    for (double d = x_.low; d <= x_.high; ++d) {
      const double x = x_.at(std::pow(10, d));
      line(x, top, x, top + height, "stroke=\"#ddd\"");
      text(x, top + height + 18, format("%g", std::pow(10, d)), "text-anchor=\"middle\"");
    }
    for (double d = y_.low; d <= y_.high; ++d) {
      const double y = y_.at(std::pow(10, d));
      line(left, y, left + width, y, "stroke=\"#ddd\"");
      text(left - 6, y + 4, format("%g", std::pow(10, d - 9)), "text-anchor=\"end\"");
    }
    text(left + width / 2, top + height + 40, "operations per byte", "text-anchor=\"middle\"");
    text(left - 48, top + height / 2, "GFLOP/s (or 8-bit operations, 1e9/s)",
         format("text-anchor=\"middle\" transform=\"rotate(-90 %.0f %.0f)\"", left - 48, top + height / 2));
  }

  /// The slope of the memory up to the ridge, then flat.
  void roof(const char* label, double operations, double bytes, const char* attributes) {
    if (operations <= 0.0) return;
    const double first = std::pow(10, x_.low), last = std::pow(10, x_.high), lowest = std::pow(10, y_.low);
    const double from = std::max(first, lowest / bytes), ridge = std::clamp(operations / bytes, from, last);
    line(x_.at(from), y_.at(from * bytes), x_.at(ridge), y_.at(std::min(operations, ridge * bytes)), attributes);
    line(x_.at(ridge), y_.at(operations), x_.at(last), y_.at(operations), attributes);
    text(x_.at(last) - 4, y_.at(operations) - 5, format("%s: %.0f", label, operations * 1e-9),
         "text-anchor=\"end\" fill=\"#333\"");
  }
  void roofs() {
    constexpr const char* solid = "stroke=\"#333\" stroke-width=\"2\"";
    constexpr const char* dashed = "stroke=\"#777\" stroke-dasharray=\"6 4\"";
    roof("8-bit dot products", roof_.int8_all, roof_.read_all, dashed);
    roof("bf16 dot products", roof_.bf16_all, roof_.read_all, dashed);
    roof(format("f32 FMA, %d thread%s", roof_.threads, roof_.threads == 1 ? "" : "s").c_str(), roof_.fma_all,
         roof_.read_all, solid);
    if (roof_.threads > 1) roof("f32 FMA, 1 thread", roof_.fma_one, roof_.read_one, dashed);
    text(left + 8, top + 16, format("memory reads: %.1f GB/s", roof_.read_all * 1e-9), "fill=\"#333\"");
  }

  void points() {
    std::map<std::string, const char*> colour;
    double y = top + 10;
    for (std::size_t i = 0; i < points_.size(); ++i) {
      const RooflinePoint& point = points_[i];
      const std::string precision = point.name.substr(0, point.name.find('/'));
      const char* const fill = colour.emplace(precision, colours[colour.size() % colours.size()]).first->second;
      const double px = x_.at(point.operations_per_second / point.bytes_per_second);
      const double py = y_.at(point.operations_per_second);
      const std::string number = std::to_string(i + 1);
      svg_ += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"><title>", px, py, fill) +
              escaped(point.name) + "</title></circle>\n";
      text(px + 6, py + 4, number, format("font-size=\"10\" fill=\"%s\"", fill));
      text(left + width + 20, y,
           number + " " + escaped(point.name) +
               format(": %.3g GFLOP/s, %.3g GB/s, %.0f %%", point.operations_per_second * 1e-9,
                      point.bytes_per_second * 1e-9, point.percent_of_roof),
           format("font-size=\"11\" fill=\"%s\"", fill));
      y += 16;
    }
  }

  Roof roof_;
  std::vector<RooflinePoint> points_;
  Axis x_, y_;
  std::string svg_;
};

}  // namespace

std::string roofline_svg(const std::string& title, const Roof& roof, const std::vector<RooflinePoint>& points) {
  std::vector<RooflinePoint> drawn;
  std::ranges::copy_if(points, std::back_inserter(drawn), [](const RooflinePoint& point) {
    return point.operations_per_second > 0.0 && point.bytes_per_second > 0.0;
  });
  return Plot(roof, drawn).draw(title);
}

}  // namespace qwen3vl::bench
