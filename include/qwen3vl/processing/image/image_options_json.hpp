/// Reading the settings of the image processor from preprocessor_config.json, in every form that it has had, and saying
/// what of it has no effect.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/processing/image/image_options.hpp"

namespace qwen3vl {
namespace detail {

/// `size` as transformers' processors keep it: its keys, one of the sets below; 0 where a value is null.
using SizeDict = std::map<std::string, std::int64_t, std::less<>>;

inline std::int64_t size_value(const std::string& place, const nlohmann::json& value) {
  if (value.is_null()) return 0;
  const double number = value.is_number() ? value.get<double>() : -1.0;
  if (!(number >= 0.0 && number <= 0x1p40) || number != std::floor(number)) wrong_value(place, value, "a whole number");
  return static_cast<std::int64_t>(number);
}

/// Throws Error unless the keys of a size are those of one of its forms (get_size_dict).
inline void check_size_keys(const std::string& place, const SizeDict& size) {
  using Keys = std::vector<std::string_view>;  // sorted, as those of a map
  static const Keys forms[] = {{"height", "width"}, {"shortest_edge"},           {"longest_edge", "shortest_edge"},
                               {"longest_edge"},    {"max_height", "max_width"}, {"max_pixels", "min_pixels"}};
  Keys keys;
  for (const auto& [key, value] : size) keys.push_back(key);
  if (std::ranges::find(forms, keys) != std::end(forms)) return;
  std::string found;
  for (const std::string_view key : keys) found += concat(found.empty() ? "" : ", ", shown(key, 40));
  fail(place, " must have the keys shortest_edge and longest_edge, or height and width, or max_height and max_width, ",
       "or min_pixels and max_pixels; it has ", found.empty() ? "none" : found);
}

/// A size that is a dictionary, a number or a pair of numbers.
inline SizeDict size_from_json(const std::string& place, const nlohmann::json& value, bool square) {
  SizeDict size;
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) size[key] = size_value(concat(place, ".", shown(key, 40)), item);
  } else if (value.is_array() && value.size() >= 2) {
    size = {{"height", size_value(place, value[0])}, {"width", size_value(place, value[1])}};
  } else if (value.is_number()) {
    const std::int64_t side = size_value(place, value);
    size = square ? SizeDict{{"height", side}, {"width", side}} : SizeDict{{"shortest_edge", side}};
  } else {
    wrong_value(place, value, "an object with shortest_edge and longest_edge");
  }
  return size;
}

/// `size`, and for images `min_pixels` and `max_pixels` beside it, which go first and take the place of those inside.
/// A form without both edges is an Error only where something is resized, as in transformers.
inline void read_size(const JsonFields& fields, bool older_names, ImageProcessorOptions& options) {
  SizeDict size{{"shortest_edge", options.shortest_edge}, {"longest_edge", options.longest_edge}};
  const nlohmann::json* const given = fields.find("size");
  const std::string place = fields.place("size");
  // Of video processors, null is no size; that of images takes its class's.
  if (given == nullptr && !older_names && fields.is_null("size")) size = {{"shortest_edge", 0}};
  if (given != nullptr) size = size_from_json(place, *given, fields.boolean("default_to_square", !older_names));
  for (const auto& [older, name] :
       {std::pair("min_pixels", "shortest_edge"), std::pair("max_pixels", "longest_edge")}) {
    const nlohmann::json* const value = older_names ? fields.find(older) : nullptr;
    if (value == nullptr) continue;
    if (given != nullptr && !given->is_object()) fail(place, " must be an object where ", older, " stands beside it");
    size[name] = size_value(fields.place(older), *value);
    size.erase(older);
  }
  check_size_keys(place, size);
  const auto edge = [&](std::string_view name) {
    const auto found = size.find(name);
    return found == size.end() ? 0 : found->second;
  };
  options.shortest_edge = edge("shortest_edge");
  options.longest_edge = edge("longest_edge");
}

/// Throws Error for a form of `crop_size` or `pad_size` that transformers refuses, although nothing is cropped.
inline void check_other_size(const JsonFields& fields, const char* name) {
  const nlohmann::json* const value = fields.find(name);
  if (value != nullptr) check_size_keys(fields.place(name), size_from_json(fields.place(name), *value, true));
}

/// Whether `type`, the name of a class, is one that the settings may be for.
inline void check_processor_type(const JsonFields& fields, const char* name, std::string_view wanted,
                                 std::initializer_list<std::string_view> beginnings) {
  std::string type;
  fields.read(name, type);
  const auto begins = [&](std::string_view beginning) { return type.starts_with(beginning); };
  if (!type.empty() && std::none_of(beginnings.begin(), beginnings.end(), begins))
    fail(fields.place(name), " is ", shown(type), "; only the settings of a ", wanted, " are read");
}

/// A field of an option. A null boolean is false; any other null is an Error where the value would be used.
template <class T>
void read_processor_option(const JsonFields& fields, const Option& option, bool used, T& value) {
  if (fields.is_null(option.name)) {
    if constexpr (std::is_same_v<T, bool>) {
      value = false;
    } else if constexpr (!requires { value.reset(); }) {
      if (used) fail(fields.place(option.name), " is null, but it is needed; leave it out for the default");
    }
  }
  if constexpr (std::is_same_v<T, Resample>) {
    auto number = static_cast<int>(value);
    fields.read(option.name, number, within(0, 5));
    value = static_cast<Resample>(number);
  } else if constexpr (std::is_same_v<T, std::vector<double>>) {
    fields.read(option.name, value, 1, 4);
  } else {
    fields.read(option, value);
  }
}

/// Says which fields of processor settings have no effect: those that `known` does not name, unless null. A few concern
/// how transformers computes, and nothing that it computes.
inline void warn_about_fields(const JsonFields& fields, std::span<const std::string_view> known, const Warn& warn) {
  if (!warn) return;
  constexpr std::string_view harmless[] = {"size",
                                           "default_to_square",
                                           "data_format",
                                           "return_tensors",
                                           "return_metadata",
                                           "disable_grouping",
                                           "input_data_format",
                                           "feature_extractor_type"};
  const auto among = [](auto& names, std::string_view name) {
    return std::ranges::find(names, name) != std::end(names);
  };
  std::string unused;
  for (const auto& [name, value] : fields.object().items()) {
    if (name == "processor_class") continue;  // read below
    if (value.is_null() || among(known, name) || among(harmless, name)) continue;
    // Asked for in vain: transformers cuts and pads no image of this model either.
    const bool off = (name == "do_center_crop" || name == "do_pad") && value.is_boolean() && !value.get<bool>();
    if (!off) unused += concat(unused.empty() ? "" : ", ", shown(name, 60));
  }
  if (!unused.empty()) warn(concat(fields.where(), ": no effect here, nor in transformers, have: ", unused));
  if (fields.has("processor_class") && *fields.find("processor_class") != "Qwen3VLProcessor")
    warn(concat(fields.place("processor_class"), " is ", shown(fields.find("processor_class")->dump(-1, ' ', true), 60),
                "; the settings are read as those of a Qwen3VLProcessor"));
}

/// Reads the fields that images and videos have in common.
inline void read_frame_options(const JsonFields& fields, bool older_names, ImageProcessorOptions& options) {
  for_each_image_option(
      [&]<class T>(const Option& option, T& value) {
        if (option.name.ends_with("_edge")) return;
        const bool used = option.name == "resample"           ? options.do_resize
                          : option.name == "rescale_factor"   ? options.do_rescale
                          : option.name.starts_with("image_") ? options.do_normalize
                                                              : true;
        read_processor_option(fields, option, used, value);
      },
      options);
  read_size(fields, older_names, options);
  bool crop = false;
  fields.read("do_center_crop", crop);
  if (crop && !fields.has("crop_size"))
    fail(fields.place("do_center_crop"),
         " is true without a crop_size, which transformers refuses; nothing is cropped");
  check_other_size(fields, "crop_size");
  std::string layout = "channels_first";
  fields.read("input_data_format", layout);
  if (layout != "channels_first")
    fields.wrong("input_data_format", "null: it would have transformers read decoded images in a wrong layout");
  try {
    options.ImageProcessorOptions::validate();
  } catch (const Error& error) {
    fail(fields.where(), ": ", error.what());
  }
}

}  // namespace detail

/// Reads preprocessor_config.json over `options`. Fields that have no effect are told to `warn`. Throws Error that
/// names file and field.
inline ImageProcessorOptions image_processor_options_from_json(const JsonFields& fields,
                                                               ImageProcessorOptions options = {},
                                                               const Warn& warn = print_warning) {
  detail::check_processor_type(fields, "image_processor_type", "Qwen2VLImageProcessor",
                               {"Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor", "Qwen3VLImageProcessor"});
  detail::read_frame_options(fields, true, options);
  detail::check_other_size(fields, "pad_size");
  std::vector<std::string_view> known{"min_pixels", "max_pixels", "image_processor_type"};
  if (fields.has("crop_size") && !fields.boolean("do_center_crop", false)) known.emplace_back("crop_size");
  if (fields.has("pad_size") && !fields.boolean("do_pad", false)) known.emplace_back("pad_size");
  for_each_image_option([&](const Option& option, const auto&) { known.push_back(option.name); }, options);
  detail::warn_about_fields(fields, known, warn);
  return options;
}

}  // namespace qwen3vl
