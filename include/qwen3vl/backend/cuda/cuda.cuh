/// The CUDA backend's handle: a device, its stream, cuBLASLt and its memory.
/// Its operations are in the other headers of this folder; `backend/cuda.cuh` brings them all.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <type_traits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/primitives/launch.cuh"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/extents.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl {

template <class W, index_t N, index_t K, Packing packing>
class CudaMatrix;
template <class W, index_t E, index_t N, index_t K, Packing packing>
class CudaExperts;
template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
class CudaKvCache;

namespace cuda {
class GemmPlans;  // gemm.cuh
class Staging;    // staging.cuh
class Recording;  // decoding.cuh
template <class T>
class Mailbox;
}  // namespace cuda

/// Memory of the calling thread's current device; 256-byte aligned.
struct CudaMemory {
  static constexpr bool is_host = false;

  static void* allocate(std::size_t bytes) {
    void* memory = nullptr;
    if (bytes == 0) bytes = 1;  // as malloc, a unique pointer
    const cudaError_t result = cudaMalloc(&memory, bytes);
    if (result == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());
      std::size_t available = 0, total = 0;
      cuda::check(cudaMemGetInfo(&available, &total), "asking how much device memory is free");
      throw OutOfMemory(concat("out of device memory: ", bytes, " bytes more are needed, ", available, " of ", total,
                               " are free. Use a smaller model, fewer or shorter sequences, or a narrower precision"));
    }
    cuda::check(result, "allocating ", bytes, " bytes of device memory");
    return memory;
  }
  /// Copies bytes to or from the host or within the device, after all work started before, and complete on return:
  /// cudaMemcpy alone does not wait until bytes have reached the device, and our streams do not wait for it. For tests
  /// and tools; models use copy_to_host and copy_from_host.
  static void copy(void* to, const void* from, std::size_t bytes) {
    cuda::check(cudaDeviceSynchronize(), "waiting for the device");
    cuda::check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "copying ", bytes, " bytes");
    cuda::check(cudaStreamSynchronize(nullptr), "copying ", bytes, " bytes");
  }
  /// Waits for its users, as cudaFree does.
  static void deallocate(void* memory, std::size_t /*bytes*/) { static_cast<void>(cudaFree(memory)); }
  /// Complete on return, for any stream.
  static void fill_zero(void* memory, std::size_t bytes) {
    if (bytes == 0) return;
    cuda::check(cudaMemset(memory, 0, bytes), "clearing ", bytes, " bytes of device memory");
    cuda::check(cudaStreamSynchronize(nullptr), "clearing ", bytes, " bytes of device memory");
  }
};

/// Handle of one CUDA device. All operations of a handle run on its stream, in call order, and return before they
/// complete; `copy_to_host`, `copy_from_host` and `synchronize` wait. One thread at a time uses it.
class Cuda {
 public:
  static constexpr bool is_host = false;
  using Memory = CudaMemory;

  /// Activations are f32 for f32 weights and bf16 for all others; sums are always f32.
  template <class P>
  using Activation = std::conditional_t<std::is_same_v<typename P::Weight, float>, float, bf16>;
  template <class W, index_t N, index_t K, Packing packing = Packing::plain>
  using Matrix = CudaMatrix<W, N, K, packing>;
  template <class W, index_t E, index_t N, index_t K, Packing packing = Packing::plain>
  using Experts = CudaExperts<W, E, N, K, packing>;
  template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
  using KvCache = CudaKvCache<T, Layers, KvHeads, HeadDim>;
  template <class T>
  using Mailbox = cuda::Mailbox<T>;
  using Recording = cuda::Recording;

  /// The device of this ordinal, as `nvidia-smi -L` counts them.
  explicit Cuda(int device = 0);
  ~Cuda();
  Cuda(const Cuda&) = delete;
  Cuda& operator=(const Cuda&) = delete;

  int device() const { return device_; }
  cudaStream_t stream() const { return stream_; }
  /// Streaming multiprocessors of the device: this many CUDA blocks, or a multiple, fill it.
  int multiprocessors() const { return multiprocessors_; }
  /// 80 for sm_80, 90 for sm_90, ...
  int architecture() const { return architecture_; }

  /// Waits until all started work is done, and throws its errors.
  void synchronize() const { cuda::check(cudaStreamSynchronize(stream_), "waiting for device ", device_); }

  /// Free bytes of device memory.
  std::size_t free_bytes() const {
    std::size_t available = 0, total = 0;
    cuda::check(cudaMemGetInfo(&available, &total), "asking how much memory of device ", device_, " is free");
    return available;
  }
  /// Throws OutOfMemory, before anything is allocated, if the device has less memory free; `what` needs it.
  void require_memory(std::size_t bytes, std::string_view what) const {
    if (const std::size_t available = free_bytes(); bytes > available)
      throw OutOfMemory(concat("out of device memory: ", what, " need ", bytes, " bytes, ", available, " of device ",
                               device_, " are free. Use a smaller model, or a narrower precision"));
  }

  cublasLtHandle_t blas() const { return blas_; }
  cuda::GemmPlans& gemm_plans() const { return *gemm_plans_; }
  /// Pinned host memory for copies to and from the device.
  cuda::Staging& staging() const { return *staging_; }

 private:
  int device_;
  int multiprocessors_ = 0;
  int architecture_ = 0;
  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t blas_ = nullptr;
  std::unique_ptr<cuda::GemmPlans> gemm_plans_;
  std::unique_ptr<cuda::Staging> staging_;
};

namespace cuda {

/// `launch` on the stream of a context.
template <class Shared = void, class... Parameters, class... Arguments>
void launch(Context<Cuda>& ctx, void (*kernel)(Parameters...), dim3 grid, dim3 block, Arguments&&... arguments) {
  launch<Shared>(ctx.backend().stream(), kernel, grid, block, std::forward<Arguments>(arguments)...);
}

/// The same for a kernel that begins with take_turn(): its CUDA blocks may start while the previous kernel still runs,
/// and wait there, which hides the launch (compute capability 9.0 and later).
template <class Shared = void, class... Parameters, class... Arguments>
void launch_early(Context<Cuda>& ctx, void (*kernel)(Parameters...), dim3 grid, dim3 block, Arguments&&... arguments) {
  detail::launch<Shared>(ctx.backend().architecture() >= 90, ctx.backend().stream(), kernel, grid, block,
                         std::forward<Arguments>(arguments)...);
}

}  // namespace cuda
}  // namespace qwen3vl

#include "qwen3vl/backend/cuda/handle.cuh"
