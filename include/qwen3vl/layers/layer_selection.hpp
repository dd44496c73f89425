/// Which layers' outputs are wanted, as `output_hidden_states` of transformers says it.
#pragma once

#include <algorithm>
#include <concepts>
#include <initializer_list>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// None (false), all (true), or those of a list, where negative numbers count from the end: `.output_hidden_states =
/// true`, `= {3, -1}`. What is not wanted is neither kept nor copied.
class LayerSelection {
 public:
  LayerSelection() = default;
  template <std::same_as<bool> Bool>
  LayerSelection(Bool all) : all_(all) {}  // NOLINT(google-explicit-constructor): a value of an option
  LayerSelection(std::initializer_list<index_t> layers) : layers_(layers) {}
  LayerSelection(std::vector<index_t> layers)  // NOLINT(google-explicit-constructor)
      : layers_(std::move(layers)) {}

  /// Whether any is wanted.
  explicit operator bool() const { return all_ || !layers_.empty(); }
  /// Whether output i of `count` is wanted.
  bool contains(index_t i, index_t count) const {
    return all_ || std::ranges::any_of(layers_, [&](index_t layer) { return layer == i || layer + count == i; });
  }
  /// The same and the last one.
  LayerSelection and_last() const {
    LayerSelection more = *this;
    more.layers_.push_back(-1);
    return more;
  }
  /// Throws Error if the list holds what is not among `count` outputs; `name` is the option's.
  void check(const char* name, index_t count) const {
    for (const index_t layer : layers_)
      if (layer < -count || layer >= count)
        fail(name, " holds ", layer, ", but there are ", count, " (", -count, " to ", count - 1, ")");
  }

 private:
  bool all_ = false;
  std::vector<index_t> layers_;
};

}  // namespace qwen3vl
