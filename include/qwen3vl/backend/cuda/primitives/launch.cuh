/// Launching kernels, their shared memory, and errors of CUDA calls.
///
/// How a kernel of this folder is written:
///
///     template <class T, int D>                                 sizes and types only: nvcc passes no class-type values
///     struct ThingShared { float sums[D]; };                      all of the kernel's shared memory, in one struct
///     template <class T, int D>
///     __global__ void __launch_bounds__(256) thing_kernel(const T* x, T* y, int rows) {
///       static_assert(...);                                       the contract: what the tiling needs of the sizes
///       auto& shared = shared_memory<ThingShared<T, D>>();
///       take_turn();                                              waits for the kernel before; see launch_early()
///       ...
///     }
///     launch_early<ThingShared<T, D>>(ctx, thing_kernel<T, D>, blocks, 256, x.data(), y.data(), rows);
///
/// The tests run the same sources on the host (tests/cuda/on_host/), where every access of a kernel is checked. For
/// that, kernels use no `__shared__` variables and no memcpy, copy by assignment, and never put a barrier in a branch.
#pragma once

#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl::cuda {

inline constexpr int warp_size = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;

/// How many pieces of `size` cover `total`.
template <class T, class U>
__host__ __device__ constexpr std::common_type_t<T, U> ceil_div(T total, U size) {
  return (total + size - 1) / size;
}

/// Blocks of a launch: a grid is at most 2^31 - 1 wide.
inline unsigned blocks_for(std::int64_t total, std::int64_t per_block) {
  const std::int64_t blocks = ceil_div(total, per_block);
  if (blocks > 0x7fffffff)
    fail("a kernel over ", total, " elements needs ", blocks, " blocks, a grid has at most 2^31");
  return static_cast<unsigned>(blocks);
}

/// Throws for anything but success; `parts` say what was tried.
template <class... Parts>
void check(cudaError_t result, const Parts&... parts) {
  if (result == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // clear it, so that the next call reports only its own errors
  fail("CUDA: ", parts..., ": ", cudaGetErrorString(result), " (", cudaGetErrorName(result), ")");
}

/// The block's dynamic shared memory as a `Shared`. Uninitialised; as large as `launch<Shared>` made it.
template <class Shared>
__device__ __forceinline__ Shared& shared_memory() {
  static_assert(std::is_trivially_destructible_v<Shared> && alignof(Shared) <= 1024);
#if defined(QWEN3VL_NOTE_SHARED_MEMORY) && defined(__CUDA_ARCH__)
  // A comment in the PTX, from which tests/cuda/kernels/check_cuda_kernels.sh computes occupancy.
  asm volatile("// shared_memory %0;" ::"n"(sizeof(Shared)));
#endif
  extern __shared__ __align__(1024) unsigned char qwen3vl_shared_bytes[];
  return *reinterpret_cast<Shared*>(qwen3vl_shared_bytes);
}

/// A kernel's name with its template arguments, for messages.
inline std::string kernel_name(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess || mangled == nullptr) return "an unknown kernel";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return status == 0 ? std::string(name.get()) : std::string(mangled);
}

/// Dynamic shared memory that a kernel gets by default.
inline constexpr std::size_t default_shared_bytes = 48 * 1024;

namespace detail {
template <class Shared>
inline constexpr std::size_t shared_bytes = sizeof(Shared);
template <>
inline constexpr std::size_t shared_bytes<void> = 0;
}  // namespace detail

namespace detail {
template <class Shared, class... Parameters, class... Arguments>
void launch(bool early, cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "a kernel takes as many arguments as it has parameters");
  constexpr std::size_t shared = shared_bytes<Shared>;
  static_assert(shared <= 227 * 1024, "no device gives a block more than 227 KiB of shared memory");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  const auto* const address = reinterpret_cast<const void*>(kernel);
  const auto complain = [&](cudaError_t result) {
    if (result != cudaSuccess)
      check(result, kernel_name(address), " on a grid of ", grid.x, " x ", grid.y, " x ", grid.z, " blocks of ",
            block.x * block.y * block.z, " threads with ", shared, " bytes of shared memory");
  };
  if constexpr (shared > default_shared_bytes)
    complain(cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  cudaLaunchAttribute begin_early{};
  begin_early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  begin_early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &begin_early;
  config.numAttrs = early ? 1 : 0;
  complain(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...));
}
}  // namespace detail

/// Starts `kernel` on `stream` with shared memory for one `Shared` per block. A grid without blocks does nothing.
template <class Shared = void, class... Parameters, class... Arguments>
void launch(cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, Arguments&&... arguments) {
  detail::launch<Shared>(false, stream, kernel, grid, block, std::forward<Arguments>(arguments)...);
}

}  // namespace qwen3vl::cuda
