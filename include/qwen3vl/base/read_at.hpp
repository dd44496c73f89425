/// Positioned reads from an open file. POSIX.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

namespace qwen3vl {

/// Fills `to` with the bytes at `offset`; the file position does not change. False if they are not all there or cannot
/// be read; `to` may then be partly written. Several threads may read from one file.
inline bool read_at(int descriptor, std::uint64_t offset, std::span<std::byte> to) {
  while (!to.empty()) {
    const ::ssize_t got = ::pread(descriptor, to.data(), to.size(), static_cast<::off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

}  // namespace qwen3vl
