/// Where each sequence (or image, or frame) of a packed batch begins and ends.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

/// `cu_seqlens`: ascending offsets, one more than there are segments; segment s holds rows [offset(s), offset(s + 1)).
/// Kept on the host, which schedules the work; a device backend uploads what its kernels need.
class Segments {
 public:
  Segments() = default;
  /// From lengths; none may be negative.
  explicit Segments(std::span<const index_t> lengths) {
    for (const index_t length : lengths) append(length);
  }

  void append(index_t length) {
    if (length < 0) fail("a segment of length ", length);
    offsets_.push_back(offsets_.back() + length);
    longest_ = std::max(longest_, length);
  }

  /// Number of segments.
  index_t count() const { return static_cast<index_t>(offsets_.size()) - 1; }
  index_t offset(index_t segment) const { return offsets_[static_cast<std::size_t>(segment)]; }
  index_t length(index_t segment) const { return offset(segment + 1) - offset(segment); }
  /// Rows of all segments together.
  index_t total() const { return offsets_.back(); }
  index_t longest() const { return longest_; }
  std::span<const index_t> cu_seqlens() const { return offsets_; }

 private:
  std::vector<index_t> offsets_{0};
  index_t longest_ = 0;
};

}  // namespace qwen3vl
