/// What the operations in this folder share. They are Eigen expressions over views of tensors, and written once for all
/// backends that compute on the host: `Cpu`, with the threads of its handle, and `Reference<Scalar>`, with one.
#pragma once

#include <type_traits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/tensor/eigen.hpp"
#include "qwen3vl/tensor/host.hpp"

namespace qwen3vl {

/// A backend that takes its row operations from this folder. `Scalar` is the type of its activations and sums.
template <class B>
concept HostBackend = B::is_host && requires(B backend) {
  typename B::Scalar;
  backend.threads();
};

namespace eigen {

template <class B>
using scalar_t = typename B::Scalar;

/// Operands of operations; a tensor with matching extents converts to them.
template <class T, index_t... E>
using In = std::type_identity_t<View<const T, Host, E...>>;
template <class T, index_t... E>
using Out = std::type_identity_t<View<T, Host, E...>>;

template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;
template <class Scalar>
using Array = Eigen::Array<Scalar, Eigen::Dynamic, 1>;

/// Numbers of any type as Scalar; the conversion is exact.
template <class Scalar, class Expression>
auto widened(const Expression& numbers) {
  using T = typename Expression::Scalar;
  if constexpr (std::is_same_v<T, Scalar>) {
    return numbers;
  } else if constexpr (std::is_arithmetic_v<T>) {
    return numbers.template cast<Scalar>();
  } else {
    return numbers.unaryExpr([](T number) { return static_cast<Scalar>(static_cast<float>(number)); });
  }
}

/// f(row) for all rows, on the backend's threads if `numbers` of them together are worth it.
template <class B, class F>
void for_rows(Context<B>& ctx, index_t rows, index_t numbers, const F& f) {
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (numbers > 65536)
  for (index_t row = 0; row < rows; ++row) f(row);
}

}  // namespace eigen
}  // namespace qwen3vl
