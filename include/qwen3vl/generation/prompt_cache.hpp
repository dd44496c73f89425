/// Results of conversations kept between calls, so that only new tokens and images are computed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/generation/feature_cache.hpp"
#include "qwen3vl/inputs/prompts.hpp"

namespace qwen3vl {

/// The computed state of one conversation, or of one for each row of a batch: keys and values of its tokens, and
/// features of all images and videos. Pass the same object to each generate() call; row b of a batch goes on where row
/// b was, and should begin with its earlier prompt. Everything after the first difference is recomputed, except the
/// features of known images. Rows beyond those known are new conversations; those that a smaller batch lacks are kept.
/// After an answer with several sequences (beams, num_return_sequences) it holds only the prompts.
template <class Model>
class PromptCache {
 public:
  /// `feature_bytes`: limit on the memory for features of images and videos; 0: none are kept.
  explicit PromptCache(std::size_t feature_bytes = std::size_t{256} << 20) : features_(feature_bytes) {}

  /// Sequence b is that of row b.
  typename Model::Cache& cache() { return cache_; }
  FeatureCache<Model>& features() { return features_; }
  /// Conversations: the rows of the largest batch so far.
  index_t rows() const { return static_cast<index_t>(rows_.size()); }
  /// Tokens of a row whose keys and values are cached.
  index_t length(index_t row = 0) const { return static_cast<index_t>(at(row).ids.size()); }

  /// Makes room for a batch of `rows`.
  void widen(index_t rows) {
    if (rows <= this->rows()) return;
    typename Model::Cache wider(rows);
    for (index_t row = 0; row < this->rows(); ++row) wider.copy_sequence(row, cache_, row);
    cache_ = std::move(wider);
    rows_.resize(static_cast<std::size_t>(rows));
  }

  /// Drops what does not agree with a new prompt of a row and returns how many of its tokens need not be computed; at
  /// least the last one always is. Never splits an image. `spans` are those of the new prompt, with content ids and
  /// with places in `ids`.
  index_t reuse(std::span<const TokenId> ids, std::span<const MediaSpan> spans, index_t row = 0) {
    Row& known = at(row);
    const auto limit = std::min(ids.size() - 1, known.ids.size());
    auto keep = static_cast<index_t>(
        std::mismatch(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(limit), known.ids.begin()).first -
        ids.begin());
    std::size_t i = 0;
    for (; i < spans.size(); ++i) {
      const MediaSpan& span = spans[i];
      if (span.begin >= keep) break;
      if (span.end() > keep || i >= known.spans.size() || !span.same_place(known.spans[i]) ||
          !span.same_content(known.spans[i]))
        keep = span.begin;
    }
    // What was an image may be text now.
    if (i < known.spans.size()) keep = std::min(keep, known.spans[i].begin);
    truncate(keep, row);
    known.spans.assign(spans.begin(), spans.end());
    return keep;
  }

  /// Records tokens that the cache now holds.
  void append(std::span<const TokenId> ids, index_t row = 0) {
    at(row).ids.insert(at(row).ids.end(), ids.begin(), ids.end());
  }

  /// Truncates a row to its first `length` tokens.
  void truncate(index_t length, index_t row = 0) {
    cache_.truncate(row, length);
    at(row).ids.resize(std::min(at(row).ids.size(), static_cast<std::size_t>(length)));
  }

  /// Forgets all conversations and images.
  void clear() {
    for (index_t row = 0; row < rows(); ++row) {
      truncate(0, row);
      at(row).spans.clear();
    }
    features_.clear();
  }

 private:
  struct Row {
    std::vector<TokenId> ids;
    std::vector<MediaSpan> spans;
  };

  Row& at(index_t row) { return rows_.at(static_cast<std::size_t>(row)); }
  const Row& at(index_t row) const { return rows_.at(static_cast<std::size_t>(row)); }

  typename Model::Cache cache_{1};
  FeatureCache<Model> features_;
  std::vector<Row> rows_ = std::vector<Row>(1);
};

}  // namespace qwen3vl
