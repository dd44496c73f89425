/// Parts of a stored tensor, brought near the thread that packs them.
#pragma once

#include <omp.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "qwen3vl/backend/raw_tensor.hpp"

namespace qwen3vl::cpu_kernels {

/// Reads parts of a tensor that is mapped from a file into a buffer of the thread that asks, which stays in its cache,
/// instead of touching the mapping: that costs a page fault for every 64 KiB, an entry of the page table for every
/// 4096 bytes, and giving both back. Packing 4.3 GB of the page cache took 0.75 s on two cores of a Zen 5, and takes
/// 0.41 s like this.
class StoredParts {
 public:
  /// For up to `threads` threads and parts of up to `bytes` bytes. Takes no memory if `raw` is not from a file.
  StoredParts(const RawTensor& raw, int threads, std::size_t bytes) : raw_(raw), bytes_(bytes) {
    if (raw.file.descriptor >= 0)
      buffers_ = std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(threads) * bytes);
  }

  /// `count` bytes of the tensor from byte `first` on, until this thread's next call. What cannot be read is taken from
  /// the mapping, so that a broken disk or a file that was cut short ends as it does everywhere else.
  const std::byte* operator()(std::size_t first, std::size_t count) const {
    const std::byte* const mapped = raw_.data + first;
    if (!buffers_ || count > bytes_) return mapped;
    std::byte* const buffer = buffers_.get() + static_cast<std::size_t>(omp_get_thread_num()) * bytes_;
    for (std::size_t done = 0; done < count;) {
      const auto offset = static_cast<::off_t>(mapped + done - raw_.file.begin);
      const ::ssize_t got = ::pread(raw_.file.descriptor, buffer + done, count - done, offset);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return mapped;
      done += static_cast<std::size_t>(got);
    }
    return buffer;
  }

 private:
  const RawTensor& raw_;
  std::size_t bytes_;
  std::unique_ptr<std::byte[]> buffers_;
};

}  // namespace qwen3vl::cpu_kernels
