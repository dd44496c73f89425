/// Row operations, and copies to and from the host.
#pragma once

#include <algorithm>
#include <cstdint>

#include "qwen3vl/backend/eigen/reference.hpp"

namespace qwen3vl {

/// y[r] += sum_j weights[r, j] table[indices[r, j]]
template <class Scalar>
void interpolate_add(Context<Reference<Scalar>>&, eigen::In<float, dynamic, dynamic> table,
                     eigen::In<std::int32_t, dynamic, 4> indices, eigen::In<float, dynamic, 4> weights,
                     eigen::Out<Scalar, dynamic, dynamic> y) {
  for (index_t r = 0; r < y.rows(); ++r)
    for (index_t j = 0; j < 4; ++j)
      as_eigen(y[r]) += static_cast<Scalar>(weights(r, j)) * eigen::widened<Scalar>(as_eigen(table[indices(r, j)]));
}

/// y[index[i]] = rows[i]
template <class Scalar>
void scatter_rows(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, dynamic> rows,
                  eigen::In<std::int32_t, dynamic> index, eigen::Out<Scalar, dynamic, dynamic> y) {
  for (index_t i = 0; i < index.rows(); ++i) as_eigen(y[index(i)]) = as_eigen(rows[i]);
}

/// y[index[i]] += rows[i]
template <class Scalar>
void add_rows(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, dynamic> rows,
              eigen::In<std::int32_t, dynamic> index, eigen::Out<Scalar, dynamic, dynamic> y) {
  for (index_t i = 0; i < index.rows(); ++i) as_eigen(y[index(i)]) += as_eigen(rows[i]);
}

/// y[i] = x[index[i]]
template <class Scalar>
void gather_rows(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, dynamic> x,
                 eigen::In<std::int32_t, dynamic> index, eigen::Out<Scalar, dynamic, dynamic> y) {
  for (index_t i = 0; i < index.rows(); ++i) as_eigen(y[i]) = as_eigen(x[index(i)]);
}

/// y[i] = x[i]
template <class Scalar>
void copy_rows(Context<Reference<Scalar>>&, eigen::In<Scalar, dynamic, dynamic> x,
               eigen::Out<Scalar, dynamic, dynamic> y) {
  as_eigen(y) = as_eigen(x);
}

/// Both sides are host memory.
template <class Scalar, class T, class U, index_t... E, index_t... F>
void copy_to_host(Context<Reference<Scalar>>&, View<T, Host, E...> from, View<U, Host, F...> to) {
  if (from.size() != to.size()) fail("copying ", from.size(), " elements to ", to.size());
  std::transform(from.data(), from.data() + from.size(), to.data(), [](auto value) { return static_cast<U>(value); });
}
template <class Scalar, class T, class U, index_t... E, index_t... F>
void copy_from_host(Context<Reference<Scalar>>& ctx, View<T, Host, E...> from, View<U, Host, F...> to) {
  copy_to_host(ctx, from, to);
}

}  // namespace qwen3vl
