/// Scratch memory for activations: a stack that grows to what a model needs and is then reused without allocating.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {

/// A stack of memory of backend B. Memory is returned in reverse order, as C++ scopes do.
template <class B>
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// `bytes` of uninitialised memory, 64-byte aligned.
  void* push(std::size_t bytes) {
    bytes = rounded(bytes);
    if (used_ == 0 && chunks_.size() > 1) release();
    if (chunks_.empty() || room() < bytes) next_chunk(bytes);
    Chunk& chunk = chunks_[current_];
    void* const memory = chunk.memory.data() + chunk.used;
    chunk.used += bytes;
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    return memory;
  }

  /// Releases the latest `push`.
  void pop(std::size_t bytes) {
    bytes = rounded(bytes);
    used_ -= bytes;
    chunks_[current_].used -= bytes;
    while (current_ > 0 && chunks_[current_].used == 0) --current_;
  }

  /// The size that `bytes` take here, with alignment.
  static constexpr std::size_t rounded(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

  /// The peak number of bytes in use.
  std::size_t peak_bytes() const { return peak_; }

  /// If it has grown in several chunks, replaces them by one of the peak size, so that the same use again allocates
  /// nothing. Otherwise the next push does so. Nothing may be in use.
  void settle() {
    if (chunks_.size() <= 1) return;
    release();
    next_chunk(peak_);
  }

  /// Frees everything; nothing may be in use.
  void release() {
    chunks_.clear();
    current_ = 0;
  }

 private:
  struct Chunk {
    Tensor<std::byte, B, dynamic> memory;
    std::size_t used = 0;
    std::size_t size() const { return memory.bytes(); }
  };
  static constexpr std::size_t alignment = 64;

  std::size_t room() const { return chunks_[current_].size() - chunks_[current_].used; }

  /// Moves on to a chunk with room for `bytes`; empty chunks behind the current one are kept for this.
  void next_chunk(std::size_t bytes) {
    const std::size_t next = chunks_.empty() ? 0 : current_ + 1;
    if (next >= chunks_.size() || chunks_[next].size() < bytes) {
      while (chunks_.size() > next) chunks_.pop_back();
      const std::size_t size = std::max(bytes, used_ == 0 ? peak_ : std::size_t{0});
      chunks_.push_back({Tensor<std::byte, B, dynamic>::uninitialized(size)});
    }
    current_ = next;
  }

  std::vector<Chunk> chunks_;
  std::size_t current_ = 0;  // the chunk of the latest push
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

/// A view of workspace memory that is released at the end of its scope.
template <class T, class B, index_t... E>
class Scratch : public View<T, B, E...> {
 public:
  Scratch(Workspace<B>& workspace, const Extents<E...>& extents)
      : View<T, B, E...>(static_cast<T*>(workspace.push(static_cast<std::size_t>(extents.size()) * sizeof(T))),
                         extents),
        workspace_(workspace) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { workspace_.pop(static_cast<std::size_t>(this->size()) * sizeof(T)); }

 private:
  Workspace<B>& workspace_;
};

}  // namespace qwen3vl
