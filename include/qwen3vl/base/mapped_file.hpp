/// A file mapped into memory, read-only. POSIX.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <utility>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl {

/// A file's bytes without reading them all; the system loads pages on access. As with every mapping, a file that
/// shrinks meanwhile ends the program with SIGBUS; changed() detects one that was written to. Replacing the file by
/// renaming another one to its name is safe.
class MappedFile {
 public:
  /// Whether the file stays open beside its mapping, for descriptor(). Only weights need that; videos should not hold a
  /// descriptor each.
  enum class Descriptor { closed, kept };

  /// Throws Error if the file cannot be opened or is not a regular file.
  static MappedFile open(const std::filesystem::path& path, Descriptor wanted = Descriptor::closed) {
    // Non-blocking: opening a pipe would otherwise wait for a writer. No effect on regular files.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) detail::fail_on_file("open", path.string());
    struct stat status {};
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(descriptor);
      fail(path.string(), " is not a regular file");
    }
    MappedFile file;
    file.size_ = static_cast<std::size_t>(status.st_size);
    file.path_ = std::filesystem::absolute(path);
    file.status_ = status;
    if (file.size_ > 0) {
      void* const data = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
      const int error = errno;
      const bool kept = data != MAP_FAILED && wanted == Descriptor::kept;
      if (!kept) ::close(descriptor);
      if (data == MAP_FAILED) fail("cannot map ", path.string(), ": ", std::strerror(error));
      file.data_ = static_cast<const std::byte*>(data);
      if (kept) file.descriptor_ = descriptor;
      ::madvise(data, file.size_, MADV_SEQUENTIAL);  // weights are read once, in order
    } else {
      ::close(descriptor);
    }
    return file;
  }

  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        descriptor_(std::exchange(other.descriptor_, -1)),
        path_(std::move(other.path_)),
        status_(other.status_) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    std::swap(status_, other.status_);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  /// For callers that prefer pread() over page faults; same bytes at the same offsets. Must not be closed. -1 if it was
  /// not kept or the file is empty.
  int descriptor() const { return descriptor_; }

  /// Whether this file (not another one that took its name) was written to since it was opened.
  bool changed() const {
    struct stat now {};
    if (::stat(path_.c_str(), &now) != 0) return false;  // deleted: the mapping keeps its bytes
    if (now.st_dev != status_.st_dev || now.st_ino != status_.st_ino) return false;
    return now.st_size != status_.st_size || now.st_mtim.tv_sec != status_.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != status_.st_mtim.tv_nsec;
  }

  /// Releases the whole pages of a part that is no longer needed; they are loaded again on access.
  void release(std::span<const std::byte> part) const {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    // The mapping begins at a page boundary, so offsets give page boundaries.
    const auto offset = static_cast<std::size_t>(part.data() - data_);
    const std::size_t begin = (offset + page - 1) / page * page, end = (offset + part.size()) / page * page;
    if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
  }

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int descriptor_ = -1;
  std::filesystem::path path_;
  struct stat status_ {};
};

}  // namespace qwen3vl
