/// Boxes and points in an answer, in image coordinates.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/loose_json.hpp"

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

/// An object found by the model.
struct GroundedObject {
  std::variant<GroundedBox, GroundedPoint> place;
  /// "label", else "text_content" (text reading), "text", "name", "name_en" or "name_zh"; may be "".
  std::string label{};
  /// The other string values, in order: "sub_label" and whatever else the prompt asked for.
  std::vector<std::pair<std::string, std::string>> fields{};
  bool clamped = false;    ///< it extended beyond the image and was moved to its edge
  bool reordered = false;  ///< its corners were swapped
};

struct GroundingOptions {
  /// Coordinates run from 0 to this in both directions, whatever the shape of the image. Qwen3-VL: 1000.
  double range = 1000.0;
};

namespace detail {

/// The contents of one object of the answer; several places if its lists are nested.
class GroundingReader {
 public:
  GroundingReader(int height, int width, const GroundingOptions& options)
      : width_(width), height_(height), range_(options.range) {}

  void read(const LooseObject& object) {
    std::string label;
    std::size_t rank = std::size(label_keys);
    Fields fields;
    std::vector<double> boxes, points;
    for (const LooseField& field : object.fields) {
      if (is_one_of(field.key, {"bbox_2d", "bbox", "box_2d", "box"})) {
        boxes = numbers_of(field);
      } else if (is_one_of(field.key, {"point_2d", "point", "points", "points_2d"})) {
        points = numbers_of(field);
      } else if (!field.key.empty() && !field.text.empty()) {
        const auto place =
            static_cast<std::size_t>(std::find(std::begin(label_keys), std::end(label_keys), field.key) - label_keys);
        if (place < rank) {
          label = field.text;
          rank = place;
        }
        // Names in two languages are worth keeping both.
        if (place >= first_extra_label) fields.emplace_back(field.key, field.text);
      }
    }
    // Each place of a list has the label and the fields of its object, unless that would take far more memory than
    // the answer itself: then only the first one has.
    std::size_t bytes = label.size();
    for (const auto& [key, value] : fields) bytes += key.size() + value.size() + sizeof fields[0];
    const bool all = bytes * (boxes.size() / 4 + points.size() / 2) <= max_copied_bytes;
    const std::size_t before = found.size();
    const auto is_named = [&] { return all || found.size() == before; };
    for (std::size_t i = 0; i + 4 <= boxes.size(); i += 4)
      add_box(boxes.data() + i, is_named() ? label : "", is_named() ? fields : Fields());
    for (std::size_t i = 0; i + 2 <= points.size(); i += 2)
      found.push_back({.place = GroundedPoint{x(points[i]), y(points[i + 1])},
                       .label = is_named() ? label : "",
                       .fields = is_named() ? fields : Fields(),
                       .clamped = is_outside(points[i]) || is_outside(points[i + 1])});
  }

  /// A bare list of boxes.
  void read_bare(std::span<const double> numbers) {
    for (std::size_t i = 0; i + 4 <= numbers.size(); i += 4) add_box(numbers.data() + i, "", {});
  }

  std::vector<GroundedObject> found;

 private:
  using Fields = std::vector<std::pair<std::string, std::string>>;
  static constexpr std::string_view label_keys[] = {"label", "text_content", "text", "name", "name_en", "name_zh"};
  static constexpr std::size_t first_extra_label = 4;
  static constexpr std::size_t max_copied_bytes = 1 << 16;

  static bool is_one_of(std::string_view key, std::initializer_list<std::string_view> keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }
  /// Models also write "[1, 2, 3, 4]" with quotes.
  static std::vector<double> numbers_of(const LooseField& field) {
    return field.numbers.empty() && !field.text.empty() ? numbers_in(field.text) : field.numbers;
  }
  // Adding zero makes -0 plain; rounding must not leave the image.
  double pixels(double value, double extent) const {
    return std::min(std::clamp(value, 0.0, range_) * extent / range_ + 0.0, extent);
  }
  double x(double value) const { return pixels(value, width_); }
  double y(double value) const { return pixels(value, height_); }
  bool is_outside(double value) const { return value < 0.0 || value > range_; }
  void add_box(const double* v, std::string label, Fields fields) {
    const auto [x1, x2] = std::minmax({x(v[0]), x(v[2])});
    const auto [y1, y2] = std::minmax({y(v[1]), y(v[3])});
    found.push_back({.place = GroundedBox{x1, y1, x2, y2},
                     .label = std::move(label),
                     .fields = std::move(fields),
                     .clamped = std::any_of(v, v + 4, [&](double value) { return is_outside(value); }),
                     .reordered = v[0] > v[2] || v[1] > v[3]});
  }

  double width_, height_, range_;
};

}  // namespace detail

/// The boxes ("bbox_2d") and points ("point_2d") of an answer, in pixels of an image of `height` x `width` (upright, as
/// load_image gives it; not as resized for the model). The answer is JSON, alone, in a Markdown fence or within text.
/// Common mistakes of models are tolerated: missing or extra quotes, commas and brackets, a truncated end. Objects with
/// incomplete coordinates are skipped. Coordinates outside the image are moved to its edge and corners put in order,
/// which the object records.
inline std::vector<GroundedObject> parse_grounding(std::string_view answer, int height, int width,
                                                   const GroundingOptions& options = {}) {
  if (height < 1 || width < 1) fail("an image of ", height, " x ", width, " pixels");
  if (!(options.range > 0.0 && options.range <= 1e9)) fail("range is ", options.range, "; Qwen3-VL's is 1000");
  detail::GroundingReader reader(height, width, options);
  const std::vector<detail::LooseObject> objects = detail::read_loose_json(answer);
  for (const detail::LooseObject& object : objects) reader.read(object);
  if (objects.empty()) {
    // "[12, 34, 56, 78]" is a box only if it is the whole answer: within text it may be anything.
    constexpr std::string_view list = "0123456789.,-+eE[]() \t\r\n";
    const std::string_view inner = detail::without_fence(answer);
    if (inner.starts_with('[') && inner.find_first_not_of(list) == std::string_view::npos)
      reader.read_bare(detail::numbers_in(inner));
  }
  return std::move(reader.found);
}

/// As JSON: [{"label": ..., "box": [x1, y1, x2, y2]} or {"label": ..., "point": [x, y]}], pixels, with
/// "clamped" and "reordered" where they are true, and the other fields.
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
    if (object.clamped) one["clamped"] = true;
    if (object.reordered) one["reordered"] = true;
    for (const auto& [key, value] : object.fields)
      if (!one.contains(key)) one[key] = value;
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace qwen3vl
