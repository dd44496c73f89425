/// Row operations: scatter, gather, additions, copies to and from the host.
#pragma once

#include <algorithm>
#include <cstdint>

#include "qwen3vl/backend/host/expressions.hpp"

namespace qwen3vl {

/// y[r] += sum_j weights[r, j] table[indices[r, j]]
template <HostBackend B>
void interpolate_add(Context<B>& ctx, eigen::In<float, dynamic, dynamic> table,
                     eigen::In<std::int32_t, dynamic, 4> indices, eigen::In<float, dynamic, 4> weights,
                     eigen::Out<eigen::scalar_t<B>, dynamic, dynamic> y) {
  using Scalar = eigen::scalar_t<B>;
  const index_t columns = y.extent(1);
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("interpolate_add", y.rows(), 5 * columns, columns, 1.6); });
  eigen::for_rows(ctx, y.rows(), y.size(), [&](index_t r) {
    const auto corner = [&](index_t j) {
      return eigen::widened<Scalar>(as_eigen(table[indices(r, j)])) * static_cast<Scalar>(weights(r, j));
    };
    as_eigen(y[r]) += corner(0) + corner(1) + corner(2) + corner(3);
  });
}

/// y[index[i]] = rows[i]
template <HostBackend B>
void scatter_rows(Context<B>& ctx, eigen::In<eigen::scalar_t<B>, dynamic, dynamic> rows,
                  eigen::In<std::int32_t, dynamic> index, eigen::Out<eigen::scalar_t<B>, dynamic, dynamic> y) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("scatter_rows", index.rows(), y.extent(1), y.extent(1)); });
  for (index_t i = 0; i < index.rows(); ++i) as_eigen(y[index(i)]) = as_eigen(rows[i]);
}

/// y[index[i]] += rows[i]
template <HostBackend B>
void add_rows(Context<B>& ctx, eigen::In<eigen::scalar_t<B>, dynamic, dynamic> rows,
              eigen::In<std::int32_t, dynamic> index, eigen::Out<eigen::scalar_t<B>, dynamic, dynamic> y) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("add_rows", index.rows(), 2 * y.extent(1), y.extent(1), 0.5); });
  for (index_t i = 0; i < index.rows(); ++i) as_eigen(y[index(i)]) += as_eigen(rows[i]);
}

/// y[i] = x[index[i]]
template <HostBackend B>
void gather_rows(Context<B>& ctx, eigen::In<eigen::scalar_t<B>, dynamic, dynamic> x,
                 eigen::In<std::int32_t, dynamic> index, eigen::Out<eigen::scalar_t<B>, dynamic, dynamic> y) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("gather_rows", index.rows(), y.extent(1), y.extent(1)); });
  for (index_t i = 0; i < index.rows(); ++i) as_eigen(y[i]) = as_eigen(x[index(i)]);
}

/// y[i] = x[i]
template <HostBackend B>
void copy_rows(Context<B>& ctx, eigen::In<eigen::scalar_t<B>, dynamic, dynamic> x,
               eigen::Out<eigen::scalar_t<B>, dynamic, dynamic> y) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("copy_rows", y.rows(), y.extent(1), y.extent(1)); });
  as_eigen(y) = as_eigen(x);
}

/// Both sides are host memory; the types may differ.
template <HostBackend B, class T, class U, index_t... E, index_t... F>
void copy_to_host(Context<B>& ctx, View<T, Host, E...> from, View<U, Host, F...> to) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("copy", from.size(), 1, 1); });
  if (from.size() != to.size()) fail("copying ", from.size(), " elements to ", to.size());
  std::transform(from.data(), from.data() + from.size(), to.data(), [](auto value) { return static_cast<U>(value); });
}
template <HostBackend B, class T, class U, index_t... E, index_t... F>
void copy_from_host(Context<B>& ctx, View<T, Host, E...> from, View<U, Host, F...> to) {
  copy_to_host(ctx, from, to);
}

}  // namespace qwen3vl
