/// Boxes and points that an answer names, as places in the picture.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwen3vl/error.hpp"
#include "qwen3vl/processing/loose_json.hpp"

namespace qwen3vl {

/// In pixels from the upper left corner; x1 <= x2 and y1 <= y2.
struct GroundedBox {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  bool operator==(const GroundedBox&) const = default;
};

/// In pixels from the upper left corner.
struct GroundedPoint {
  double x = 0, y = 0;
  bool operator==(const GroundedPoint&) const = default;
};

/// Something that the model found.
struct GroundedObject {
  std::variant<GroundedBox, GroundedPoint> place;
  std::string label;  ///< "label", else "text_content" (text reading), "text" or "name"; may be ""
  /// The other values that are strings, in order: "sub_label" and what else the prompt asked for.
  std::vector<std::pair<std::string, std::string>> fields;
};

struct GroundingOptions {
  /// Coordinates run from 0 to this in both directions, whatever the shape of the picture. Qwen3-VL: 1000.
  double range = 1000.0;
};

namespace detail {

/// What one object of the answer holds; several places if its lists are nested.
class GroundingReader {
 public:
  GroundingReader(int height, int width, const GroundingOptions& options)
      : x_scale_(width / options.range), y_scale_(height / options.range), range_(options.range) {}

  void read(const LooseObject& object) {
    std::string label;
    int rank = 4;
    std::vector<std::pair<std::string, std::string>> fields;
    std::vector<double> boxes, points;
    for (const LooseField& field : object.fields) {
      constexpr std::string_view labels[] = {"label", "text_content", "text", "name"};
      if (is_one_of(field.key, {"bbox_2d", "bbox", "box_2d", "box"})) {
        boxes = numbers_of(field);
      } else if (is_one_of(field.key, {"point_2d", "point", "points", "points_2d"})) {
        points = numbers_of(field);
      } else if (!field.key.empty() && !field.text.empty()) {
        const auto place = static_cast<int>(std::find(labels, labels + 4, field.key) - labels);
        if (place < 4 && place < rank) {
          label = field.text;
          rank = place;
        } else if (place == 4) {
          fields.emplace_back(field.key, field.text);
        }
      }
    }
    for (std::size_t i = 0; i + 4 <= boxes.size(); i += 4) found.push_back({box(boxes.data() + i), label, fields});
    for (std::size_t i = 0; i + 2 <= points.size(); i += 2)
      found.push_back({GroundedPoint{x(points[i]), y(points[i + 1])}, label, fields});
  }

  /// A list of boxes without anything around them.
  void read_bare(std::span<const double> numbers) {
    for (std::size_t i = 0; i + 4 <= numbers.size(); i += 4) found.push_back({box(numbers.data() + i), "", {}});
  }

  std::vector<GroundedObject> found;

 private:
  static bool is_one_of(std::string_view key, std::initializer_list<std::string_view> keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }
  /// Models also write "[1, 2, 3, 4]" with quotes.
  static std::vector<double> numbers_of(const LooseField& field) {
    return field.numbers.empty() && !field.text.empty() ? numbers_in(field.text) : field.numbers;
  }
  // Adding zero makes -0 plain.
  double x(double value) const { return std::clamp(value, 0.0, range_) * x_scale_ + 0.0; }
  double y(double value) const { return std::clamp(value, 0.0, range_) * y_scale_ + 0.0; }
  GroundedBox box(const double* v) const {
    const auto [x1, x2] = std::minmax({x(v[0]), x(v[2])});
    const auto [y1, y2] = std::minmax({y(v[1]), y(v[3])});
    return {x1, y1, x2, y2};
  }

  double x_scale_, y_scale_, range_;
};

}  // namespace detail

/// The boxes ("bbox_2d") and points ("point_2d") of an answer, in pixels of a picture of `height` x `width` (upright,
/// as load_image gives it; not as resized for the model). The answer is JSON, alone, in a Markdown fence or among
/// words; what models get wrong is forgiven: quotes, commas and brackets that are missing or too many, an end cut off.
/// An object whose coordinates are incomplete is left out. Coordinates outside of the picture are moved to its edge.
inline std::vector<GroundedObject> parse_grounding(std::string_view answer, int height, int width,
                                                   const GroundingOptions& options = {}) {
  if (height < 1 || width < 1) fail("a picture of ", height, " x ", width, " pixels");
  if (!(options.range > 0.0 && options.range <= 1e9)) fail("range is ", options.range, "; Qwen3-VL's is 1000");
  detail::GroundingReader reader(height, width, options);
  const std::vector<detail::LooseObject> objects = detail::read_loose_json(answer);
  for (const detail::LooseObject& object : objects) reader.read(object);
  if (objects.empty()) {
    // "[12, 34, 56, 78]" is a box only if it is the whole answer: among words it may be anything.
    constexpr std::string_view list = "0123456789.,-+eE[]() \t\r\n";
    const std::string_view inner = detail::without_fence(answer);
    if (inner.starts_with('[') && inner.find_first_not_of(list) == std::string_view::npos)
      reader.read_bare(detail::numbers_in(inner));
  }
  return std::move(reader.found);
}

/// As JSON: [{"label": ..., "box": [x1, y1, x2, y2]} or {"label": ..., "point": [x, y]}], pixels.
inline nlohmann::ordered_json grounding_to_json(std::span<const GroundedObject> objects) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const GroundedObject& object : objects) {
    nlohmann::ordered_json one;
    one["label"] = object.label;
    if (const auto* box = std::get_if<GroundedBox>(&object.place)) {
      one["box"] = {box->x1, box->y1, box->x2, box->y2};
    } else {
      const auto& point = std::get<GroundedPoint>(object.place);
      one["point"] = {point.x, point.y};
    }
    for (const auto& [key, value] : object.fields)
      if (!one.contains(key)) one[key] = value;
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace qwen3vl
