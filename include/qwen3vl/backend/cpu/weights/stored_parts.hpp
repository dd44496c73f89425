/// Reads parts of a stored tensor into a buffer of the thread that packs them.
#pragma once

#include <omp.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "qwen3vl/base/read_at.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"

namespace qwen3vl::cpu_kernels {

/// Reads rows of a memory-mapped tensor into a per-thread buffer that stays in cache. Reading through the mapping costs
/// a page fault for every 64 KiB and a page table entry for every 4096 bytes, both to be released again, and takes
/// nearly twice as long. Encoded rows are widened into that buffer.
class StoredParts {
 public:
  /// For up to `threads` threads and up to `most_rows` rows at once. Allocates nothing if `raw` is plain memory.
  StoredParts(const RawTensor& raw, int threads, index_t most_rows)
      : raw_(raw),
        row_(static_cast<std::size_t>(raw.row_size()) * size_of(raw.dtype)),
        bytes_(row_ * static_cast<std::size_t>(most_rows)) {
    if (raw.file.descriptor >= 0 || raw.encoded != nullptr)
      buffers_ = std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(threads) * bytes_);
  }

  /// Rows [first, first + count) in the tensor's dtype; valid until this thread's next call. Falls back to the mapping
  /// if the read fails, so that a failing disk or truncated file is reported as it is everywhere else.
  const std::byte* operator()(index_t first, index_t count) const {
    const std::size_t bytes = static_cast<std::size_t>(count) * row_;
    if (!buffers_) return raw_.data + static_cast<std::size_t>(first) * row_;
    std::byte* const buffer = buffers_.get() + static_cast<std::size_t>(omp_get_thread_num()) * bytes_;
    if (raw_.encoded != nullptr) {
      raw_.encoded->read(raw_.first_row + first, count, reinterpret_cast<float*>(buffer));
      return buffer;
    }
    const std::byte* const mapped = raw_.data + static_cast<std::size_t>(first) * row_;
    if (bytes > bytes_) return mapped;
    const auto offset = static_cast<std::uint64_t>(mapped - raw_.file.begin);
    return read_at(raw_.file.descriptor, offset, {buffer, bytes}) ? buffer : mapped;
  }

 private:
  const RawTensor& raw_;
  std::size_t row_, bytes_;
  std::unique_ptr<std::byte[]> buffers_;
};

}  // namespace qwen3vl::cpu_kernels
