/// What a fuzz target is, and helpers to write one.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "qwen3vl/base/error.hpp"

namespace fuzz {

using Bytes = std::span<const std::byte>;

/// Accepts any bytes and must return: the library may throw only qwen3vl::Error, which `allow_errors` catches, and
/// everything that a target `require`s must hold.
struct Target {
  std::string_view name;
  std::size_t max_length;  ///< longer inputs cost time without finding more
  void (*run)(Bytes input);
};

// One group for each translation unit.
std::span<const Target> file_targets();
std::span<const Target> text_targets();
std::span<const Target> media_targets();

/// The target of a name, or nullptr.
inline const Target* find_target(std::string_view name) {
  for (const auto& group : {file_targets(), text_targets(), media_targets()})
    for (const Target& target : group)
      if (target.name == name) return &target;
  return nullptr;
}

/// Aborts if the library did something that it must not do.
inline void require(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

/// Runs `f`, which may throw qwen3vl::Error with a message that is one line.
template <class F>
void allow_errors(F&& f) {
  try {
    f();
  } catch (const qwen3vl::Error& error) {
    const std::string_view what = error.what();
    require(!what.empty() && what.size() < 100'000, "an error has a message of sensible length");
    require(std::ranges::none_of(what, [](char c) { return c == '\n' || c == '\r' || c == '\0' || c == '\x1b'; }),
            "an error is one line that does nothing to a terminal");
  }
}

/// Splits an input into the parts that a target needs; an input that is too short yields zeros and empty texts.
class Input {
 public:
  explicit Input(Bytes bytes) : bytes_(bytes) {}

  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto value = std::to_integer<std::uint8_t>(bytes_[0]);
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::uint32_t number(int bytes) {
    std::uint32_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= std::uint32_t{byte()} << 8 * i;
    return value;
  }
  Bytes bytes(std::size_t count) {
    const Bytes part = bytes_.first(std::min(count, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return part;
  }
  Bytes rest() { return bytes(bytes_.size()); }

 private:
  Bytes bytes_;
};

inline std::string_view as_text(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// A regular file in memory, for readers that take a path; new contents for every input cost no disk.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    require(descriptor_ >= 0, "memfd_create works here");
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
  void set(Bytes bytes) const {
    require(::ftruncate(descriptor_, 0) == 0, "a file in memory can be emptied");
    const auto written = ::pwrite(descriptor_, bytes.data(), bytes.size(), 0);
    require(written == static_cast<::ssize_t>(bytes.size()), "a file in memory can be written");
  }

 private:
  int descriptor_;
};

/// A temporary folder, removed at the end.
class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / "qwen3vl_fuzz_XXXXXX").string()) {
    require(::mkdtemp(path_.data()) != nullptr, "a temporary folder can be made");
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::filesystem::path path() const { return path_; }
  /// Gives a file in memory a name here.
  void link(std::string_view name, const MemoryFile& file) const {
    std::filesystem::create_symlink(file.path(), path() / name);
  }

 private:
  std::string path_;
};

}  // namespace fuzz
