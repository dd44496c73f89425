/// The CPU backend's handle: how many threads its operations use, and its memory.
/// Its operations are in the other headers of this folder; `backend/cpu.hpp` brings them all.
#pragma once

#include <omp.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "qwen3vl/backend/cpu/instruction_set.hpp"
#include "qwen3vl/backend/cpu/tile_permission.hpp"
#include "qwen3vl/backend/raw_tensor.hpp"
#include "qwen3vl/error.hpp"
#include "qwen3vl/tensor/extents.hpp"
#include "qwen3vl/tensor/huge_pages.hpp"

namespace qwen3vl {

template <class W, index_t N, index_t K, Packing packing>
class CpuMatrix;
template <class W, index_t E, index_t N, index_t K, Packing packing>
class CpuExperts;
template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
class CpuKvCache;

/// Handle of the CPU backend. Cheap to copy; the thread count is per handle, not global.
class Cpu {
 public:
  static constexpr bool is_host = true;

  /// Activations are f32 whatever the weights are.
  template <class P>
  using Activation = float;
  template <class W, index_t N, index_t K, Packing packing = Packing::plain>
  using Matrix = CpuMatrix<W, N, K, packing>;
  template <class W, index_t E, index_t N, index_t K, Packing packing = Packing::plain>
  using Experts = CpuExperts<W, E, N, K, packing>;
  template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
  using KvCache = CpuKvCache<T, Layers, KvHeads, HeadDim>;

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

  /// Host memory, aligned for vector loads.
  struct Memory {
    static constexpr std::size_t alignment = 64;

    static void* allocate(std::size_t bytes) {
      const bool huge = bytes >= 2 * huge_page;  // otherwise products miss the TLB, too
      void* memory = nullptr;
      if (posix_memalign(&memory, huge ? huge_page : alignment, bytes < alignment ? alignment : bytes) != 0)
        fail("out of memory: ", bytes, " bytes are not to be had");
      if (huge) prefer_huge_pages(memory, bytes);
      return memory;
    }
    static void deallocate(void* memory, std::size_t /*bytes*/) { std::free(memory); }
    static void fill_zero(void* memory, std::size_t bytes) {
      if (bytes != 0) std::memset(memory, 0, bytes);
    }
  };

 private:
  int threads_ = 1;
};

}  // namespace qwen3vl
