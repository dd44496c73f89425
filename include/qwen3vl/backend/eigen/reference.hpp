/// The handle of the reference backend, and how its operations view tensors as Eigen matrices. The operations are in
/// the other headers of this folder; `backend/eigen.hpp` includes them all.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/eigen.hpp"
#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl {

template <class W, index_t N, index_t K, Packing packing>
class ReferenceMatrix;
template <class W, index_t E, index_t N, index_t K, Packing packing>
class ReferenceExperts;
template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
class HostKvCache;

/// A complete backend in which each operation reads like its formula, for reading, experiments and comparison on any
/// processor. Activations and sums are `Scalar`. Weights are stored as the precision says, float or bf16; so are keys
/// and values, except that float becomes Scalar. Single-threaded; a trace shows layers but no operations.
template <std::floating_point Scalar>
class Reference {
 public:
  static constexpr bool is_host = true;
  using Memory = Host;

  template <class P>
  using Activation = Scalar;
  template <class W, index_t N, index_t K, Packing packing = Packing::plain>
  using Matrix = ReferenceMatrix<W, N, K, packing>;
  template <class W, index_t E, index_t N, index_t K, Packing packing = Packing::plain>
  using Experts = ReferenceExperts<W, E, N, K, packing>;
  template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
  using KvCache = HostKvCache<std::conditional_t<std::is_same_v<T, float>, Scalar, T>, Layers, KvHeads, HeadDim>;

  /// Weights are stored as in a checkpoint, for every Scalar.
  static std::string packed_layout() { return "reference, version 1"; }
  static constexpr int threads() { return 1; }
};

namespace eigen {

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
}  // namespace qwen3vl
