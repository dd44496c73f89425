/// Packed weights in a file, in the backend's memory layout, so that a later start reads them straight into place. A
/// cache, never a source: a file of another origin, layout or size is rewritten. Changed bytes in a complete file are
/// not detected, as with any weight file.
#pragma once

#include <fcntl.h>
#include <omp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/read_at.hpp"

namespace qwen3vl {

/// A file of memory blocks. `identity` is a string of everything that the blocks depend on; a file with a different
/// identity is not used. Layout: 16 bytes of magic, u64 length of the identity, u64 size of the file, the identity,
/// then the pieces from the next multiple of 4096 on, one after another. Numbers in the machine's order.
class PackedFile {
 public:
  PackedFile(PackedFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), begin_(other.begin_), size_(other.size_) {}
  PackedFile& operator=(PackedFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(begin_, other.begin_);
    std::swap(size_, other.size_);
    return *this;
  }
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;
  ~PackedFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  /// Opens a file of this identity; nullopt if it is missing, incomplete or of another identity.
  static std::optional<PackedFile> open(const std::filesystem::path& path, std::string_view identity) {
    PackedFile file;
    file.descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status {};
    if (file.descriptor_ < 0 || ::fstat(file.descriptor_, &status) != 0 || !S_ISREG(status.st_mode))
      return std::nullopt;
    Header header{};
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (!read_at(file.descriptor_, 0, std::as_writable_bytes(std::span(&header, 1)))) return std::nullopt;
    if (header.magic != magic || header.identity_bytes != identity.size() || header.file_bytes != size)
      return std::nullopt;
    std::string stored(identity.size(), '\0');
    if (!read_at(file.descriptor_, sizeof header, std::as_writable_bytes(std::span(stored))) || stored != identity)
      return std::nullopt;
    file.begin_ = data_offset(identity);
    file.size_ = size;
    return file;
  }

  /// Reads all pieces, several threads at once; `progress(bytes done)` is called on the calling thread. Returns false
  /// if the file's size differs from the pieces' or it cannot be read.
  bool read(std::span<const std::span<std::byte>> pieces, int threads,
            const std::function<void(std::size_t)>& progress = {}) const {
    if (size_ != begin_ + total_bytes(pieces)) return false;
    // Reads in chunks: large enough that calls cost nothing, small enough to balance threads.
    constexpr std::size_t block = std::size_t{4} << 20;
    struct Block {
      std::span<std::byte> to;
      std::uint64_t offset;
    };
    std::vector<Block> blocks;
    std::uint64_t offset = begin_;
    for (const std::span<std::byte> piece : pieces) {
      for (std::size_t at = 0; at < piece.size(); at += block)
        blocks.push_back({piece.subspan(at, std::min(block, piece.size() - at)), offset + at});
      offset += piece.size();
    }
    std::atomic<bool> complete{true};
    std::atomic<std::size_t> done{0};
    const auto count = static_cast<std::int64_t>(blocks.size());
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (std::int64_t i = 0; i < count; ++i) {
      const Block& one = blocks[static_cast<std::size_t>(i)];
      if (!complete) continue;
      if (!read_at(descriptor_, one.offset, one.to)) complete = false;
      done += one.to.size();
      if (progress && omp_get_thread_num() == 0) progress(done);
    }
    if (progress && complete) progress(done);
    return complete;
  }

  /// Writes a file of these pieces under another name, then renames it, so that a file is complete or absent. Throws
  /// Error that names the file (a full disk, a folder without write permission).
  static void write(const std::filesystem::path& path, std::string_view identity,
                    std::span<const std::span<std::byte>> pieces) {
    remove_leftovers(path);
    std::string part = path.string() + ".XXXXXX.part";
    const int descriptor = ::mkostemps(part.data(), 5, O_CLOEXEC);  // a new file, exclusive to this process
    if (descriptor < 0) detail::fail_on_file("write", part);
    const std::uint64_t begin = data_offset(identity);
    const Header header{magic, identity.size(), begin + total_bytes(pieces)};
    const std::string padding(begin - sizeof header - identity.size(), '\0');
    bool good = append(descriptor, std::as_bytes(std::span(&header, 1))) &&
                append(descriptor, std::as_bytes(std::span(identity))) &&
                append(descriptor, std::as_bytes(std::span(padding)));
    for (const std::span<std::byte> piece : pieces) good = good && append(descriptor, piece);
    good = good && ::fdatasync(descriptor) == 0;  // a file must be complete even after a power cut
    good = ::close(descriptor) == 0 && good;
    good = good && std::rename(part.c_str(), path.c_str()) == 0;
    if (good) return;
    const int error = errno;
    ::unlink(part.c_str());
    fail("cannot write ", path.string(), ": ", std::strerror(error));
  }

 private:
  static constexpr std::array<char, 16> magic = {'q', 'w', 'e', 'n', '3', 'v', 'l', ' ',
                                                 'p', 'a', 'c', 'k', 'e', 'd', ' ', '1'};
  struct Header {
    std::array<char, 16> magic;
    std::uint64_t identity_bytes;
    std::uint64_t file_bytes;
  };
  static_assert(sizeof(Header) == 32);

  PackedFile() = default;

  static std::uint64_t data_offset(std::string_view identity) {
    return (sizeof(Header) + identity.size() + 4095) / 4096 * 4096;
  }
  static std::uint64_t total_bytes(std::span<const std::span<std::byte>> pieces) {
    return std::accumulate(pieces.begin(), pieces.end(), std::uint64_t{0},
                           [](std::uint64_t sum, std::span<std::byte> piece) { return sum + piece.size(); });
  }

  /// Removes temporary files of processes that were killed while writing; no write takes a day.
  static void remove_leftovers(const std::filesystem::path& path) {
    std::error_code ignored;
    const std::string begin = path.filename().string() + ".";
    const auto yesterday = std::filesystem::file_time_type::clock::now() - std::chrono::hours(24);
    for (const auto& entry : std::filesystem::directory_iterator(path.parent_path(), ignored)) {
      const std::string name = entry.path().filename().string();
      if (name.size() != begin.size() + 11 || !name.starts_with(begin) || !name.ends_with(".part")) continue;
      if (entry.is_symlink(ignored) || !entry.is_regular_file(ignored)) continue;
      if (entry.last_write_time(ignored) < yesterday) std::filesystem::remove(entry.path(), ignored);
    }
  }

  static bool append(int descriptor, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ::ssize_t put = ::write(descriptor, bytes.data(), std::min<std::size_t>(bytes.size(), 1u << 30));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return true;
  }

  int descriptor_ = -1;
  std::uint64_t begin_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace qwen3vl
