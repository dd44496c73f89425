/// What a backend's operations and its cache take besides the tensors that layers ask for: what a memory plan
/// (model/memory_plan.hpp) cannot read off the layers. A backend specialises OperationMemory; one that does not is
/// taken to need nothing. The CPU's is backend/cpu/operation_memory.hpp.
#pragma once

#include <algorithm>
#include <cstddef>

#include "qwen3vl/backend/raw_tensor.hpp"
#include "qwen3vl/backend/segments.hpp"

namespace qwen3vl {

/// All functions give bytes. `rows`, `tokens` and `segments` are those of a call; see backend/ops.hpp for the rest.
template <class B>
struct OperationMemory {
  /// Scratch memory of linear().
  template <class W, index_t N, index_t K, Packing packing>
  static std::size_t linear(const B&, index_t /*rows*/) {
    return 0;
  }
  /// Of attention().
  template <index_t H, index_t D>
  static std::size_t attention(const B&, const Segments&) {
    return 0;
  }
  /// Of causal_attention(); `past` tokens are in the cache of every sequence.
  template <index_t H, index_t K, index_t D>
  static std::size_t causal_attention(const B&, const Segments&, index_t /*past*/) {
    return 0;
  }
  /// Of expert_mlp(), however the tokens fall; I is an expert's size.
  template <class W, index_t TopK, index_t E, index_t I, index_t D>
  static std::size_t expert_mlp(const B&, index_t /*tokens*/) {
    return 0;
  }

  /// One sequence of a cache as it grows.
  template <class Cache>
  class Sequence {
   public:
    /// Makes room for `length` tokens in all.
    void grow(index_t length) { length_ = std::max(length_, length); }
    std::size_t bytes() const { return static_cast<std::size_t>(length_) * Cache::token_bytes; }
    /// What the last grow() held in addition while it copied.
    std::size_t copying() const { return 0; }

   private:
    index_t length_ = 0;
  };
};

}  // namespace qwen3vl
