/// The token embedding; when the head is tied, the same matrix is the head.
#pragma once

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/config/config.hpp"
#include "qwen3vl/layers/parameters.hpp"

namespace qwen3vl {

/// Rows of a [vocab_size, hidden_size] table by token id. Kept packed like any weight, so that a tied head needs no
/// second copy.
template <Variant V, Backend B, class P>
class Embedding {
  static constexpr index_t vocab = V::config.text.vocab_size;
  static constexpr index_t hidden = V::config.text.hidden_size;
  using A = activation_t<B, P>;

  typename B::template Matrix<head_weight_t<P>, vocab, hidden, Packing::plain> weight_;

 public:
  template <class F>
  void parameters(F&& f) {
    f(weight_, Parts{"weight"});
  }

  /// ids int32 [tokens], each in [0, vocab_size), to y [tokens, hidden].
  void operator()(Context<B>& ctx, View<const std::int32_t, B, dynamic> ids, View<A, B, dynamic, hidden> y) const {
    embedding(ctx, ids, weight_, y);
  }

  const auto& weight() const { return weight_; }
};

}  // namespace qwen3vl
