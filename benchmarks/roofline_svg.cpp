#include "roofline_svg.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

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

/// A logarithmic axis that leaves a margin around its values.
struct Axis {
  double low, high;      // logarithms
  double begin, length;  // in pixels

  Axis(std::pair<double, double> values, double begin_, double length_)
      : low(std::log10(values.first / 1.25)), high(std::log10(values.second * 1.25)), begin(begin_), length(length_) {}
  double first() const { return std::pow(10, low); }
  double last() const { return std::pow(10, high); }
  double at(double value) const { return begin + (std::log10(value) - low) / (high - low) * length; }
  /// 1, 2 and 5 of each decade.
  std::vector<double> ticks() const {
    std::vector<double> result;
    for (double decade = std::floor(low); decade <= high; ++decade)
      for (const double step : {1.0, 2.0, 5.0})
        if (const double tick = step * std::pow(10, decade); tick >= first() && tick <= last()) result.push_back(tick);
    return result;
  }
};

constexpr std::array<const char*, 7> colours{"#0b61a4", "#c0392b", "#1e8449", "#8e44ad",
                                             "#b9770e", "#566573", "#d0398b"};
/// Precisions differ in how dense the colour is.
constexpr std::array<const char*, 5> opacities{"1", "0.55", "0.25", "0.1", "0"};

std::string precision_of(const std::string& name) { return name.substr(0, name.find('/')); }

/// What a point is drawn as: "text products", "vision attention", "norms", "whole layers", "head".
std::string group_of(const std::string& name) {
  const std::string layer = name.substr(name.find('/') + 1);
  const auto has = [&](const char* word) { return layer.find(word) != std::string::npos; };
  if (has("norm")) return "norms and rotation";
  if (has("decoder_layer") || has("block")) return "whole layers";
  const std::string model = layer.substr(0, layer.find('/'));
  if (has("attention")) return model + " attention";
  return model == "text" || model == "vision" ? model + " products" : model;
}

/// The position of `key` in `keys`, where it is added if it is new.
std::size_t index_of(std::vector<std::string>& keys, const std::string& key) {
  const auto found = std::ranges::find(keys, key);
  if (found != keys.end()) return static_cast<std::size_t>(found - keys.begin());
  keys.push_back(key);
  return keys.size() - 1;
}

struct Box {
  double left, top, right, bottom;
  bool meets(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

class Plot {
 public:
  Plot(const Roof& roof, const std::vector<RooflinePoint>& points)
      : roof_(roof), points_(points), x_(bounds(true), left, width), y_(bounds(false), top + height, -height) {
    for (const RooflinePoint& point : points_) {
      index_of(groups_, group_of(point.name));
      index_of(precisions_, precision_of(point.name));
    }
  }

  std::string draw(const std::string& title) {
    const std::size_t rows = (groups_.size() + columns - 1) / columns + (precisions_.size() > 1 ? 1 : 0);
    svg_ = format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
        "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
        left + width + 20, top + height + 65 + 20 * static_cast<double>(rows));
    text(left, 24, escaped(title), "font-size=\"16\"");
    grid();
    roofs();
    points();
    labels();
    key();
    return svg_ + "</svg>\n";
  }

 private:
  static constexpr double left = 70, top = 40, width = 810, height = 480;
  static constexpr std::size_t columns = 4;  // of the legend

  /// The highest of the arithmetic roofs.
  double peak() const { return std::max({roof_.fma_all, roof_.bf16_all, roof_.int8_all}); }

  static double intensity(const RooflinePoint& point) { return point.operations_per_second / point.bytes_per_second; }

  std::pair<double, double> bounds(bool horizontal) const {
    const double ridge = peak() / roof_.read_all;
    double low = horizontal ? ridge / 4 : roof_.fma_one / 2, high = horizontal ? ridge * 4 : peak();
    for (const RooflinePoint& point : points_) {
      const double value = horizontal ? intensity(point) : point.operations_per_second;
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
    for (const double tick : x_.ticks()) {
      line(x_.at(tick), top, x_.at(tick), top + height, "stroke=\"#e4e4e4\"");
      text(x_.at(tick), top + height + 18, format("%g", tick), "text-anchor=\"middle\"");
    }
    for (const double tick : y_.ticks()) {
      line(left, y_.at(tick), left + width, y_.at(tick), "stroke=\"#e4e4e4\"");
      text(left - 6, y_.at(tick) + 4, format("%g", tick * 1e-9), "text-anchor=\"end\"");
    }
    text(left + width / 2, top + height + 38, "operations per byte", "text-anchor=\"middle\"");
    text(left - 48, top + height / 2, "GFLOP/s (or 8-bit operations, 1e9/s)",
         format("text-anchor=\"middle\" transform=\"rotate(-90 %.0f %.0f)\"", left - 48, top + height / 2));
  }

  /// The slope of the memory up to the ridge, then flat.
  void roof(const std::string& label, double operations, double bytes, const char* attributes) {
    if (operations <= 0.0) return;
    const double from = std::max(x_.first(), y_.first() / bytes);
    const double ridge = std::clamp(operations / bytes, from, x_.last());
    const double from_x = x_.at(from), ridge_x = x_.at(ridge), last_x = left + width;
    const double from_y = y_.at(from * bytes), ridge_y = y_.at(std::min(operations, ridge * bytes));
    line(from_x, from_y, ridge_x, ridge_y, attributes);
    line(ridge_x, ridge_y, last_x, ridge_y, attributes);
    for (double x = from_x; x < last_x; x += 10) {  // words stay off the lines
      const double y = ridge_y + std::max(0.0, (ridge_x - x) / (ridge_x - from_x)) * (from_y - ridge_y);
      occupied_.push_back({x, y - 2, x + 10, y + 2});
    }
    roof_label(ridge_x + 20, ridge_y - 5, label + format(": %.0f", operations * 1e-9));
  }
  void roof_label(double x, double y, const std::string& words) {
    text(x, y, words, "fill=\"#333\"");
    occupied_.push_back(box_of(x, y, words));
  }
  void roofs() {
    constexpr const char* solid = "stroke=\"#333\" stroke-width=\"2\"";
    constexpr const char* dashed = "stroke=\"#777\" stroke-dasharray=\"6 4\"";
    roof("8-bit dot products", roof_.int8_all, roof_.read_all, dashed);
    roof("bf16 dot products", roof_.bf16_all, roof_.read_all, dashed);
    roof(format("f32 FMA, %d thread%s", roof_.threads, roof_.threads == 1 ? "" : "s"), roof_.fma_all, roof_.read_all,
         solid);
    if (roof_.threads > 1) roof("f32 FMA, 1 thread", roof_.fma_one, roof_.read_one, dashed);
    roof_label(left + 8, top + 16, format("memory reads: %.1f GB/s", roof_.read_all * 1e-9));
  }

  double px(const RooflinePoint& point) const { return x_.at(intensity(point)); }
  double py(const RooflinePoint& point) const { return y_.at(point.operations_per_second); }
  const char* colour(const std::string& group) { return colours[index_of(groups_, group) % colours.size()]; }
  const char* opacity(const std::string& precision) {
    return opacities[std::min(index_of(precisions_, precision), opacities.size() - 1)];
  }

  void points() {
    for (const RooflinePoint& point : points_) {
      const char* const fill = colour(group_of(point.name));
      svg_ += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\" fill-opacity=\"%s\" stroke=\"%s\"><title>",
                     px(point), py(point), fill, opacity(precision_of(point.name)), fill) +
              escaped(point.name) +
              format(": %.3g GFLOP/s, %.3g GB/s, %.0f %% of the roof</title></circle>\n",
                     point.operations_per_second * 1e-9, point.bytes_per_second * 1e-9, point.percent_of_roof);
      occupied_.push_back({px(point) - 4, py(point) - 4, px(point) + 4, py(point) + 4});
    }
  }

  static double width_of(const std::string& words) { return 5.6 * static_cast<double>(words.size()); }
  static Box box_of(double x, double y, const std::string& words) { return {x, y - 10, x + width_of(words), y + 3}; }

  /// The fastest point of each group and the one furthest from the roof, where there is room for words beside them.
  void labels() {
    for (const std::string& group : groups_) {
      std::vector<const RooflinePoint*> own;
      for (const RooflinePoint& point : points_)
        if (group_of(point.name) == group) own.push_back(&point);
      const RooflinePoint* const fastest =
          *std::ranges::max_element(own, {}, [](const RooflinePoint* point) { return point->operations_per_second; });
      const RooflinePoint* const furthest =
          *std::ranges::min_element(own, {}, [](const RooflinePoint* point) { return point->percent_of_roof; });
      label(*fastest);
      if (furthest != fastest) label(*furthest);
    }
  }
  void label(const RooflinePoint& point) {
    std::string words;
    const std::size_t skipped = precisions_.size() > 1 ? 0 : point.name.find('/') + 1;
    for (const char c : point.name.substr(skipped)) words += c == '/' || c == ':' ? ' ' : c;
    words += format(", %.0f %%", point.percent_of_roof);
    const double length = width_of(words);
    for (const double dy : {4.0, -8.0, 16.0, -20.0, 28.0, -32.0, 40.0})
      for (const double dx : {8.0, -8.0 - length, -length / 2}) {
        const double x = px(point) + dx, y = py(point) + dy;
        const Box box = box_of(x, y, words);
        if (box.left < left || box.right > left + width || box.top < top || box.bottom > top + height) continue;
        if (std::ranges::any_of(occupied_, [&](const Box& other) { return box.meets(other); })) continue;
        if (dy != 4.0)
          line(px(point), py(point), std::clamp(px(point), box.left, box.right), dy < 0 ? box.bottom : box.top,
               "stroke=\"#999\"");
        text(x, y, escaped(words), format("font-size=\"10\" fill=\"%s\"", colour(group_of(point.name))));
        occupied_.push_back(box);
        return;
      }
  }

  /// The legend: operations by colour, precisions by density.
  void key() {
    std::size_t next = 0;
    const auto entry = [&](const std::string& words, const char* fill, const char* density) {
      const double x = left + width / columns * static_cast<double>(next % columns);
      const double y = top + height + 65 + 20 * static_cast<double>(next / columns);
      svg_ += format(
          "<rect x=\"%.1f\" y=\"%.1f\" width=\"10\" height=\"10\" fill=\"%s\" fill-opacity=\"%s\" "
          "stroke=\"%s\"/>\n",
          x, y - 9, fill, density, fill);
      text(x + 16, y, escaped(words));
      ++next;
    };
    for (const std::string& group : groups_) entry(group, colour(group), "1");
    next = (next + columns - 1) / columns * columns;
    if (precisions_.size() > 1)
      for (const std::string& precision : precisions_) entry(precision, "#000", opacity(precision));
  }

  Roof roof_;
  std::vector<RooflinePoint> points_;
  Axis x_, y_;
  std::vector<std::string> groups_, precisions_;
  std::vector<Box> occupied_;  // by points and words
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
