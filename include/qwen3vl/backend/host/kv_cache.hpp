/// The key/value cache of backends in host memory: one allocation per sequence and layer,
/// [2][KvHeads][capacity][HeadDim], so that a decoding step streams the keys and then the values of a head.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/host.hpp"

namespace qwen3vl {

template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
class HostKvCache {
  static_assert(
      std::is_floating_point_v<T> || std::is_same_v<T, bf16> || std::is_same_v<T, f16>,
      "the Kv of a precision is float, bf16 or f16 (backend/contract/precision.hpp); f8_e4m3 is for the CUDA backend");

 public:
  static constexpr index_t layers = Layers;

  /// One layer of all sequences, as passed to operations. Valid until the next prepare().
  class Layer {
   public:
    using value_type = T;
    Layer(HostKvCache& cache, index_t layer) : cache_(&cache), layer_(layer) {}

    /// Tokens of sequence s before this call.
    index_t length(index_t s) const { return cache_->length(s); }
    /// [capacity, HeadDim] of head h; rows from length(s) on belong to this call.
    T* keys(index_t s, index_t h) const { return cache_->head(s, layer_, 0, h); }
    T* values(index_t s, index_t h) const { return cache_->head(s, layer_, 1, h); }

   private:
    HostKvCache* cache_;
    index_t layer_;
  };

  /// Size of a growing cache of `copies` sequences for each of `prompts` prompts: OperationMemory::CacheGrowth.
  class Growth {
   public:
    Growth(index_t prompts, index_t copies) : sequences_(prompts), all_(prompts * copies) {}
    /// As the cache's reserve() before the first part of a prompt.
    void reserve(index_t length) { grow(length); }
    void prompt(index_t length) { grow(length); }
    void share() { sequences_ = all_; }
    void grow(index_t length) {
      copied_ = 0;
      if (length <= capacity_) return;
      copied_ = capacity_;
      capacity_ = grown(length, capacity_);
    }
    std::size_t bytes() const { return static_cast<std::size_t>(sequences_ * capacity_) * token_bytes; }
    std::size_t copying() const { return static_cast<std::size_t>(copied_) * token_bytes; }

   private:
    index_t sequences_, all_, capacity_ = 0, copied_ = 0;
  };

  explicit HostKvCache(index_t sequences) {
    if (sequences < 0) fail("a cache of ", sequences, " sequences");
    sequences_.resize(static_cast<std::size_t>(sequences));
  }

  /// One for a single pass over new sequences of which nothing is read later: all layers share the memory of one, and
  /// commit() forgets the tokens.
  static HostKvCache one_pass(index_t sequences) {
    HostKvCache cache(sequences);
    cache.kept_layers_ = 1;
    return cache;
  }

  index_t sequences() const { return static_cast<index_t>(sequences_.size()); }
  index_t length(index_t s) const { return at(s).length; }
  std::size_t bytes() const {
    std::size_t total = 0;
    for (const Sequence& sequence : sequences_) total += sequence.memory.bytes();
    return total;
  }

  /// Allocates room for `tokens` tokens in total in sequence s, so that a prompt computed in parts does not reallocate
  /// between them. All threads commit the pages, each its share: a single thread took 0.3 s for what 512 tokens of a 2B
  /// model need in f32, a tenth of their prefill on Zen 5.
  template <class B>
  void reserve(Context<B>& ctx, index_t s, index_t tokens) {
    if (tokens > at(s).capacity) grow(at(s), tokens, ctx.backend().threads());
  }

  /// Makes room for new_tokens[s] more tokens in sequence s; commit() then makes them part of it.
  void prepare(std::span<const index_t> new_tokens) {
    if (static_cast<index_t>(new_tokens.size()) != sequences())
      fail("the cache holds ", sequences(), " sequences, the batch ", new_tokens.size());
    for (std::size_t s = 0; s < sequences_.size(); ++s) {
      Sequence& sequence = sequences_[s];
      sequence.pending = new_tokens[s];
      const index_t needed = sequence.length + sequence.pending;
      if (needed > sequence.capacity) grow(sequence, needed);
    }
  }
  /// New capacity of a sequence that has too little for `needed` tokens: a quarter more than needed, in steps of 64.
  /// Few copies while decoding, little waste after a long prompt.
  static constexpr index_t grown(index_t needed, index_t capacity) {
    return (std::max(needed, capacity) * 5 / 4 + 63) / 64 * 64;
  }
  /// Bytes of a token's keys and values in all layers.
  static constexpr std::size_t token_bytes = static_cast<std::size_t>(Layers * 2 * KvHeads * HeadDim) * sizeof(T);

  void commit() {
    for (Sequence& sequence : sequences_) {
      const index_t added = std::exchange(sequence.pending, 0);
      if (kept_layers_ == Layers) sequence.length += added;
    }
  }
  Layer layer(index_t i) { return Layer(*this, i); }

  /// Truncates sequence s to its first `length` tokens.
  void truncate(index_t s, index_t length) {
    Sequence& sequence = at(s);
    sequence.pending = 0;
    sequence.length = std::clamp<index_t>(length, 0, sequence.length);
  }

  /// Makes sequence `to` equal to sequence `from` of `source` (this cache or another one). Their first `shared` tokens
  /// are known to be equal already and are not copied.
  void copy_sequence(index_t to, const HostKvCache& source, index_t from, index_t shared = 0) {
    Sequence& target = at(to);
    const Sequence& origin = source.at(from);
    if (&target == &origin) return;
    shared = std::clamp<index_t>(shared, 0, std::min(target.length, origin.length));
    target.length = shared;  // the part that grow() keeps
    target.pending = 0;
    if (origin.length > target.capacity) grow(target, origin.length);
    const index_t count = origin.length - shared;
    if (count > 0)
      for (index_t i = 0; i < Layers * 2 * KvHeads; ++i)
        std::memcpy(target.memory.data() + (i * target.capacity + shared) * HeadDim,
                    origin.memory.data() + (i * origin.capacity + shared) * HeadDim,
                    static_cast<std::size_t>(count * HeadDim) * sizeof(T));
    target.length = origin.length;
  }
  /// Swaps two sequences; moves no data.
  void swap_sequences(index_t a, index_t b) { std::swap(at(a), at(b)); }

  /// Keys (normalised and rotated) or values of one layer and sequence, [KvHeads, length(s), HeadDim].
  void copy_keys(index_t layer, index_t s, View<float, Host, dynamic, dynamic, dynamic> to) const {
    copy(layer, s, 0, to);
  }
  void copy_values(index_t layer, index_t s, View<float, Host, dynamic, dynamic, dynamic> to) const {
    copy(layer, s, 1, to);
  }

 private:
  struct Sequence {
    HostTensor<T, dynamic> memory;
    index_t length = 0;
    index_t pending = 0;
    index_t capacity = 0;
  };

  Sequence& at(index_t s) { return sequences_.at(static_cast<std::size_t>(s)); }
  const Sequence& at(index_t s) const { return sequences_.at(static_cast<std::size_t>(s)); }

  T* head(index_t s, index_t layer, index_t which, index_t h) {
    Sequence& sequence = sequences_[static_cast<std::size_t>(s)];
    const index_t kept = kept_layers_ == Layers ? layer : 0;
    return sequence.memory.data() + ((kept * 2 + which) * KvHeads + h) * sequence.capacity * HeadDim;
  }

  /// Pages are committed by `threads` threads, each its share, or (0) on first write.
  void grow(Sequence& sequence, index_t needed, int threads = 0) {
    const index_t capacity = grown(needed, sequence.capacity);
    // Not cleared: no operation reads beyond a sequence's keys and values.
    auto memory = HostTensor<T, dynamic>::uninitialized(kept_layers_ * 2 * KvHeads * capacity * HeadDim);
    if (threads > 0) {
      constexpr index_t page = 4096 / sizeof(T);
#pragma omp parallel for schedule(static) num_threads(threads) if (memory.size() > 65536)
      for (index_t i = 0; i < memory.size(); i += page) memory.data()[i] = T{};
    }
    if (sequence.length > 0)
      for (index_t i = 0; i < Layers * 2 * KvHeads; ++i)
        std::memcpy(memory.data() + i * capacity * HeadDim, sequence.memory.data() + i * sequence.capacity * HeadDim,
                    static_cast<std::size_t>(sequence.length * HeadDim) * sizeof(T));
    sequence.memory = std::move(memory);
    sequence.capacity = capacity;
  }

  void copy(index_t layer, index_t s, index_t which, View<float, Host, dynamic, dynamic, dynamic> to) const {
    const Sequence& sequence = at(s);
    if (layer < 0 || layer >= Layers || to.extent(0) != KvHeads || to.extent(1) != sequence.length ||
        to.extent(2) != HeadDim)
      fail("the cache of layer ", layer, ", sequence ", s, " is [", KvHeads, ", ", sequence.length, ", ", HeadDim,
           "], wanted [", to.extent(0), ", ", to.extent(1), ", ", to.extent(2), "]");
    for (index_t h = 0; h < KvHeads; ++h) {
      const T* const from = sequence.memory.data() + ((layer * 2 + which) * KvHeads + h) * sequence.capacity * HeadDim;
      for (index_t i = 0; i < sequence.length * HeadDim; ++i)
        to.data()[h * sequence.length * HeadDim + i] = static_cast<float>(from[i]);
    }
  }

  std::vector<Sequence> sequences_;
  index_t kept_layers_ = Layers;
};

}  // namespace qwen3vl
