/// The device's key/value cache, in pages of 64 tokens that sequences share.
///
/// A page holds the keys and values of 64 tokens of one sequence in all layers, [Layers][2][KvHeads][64][HeadDim], so
/// that one table of page addresses serves every layer and a tile of 64 keys of a head is one run of memory. Sequences
/// that begin alike (beams, answers to one question) refer to the same pages; a page is copied when one of several
/// owners is about to write to it, which happens only to the last, unfinished page.
///
/// In e4m3 (T = f8_e4m3) keys and values have no scale: keys are normalised, and values of Qwen3-VL are far below the
/// maximum of 448.
///
/// Kernels read lengths and pages from device memory, so a captured graph remains valid while sequences grow, up to
/// capacity().
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/staging.cuh"
#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl {
namespace cuda {

/// Tokens of a page: a tile of keys of the attention kernels.
inline constexpr int page_tokens = 64;

/// Pages of one size on the device, handed out and returned without allocating.
class PagePool : public std::enable_shared_from_this<PagePool> {
 public:
  /// Returns to its pool with its last owner.
  using Page = std::shared_ptr<std::byte>;

  explicit PagePool(std::size_t page_bytes) : page_bytes_(page_bytes) {}

  std::size_t page_bytes() const { return page_bytes_; }
  /// Bytes of all pages, used or not.
  std::size_t bytes() const { return pages_ * page_bytes_; }

  /// Allocates so that `pages` can be taken; at least a quarter more than now, because allocating waits for the device.
  void reserve(std::size_t pages) {
    if (free_.size() >= pages) return;
    const std::size_t count = std::max(pages - free_.size(), pages_ / 4);
    Tensor<std::byte, Cuda, dynamic> chunk(static_cast<index_t>(count * page_bytes_));
    std::byte* const data = chunk.data();
    pages_ += count;
    free_.reserve(pages_);  // returning never allocates
    chunks_.push_back(std::move(chunk));
    for (std::size_t i = count; i > 0; --i) free_.push_back(data + (i - 1) * page_bytes_);
  }
  Page take() {
    reserve(1);
    std::byte* const page = free_.back();
    free_.pop_back();
    return Page(page, [pool = shared_from_this()](std::byte* done) { pool->free_.push_back(done); });
  }

 private:
  std::size_t page_bytes_, pages_ = 0;
  std::vector<Tensor<std::byte, Cuda, dynamic>> chunks_;
  std::vector<std::byte*> free_;
};

/// One layer of a cache as kernels see it.
template <class T, int K, int D>
struct CacheView {
  T* const* pages;           // [sequences][columns], on the device
  const int* lengths;        // tokens of each sequence before this call's, on the device
  int columns;               // pages that a sequence may have
  std::int64_t layer_first;  // elements of a page before this layer

  __device__ __forceinline__ int length(int s) const { return lengths[s]; }
  /// [64, D]: the keys of head h in page p of sequence s.
  __device__ __forceinline__ T* keys(int s, int p, int h) const {
    return pages[static_cast<std::int64_t>(s) * columns + p] + layer_first + h * (page_tokens * D);
  }
  __device__ __forceinline__ T* values(int s, int p, int h) const { return keys(s, p, K + h); }
};

}  // namespace cuda

/// See backend/contract/ops.hpp. A cache is used by one thread and with one handle, which outlives it; the same holds
/// for caches that it copies sequences from.
template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
class CudaKvCache {
  using Page = cuda::PagePool::Page;
  static constexpr index_t page_tokens = cuda::page_tokens;
  static constexpr index_t layer_size = 2 * KvHeads * page_tokens * HeadDim;
  static constexpr index_t page_size = Layers * layer_size;
  static_assert(Layers > 0 && KvHeads > 0 && HeadDim > 0);

 public:
  static constexpr index_t layers = Layers;
  using DeviceView = cuda::CacheView<T, static_cast<int>(KvHeads), static_cast<int>(HeadDim)>;

  /// One layer of all sequences; what operations take. Valid until the next prepare().
  class Layer {
   public:
    using value_type = T;
    Layer(CudaKvCache& cache, index_t layer) : cache_(&cache), layer_(layer) {}

    /// Tokens of sequence s before this call's.
    index_t length(index_t s) const { return cache_->length(s); }
    index_t capacity() const { return cache_->capacity(); }
    /// For kernels of the stream of ctx.
    DeviceView on_device(Context<Cuda>& ctx) const {
      cache_->upload(ctx);
      return {cache_->device_pages(), cache_->device_lengths(), static_cast<int>(cache_->columns_),
              cache_->one_pass_ ? 0 : layer_ * layer_size};
    }

   private:
    CudaKvCache* cache_;
    index_t layer_;
  };

  explicit CudaKvCache(index_t sequences)
      : pool_(std::make_shared<cuda::PagePool>(static_cast<std::size_t>(page_size) * sizeof(T))) {
    if (sequences < 0) fail("a cache of ", sequences, " sequences");
    sequences_.resize(static_cast<std::size_t>(sequences));
  }

  /// One for a single pass over new sequences of which nothing is read later: all layers share the memory of one, and
  /// commit() forgets the tokens.
  static CudaKvCache one_pass(index_t sequences) {
    CudaKvCache cache(sequences);
    cache.pool_ = std::make_shared<cuda::PagePool>(static_cast<std::size_t>(layer_size) * sizeof(T));
    cache.one_pass_ = true;
    return cache;
  }

  index_t sequences() const { return static_cast<index_t>(sequences_.size()); }
  index_t length(index_t s) const { return at(s).length; }
  /// Device memory held, used or not; pages from other caches count there.
  std::size_t bytes() const { return pool_->bytes() + device_.bytes(); }
  /// Device memory of `sequences` of `length` tokens each that share nothing, for planning.
  static std::size_t planned_bytes(index_t sequences, index_t length) {
    return static_cast<std::size_t>(sequences * cuda::ceil_div(length, page_tokens) * page_size) * sizeof(T);
  }
  /// Allocates pages for so many tokens of each sequence at once, beside what is held.
  void reserve(index_t tokens) {
    pool_->reserve(sequences_.size() * static_cast<std::size_t>(cuda::ceil_div(tokens, page_tokens)));
  }

  /// The most tokens that a sequence may have before addresses passed to kernels change: a graph captured with another
  /// capacity must be captured again.
  index_t capacity() const { return columns_ * page_tokens; }

  /// Makes room for new_tokens[s] more tokens in sequence s, which commit() then makes part of it.
  void prepare(std::span<const index_t> new_tokens) {
    if (static_cast<index_t>(new_tokens.size()) != sequences())
      fail("the cache holds ", sequences(), " sequences, the batch ", new_tokens.size());
    index_t most = 0;
    std::size_t missing = 0;
    for (std::size_t s = 0; s < sequences_.size(); ++s) {
      Sequence& sequence = sequences_[s];
      sequence.pending = new_tokens[s];
      const index_t pages = cuda::ceil_div(sequence.length + sequence.pending, page_tokens);
      most = std::max(most, pages);
      missing += static_cast<std::size_t>(std::max<index_t>(0, pages - static_cast<index_t>(sequence.pages.size())));
    }
    pool_->reserve(missing);
    for (Sequence& sequence : sequences_) {
      if (sequence.pending == 0) continue;
      own_last_page(sequence);
      const auto pages = static_cast<std::size_t>(cuda::ceil_div(sequence.length + sequence.pending, page_tokens));
      while (sequence.pages.size() < pages) {
        sequence.pages.push_back(pool_->take());
        table_changed_ = true;
      }
    }
    widen(most);
  }
  void commit() {
    if (one_pass_) {
      for (index_t s = 0; s < sequences(); ++s) truncate(s, 0);
      return;
    }
    for (Sequence& sequence : sequences_) {
      if (sequence.pending > 0) lengths_changed_ = true;
      sequence.length += std::exchange(sequence.pending, 0);
    }
  }
  Layer layer(index_t i) { return Layer(*this, i); }

  /// int32 [sequences] on the device, after upload(). Code that increments them on the device calls advanced() after
  /// commit(), so that they are not copied.
  std::int32_t* device_lengths() { return reinterpret_cast<std::int32_t*>(device_.data() + sequences() * columns_); }
  void advanced() { lengths_changed_ = false; }

  /// Copies changed lengths and pages to the device, in stream order: one small copy. Operations do it themselves; code
  /// that launches a graph calls it first, after prepare().
  void upload(Context<Cuda>& ctx) {
    stream_ = ctx.backend().stream();
    widen(1);
    if (!table_changed_ && !lengths_changed_) return;
    const std::size_t table_bytes = static_cast<std::size_t>(sequences() * columns_) * sizeof(std::uint64_t);
    const std::size_t lengths_bytes = sequences_.size() * sizeof(std::int32_t);
    // Lengths follow the table, so one copy covers both; usually only lengths change.
    mirror_.resize(table_bytes + lengths_bytes);
    const std::size_t first = table_changed_ ? 0 : table_bytes;
    for (std::size_t s = 0; s < sequences_.size(); ++s) {
      if (table_changed_)
        for (std::size_t p = 0; p < sequences_[s].pages.size(); ++p) {
          const std::byte* const page = sequences_[s].pages[p].get();
          std::memcpy(mirror_.data() + (s * static_cast<std::size_t>(columns_) + p) * sizeof page, &page, sizeof page);
        }
      const auto length = static_cast<std::int32_t>(sequences_[s].length);
      std::memcpy(mirror_.data() + table_bytes + s * sizeof length, &length, sizeof length);
    }
    ctx.backend().staging().upload(stream_, reinterpret_cast<std::byte*>(device_.data()) + first,
                                   mirror_.size() - first,
                                   [&](std::byte* pinned, std::size_t offset, std::size_t count) {
                                     std::memcpy(pinned, mirror_.data() + first + offset, count);
                                   });
    table_changed_ = lengths_changed_ = false;
  }

  /// Forgets all but the first `length` tokens of sequence s; its pages become free.
  void truncate(index_t s, index_t length) {
    Sequence& sequence = at(s);
    sequence.pending = 0;
    sequence.length = std::clamp<index_t>(length, 0, sequence.length);
    sequence.pages.resize(
        std::min(sequence.pages.size(), static_cast<std::size_t>(cuda::ceil_div(sequence.length, page_tokens))));
    lengths_changed_ = true;
  }

  /// Makes sequence `to` equal to sequence `from` of `source` (this cache or another one), by referring to its pages:
  /// nothing is copied before one of the two grows, and then one page.
  void copy_sequence(index_t to, const CudaKvCache& source, index_t from, index_t /*shared*/ = 0) {
    Sequence& target = at(to);
    const Sequence& origin = source.at(from);
    if (&target == &origin) return;
    if (stream_ == nullptr) stream_ = source.stream_;
    if (source.stream_ != nullptr && source.stream_ != stream_)
      fail("caches that are used on different streams cannot share pages: use one handle for both");
    target.pages.assign(origin.pages.begin(), origin.pages.begin() + cuda::ceil_div(origin.length, page_tokens));
    target.length = origin.length;
    target.pending = 0;
    widen(static_cast<index_t>(target.pages.size()));
    table_changed_ = lengths_changed_ = true;
  }
  /// Exchanges two sequences; moves no data.
  void swap_sequences(index_t a, index_t b) {
    std::swap(at(a), at(b));
    table_changed_ = lengths_changed_ = true;
  }

  /// Keys (normalised and rotated) or values of one layer and sequence, [KvHeads, length(s), HeadDim]. Waits.
  void copy_keys(index_t layer, index_t s, View<float, Host, dynamic, dynamic, dynamic> to) const {
    copy(layer, s, 0, to);
  }
  void copy_values(index_t layer, index_t s, View<float, Host, dynamic, dynamic, dynamic> to) const {
    copy(layer, s, 1, to);
  }

 private:
  struct Sequence {
    std::vector<Page> pages;
    index_t length = 0;
    index_t pending = 0;
  };

  Sequence& at(index_t s) { return sequences_.at(static_cast<std::size_t>(s)); }
  const Sequence& at(index_t s) const { return sequences_.at(static_cast<std::size_t>(s)); }

  T* const* device_pages() const { return reinterpret_cast<T* const*>(device_.data()); }

  /// Makes the table wide enough for `pages` per sequence, by doubling, so that this is rare.
  void widen(index_t pages) {
    if (pages <= columns_) return;
    columns_ = std::max<index_t>(8, columns_);
    while (columns_ < pages) columns_ *= 2;
    device_ = Tensor<std::uint64_t, Cuda, dynamic>(sequences() * columns_ + (sequences() + 1) / 2);
    table_changed_ = true;
  }

  /// Before tokens are appended: the unfinished page becomes this sequence's own.
  void own_last_page(Sequence& sequence) {
    if (sequence.length % page_tokens == 0) return;
    Page& page = sequence.pages[static_cast<std::size_t>(sequence.length / page_tokens)];
    if (page.use_count() == 1) return;
    Page copy = pool_->take();
    if (stream_ != nullptr)  // otherwise no kernel has written to it
      cuda::check(cudaMemcpyAsync(copy.get(), page.get(), pool_->page_bytes(), cudaMemcpyDeviceToDevice, stream_),
                  "copying a page of the cache");
    page = std::move(copy);
    table_changed_ = true;
  }

  void copy(index_t layer, index_t s, index_t which, View<float, Host, dynamic, dynamic, dynamic> to) const {
    const Sequence& sequence = at(s);
    if (layer < 0 || layer >= Layers || to.extent(0) != KvHeads || to.extent(1) != sequence.length ||
        to.extent(2) != HeadDim)
      fail("the cache of layer ", layer, ", sequence ", s, " is [", KvHeads, ", ", sequence.length, ", ", HeadDim,
           "], wanted [", to.extent(0), ", ", to.extent(1), ", ", to.extent(2), "]");
    if (stream_ != nullptr) cuda::check(cudaStreamSynchronize(stream_), "waiting for the cache");
    std::vector<T> host(static_cast<std::size_t>(KvHeads * page_tokens * HeadDim));
    for (index_t first = 0; first < sequence.length; first += page_tokens) {
      const auto* const page =
          reinterpret_cast<const T*>(sequence.pages[static_cast<std::size_t>(first / page_tokens)].get());
      cuda::check(cudaMemcpy(host.data(), page + layer * layer_size + which * KvHeads * page_tokens * HeadDim,
                             host.size() * sizeof(T), cudaMemcpyDeviceToHost),
                  "copying from the cache");
      const index_t count = std::min(page_tokens, sequence.length - first) * HeadDim;
      for (index_t h = 0; h < KvHeads; ++h)
        for (index_t i = 0; i < count; ++i)
          to.data()[(h * sequence.length + first) * HeadDim + i] =
              static_cast<float>(host[static_cast<std::size_t>(h * page_tokens * HeadDim + i)]);
    }
  }

  std::shared_ptr<cuda::PagePool> pool_;
  std::vector<Sequence> sequences_;
  bool one_pass_ = false;
  index_t columns_ = 0;                          // pages that a sequence has room for in the table
  Tensor<std::uint64_t, Cuda, dynamic> device_;  // addresses [sequences, columns], then lengths int32 [sequences]
  std::vector<std::byte> mirror_;                // the same on the host
  bool table_changed_ = true, lengths_changed_ = true;
  cudaStream_t stream_ = nullptr;  // the stream it is used on
};

}  // namespace qwen3vl
