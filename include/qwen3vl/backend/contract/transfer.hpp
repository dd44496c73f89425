/// Moves plain host data to a backend and back, in one call each.
#pragma once

#include <span>
#include <vector>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

/// A tensor of backend B with the values of `host`.
template <class T, class B>
Tensor<T, B, dynamic> upload(Context<B>& ctx, std::span<const T> host) {
  Tensor<T, B, dynamic> tensor(static_cast<index_t>(host.size()));
  copy_from_host(ctx, View<const T, Host, dynamic>(host.data(), static_cast<index_t>(host.size())), tensor.view());
  return tensor;
}
template <class T, class B>
Tensor<T, B, dynamic> upload(Context<B>& ctx, const std::vector<T>& host) {
  return upload<T>(ctx, std::span<const T>(host));
}

/// Whether B only counts memory (backend/counting/counting.hpp): what the host makes for it need not be made.
template <class B>
inline constexpr bool only_counts = requires {
  B::only_counts;
};

/// The `size` values of `host`. Where B only counts, memory for so many, and `host` may be empty.
template <class T, class B>
Tensor<T, B, dynamic> upload(Context<B>& ctx, const std::vector<T>& host, index_t size) {
  if constexpr (only_counts<B>) {
    return Tensor<T, B, dynamic>(size);
  } else {
    return upload<T>(ctx, host);
  }
}

/// Copies a backend's tensor to the host: integers unchanged, activations as float.
template <class U, class T, class B, index_t... E>
std::vector<U> download(Context<B>& ctx, const View<T, B, E...>& tensor) {
  std::vector<U> host(static_cast<std::size_t>(tensor.size()));
  copy_to_host(ctx, View<const std::remove_const_t<T>, B, dynamic>(tensor.data(), tensor.size()),
               View<U, Host, dynamic>(host.data(), tensor.size()));
  return host;
}
template <class T, class B, index_t... E>
std::vector<float> download_floats(Context<B>& ctx, const View<T, B, E...>& tensor) {
  return download<float>(ctx, tensor);
}

}  // namespace qwen3vl
