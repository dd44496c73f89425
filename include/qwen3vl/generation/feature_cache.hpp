/// Features of images already seen, by their content.
#pragma once

#include <algorithm>
#include <cstddef>
#include <list>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/inputs/prompts.hpp"

namespace qwen3vl {

/// Output of the vision tower for the images and groups of frames used last, up to a number of bytes. They do not
/// depend on the surrounding text, so they survive changes of the prompt.
template <class Model>
class FeatureCache {
 public:
  using Features = typename Model::Features;

  explicit FeatureCache(std::size_t limit) : limit_(limit) {}

  /// The features of a span's content, valid until the next put(); null if they are not kept.
  const Features* find(const MediaSpan& span) {
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
      if (!at->span.same_content(span)) continue;
      entries_.splice(entries_.begin(), entries_, at);
      return &entries_.front().features;
    }
    return nullptr;
  }

  /// Keeps rows [first, first + span.count) of `all`; drops those not used for longest if they are too many.
  void put(Context<typename Model::BackendType>& ctx, const MediaSpan& span, const Features& all, index_t first) {
    if (find(span) != nullptr) return;
    Features own;
    copy_features(ctx, all, first, own, 0, span.count, span.count);
    const std::size_t bytes = bytes_of(own);
    if (bytes > limit_) return;
    while (bytes_ + bytes > limit_) {
      bytes_ -= bytes_of(entries_.back().features);
      entries_.pop_back();
    }
    bytes_ += bytes;
    entries_.push_front({span, std::move(own)});
  }

  /// Features of all `spans`, in order; only those that are not kept are computed, and are then kept. `pixels` are the
  /// spans', `patches` becomes the number of those that went through the vision tower.
  Features of(Model& model, std::span<const MediaSpan> spans, std::span<const std::span<const float>> pixels,
              index_t& patches) {
    Context<typename Model::BackendType>& ctx = model.context();
    index_t rows = 0;
    for (const MediaSpan& span : spans) rows += span.count;
    Features features;
    std::vector<std::size_t> missing;  // each content once
    std::vector<index_t> from;         // where in `computed` their features begin
    struct Place {
      index_t from, to, count;
    };
    std::vector<Place> places;
    index_t row = 0, missing_rows = 0;
    for (std::size_t i = 0; i < spans.size(); ++i) {
      const MediaSpan& span = spans[i];
      if (const Features* found = find(span)) {
        copy_features(ctx, *found, 0, features, row, span.count, rows);
      } else {
        const auto same = std::ranges::find_if(missing, [&](std::size_t m) { return spans[m].same_content(span); });
        const auto at = static_cast<std::size_t>(same - missing.begin());
        if (same == missing.end()) {
          missing.push_back(i);
          from.push_back(missing_rows);
          missing_rows += span.count;
        }
        places.push_back({from[at], row, span.count});
      }
      row += span.count;
    }
    if (missing.empty()) return features;
    const Media images = as_images(spans, pixels, missing);
    patches = images.pixel_values.rows();
    const Features computed = *model.get_visual_features(images);
    for (const Place& place : places) copy_features(ctx, computed, place.from, features, place.to, place.count, rows);
    for (std::size_t m = 0; m < missing.size(); ++m) put(ctx, spans[missing[m]], computed, from[m]);
    return features;
  }

  std::size_t bytes() const { return bytes_; }
  std::size_t size() const { return entries_.size(); }
  void clear() {
    entries_.clear();
    bytes_ = 0;
  }

  /// Copies `rows` rows of all features; `to` gets memory for `to_rows` if it has none.
  static void copy_features(Context<typename Model::BackendType>& ctx, const Features& from, index_t from_row,
                            Features& to, index_t to_row, index_t rows, index_t to_rows) {
    using Tensor = decltype(to.pooler_output);
    const auto copy = [&](const Tensor& source, Tensor& target) {
      if (!target.allocated()) target = Tensor(to_rows);
      copy_rows(ctx, source.slice(from_row, rows), target.slice(to_row, rows));
    };
    copy(from.pooler_output, to.pooler_output);
    for (std::size_t i = 0; i < to.deepstack_features.size(); ++i)
      copy(from.deepstack_features[i], to.deepstack_features[i]);
  }

 private:
  struct Entry {
    MediaSpan span;
    Features features;
  };

  /// Some spans as images: the vision tower computes the same for them, because it does not attend across temporal
  /// patches.
  static Media as_images(std::span<const MediaSpan> spans, std::span<const std::span<const float>> pixels,
                         std::span<const std::size_t> which) {
    Media images;
    index_t patches = 0, width = 0;
    for (const std::size_t i : which) {
      images.image_grid_thw.push_back(spans[i].grid);
      patches += spans[i].grid.patches();
      const index_t own = static_cast<index_t>(pixels[i].size()) / spans[i].grid.patches();
      if (width != 0 && own != width)
        fail("pixel_values has ", width, " values per patch, pixel_values_videos ", own, "; both must agree");
      width = own;
    }
    images.pixel_values = HostMatrix<float>(patches, width);
    float* to = images.pixel_values.data();
    for (const std::size_t i : which) to = std::ranges::copy(pixels[i], to).out;
    return images;
  }

  static std::size_t bytes_of(const Features& features) {
    std::size_t bytes = features.pooler_output.bytes();
    for (const auto& feature : features.deepstack_features) bytes += feature.bytes();
    return bytes;
  }

  std::size_t limit_;
  std::size_t bytes_ = 0;
  std::list<Entry> entries_;  // used last comes first
};

}  // namespace qwen3vl
