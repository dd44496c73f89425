/// softmax(q k^T / sqrt(D)) v, in the vision tower and over the cache, one query at a time.
#pragma once

#include <cmath>

#include "qwen3vl/backend/eigen/reference.hpp"
#include "qwen3vl/backend/host/kv_cache.hpp"
#include "qwen3vl/tensor/score.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {
namespace eigen {

/// softmax(score(keys query / sqrt(D))); keys [n, D], query [D]. `place` is that of the score with key 0.
template <class Keys, class Query, class Score>
auto softmax_weights(const Keys& keys, const Query& query, const Score& score, ScorePlace place) {
  using Scalar = typename Query::Scalar;
  Array<Scalar> scores = keys.lazyProduct(query) / std::sqrt(static_cast<Scalar>(query.size()));
  if constexpr (changes_scores<Score>)
    for (; place.key < scores.size(); ++place.key) scores[place.key] = score(scores[place.key], place);
  // std::exp: Eigen's exp() of -infinity, a masked score, is not quite zero.
  const Array<Scalar> weights = (scores - scores.maxCoeff()).unaryExpr([](Scalar x) { return std::exp(x); });
  return Vector<Scalar>(weights / weights.sum());
}

/// The first `count` cached keys or values of a head, [count, D].
template <class Scalar, index_t D, class T>
auto cached(const T* rows, index_t count) {
  return widened<Scalar>(as_eigen(View<const T, Host, dynamic, D>(rows, count)));
}

/// Calls f(h, t, query, keys, values) for all heads and queries of a segment: query t of head h sees the whole segment.
template <index_t H, index_t D, class Scalar, class F>
void for_segment(View<const Scalar, Host, dynamic, 3 * H * D> qkv, const Segments& segments, index_t s, const F& f) {
  constexpr auto dim = static_cast<int>(D);
  const auto rows = as_eigen(qkv.slice(segments.offset(s), segments.length(s)));
  for (index_t h = 0; h < H; ++h)
    for (index_t t = 0; t < segments.length(s); ++t)
      f(h, t, rows.row(t).template segment<dim>(h * D).transpose(), rows.template middleCols<dim>((H + h) * D),
        rows.template middleCols<dim>((2 * H + h) * D));
}

/// The same for a sequence: query t sees the cached tokens and the new ones up to and including t. Head h uses key head
/// h / (H / K).
template <index_t H, index_t K, index_t D, class Scalar, class CacheLayer, class F>
void for_sequence(View<const Scalar, Host, dynamic, (H + 2 * K) * D> qkv, const Segments& segments, CacheLayer cache,
                  index_t s, const F& f) {
  constexpr auto dim = static_cast<int>(D);
  const auto rows = as_eigen(qkv.slice(segments.offset(s), segments.length(s)));
  for (index_t h = 0; h < H; ++h)
    for (index_t t = 0; t < segments.length(s); ++t) {
      const index_t seen = cache.length(s) + t + 1;
      f(h, t, rows.row(t).template segment<dim>(h * D).transpose(), cached<Scalar, D>(cache.keys(s, h / (H / K)), seen),
        cached<Scalar, D>(cache.values(s, h / (H / K)), seen));
    }
}

/// The rows of segment s of out [tokens, H * D]: for head h and query t, weights^T values.
template <index_t H, index_t D, class Scalar>
auto store_head(View<Scalar, Host, dynamic, H * D> out, const Segments& segments, index_t s) {
  return [=, first = segments.offset(s)](index_t h, index_t t, const auto& weights, const auto& values) {
    as_eigen(out).row(first + t).template segment<static_cast<int>(D)>(h * D) = weights.transpose().lazyProduct(values);
  };
}

}  // namespace eigen

template <index_t H, index_t D, class Scalar, ScoreFunction Score = PlainScores>
void attention(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, 3 * H * D> qkv, const Segments& segments,
               eigen::Out<Scalar, dynamic, H * D> out, Score score = {}) {
  for (index_t s = 0; s < segments.count(); ++s) {
    const auto store = eigen::store_head<H, D, Scalar>(out, segments, s);
    eigen::for_segment<H, D, Scalar>(
        qkv, segments, s, [&](index_t h, index_t t, const auto& query, const auto& keys, const auto& values) {
          store(h, t, eigen::softmax_weights(keys, query, score, score_place(s, h, H, t)), values);
        });
  }
}

template <index_t H, index_t K, index_t D, class Scalar, class CacheLayer, ScoreFunction Score = PlainScores>
void causal_attention(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, (H + 2 * K) * D> qkv,
                      const Segments& segments, CacheLayer cache, eigen::Out<Scalar, dynamic, H * D> out,
                      Score score = {}) {
  for (index_t s = 0; s < segments.count(); ++s) {
    const auto store = eigen::store_head<H, D, Scalar>(out, segments, s);
    eigen::for_sequence<H, K, D, Scalar>(
        qkv, segments, cache, s, [&](index_t h, index_t t, const auto& query, const auto& keys, const auto& values) {
          store(h, t, eigen::softmax_weights(keys, query, score, score_place(s, h, H, keys.rows() - 1)), values);
        });
  }
}

template <index_t H, index_t D, class Scalar, ScoreFunction Score = PlainScores>
void attention_weights(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, 3 * H * D> qkv, const Segments& segments,
                       index_t s, eigen::Out<float, H, dynamic, dynamic> weights, Score score = {}) {
  eigen::for_segment<H, D, Scalar>(
      qkv, segments, s, [&](index_t h, index_t t, const auto& query, const auto& keys, const auto&) {
        as_eigen(weights[h][t]) =
            eigen::softmax_weights(keys, query, score, score_place(s, h, H, t)).template cast<float>();
      });
}

template <index_t H, index_t K, index_t D, class Scalar, class CacheLayer, ScoreFunction Score = PlainScores>
void attention_weights(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, (H + 2 * K) * D> qkv,
                       const Segments& segments, CacheLayer cache, index_t s,
                       eigen::Out<float, H, dynamic, dynamic> weights, Score score = {}) {
  eigen::for_sequence<H, K, D, Scalar>(
      qkv, segments, cache, s, [&](index_t h, index_t t, const auto& query, const auto& keys, const auto&) {
        auto row = as_eigen(weights[h][t]);
        row.setZero();
        row.head(keys.rows()) =
            eigen::softmax_weights(keys, query, score, score_place(s, h, H, keys.rows() - 1)).template cast<float>();
      });
}

template <index_t H, index_t D, class Scalar>
void weighted_values(Context<Reference<Scalar>>&, eigen::In<float, H, dynamic, dynamic> weights,
                     eigen::In<Scalar, dynamic, 3 * H * D> qkv, const Segments& segments, index_t s,
                     eigen::Out<Scalar, dynamic, H * D> out) {
  const auto store = eigen::store_head<H, D, Scalar>(out, segments, s);
  eigen::for_segment<H, D, Scalar>(qkv, segments, s,
                                   [&](index_t h, index_t t, const auto&, const auto&, const auto& values) {
                                     store(h, t, eigen::widened<Scalar>(as_eigen(weights[h][t])), values);
                                   });
}

template <index_t H, index_t K, index_t D, class Scalar, class CacheLayer>
void weighted_values(Context<Reference<Scalar>>&, eigen::In<float, H, dynamic, dynamic> weights,
                     const Segments& segments, CacheLayer cache, index_t s, eigen::Out<Scalar, dynamic, H * D> out) {
  const auto store = eigen::store_head<H, D, Scalar>(out, segments, s);
  for (index_t h = 0; h < H; ++h)
    for (index_t t = 0; t < segments.length(s); ++t) {
      const index_t seen = cache.length(s) + t + 1;
      store(h, t, eigen::widened<Scalar>(as_eigen(weights[h][t]).head(seen)),
            eigen::cached<Scalar, D>(cache.values(s, h / (H / K)), seen));
    }
}

}  // namespace qwen3vl
