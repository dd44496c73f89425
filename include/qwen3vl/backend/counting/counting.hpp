/// A backend that computes nothing and only counts memory: layers run over `Counting<B>` as over B and request the same
/// scratch memory and tensors, but only as sizes. Operation-internal scratch is what B reports for its operations
/// (backend/contract/operation_memory.hpp). model/memory_plan.hpp runs a model over it. The code it runs must be
/// written in terms of the operations: an attention policy that accesses elements directly does not compile here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "qwen3vl/backend/contract/operation_memory.hpp"
#include "qwen3vl/backend/contract/ops.hpp"

namespace qwen3vl {

/// A memory space without memory: its pointers are never dereferenced. Counts are per thread, since a tensor does not
/// know its context.
struct CountingMemory {
  static constexpr bool is_host = false;
  /// The address of everything: not null, aligned, and nothing is there.
  static void* nowhere() { return reinterpret_cast<void*>(std::uintptr_t{64}); }  // NOLINT(performance-no-int-to-ptr)

  static void* allocate(std::size_t bytes) {
    held += bytes;
    most = std::max(most, held);
    return nowhere();
  }
  static void deallocate(void* /*memory*/, std::size_t bytes) { held -= bytes; }
  static void fill_zero(void* /*memory*/, std::size_t /*bytes*/) {}

  static inline thread_local std::size_t held = 0;  ///< bytes of live tensors
  static inline thread_local std::size_t most = 0;  ///< peak of `held`; reset by callers
};

/// Counts for `backend`, which must outlive this object.
template <class B>
struct Counting {
  static constexpr bool is_host = B::is_host;  // layers branch on it
  static constexpr bool only_counts = true;
  using Memory = CountingMemory;

  template <class P>
  using Activation = activation_t<B, P>;

  /// Weights that are never loaded.
  struct NoWeights {
    static constexpr std::size_t bytes() { return 0; }
    static constexpr bool allocated() { return false; }
    void allocate() {}
    void load_rows(const auto&...) {}
    void load_expert(const auto&...) {}
  };
  template <class W, index_t N, index_t K, Packing packing>
  struct Matrix : NoWeights {};
  template <class W, index_t E, index_t N, index_t K, Packing packing>
  struct Experts : NoWeights {};

  /// A cache with a constant `length` tokens in each sequence.
  template <class T, index_t Layers, index_t KvHeads, index_t HeadDim>
  class KvCache {
   public:
    struct Layer {
      using value_type = T;
      index_t past;
      index_t length(index_t /*s*/) const { return past; }
    };
    explicit KvCache(index_t sequences, index_t length = 0) : sequences_(sequences), length_(length) {}
    index_t sequences() const { return sequences_; }
    index_t length(index_t /*s*/) const { return length_; }
    static constexpr std::size_t bytes() { return 0; }
    Layer layer(index_t /*i*/) const { return {length_}; }
    void prepare(std::span<const index_t> /*new_tokens*/) {}
    void commit() {}
    void truncate(index_t /*s*/, index_t /*length*/) {}
    void copy_sequence(index_t /*to*/, const KvCache& /*source*/, index_t /*from*/, index_t /*shared*/) {}
    void swap_sequences(index_t /*a*/, index_t /*b*/) {}
    void copy_keys(const auto&...) const {}
    void copy_values(const auto&...) const {}

   private:
    index_t sequences_, length_;
  };

  const B& backend;
};

/// Counts the bytes in use; allocates nothing.
template <class B>
class Workspace<Counting<B>> {
 public:
  void* push(std::size_t bytes) {
    used_ += Workspace<B>::rounded(bytes);
    peak_ = std::max(peak_, used_);
    return CountingMemory::nowhere();
  }
  void pop(std::size_t bytes) { used_ -= Workspace<B>::rounded(bytes); }
  std::size_t peak_bytes() const { return peak_; }

 private:
  std::size_t used_ = 0, peak_ = 0;
};

// Operations that use scratch memory.

template <class B, template <class, index_t, index_t, Packing> class Matrix, class W, index_t N, index_t K,
          Packing packing>
void linear(Context<Counting<B>>& ctx, const auto& x, const Matrix<W, N, K, packing>&, const auto&...) {
  ctx.template scratch<std::byte, dynamic>(
      OperationMemory<B>::template linear<W, N, K, packing>(ctx.backend().backend, x.rows()));
}
template <index_t TopK, class B, template <class, index_t, index_t, index_t, Packing> class Experts, class W, index_t E,
          index_t N, index_t D, Packing packing>
void expert_mlp(Context<Counting<B>>& ctx, const auto& x, const auto&, const auto&,
                const Experts<W, E, N, D, packing>& /*gate_up*/, const auto&...) {
  ctx.template scratch<std::byte, dynamic>(
      OperationMemory<B>::template expert_mlp<W, TopK, E, N / 2, D>(ctx.backend().backend, x.rows()));
}
template <index_t H, index_t D, class B>
void attention(Context<Counting<B>>& ctx, const auto&, const Segments& segments, const auto&...) {
  ctx.template scratch<std::byte, dynamic>(
      OperationMemory<B>::template attention<H, D>(ctx.backend().backend, segments));
}
template <index_t H, index_t K, index_t D, class B>
void causal_attention(Context<Counting<B>>& ctx, const auto& qkv, const Segments& segments, auto cache,
                      const auto&...) {
  using A = typename std::remove_cvref_t<decltype(qkv)>::value_type;
  ctx.template scratch<std::byte, dynamic>(
      OperationMemory<B>::template causal_attention<A, H, K, D>(ctx.backend().backend, segments, cache.length(0)));
}

// All others use none.

template <index_t E, index_t TopK, class B>
void route(Context<Counting<B>>&, const auto&...) {}
template <class B>
void rms_norm(Context<Counting<B>>&, const auto&...) {}
template <class B>
void layer_norm(Context<Counting<B>>&, const auto&...) {}
template <index_t S0, index_t S1, index_t S2, class B>
void rope_tables(Context<Counting<B>>&, const auto&...) {}
template <index_t H, index_t D, class B>
void rotate_qk(Context<Counting<B>>&, const auto&...) {}
template <index_t H, index_t K, index_t D, class B>
void qk_norm_rope(Context<Counting<B>>&, const auto&...) {}
template <index_t... HeadsAndDim, class B>
void attention_weights(Context<Counting<B>>&, const auto&...) {}
template <index_t... HeadsAndDim, class B>
void weighted_values(Context<Counting<B>>&, const auto&...) {}
template <class B>
void embedding(Context<Counting<B>>&, const auto&...) {}
template <class B>
void interpolate_add(Context<Counting<B>>&, const auto&...) {}
template <class B>
void scatter_rows(Context<Counting<B>>&, const auto&...) {}
template <class B>
void add_rows(Context<Counting<B>>&, const auto&...) {}
template <class B>
void gather_rows(Context<Counting<B>>&, const auto&...) {}
template <class B>
void copy_rows(Context<Counting<B>>&, const auto&...) {}
template <class B>
void argmax(Context<Counting<B>>&, const auto&...) {}
template <class B>
void copy_to_host(Context<Counting<B>>&, const auto&...) {}
template <class B>
void copy_from_host(Context<Counting<B>>&, const auto&...) {}

}  // namespace qwen3vl
