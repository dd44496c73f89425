/// Images to patches (Qwen2VLImageProcessor, which Qwen3-VL uses): resize, rescale, normalise, cut.
#pragma once

#include <algorithm>
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

#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/processing/image/convert_rgb.hpp"
#include "qwen3vl/processing/image/image_array.hpp"
#include "qwen3vl/processing/image/image_options.hpp"
#include "qwen3vl/processing/image/image_options_json.hpp"
#include "qwen3vl/processing/image/patches.hpp"
#include "qwen3vl/processing/image/preprocessor_files.hpp"
#include "qwen3vl/processing/image/resize.hpp"
#include "qwen3vl/processing/image/resize_array.hpp"
#include "qwen3vl/tensor/host.hpp"

namespace qwen3vl {

/// What the vision tower takes.
struct ImageFeatures {
  HostMatrix<float> pixel_values;       ///< [patches of all images, channels * temporal * patch * patch]
  std::vector<GridThw> image_grid_thw;  ///< one for each image
};

/// Resizes as qwen-vl-utils does: the alpha of RGBA over white, other transparency (of gray images, of colours)
/// dropped, then Pillow's bicubic.
inline Image resized_by_pillow(const Image& image, ImageSize size) {
  const bool is_dropped = image.channels == 2 || (image.channels == 4 && image.transparency != Transparency::alpha);
  if (image.channels == 3) return resize(image, size, Resample::bicubic, ResizeBackend::pil);
  if (!is_dropped) return resize(convert_to_rgb(image), size, Resample::bicubic, ResizeBackend::pil);
  Image opaque{.height = image.height, .width = image.width, .channels = image.channels - 1, .pixels = {}};
  opaque.reserve_pixels();
  const auto alpha = static_cast<std::size_t>(opaque.channels);
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    if (i % (alpha + 1) != alpha) opaque.pixels.push_back(image.pixels[i]);
  return resize(convert_to_rgb(std::move(opaque)), size, Resample::bicubic, ResizeBackend::pil);
}

/// What transformers does to the result, in which Pillow still calls a colour of the file transparent: pixels that are
/// of this very colour become white.
inline Image with_white_key(Image resized, const Image& image) {
  if (image.transparency != Transparency::colour || image.channels % 2 != 0) return resized;
  const auto step = static_cast<std::size_t>(image.channels);
  std::size_t key = 0;
  while (key < image.pixels.size() && image.pixels[key + step - 1] != 0) key += step;
  if (key == image.pixels.size()) return resized;
  const std::uint8_t* const colour = image.pixels.data() + key;
  for (auto pixel = resized.pixels.begin(); pixel != resized.pixels.end(); pixel += 3)
    if (pixel[0] == colour[0] && pixel[1] == colour[step > 2 ? 1 : 0] && pixel[2] == colour[step > 2 ? 2 : 0])
      std::fill_n(pixel, 3, std::uint8_t{255});
  return resized;
}

class ImageProcessor {
 public:
  /// Throws Error for options that make no sense.
  explicit ImageProcessor(const ImageProcessorOptions& options = {}) : options_(options) { options_.validate(); }

  /// Reads processor_config.json, as transformers 5 saves it, or preprocessor_config.json.
  static ImageProcessor from_pretrained(const CheckpointFiles& checkpoint, const Warn& warn = print_warning) {
    PreprocessorFiles files(checkpoint);
    return from_pretrained(files, warn);
  }
  static ImageProcessor from_pretrained(PreprocessorFiles& files, const Warn& warn = print_warning) {
    return ImageProcessor(image_processor_options_from_json(
        files.settings("image_processor", {"preprocessor_config.json"}), ImageProcessorOptions::of_class(), warn));
  }

  const ImageProcessorOptions& options() const { return options_; }
  std::int64_t merge_size() const { return options_.merge_size; }

  /// The size in pixels that an image is resized to. Throws Error for extreme shapes.
  ImageSize resized_size(std::int64_t height, std::int64_t width) const {
    const std::int64_t factor = options_.patch_size * options_.merge_size;
    if (options_.do_resize) {
      detail::require_edges(options_);
      return smart_resize(height, width, factor, options_.shortest_edge, options_.longest_edge);
    }
    if (height % factor != 0 || width % factor != 0)
      fail("an image of ", height, " x ", width,
           " pixels is not resized (do_resize is false), but its sides must be multiples of ", factor);
    return {height, width};
  }

  /// Patches that an image of this size becomes (get_number_of_image_patches); merge_size * merge_size of them are a
  /// token. No pixel is computed.
  std::int64_t number_of_patches(std::int64_t height, std::int64_t width) const {
    const ImageSize size = resized_size(height, width);
    return (size.height / options_.patch_size) * (size.width / options_.patch_size);
  }

  /// All images, in order; `sizes` is empty or has one for each: an image with a size is resized to it as qwen-vl-utils
  /// does it, by Pillow, bicubic, in RGB. Throws Error for an image that cannot be used, by its name or its place in
  /// the list.
  ImageFeatures operator()(std::span<const Image> images, std::span<const std::optional<ImageSize>> sizes = {}) const {
    ImageFeatures features;
    std::vector<Image> resized;
    index_t patches = 0, channels = 0;
    for (std::size_t i = 0; i < images.size(); ++i) {
      try {
        images[i].check_any();
        const bool given = i < sizes.size() && sizes[i];
        resized.push_back(given ? resized_by_pillow(images[i], *sizes[i]) : resized_as_set(images[i]));
        if (given && options_.do_convert_rgb) resized[i] = with_white_key(std::move(resized[i]), images[i]);
      } catch (const Error& error) {
        fail(about(images, i), ": ", error.what());
      }
      if (i > 0 && resized[i].channels != channels)
        fail(about(images, i), " has ", resized[i].channels, " channels, those before it ", channels,
             "; turn on do_convert_rgb");
      channels = resized[i].channels;
      options_.check_statistics(about(images, i) + " has", channels);
      features.image_grid_thw.push_back(
          {1, resized[i].height / options_.patch_size, resized[i].width / options_.patch_size});
      patches += features.image_grid_thw.back().patches();
    }
    if (images.empty()) return features;
    features.pixel_values =
        HostMatrix<float>(patches, channels * options_.temporal_patch_size * options_.patch_size * options_.patch_size);
    const PatchCutter cutter(options_, static_cast<int>(channels));
    float* to = features.pixel_values.data();
    // A still image is repeated along time.
    for (const Image& image : resized)
      to = cutter(std::vector<const Image*>(static_cast<std::size_t>(options_.temporal_patch_size), &image), to);
    return features;
  }

 private:
  static std::string about(std::span<const Image> images, std::size_t i) {
    return images[i].name.empty() ? concat("image ", i) : images[i].name;
  }

  Image resized_as_set(const Image& image) const {
    const ImageSize size = resized_size(image.height, image.width);
    const bool convert = options_.do_convert_rgb && image.channels != 3;
    if (!image.values.empty())
      return detail::resize_array(convert ? detail::convert_array_to_rgb(image) : image, size, options_.resample,
                                  options_.backend);
    if (!convert) return resize(image, size, options_.resample, options_.backend);
    const bool array = image.array_type != ArrayType::none;
    return resize(array ? detail::convert_array_to_rgb(image) : convert_to_rgb(image), size, options_.resample,
                  options_.backend);
  }

  ImageProcessorOptions options_;
};

}  // namespace qwen3vl
