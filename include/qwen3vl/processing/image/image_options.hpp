/// Settings of the image processor, and reading them from preprocessor_config.json.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/processing/image/resize.hpp"

namespace qwen3vl {

/// Settings with transformers' names. Defaults are those of the released Qwen3-VL checkpoints.
struct ImageProcessorOptions {
  bool do_resize = true;
  std::int64_t shortest_edge = 65536;    ///< size["shortest_edge"]: fewest pixels (a count, in spite of the name)
  std::int64_t longest_edge = 16777216;  ///< size["longest_edge"]: most pixels
  Resample resample = Resample::bicubic;
  ResizeBackend backend = ResizeBackend::torchvision;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255.0;
  bool do_normalize = true;
  std::vector<double> image_mean{0.5, 0.5, 0.5};  ///< one for each channel, or one for all
  std::vector<double> image_std{0.5, 0.5, 0.5};
  bool do_convert_rgb = true;
  std::int64_t patch_size = 16;
  std::int64_t temporal_patch_size = 2;
  std::int64_t merge_size = 2;

  /// Throws Error for values that make no sense.
  void validate() const {
    const auto size = [](const char* name, std::int64_t value, std::int64_t highest) {
      if (value < 1 || value > highest) fail(name, " is ", value, "; it must be from 1 to ", highest);
    };
    size("patch_size", patch_size, 1024);
    size("temporal_patch_size", temporal_patch_size, 64);
    size("merge_size", merge_size, 64);
    // A picture has at least one merged patch, whatever the budget says.
    size("patch_size * merge_size", patch_size * merge_size, 4096);
    size("size[\"shortest_edge\"]", shortest_edge, std::int64_t{1} << 31);
    size("size[\"longest_edge\"]", longest_edge, std::int64_t{1} << 31);
    if (longest_edge < shortest_edge)
      fail("size[\"longest_edge\"] is ", longest_edge, ", below size[\"shortest_edge\"], ", shortest_edge);
    if (!std::isfinite(rescale_factor) || rescale_factor == 0.0) fail("rescale_factor is ", rescale_factor);
    if (image_mean.empty() || image_mean.size() > 4 || image_std.size() != image_mean.size())
      fail("image_mean has ", image_mean.size(), " values, image_std ", image_std.size(),
           "; give one for each channel");
    for (std::size_t c = 0; c < image_mean.size(); ++c)
      if (!std::isfinite(image_mean[c]) || !std::isfinite(image_std[c]) || image_std[c] == 0.0)
        fail("image_mean and image_std must be finite, image_std not zero");
  }
};

/// Reads preprocessor_config.json over `options`; unknown fields are ignored. Throws Error that names file and field.
inline ImageProcessorOptions image_processor_options_from_json(const nlohmann::json& json, const std::string& file,
                                                               ImageProcessorOptions options = {}) {
  if (!json.is_object()) fail(file, " is not a JSON object");
  const auto find = [&](const nlohmann::json& object, const char* name) -> const nlohmann::json* {
    const auto found = object.find(name);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  };
  const auto wrong = [&](const char* name, const char* wanted) { fail(file, ": ", name, " is not ", wanted); };
  const auto read_bool = [&](const char* name, bool& value) {
    const auto* const field = find(json, name);
    if (field == nullptr) return;
    if (!field->is_boolean()) wrong(name, "true or false");
    value = field->get<bool>();
  };
  const auto read_size = [&](const nlohmann::json& object, const char* name, std::int64_t& value) {
    const auto* const field = find(object, name);
    if (field == nullptr) return false;
    if (!field->is_number_integer() ||
        (field->is_number_unsigned() && field->get<std::uint64_t>() > (std::uint64_t{1} << 40)))
      wrong(name, "a size");
    value = field->get<std::int64_t>();
    return true;
  };
  const auto read_number = [&](const nlohmann::json& field, const char* name, double& value) {
    if (!field.is_number()) wrong(name, "a number");
    value = field.get<double>();
  };
  const auto read_list = [&](const char* name, std::vector<double>& values) {
    const auto* const field = find(json, name);
    if (field == nullptr) return;
    if (!field->is_array() || field->empty() || field->size() > 4) wrong(name, "a list of one to four numbers");
    values.resize(field->size());
    for (std::size_t c = 0; c < values.size(); ++c) read_number((*field)[c], name, values[c]);
  };
  read_bool("do_resize", options.do_resize);
  read_bool("do_rescale", options.do_rescale);
  read_bool("do_normalize", options.do_normalize);
  read_bool("do_convert_rgb", options.do_convert_rgb);
  if (const auto* const size = find(json, "size")) {
    if (!size->is_object()) wrong("size", "an object");
    if (!read_size(*size, "shortest_edge", options.shortest_edge) ||
        !read_size(*size, "longest_edge", options.longest_edge))
      fail(file, ": `size` dict must contain 'shortest_edge' and 'longest_edge' keys");
  }
  read_size(json, "min_pixels", options.shortest_edge);  // the older names
  read_size(json, "max_pixels", options.longest_edge);
  read_size(json, "patch_size", options.patch_size);
  read_size(json, "temporal_patch_size", options.temporal_patch_size);
  read_size(json, "merge_size", options.merge_size);
  std::int64_t resample = static_cast<std::int64_t>(options.resample);
  read_size(json, "resample", resample);
  if (resample < 0 || resample > 3)
    fail(file, ": resample is ", resample, "; known are 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic");
  options.resample = static_cast<Resample>(resample);
  if (const auto* const factor = find(json, "rescale_factor"))
    read_number(*factor, "rescale_factor", options.rescale_factor);
  read_list("image_mean", options.image_mean);
  read_list("image_std", options.image_std);
  try {
    options.validate();
  } catch (const Error& error) {
    fail(file, ": ", error.what());
  }
  return options;
}

}  // namespace qwen3vl
