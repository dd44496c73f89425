/// Settings of the image processor.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/processing/image/resize.hpp"

namespace qwen3vl {

/// Settings with transformers' names, explained in for_each_image_option. Defaults are those of the released Qwen3-VL
/// checkpoints.
struct ImageProcessorOptions {
  bool do_resize = true;
  std::int64_t shortest_edge = 65536;
  std::int64_t longest_edge = 16777216;
  Resample resample = Resample::bicubic;
  ResizeBackend backend = ResizeBackend::torchvision;
  bool do_rescale = true;
  double rescale_factor = 1.0 / 255.0;
  bool do_normalize = true;
  std::vector<double> image_mean{0.5, 0.5, 0.5};
  std::vector<double> image_std{0.5, 0.5, 0.5};
  bool do_convert_rgb = true;
  std::int64_t patch_size = 16;
  std::int64_t temporal_patch_size = 2;
  std::int64_t merge_size = 2;

  /// Throws Error for values that make no sense.
  void validate() const;

  /// Throws Error if `channels` are more than there are statistics for; `what` begins the sentence.
  void check_statistics(std::string_view what, std::int64_t channels) const {
    const auto statistics = static_cast<std::int64_t>(std::max(image_mean.size(), image_std.size()));
    if (do_normalize && statistics != 1 && statistics < channels)
      fail(what, " ", channels, " channels, image_mean and image_std ", statistics);
  }

  /// What transformers' class has where a checkpoint's file says nothing: not what Qwen3-VL needs, so that every
  /// released checkpoint says it.
  static ImageProcessorOptions of_class() {
    ImageProcessorOptions options;
    options.shortest_edge = 56 * 56;
    options.longest_edge = 28 * 28 * 1280;
    options.patch_size = 14;
    options.image_mean = {0.48145466, 0.4578275, 0.40821073};
    options.image_std = {0.26862954, 0.26130258, 0.27577711};
    return options;
  }
};

/// Calls f(Option, member...) for every option of preprocessor_config.json; `o` are any number of
/// ImageProcessorOptions, whose members are passed together.
template <class F, class... Options>
void for_each_image_option(F&& f, Options&... o) {
  constexpr Range pixels = within(0, 0x1p31);
  f(Option{"do_resize", {}, "Resize to a multiple of patch_size * merge_size within the pixel budget"}, o.do_resize...);
  f(Option{"shortest_edge", pixels,
           "In `size`: fewest pixels (a count, in spite of the name); 0: resizing is an error"},
    o.shortest_edge...);
  f(Option{"longest_edge", pixels, "In `size`: most pixels; 0: the same. It goes before the fewest"},
    o.longest_edge...);
  f(Option{"resample", {}, "Kernel of the resize: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic, 4 box, 5 hamming"},
    o.resample...);
  f(Option{"do_rescale", {}, "Multiply by rescale_factor"}, o.do_rescale...);
  f(Option{"rescale_factor", {}, "Not 0"}, o.rescale_factor...);
  f(Option{"do_normalize", {}, "Subtract image_mean, divide by image_std"}, o.do_normalize...);
  f(Option{"image_mean", {}, "One for each channel, or one for all (a list or a number)"}, o.image_mean...);
  f(Option{"image_std", {}, "The same; not 0"}, o.image_std...);
  f(Option{"do_convert_rgb", {}, "Convert gray and transparent images to RGB"}, o.do_convert_rgb...);
  f(Option{"patch_size", within(1, 1024), "Side of a patch in pixels"}, o.patch_size...);
  f(Option{"temporal_patch_size", within(1, 64), "Frames of a patch"}, o.temporal_patch_size...);
  f(Option{"merge_size", within(1, 64), "Patches that become one token, per side"}, o.merge_size...);
}

inline void ImageProcessorOptions::validate() const {
  for_each_image_option([](const Option& option, const auto& value) { check_option(option, value); }, *this);
  // An image has at least one merged patch, whatever the budget says.
  check_option({"patch_size * merge_size", within(1, 4096)}, patch_size * merge_size);
  if (rescale_factor == 0.0) fail("rescale_factor is ", rescale_factor);
  if (!do_normalize) return;
  const auto fits = [](const std::vector<double>& values) { return !values.empty() && values.size() <= 4; };
  if (!fits(image_mean) || !fits(image_std) ||
      (image_mean.size() > 1 && image_std.size() > 1 && image_std.size() != image_mean.size()))
    fail("image_mean has ", image_mean.size(), " values, image_std ", image_std.size(),
         "; give one for each channel, or one for all");
  const auto finite = [](double value) { return std::isfinite(value); };
  if (!std::ranges::all_of(image_mean, finite) || !std::ranges::all_of(image_std, finite) ||
      std::ranges::find(image_std, 0.0) != image_std.end())
    fail("image_mean and image_std must be finite, image_std not zero");
}

namespace detail {

/// What transformers asks for where it resizes.
inline void require_edges(const ImageProcessorOptions& options) {
  if (options.shortest_edge == 0 || options.longest_edge == 0)
    fail(
        "`size` dict must contain 'shortest_edge' and 'longest_edge' keys, both above 0: the settings have another "
        "form of size, or none");
}

}  // namespace detail
}  // namespace qwen3vl
