/// Huge pages for large blocks of host memory: weights, caches, images.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace qwen3vl {

/// Bytes of a huge page.
inline constexpr std::size_t huge_page = std::size_t{2} << 20;

/// Asks the system for huge pages in `bytes` bytes at `memory`; only useful before the first write. Small pages cost a
/// page fault every 4096 bytes, a third of the time of decoding a JPEG of 12 megapixels and more than half of packing
/// weights. If the system refuses, small pages are used.
inline void prefer_huge_pages(void* memory, std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  const std::size_t before = (huge_page - at % huge_page) % huge_page;
  if (bytes < before + huge_page) return;
  madvise(static_cast<std::byte*>(memory) + before, (bytes - before) / huge_page * huge_page, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

}  // namespace qwen3vl
