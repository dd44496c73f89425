/// Pinned host memory for copies to and from the device: the device copies one piece while the host prepares the next.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "qwen3vl/backend/cuda/primitives/launch.cuh"

namespace qwen3vl::cuda {

/// f(begin, end) for parts of [0, count), which are done by all threads where there are many: one core alone converts a
/// image's pixels, or copies weights, several times slower than PCI Express takes them.
template <class F>
void in_parts(std::size_t count, F&& f) {
  constexpr std::size_t part = std::size_t{1} << 16;
  const auto parts = static_cast<std::int64_t>(ceil_div(count, part));
#pragma omp parallel for schedule(static) if (parts > 3)
  for (std::int64_t i = 0; i < parts; ++i) {
    const std::size_t begin = static_cast<std::size_t>(i) * part;
    f(begin, std::min(count, begin + part));
  }
}

/// Two pinned buffers, used alternately; allocated on first use.
class Staging {
 public:
  /// Bytes of one buffer; a multiple of every element's size. 16 MiB are copied in about 0.3 ms (PCIe 5), far longer
  /// than it takes to start a copy.
  static constexpr std::size_t piece = std::size_t{16} << 20;

  Staging() = default;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging() {
    for (Buffer& buffer : buffers_) {
      if (buffer.data == nullptr) continue;
      static_cast<void>(cudaEventSynchronize(buffer.copied));
      static_cast<void>(cudaEventDestroy(buffer.copied));
      static_cast<void>(cudaFreeHost(buffer.data));
    }
  }

  /// Copies `bytes` to device memory, in stream order; fill(pinned, offset, count) makes bytes [offset, offset + count)
  /// of them. On return all have been made and their copies started.
  template <class F>
  void upload(cudaStream_t stream, void* to, std::size_t bytes, F&& fill) {
    for (std::size_t offset = 0; offset < bytes; offset += piece) {
      const std::size_t count = std::min(piece, bytes - offset);
      Buffer& buffer = next();
      wait(buffer);
      fill(buffer.data, offset, count);
      check(cudaMemcpyAsync(static_cast<std::byte*>(to) + offset, buffer.data, count, cudaMemcpyHostToDevice, stream),
            "copying ", count, " bytes to the device");
      check(cudaEventRecord(buffer.copied, stream), "recording an event");
    }
  }

  /// Copies `bytes` from device memory, after all that was started on the stream; take(pinned, offset, count) gets them
  /// piece by piece, in order, and all are taken when this returns.
  template <class F>
  void download(cudaStream_t stream, const void* from, std::size_t bytes, F&& take) {
    const auto begin = [&](std::size_t offset) -> Buffer* {
      if (offset >= bytes) return nullptr;
      const std::size_t count = std::min(piece, bytes - offset);
      Buffer& buffer = next();
      wait(buffer);  // its copy may not be complete
      check(cudaMemcpyAsync(buffer.data, static_cast<const std::byte*>(from) + offset, count, cudaMemcpyDeviceToHost,
                            stream),
            "copying ", count, " bytes from the device");
      check(cudaEventRecord(buffer.copied, stream), "recording an event");
      return &buffer;
    };
    Buffer* current = begin(0);
    for (std::size_t offset = 0; offset < bytes; offset += piece) {
      Buffer* const following = begin(offset + piece);  // in flight while this one is taken
      wait(*current);
      take(static_cast<const std::byte*>(current->data), offset, std::min(piece, bytes - offset));
      current = following;
    }
  }

 private:
  struct Buffer {
    std::byte* data = nullptr;
    cudaEvent_t copied = nullptr;
  };

  Buffer& next() {
    Buffer& buffer = buffers_[turn_];
    turn_ ^= 1;
    if (buffer.data == nullptr) {
      void* memory = nullptr;
      check(cudaMallocHost(&memory, piece), "allocating ", piece, " bytes of pinned host memory");
      buffer.data = static_cast<std::byte*>(memory);
      check(cudaEventCreateWithFlags(&buffer.copied, cudaEventDisableTiming), "creating an event");
    }
    return buffer;
  }
  static void wait(const Buffer& buffer) { check(cudaEventSynchronize(buffer.copied), "copying"); }

  Buffer buffers_[2];
  int turn_ = 0;
};

}  // namespace qwen3vl::cuda
