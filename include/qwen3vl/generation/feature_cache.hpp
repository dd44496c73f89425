/// Features of pictures that have been seen, by what the pictures show.
#pragma once

#include <cstddef>
#include <list>
#include <utility>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/generation/visual_units.hpp"

namespace qwen3vl {

/// Output of the vision tower for the pictures and groups of frames used last, up to a number of bytes. They do not
/// depend on the text around the picture, so that they outlive a change of the prompt before it.
template <class Model>
class FeatureCache {
 public:
  using Features = typename Model::Features;

  explicit FeatureCache(std::size_t limit) : limit_(limit) {}

  /// The features of a unit, valid until the next put(); null if they are not kept.
  const Features* find(const VisualUnit& unit) {
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
      if (!at->unit.same_content(unit)) continue;
      entries_.splice(entries_.begin(), entries_, at);
      return &entries_.front().features;
    }
    return nullptr;
  }

  /// Keeps rows [first, first + unit.tokens()) of `all`; drops those not used for longest if they are too many.
  void put(Context<typename Model::BackendType>& ctx, const VisualUnit& unit, const Features& all, index_t first) {
    if (find(unit) != nullptr) return;
    Features own;
    copy_features(ctx, all, first, own, 0, unit.tokens(), unit.tokens());
    const std::size_t bytes = bytes_of(own);
    if (bytes > limit_) return;
    while (bytes_ + bytes > limit_) {
      bytes_ -= bytes_of(entries_.back().features);
      entries_.pop_back();
    }
    bytes_ += bytes;
    entries_.push_front({unit, std::move(own)});
    entries_.front().unit.pixels = {};  // they belong to the caller
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
    VisualUnit unit;
    Features features;
  };

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
