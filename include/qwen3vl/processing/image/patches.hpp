/// Resized frames to patches: rescale, normalise, cut in merge-block order. Shared by images and videos.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/processing/image/image_options.hpp"

namespace qwen3vl {

/// Cuts groups of temporal_patch_size frames of one size into patches.
class PatchCutter {
 public:
  /// For frames of `channels` channels. `options` must have statistics for each of them if it normalises.
  PatchCutter(const ImageProcessorOptions& options, int channels)
      : patch_(options.patch_size), merge_(options.merge_size), channels_(channels) {
    for (int c = 0; c < channels; ++c) tables_.push_back(normalised(options, c));
  }

  /// Writes the patches of one group in merge-block order, each as [channels, temporal, patch, patch]. Returns where
  /// the next group goes.
  float* operator()(std::span<const Image* const> frames, float* to) const {
    const Image& first = *frames.front();
    const std::int64_t area = patch_ * patch_, rows = first.height / patch_, columns = first.width / patch_;
    const auto times = static_cast<std::int64_t>(frames.size());
    const std::int64_t values = channels_ * times * area;
#pragma omp parallel for schedule(static) if (first.pixels.size() > 1000000)
    for (std::int64_t block_row = 0; block_row < rows / merge_; ++block_row) {
      float* out = to + block_row * merge_ * columns * values;
      for (std::int64_t block_column = 0; block_column < columns / merge_; ++block_column)
        for (std::int64_t inside = 0; inside < merge_ * merge_; ++inside, out += values) {
          const auto y0 = static_cast<int>((block_row * merge_ + inside / merge_) * patch_);
          const auto x0 = static_cast<int>((block_column * merge_ + inside % merge_) * patch_);
          for (int c = 0; c < channels_; ++c)
            for (std::int64_t t = 0; t < times; ++t) {
              float* const place = out + (c * times + t) * area;
              const Image* const frame = frames[static_cast<std::size_t>(t)];
              if (t > 0 && frame == frames[static_cast<std::size_t>(t) - 1]) {
                std::copy_n(place - area, area, place);
              } else {
                plane(*frame, y0, x0, c, place);
              }
            }
        }
    }
    return to + rows * columns * values;
  }

 private:
  void plane(const Image& image, int y0, int x0, int c, float* to) const {
    const auto& table = tables_[static_cast<std::size_t>(c)];
    for (int y = 0; y < patch_; ++y) {
      const std::uint8_t* const row = image.pixels.data() + image.offset(y0 + y, x0) + c;
      for (int x = 0; x < patch_; ++x) to[y * patch_ + x] = table[row[x * channels_]];
    }
  }

  /// Value of each of the 256 pixel values in channel c.
  static std::array<float, 256> normalised(const ImageProcessorOptions& options, int c) {
    std::array<float, 256> table;
    const std::size_t channel = options.image_mean.size() == 1 ? 0 : static_cast<std::size_t>(c);
    auto mean = options.do_normalize ? static_cast<float>(options.image_mean[channel]) : 0.0f,
         std_dev = options.do_normalize ? static_cast<float>(options.image_std[channel]) : 1.0f;
    const bool fused = options.do_rescale && options.do_normalize && options.backend == ResizeBackend::torchvision;
    const auto factor = static_cast<float>(options.rescale_factor);
    if (fused) {
      // One step, (x - mean / factor) / (std / factor), which rounds differently from two.
      const auto inverse = static_cast<float>(1.0 / options.rescale_factor);
      mean *= inverse;
      std_dev *= inverse;
    }
    for (std::size_t v = 0; v < table.size(); ++v) {
      auto value = static_cast<float>(v);
      if (options.do_rescale && !fused) value *= factor;
      if (options.do_normalize) value = (value - mean) / std_dev;
      table[v] = value;
    }
    return table;
  }

  std::int64_t patch_, merge_;
  int channels_;
  std::vector<std::array<float, 256>> tables_;
};

}  // namespace qwen3vl
