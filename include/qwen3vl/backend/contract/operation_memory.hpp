/// Memory that a backend's operations and its cache need beyond the tensors that layers request; a memory plan
/// (model/memory_plan.hpp) cannot count it by running the layers. A backend specialises OperationMemory; without a
/// specialisation it is assumed to need nothing. See backend/cpu/operation_memory.hpp and
/// backend/cuda/operation_memory.cuh.
#pragma once

#include <algorithm>
#include <cstddef>

#include "qwen3vl/tensor/raw_tensor.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {

/// Size of a growing cache of `copies` sequences for each of `prompts` prompts.
template <class Cache>
class ExactCacheGrowth {
 public:
  ExactCacheGrowth(index_t prompts, index_t copies) : sequences_(prompts), all_(prompts * copies) {}
  /// Makes room for `length` tokens of each prompt, in its first sequence.
  void prompt(index_t length) { length_ = std::max(length_, length); }
  /// Copies the first sequence of each prompt to the prompt's other sequences.
  void share() { sequences_ = all_; }
  /// Makes room for `length` tokens in every sequence.
  void grow(index_t length) { length_ = std::max(length_, length); }
  std::size_t bytes() const { return static_cast<std::size_t>(sequences_ * length_) * Cache::token_bytes; }
  /// Additional bytes held by the last of these calls while it copied.
  std::size_t copying() const { return 0; }

 private:
  index_t sequences_, all_, length_ = 0;
};

namespace detail {
template <class Cache>
struct GrowthOf {
  using type = ExactCacheGrowth<Cache>;
};
template <class Cache>
requires requires { typename Cache::Growth; }
struct GrowthOf<Cache> {
  using type = typename Cache::Growth;
};
}  // namespace detail

/// All functions return bytes. `rows`, `tokens` and `segments` are those of a call; for the rest see
/// backend/contract/ops.hpp.
template <class B>
struct OperationMemory {
  /// Scratch memory of linear().
  template <class W, index_t N, index_t K, Packing packing>
  static std::size_t linear(const B&, index_t /*rows*/) {
    return 0;
  }
  /// Scratch memory of attention().
  template <index_t H, index_t D>
  static std::size_t attention(const B&, const Segments&) {
    return 0;
  }
  /// Scratch memory of causal_attention() with activations of type A; the cache of every sequence holds `past` tokens.
  template <class A, index_t H, index_t K, index_t D>
  static std::size_t causal_attention(const B&, const Segments&, index_t /*past*/) {
    return 0;
  }
  /// Scratch memory of expert_mlp(), the maximum over all routings; I is an expert's intermediate size.
  template <class W, index_t TopK, index_t E, index_t I, index_t D>
  static std::size_t expert_mlp(const B&, index_t /*tokens*/) {
    return 0;
  }

  /// Memory for loading `rows` rows of a parameter, or all of its experts; a weight takes `stored_bytes` in the file.
  template <class Parameter>
  static std::size_t load(const B&, const Parameter&, index_t /*rows*/, std::size_t /*stored_bytes*/) {
    return 0;
  }
  /// Workspace of its libraries that the backend allocates with its first operations and keeps.
  static std::size_t handle(const B&) { return 0; }
  /// For a backend on a device: host memory of the buffers that copies go through.
  static std::size_t pinned(const B&) { return 0; }

  /// How a cache allocates memory: as Cache::Growth says, or exactly as much as its tokens need.
  template <class Cache>
  using CacheGrowth = typename detail::GrowthOf<Cache>::type;
};

}  // namespace qwen3vl
