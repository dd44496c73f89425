/// Rotation in the vision tower, and the text model's norm, rotation and cache write.
#pragma once

#include <type_traits>

#include "qwen3vl/backend/eigen/reference.hpp"
#include "qwen3vl/backend/host/kv_cache.hpp"
#include "qwen3vl/backend/host/norms.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {
namespace eigen {

/// (a, b) = (x[i], x[i + D / 2]) becomes (a cos - b sin, b cos + a sin), in place; cos, sin [D / 2].
template <class Scalar, index_t D>
void rotate(View<Scalar, Host, D> head, View<const float, Host, D / 2> cos, View<const float, Host, D / 2> sin) {
  constexpr auto half = static_cast<int>(D / 2);
  auto x = as_eigen(head).array();
  const Eigen::Array<Scalar, half, 1> a = x.template head<half>(), b = x.template tail<half>();
  const auto c = widened<Scalar>(as_eigen(cos).array()), s = widened<Scalar>(as_eigen(sin).array());
  x.template head<half>() = a * c - b * s;
  x.template tail<half>() = b * c + a * s;
}

/// Rounded to T.
template <class T, class Scalar>
T rounded(Scalar number) {
  if constexpr (std::is_arithmetic_v<T>) {
    return static_cast<T>(number);
  } else {
    return static_cast<T>(static_cast<float>(number));
  }
}

}  // namespace eigen

template <index_t H, index_t D, class Scalar>
void rotate_qk(Context<Reference<Scalar>>&, eigen::Out<Scalar, dynamic, 3 * H * D> qkv,
               eigen::In<float, dynamic, D / 2> cos, eigen::In<float, dynamic, D / 2> sin) {
  const auto heads = qkv.template reshape<dynamic, 3 * H, D>(qkv.rows());
  for (index_t token = 0; token < qkv.rows(); ++token)
    for (index_t h = 0; h < 2 * H; ++h) eigen::rotate(heads[token][h], cos[token], sin[token]);
}

/// Queries stay in place; keys and values are appended to the cache of their sequence.
template <index_t H, index_t K, index_t D, class Scalar, class CacheLayer>
void qk_norm_rope(Context<Reference<Scalar>>&, eigen::Out<Scalar, dynamic, (H + 2 * K) * D> qkv,
                  eigen::In<float, D> q_norm, eigen::In<float, D> k_norm, float eps,
                  eigen::In<float, dynamic, D / 2> cos, eigen::In<float, dynamic, D / 2> sin, const Segments& segments,
                  CacheLayer cache) {
  using T = typename CacheLayer::value_type;
  const auto heads = qkv.template reshape<dynamic, H + 2 * K, D>(qkv.rows());
  for (index_t s = 0; s < segments.count(); ++s)
    for (index_t i = 0; i < segments.length(s); ++i) {
      const index_t token = segments.offset(s) + i, place = cache.length(s) + i;
      const auto head = heads[token];
      for (index_t h = 0; h < H + K; ++h) {
        eigen::rms_norm_row<Scalar, D>(head[h], h < H ? q_norm : k_norm, eps, head[h]);
        eigen::rotate(head[h], cos[token], sin[token]);
      }
      for (index_t h = 0; h < K; ++h)
        for (index_t d = 0; d < D; ++d) {
          cache.keys(s, h)[place * D + d] = eigen::rounded<T>(head(H + h, d));
          cache.values(s, h)[place * D + d] = eigen::rounded<T>(head(H + K + h, d));
        }
    }
}

}  // namespace qwen3vl
