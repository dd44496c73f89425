/// The keys and values of a conversation, kept between calls, so that only new tokens are computed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "qwen3vl/model/inputs.hpp"

namespace qwen3vl {

/// A picture in a prompt: its tokens and what it shows.
struct PictureSpan {
  index_t begin = 0;  ///< first token
  index_t end = 0;    ///< one past the last
  std::uint64_t hash[2] = {0, 0};

  bool same_picture(const PictureSpan& other) const {
    return begin == other.begin && end == other.end && hash[0] == other.hash[0] && hash[1] == other.hash[1];
  }
};

/// Two independent 64-bit hashes (multiply and fold) of a picture's grid and pixels. Pictures with equal tokens are
/// told apart by them: the tokens of a prompt say only that there is a picture.
inline void hash_picture(std::span<const float> pixels, const GridThw& grid, std::uint64_t (&hash)[2]) {
  constexpr std::uint64_t multiplier[2] = {0x9e3779b97f4a7c15u, 0xd6e8feb86659fd93u};
  for (int which = 0; which < 2; ++which) {
    std::uint64_t h = multiplier[1 - which];
    const auto mix = [&](std::uint64_t word) {
      h = (h ^ word) * multiplier[which];
      h ^= h >> 29;
    };
    mix(static_cast<std::uint64_t>(grid.t));
    mix(static_cast<std::uint64_t>(grid.h));
    mix(static_cast<std::uint64_t>(grid.w));
    for (const float pixel : pixels) {
      std::uint32_t bits;
      std::memcpy(&bits, &pixel, sizeof bits);
      mix(bits);
    }
    hash[which] = h;
  }
}

/// What was computed for one conversation. Give the same object to each generate() call of it; the prompt of a later
/// call should begin with the earlier one (where it does not, the rest is computed anew).
template <class Model>
class PromptCache {
 public:
  PromptCache() : cache_(1) {}

  typename Model::Cache& cache() { return cache_; }
  /// Tokens whose keys and values are kept.
  index_t length() const { return static_cast<index_t>(ids_.size()); }

  /// Forgets what does not agree with a new prompt and returns how many of its tokens need not be computed; at least
  /// the last one is left to compute. Never cuts through a picture.
  index_t reuse(std::span<const TokenId> ids, std::span<const PictureSpan> pictures) {
    const auto limit = std::min(ids.size() - 1, ids_.size());
    auto keep = static_cast<index_t>(
        std::mismatch(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(limit), ids_.begin()).first - ids.begin());
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      const PictureSpan& picture = pictures[i];
      if (picture.begin >= keep) break;
      if (picture.end > keep || i >= pictures_.size() || !picture.same_picture(pictures_[i])) keep = picture.begin;
    }
    cache_.truncate(0, keep);
    ids_.resize(static_cast<std::size_t>(keep));
    pictures_.assign(pictures.begin(), pictures.end());
    return keep;
  }

  /// Notes tokens that the cache now holds.
  void append(std::span<const TokenId> ids) { ids_.insert(ids_.end(), ids.begin(), ids.end()); }

  void clear() {
    cache_.truncate(0, 0);
    ids_.clear();
    pictures_.clear();
  }

 private:
  typename Model::Cache cache_;
  std::vector<TokenId> ids_;
  std::vector<PictureSpan> pictures_;
};

}  // namespace qwen3vl
