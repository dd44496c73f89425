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
    for (int c = 0; c < channels; ++c) {
      scales_.emplace_back(options, static_cast<std::size_t>(c));
      auto& table = tables_.emplace_back();
      for (std::size_t v = 0; v < table.size(); ++v) table[v] = scales_.back()(static_cast<float>(v));
    }
  }

  /// Writes the patches of one group in merge-block order, each as [channels, temporal, patch, patch]. Returns where
  /// the next group goes.
  float* operator()(std::span<const Image* const> frames, float* to) const {
    const Image& first = *frames.front();
    const std::int64_t area = patch_ * patch_, rows = first.height / patch_, columns = first.width / patch_;
    const auto times = static_cast<std::int64_t>(frames.size());
    const std::int64_t values = channels_ * times * area;
#pragma omp parallel for schedule(static) if (first.pixels.size() + first.values.size() > 1000000)
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
    if (!image.values.empty()) {
      const Scale& scale = scales_[static_cast<std::size_t>(c)];
      for (int y = 0; y < patch_; ++y) {
        const float* const row = image.values.data() + image.offset(y0 + y, x0) + c;
        for (int x = 0; x < patch_; ++x) to[y * patch_ + x] = scale(row[x * channels_]);
      }
      return;
    }
    const auto& table = tables_[static_cast<std::size_t>(c)];
    for (int y = 0; y < patch_; ++y) {
      const std::uint8_t* const row = image.pixels.data() + image.offset(y0 + y, x0) + c;
      for (int x = 0; x < patch_; ++x) to[y * patch_ + x] = table[row[x * channels_]];
    }
  }

  /// Rescales and normalises the numbers of one channel.
  class Scale {
   public:
    Scale(const ImageProcessorOptions& options, std::size_t channel)
        : rescales_(options.do_rescale),
          normalises_(options.do_normalize),
          factor_(static_cast<float>(options.rescale_factor)) {
      const auto of = [&](const std::vector<double>& values) {
        return static_cast<float>(values[values.size() == 1 ? 0 : channel]);
      };
      if (normalises_) mean_ = of(options.image_mean), std_ = of(options.image_std);
      if (rescales_ && normalises_ && options.backend == ResizeBackend::torchvision) {
        // One step, (x - mean / factor) / (std / factor), which rounds differently from two.
        const auto inverse = static_cast<float>(1.0 / options.rescale_factor);
        mean_ *= inverse;
        std_ *= inverse;
        rescales_ = false;
      }
    }
    float operator()(float value) const {
      if (rescales_) value *= factor_;
      return normalises_ ? (value - mean_) / std_ : value;
    }

   private:
    bool rescales_, normalises_;
    float factor_, mean_ = 0.0f, std_ = 1.0f;
  };

  std::int64_t patch_, merge_;
  int channels_;
  std::vector<Scale> scales_;                   // of each channel
  std::vector<std::array<float, 256>> tables_;  // the same for each of the 256 pixel values
};

}  // namespace qwen3vl
