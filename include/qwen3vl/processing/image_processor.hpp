/// Pictures to patches (Qwen2VLImageProcessor, which Qwen3-VL uses): resize, rescale, normalise, cut.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/backend/host_tensor.hpp"
#include "qwen3vl/io/json_file.hpp"
#include "qwen3vl/processing/convert_rgb.hpp"
#include "qwen3vl/processing/resize.hpp"
#include "qwen3vl/vision/grid.hpp"

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

/// What the vision tower takes.
struct ImageFeatures {
  HostMatrix<float> pixel_values;       ///< [patches of all pictures, channels * temporal * patch * patch]
  std::vector<GridThw> image_grid_thw;  ///< one for each picture
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

class ImageProcessor {
 public:
  /// Throws Error for options that make no sense.
  explicit ImageProcessor(const ImageProcessorOptions& options = {}) : options_(options) { options_.validate(); }

  /// Reads `folder`/preprocessor_config.json.
  static ImageProcessor from_pretrained(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / "preprocessor_config.json";
    return ImageProcessor(image_processor_options_from_json(read_json_file(path), path.string()));
  }

  const ImageProcessorOptions& options() const { return options_; }
  std::int64_t merge_size() const { return options_.merge_size; }

  /// The size in pixels that a picture is resized to. Throws Error for extreme shapes.
  PictureSize resized_size(std::int64_t height, std::int64_t width) const {
    const std::int64_t factor = options_.patch_size * options_.merge_size;
    if (options_.do_resize) return smart_resize(height, width, factor, options_.shortest_edge, options_.longest_edge);
    if (height % factor != 0 || width % factor != 0)
      fail("a picture of ", height, " x ", width,
           " pixels is not resized (do_resize is false), but its sides must be multiples of ", factor);
    return {height, width};
  }

  /// Patches that a picture of this size becomes (get_number_of_image_patches).
  std::int64_t number_of_patches(std::int64_t height, std::int64_t width) const {
    const PictureSize size = resized_size(height, width);
    return (size.height / options_.patch_size) * (size.width / options_.patch_size);
  }

  /// All pictures, in order. Throws Error for a picture that cannot be used, by its place in the list.
  ImageFeatures operator()(std::span<const Image> images) const {
    ImageFeatures features;
    std::vector<Image> resized;
    index_t patches = 0, channels = 0;
    for (std::size_t i = 0; i < images.size(); ++i) {
      try {
        images[i].check();
        const PictureSize size = resized_size(images[i].height, images[i].width);
        const bool convert = options_.do_convert_rgb && images[i].channels != 3;
        const Image converted = convert ? convert_to_rgb(images[i]) : Image{};
        const Image& source = convert ? converted : images[i];
        resized.push_back(resize(source, size, options_.resample, options_.backend));
      } catch (const Error& error) {
        fail("image ", i, ": ", error.what());
      }
      if (i > 0 && resized[i].channels != channels)
        fail("image ", i, " has ", resized[i].channels, " channels, those before it ", channels,
             "; turn on do_convert_rgb");
      channels = resized[i].channels;
      const auto statistics = static_cast<index_t>(options_.image_mean.size());
      if (options_.do_normalize && statistics != 1 && statistics < channels)
        fail("image ", i, " has ", channels, " channels, image_mean and image_std ", statistics);
      features.image_grid_thw.push_back(
          {1, resized[i].height / options_.patch_size, resized[i].width / options_.patch_size});
      patches += features.image_grid_thw.back().patches();
    }
    if (images.empty()) return features;
    features.pixel_values =
        HostMatrix<float>(patches, channels * options_.temporal_patch_size * options_.patch_size * options_.patch_size);
    float* to = features.pixel_values.data();
    for (const Image& image : resized) to = cut(image, to);
    return features;
  }

 private:
  /// Value of each of the 256 pixel values in channel c.
  std::array<float, 256> normalised(int c) const {
    std::array<float, 256> table;
    const std::size_t channel = options_.image_mean.size() == 1 ? 0 : static_cast<std::size_t>(c);
    auto mean = static_cast<float>(options_.image_mean[channel]),
         std_dev = static_cast<float>(options_.image_std[channel]);
    const bool fused = options_.do_rescale && options_.do_normalize && options_.backend == ResizeBackend::torchvision;
    const auto factor = static_cast<float>(options_.rescale_factor);
    if (fused) {
      // One step, (x - mean / factor) / (std / factor), which rounds differently from two.
      const auto inverse = static_cast<float>(1.0 / options_.rescale_factor);
      mean *= inverse;
      std_dev *= inverse;
    }
    for (std::size_t v = 0; v < table.size(); ++v) {
      auto value = static_cast<float>(v);
      if (options_.do_rescale && !fused) value *= factor;
      if (options_.do_normalize) value = (value - mean) / std_dev;
      table[v] = value;
    }
    return table;
  }

  /// Writes the patches of one picture in merge-block order, each as [channels, temporal, patch, patch]; a still
  /// picture is repeated along time. Returns where the next picture goes.
  float* cut(const Image& image, float* to) const {
    const std::int64_t patch = options_.patch_size, merge = options_.merge_size, area = patch * patch;
    const std::int64_t rows = image.height / patch, columns = image.width / patch;
    const std::int64_t values = image.channels * options_.temporal_patch_size * area;
    std::vector<std::array<float, 256>> tables;
    tables.reserve(static_cast<std::size_t>(image.channels));
    for (int c = 0; c < image.channels; ++c) tables.push_back(normalised(c));
#pragma omp parallel for schedule(static) if (image.pixels.size() > 1000000)
    for (std::int64_t block_row = 0; block_row < rows / merge; ++block_row) {
      float* out = to + block_row * merge * columns * values;
      for (std::int64_t block_column = 0; block_column < columns / merge; ++block_column)
        for (std::int64_t inside = 0; inside < merge * merge; ++inside, out += values) {
          const auto y0 = static_cast<int>((block_row * merge + inside / merge) * patch);
          const auto x0 = static_cast<int>((block_column * merge + inside % merge) * patch);
          for (int c = 0; c < image.channels; ++c) {
            float* const plane = out + c * options_.temporal_patch_size * area;
            const auto& table = tables[static_cast<std::size_t>(c)];
            for (int y = 0; y < patch; ++y) {
              const std::uint8_t* const row = image.pixels.data() + image.offset(y0 + y, x0);
              for (int x = 0; x < patch; ++x) plane[y * patch + x] = table[row[x * image.channels + c]];
            }
            for (std::int64_t t = 1; t < options_.temporal_patch_size; ++t) std::copy_n(plane, area, plane + t * area);
          }
        }
    }
    return to + rows * columns * values;
  }

  ImageProcessorOptions options_;
};

}  // namespace qwen3vl
