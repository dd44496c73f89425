/// Decoding on the device: passes captured as CUDA graphs, the values that host and device exchange for each, and
/// lengths and positions that advance on the device. See backend/contract/decoding.hpp.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "qwen3vl/backend/contract/decoding.hpp"
#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/pieces.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"

namespace qwen3vl {
namespace cuda {

/// `count` values in pinned host memory and as many on the device.
template <class T>
class Mailbox {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit Mailbox(index_t count) : device_(count) {
    void* memory = nullptr;
    check(cudaMallocHost(&memory, bytes(count)), "allocating ", bytes(count), " bytes of pinned host memory");
    host_ = static_cast<T*>(memory);
    for (T& value : host()) value = T{};
  }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox() { static_cast<void>(cudaFreeHost(host_)); }

  std::span<T> host() { return {host_, static_cast<std::size_t>(device_.size())}; }
  View<T, Cuda, dynamic> device() { return device_.view(); }

  void send(Context<Cuda>& ctx, index_t count) {
    check(cudaMemcpyAsync(device_.data(), host_, bytes(count), cudaMemcpyHostToDevice, ctx.backend().stream()),
          "copying ", bytes(count), " bytes to the device");
  }
  void receive(Context<Cuda>& ctx, index_t count) {
    check(cudaMemcpyAsync(host_, device_.data(), bytes(count), cudaMemcpyDeviceToHost, ctx.backend().stream()),
          "copying ", bytes(count), " bytes from the device");
  }

 private:
  static std::size_t bytes(index_t count) { return static_cast<std::size_t>(count) * sizeof(T); }

  Tensor<T, Cuda, dynamic> device_;
  T* host_ = nullptr;
};

/// Operations of a handle as a CUDA graph, launched by one call however many kernels it has.
class Recording {
 public:
  Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() { clear(); }

  bool recorded() const { return executable_ != nullptr; }
  void clear() {
    if (executable_ != nullptr) static_cast<void>(cudaGraphExecDestroy(std::exchange(executable_, nullptr)));
  }

  /// pass() may launch kernels and copies of pinned memory, but must not allocate, free or wait: it has run once before
  /// with the same sizes, so scratch memory, kernels and algorithms exist.
  template <class F>
  void record(Context<Cuda>& ctx, F&& pass) {
    clear();
    const cudaStream_t stream = ctx.backend().stream();
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning to record a pass");
    Graph graph;
    try {
      pass();
    } catch (...) {
      static_cast<void>(cudaStreamEndCapture(stream, &graph.graph));
      static_cast<void>(cudaGetLastError());
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph.graph), "recording a pass");
    check(cudaGraphInstantiate(&executable_, graph.graph, 0), "making a recorded pass executable");
    start(ctx);
  }
  void start(Context<Cuda>& ctx) {
    check(cudaGraphLaunch(executable_, ctx.backend().stream()), "starting a recorded pass");
  }

 private:
  struct Graph {
    cudaGraph_t graph = nullptr;
    ~Graph() {
      if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
    }
  };

  cudaGraphExec_t executable_ = nullptr;
};

/// One block; a thread has one piece.
inline constexpr int advance_threads = 128;
template <int Threads>
__global__ void __launch_bounds__(Threads) advance_kernel(const __grid_constant__ Pieces pieces, std::int32_t* lengths,
                                                          std::int32_t* positions, std::int64_t tokens) {
  static_assert(Threads >= Pieces::most);
  take_turn();
  const int piece = static_cast<int>(threadIdx.x);
  if (piece >= pieces.count) return;
  const int rows = pieces.rows[piece];
  lengths[pieces.segment[piece]] += rows;
  for (int row = pieces.first[piece]; row < pieces.first[piece] + rows; ++row)
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) positions[axis * tokens + row] += rows;
}

}  // namespace cuda

/// See backend/contract/decoding.hpp.
template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
void advance(Context<Cuda>& ctx, const Segments& sequences, CudaKvCache<T, Layers, KvHeads, HeadDim>& cache,
             View<std::int32_t, Cuda, 3, dynamic> positions) {
  cuda::for_each_pieces(
      sequences, [](index_t tokens) -> index_t { return tokens > 0 ? 1 : 0; },
      [&](const cuda::Pieces& pieces) {
        cuda::launch_early(ctx, cuda::advance_kernel<cuda::advance_threads>, 1, cuda::advance_threads, pieces,
                           cache.device_lengths(), positions.data(), positions.extent(1));
      });
  cache.advanced();
}

}  // namespace qwen3vl
