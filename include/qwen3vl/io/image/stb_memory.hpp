/// Limits the memory that stb_image may allocate. A few kilobytes of compressed data can expand to gigabytes that no
/// pixel of the image needs.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace qwen3vl::detail {

/// Limits each allocation on this thread, during its lifetime.
class StbMemory {
 public:
  /// What stb_image needs before it knows the size of an image, and for its tables.
  static constexpr std::size_t least = std::size_t{1} << 20;

  explicit StbMemory(std::size_t largest_piece) : before_(largest()) { largest() = largest_piece; }
  StbMemory(const StbMemory&) = delete;
  StbMemory& operator=(const StbMemory&) = delete;
  ~StbMemory() { largest() = before_; }

  /// The largest allocation of decoding an image: pixels of 4 channels of 16 bits, or the coefficients of a JPEG's
  /// channel, whose sides are whole blocks of 64 pixels; twice that, for buffers that grow by doubling.
  static std::size_t for_image(int height, int width, std::size_t file_bytes) {
    return least + 2 * file_bytes +
           32 * (static_cast<std::size_t>(height) + 64) * (static_cast<std::size_t>(width) + 64);
  }

  static void* allocate(std::size_t bytes) { return bytes <= largest() ? std::malloc(bytes) : nullptr; }
  static void* reallocate(void* piece, std::size_t bytes) {
    return bytes <= largest() ? std::realloc(piece, bytes) : nullptr;
  }

 private:
  static std::size_t& largest() {
    thread_local std::size_t bytes = least;
    return bytes;
  }
  std::size_t before_;
};

}  // namespace qwen3vl::detail
