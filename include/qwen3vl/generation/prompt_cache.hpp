/// Results of a conversation kept between calls, so that only new tokens and images are computed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/generation/feature_cache.hpp"
#include "qwen3vl/inputs/prompts.hpp"

namespace qwen3vl {

/// The computed state of one conversation: keys and values of its tokens, and features of its images and videos. Pass
/// the same object to each generate() call of the conversation; a later prompt should begin with the earlier one.
/// Everything after the first difference is recomputed, except the features of known images. After an answer with
/// several sequences (beams, num_return_sequences) it holds only the prompt.
template <class Model>
class PromptCache {
 public:
  /// `feature_bytes`: limit on the memory for features of images and videos; 0: none are kept.
  explicit PromptCache(std::size_t feature_bytes = std::size_t{256} << 20) : cache_(1), features_(feature_bytes) {}

  typename Model::Cache& cache() { return cache_; }
  FeatureCache<Model>& features() { return features_; }
  /// Tokens whose keys and values are cached.
  index_t length() const { return static_cast<index_t>(ids_.size()); }

  /// Drops what does not agree with a new prompt and returns how many of its tokens need not be computed; at least the
  /// last one always is. Never splits an image. `spans` are those of the new prompt, with content ids.
  index_t reuse(std::span<const TokenId> ids, std::span<const MediaSpan> spans) {
    const auto limit = std::min(ids.size() - 1, ids_.size());
    auto keep = static_cast<index_t>(
        std::mismatch(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(limit), ids_.begin()).first - ids.begin());
    std::size_t i = 0;
    for (; i < spans.size(); ++i) {
      const MediaSpan& span = spans[i];
      if (span.begin >= keep) break;
      if (span.end() > keep || i >= spans_.size() || !span.same_place(spans_[i]) || !span.same_content(spans_[i]))
        keep = span.begin;
    }
    // What was an image may be text now.
    if (i < spans_.size()) keep = std::min(keep, spans_[i].begin);
    truncate(keep);
    spans_.assign(spans.begin(), spans.end());
    return keep;
  }

  /// Records tokens that the cache now holds.
  void append(std::span<const TokenId> ids) { ids_.insert(ids_.end(), ids.begin(), ids.end()); }

  /// Truncates to the first `length` tokens.
  void truncate(index_t length) {
    cache_.truncate(0, length);
    ids_.resize(std::min(ids_.size(), static_cast<std::size_t>(length)));
  }

  void clear() {
    truncate(0);
    spans_.clear();
    features_.clear();
  }

 private:
  typename Model::Cache cache_;
  FeatureCache<Model> features_;
  std::vector<TokenId> ids_;
  std::vector<MediaSpan> spans_;
};

}  // namespace qwen3vl
