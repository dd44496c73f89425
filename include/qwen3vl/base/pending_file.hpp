/// Writing a file so that it appears whole or not at all. POSIX.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <utility>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl::detail {

/// A new file beside `path` that becomes `path` on commit() and vanishes otherwise.
class PendingFile {
 public:
  explicit PendingFile(const std::filesystem::path& path) : path_(path), temporary_(path) {
    static std::atomic<unsigned> count{0};  // several threads may write to one folder
    temporary_ += concat(".", static_cast<std::int64_t>(::getpid()), ".", count++, ".tmp");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0) broken("create");
  }
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!committed_) ::unlink(temporary_.c_str());
  }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::write(descriptor_, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) broken("write");
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }

  /// The same from `offset` on, whatever was written before. Bytes that are never written are zero.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count =
          ::pwrite(descriptor_, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) broken("write");
      bytes = bytes.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
  }

  /// A full disk may be reported only on sync or close.
  void commit() {
    if (::fsync(descriptor_) != 0) broken("write");
    if (::close(std::exchange(descriptor_, -1)) != 0) broken("write");
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) broken("rename the new file to");
    committed_ = true;
  }

 private:
  [[noreturn]] void broken(const char* what) const { fail_on_file(what, path_.string()); }

  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
  bool committed_ = false;
};

}  // namespace qwen3vl::detail
