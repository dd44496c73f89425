/// The stack of decoder layers: two arrays, because dense layers and layers with experts are different types.
#pragma once

#include <array>
#include <string>

#include "qwen3vl/text/decoder_layer.hpp"

namespace qwen3vl {

template <Variant V, Backend B, class P>
class DecoderLayers {
  static constexpr int depth = V::config.text.num_hidden_layers;

  /// The number of layers of the same kind before layer i, its index in their array; with i = depth, the array's size.
  static constexpr int place(int i, bool sparse) {
    int before = 0;
    for (int j = 0; j < i; ++j) before += V::config.text.is_sparse(j) == sparse ? 1 : 0;
    return before;
  }
  static constexpr int sparse_count = place(depth, true);
  static constexpr int dense_count = depth - sparse_count;
  static constexpr auto places = [] {
    std::array<std::size_t, static_cast<std::size_t>(depth)> table{};
    for (int i = 0; i < depth; ++i)
      table[static_cast<std::size_t>(i)] = static_cast<std::size_t>(place(i, V::config.text.is_sparse(i)));
    return table;
  }();

  std::array<DecoderLayer<V, B, P, false>, static_cast<std::size_t>(dense_count)> dense_;
  std::array<DecoderLayer<V, B, P, true>, static_cast<std::size_t>(sparse_count)> sparse_;

  /// Calls f with layer i. A kind that the variant lacks is not compiled.
  template <class Self, class F>
  static void with_layer(Self& self, int i, F&& f) {
    const std::size_t at = places[static_cast<std::size_t>(i)];
    if constexpr (dense_count > 0) {
      if (sparse_count == 0 || !V::config.text.is_sparse(i)) f(self.dense_[at]);
    }
    if constexpr (sparse_count > 0) {
      if (dense_count == 0 || V::config.text.is_sparse(i)) f(self.sparse_[at]);
    }
  }

 public:
  template <class F>
  void parameters(F&& f) {
    for (int i = 0; i < depth; ++i)
      with_layer(*this, i, [&](auto& layer) { visit(concat("layers.", i, "."), layer, f); });
  }

  /// Runs layer i; the arguments are DecoderLayer's.
  template <class... Arguments>
  void operator()(int i, Arguments&&... arguments) const {
    with_layer(*this, i, [&](const auto& layer) { layer(arguments...); });
  }
};

}  // namespace qwen3vl
