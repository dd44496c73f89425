/// The handle of the reference backend. Its operations are in the other headers of this folder and, those that `Cpu`
/// shares, in backend/host/; `backend/eigen.hpp` includes them all.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>

#include "qwen3vl/backend/host/expressions.hpp"
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
/// and values, except that float becomes Scalar. Single-threaded; of its operations a trace shows those in
/// backend/host/.
template <std::floating_point Real>
class Reference {
 public:
  using Scalar = Real;
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

}  // namespace qwen3vl
