/// The CPU backend's handle: how many threads its operations use, and its memory.
/// Its operations are in the other headers of this folder and, those that are Eigen expressions, in backend/host/;
/// `backend/cpu.hpp` brings them all.
#pragma once

#include <omp.h>

#include <cstddef>
#include <string>

#include "qwen3vl/backend/cpu/simd/instruction_set.hpp"
#include "qwen3vl/backend/cpu/simd/tile_permission.hpp"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/extents.hpp"
#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl {

template <class W, index_t N, index_t K, Packing packing>
class CpuMatrix;
template <class W, index_t E, index_t N, index_t K, Packing packing>
class CpuExperts;
template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
class HostKvCache;

/// Handle of the CPU backend. Cheap to copy; the thread count is per handle, not global.
class Cpu {
 public:
  static constexpr bool is_host = true;
  using Memory = Host;

  /// Activations and sums are f32 whatever the weights are.
  using Scalar = float;
  template <class P>
  using Activation = Scalar;
  template <class W, index_t N, index_t K, Packing packing = Packing::plain>
  using Matrix = CpuMatrix<W, N, K, packing>;
  template <class W, index_t E, index_t N, index_t K, Packing packing = Packing::plain>
  using Experts = CpuExperts<W, E, N, K, packing>;
  template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
  using KvCache = HostKvCache<T, Layers, KvHeads, HeadDim>;

  /// `threads` of 0 means OpenMP's own choice (OMP_NUM_THREADS, else all processors). Fails where this was compiled
  /// for tiles (AMX) and the system does not give them.
  explicit Cpu(int threads = 0) {
    simd::request_tiles();
    set_threads(threads);
  }

  /// Says how weights are packed: files of packed weights are only read where it is the same. The version goes up when
  /// the layout of any weight type changes.
  static std::string packed_layout() {
    return concat("cpu, version 4, ", simd::isa, ", ", simd::width, " lanes",
                  simd::has_tiles      ? ", tiles of bf16"
                  : simd::has_bf16_dot ? ", pairs of bf16"
                                       : "");
  }

  int threads() const { return threads_; }
  void set_threads(int threads) {
    if (threads < 0) fail("a backend of ", threads, " threads; give 1 or more, or 0 for all processors");
    threads_ = threads == 0 ? omp_get_max_threads() : threads;
  }

 private:
  int threads_ = 1;
};

}  // namespace qwen3vl
