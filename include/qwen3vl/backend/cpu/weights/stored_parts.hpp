/// Reads parts of a stored tensor into a buffer of the thread that packs them.
#pragma once

#include <omp.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "qwen3vl/base/read_at.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl::cpu_kernels {

/// Reads parts of a memory-mapped tensor into a per-thread buffer that stays in cache. Reading through the mapping
/// costs a page fault for every 64 KiB and a page table entry for every 4096 bytes, both to be released again, and
/// takes nearly twice as long.
class StoredParts {
 public:
  /// For up to `threads` threads and parts of up to `bytes` bytes. Allocates nothing if `raw` is not from a file.
  StoredParts(const RawTensor& raw, int threads, std::size_t bytes) : raw_(raw), bytes_(bytes) {
    if (raw.file.descriptor >= 0)
      buffers_ = std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(threads) * bytes);
  }

  /// `count` bytes of the tensor from byte `first` on; valid until this thread's next call. Falls back to the mapping
  /// if the read fails, so that a failing disk or truncated file is reported as it is everywhere else.
  const std::byte* operator()(std::size_t first, std::size_t count) const {
    const std::byte* const mapped = raw_.data + first;
    if (!buffers_ || count > bytes_) return mapped;
    std::byte* const buffer = buffers_.get() + static_cast<std::size_t>(omp_get_thread_num()) * bytes_;
    const auto offset = static_cast<std::uint64_t>(mapped - raw_.file.begin);
    return read_at(raw_.file.descriptor, offset, {buffer, count}) ? buffer : mapped;
  }

 private:
  const RawTensor& raw_;
  std::size_t bytes_;
  std::unique_ptr<std::byte[]> buffers_;
};

}  // namespace qwen3vl::cpu_kernels
