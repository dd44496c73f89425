/// How softmax(q k^T / sqrt(head_dim)) v is computed: transformers' `attn_implementation` as a policy type, chosen by
/// the precision (attention_t). Flash and Eager give the same numbers; Scored is Flash with other scores.
///
/// A policy has a name and two functions: `segments` for the vision tower, where each frame attends to itself, and
/// `causal` for the text model over its cache. They are templates on the backend, so a policy is written once, over
/// backend operations. A layer is called with a policy object, whose run-time values a model's set_attention() sets.
#pragma once

#include <string_view>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/tensor/score.hpp"

namespace qwen3vl {
namespace attention_policy {

/// Blocks of queries and keys with a running softmax: memory grows linearly with the length. The default.
struct Flash {
  static constexpr std::string_view name = "flash";

  /// qkv [tokens, 3 * H * D] to out [tokens, H * D].
  template <index_t H, index_t D, class B>
  static void segments(Context<B>& ctx, const auto& qkv, const Segments& frames, const auto& out) {
    attention<H, D>(ctx, qkv, frames, out);
  }
  /// qkv [tokens, (H + 2 K) * D] to out [tokens, H * D]; `cache` is one layer of the cache, with the new keys.
  template <index_t H, index_t K, index_t D, class B>
  static void causal(Context<B>& ctx, const auto& qkv, const Segments& sequences, auto cache, const auto& out) {
    causal_attention<H, K, D>(ctx, qkv, sequences, cache, out);
  }
};

/// Flash with scores changed by functions (tensor/score.hpp), such as `Scored<SoftCap>`: as fast but for the functions
/// themselves, with the same memory. TextScore is for the text model, VisionScore for the vision tower.
template <ScoreFunction TextScore, ScoreFunction VisionScore = PlainScores>
struct Scored {
  static constexpr std::string_view name = "scored";
  [[no_unique_address]] TextScore text_score{};
  [[no_unique_address]] VisionScore vision_score{};

  template <index_t H, index_t D, class B>
  void segments(Context<B>& ctx, const auto& qkv, const Segments& frames, const auto& out) const {
    attention<H, D>(ctx, qkv, frames, out, vision_score);
  }
  template <index_t H, index_t K, index_t D, class B>
  void causal(Context<B>& ctx, const auto& qkv, const Segments& sequences, auto cache, const auto& out) const {
    causal_attention<H, K, D>(ctx, qkv, sequences, cache, out, text_score);
  }
};

/// All softmax weights of a frame or sequence, then their product with the values: memory grows with the square of the
/// length. `output_attentions` returns these weights. For inspecting a model and for checking Flash.
struct Eager {
  static constexpr std::string_view name = "eager";

  template <index_t H, index_t D, class B>
  static void segments(Context<B>& ctx, const auto& qkv, const Segments& frames, const auto& out) {
    for (index_t s = 0; s < frames.count(); ++s) {
      const index_t length = frames.length(s);
      auto weights = ctx.template scratch<float, H, dynamic, dynamic>(length, length);  // [H, queries, keys]
      attention_weights<H, D>(ctx, qkv, frames, s, weights);
      weighted_values<H, D>(ctx, weights, qkv, frames, s, out);
    }
  }
  template <index_t H, index_t K, index_t D, class B>
  static void causal(Context<B>& ctx, const auto& qkv, const Segments& sequences, auto cache, const auto& out) {
    for (index_t s = 0; s < sequences.count(); ++s) {
      const index_t queries = sequences.length(s), keys = cache.length(s) + queries;
      auto weights = ctx.template scratch<float, H, dynamic, dynamic>(queries, keys);  // [H, queries, keys]
      attention_weights<H, K, D>(ctx, qkv, sequences, cache, s, weights);
      weighted_values<H, K, D>(ctx, weights, sequences, cache, s, out);
    }
  }
};

/// The score function of a policy in the text model; PlainScores if it has none.
template <class Policy>
constexpr auto text_score(const Policy& policy) {
  if constexpr (requires { policy.text_score; }) {
    return policy.text_score;
  } else {
    return PlainScores{};
  }
}
/// The same in the vision tower.
template <class Policy>
constexpr auto vision_score(const Policy& policy) {
  if constexpr (requires { policy.vision_score; }) {
    return policy.vision_score;
  } else {
    return PlainScores{};
  }
}

/// Whether what `causal` launches is the same for all lengths, so that a decoding pass can be recorded.
template <class Policy>
inline constexpr bool records = std::is_same_v<Policy, Flash>;
template <class TextScore, class VisionScore>
inline constexpr bool records<Scored<TextScore, VisionScore>> = true;

}  // namespace attention_policy

/// Precision P with another attention policy, such as `WithAttention<Bf16, attention_policy::Eager>`.
template <class P, class AttentionPolicy>
struct WithAttention : P {
  using Attention = AttentionPolicy;
};

namespace detail {
template <class P>
struct AttentionOf {
  using type = attention_policy::Flash;
};
template <class P>
requires requires { typename P::Attention; }
struct AttentionOf<P> {
  using type = typename P::Attention;
};
}  // namespace detail

/// The attention policy of precision P: P::Attention if there is one, else Flash.
template <class P>
using attention_t = typename detail::AttentionOf<P>::type;

}  // namespace qwen3vl
