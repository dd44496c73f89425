/// Host memory: for ids, masks, pixels, results, and the tensors of backends that run on the CPU.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/huge_pages.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

/// The memory space of the host. Aligned for vector loads; large blocks in huge pages.
struct Host {
  static constexpr bool is_host = true;
  static constexpr std::size_t alignment = 64;

  /// Uninitialised. Throws Error if memory runs out.
  static void* allocate(std::size_t bytes) {
    const bool huge = bytes >= 2 * huge_page;  // with small pages, products would miss the TLB
    void* memory = nullptr;
    if (posix_memalign(&memory, huge ? huge_page : alignment, bytes < alignment ? alignment : bytes) != 0)
      fail("out of memory: cannot allocate ", bytes, " bytes");
    if (huge) prefer_huge_pages(memory, bytes);
    return memory;
  }
  static void deallocate(void* memory, std::size_t /*bytes*/) { std::free(memory); }
  static void fill_zero(void* memory, std::size_t bytes) {
    if (bytes != 0) std::memset(memory, 0, bytes);
  }
};

template <class T, index_t... E>
using HostTensor = Tensor<T, Host, E...>;

/// [rows, columns], both known at run time.
template <class T>
using HostMatrix = HostTensor<T, dynamic, dynamic>;

/// [a, b, c], all known at run time.
template <class T>
using HostCube = HostTensor<T, dynamic, dynamic, dynamic>;

}  // namespace qwen3vl
