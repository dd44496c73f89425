/// What a backend keeps weights and caches in: the types that its class names, one by one. Their operations are in
/// backend/contract/ops.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/tensor/raw_tensor.hpp"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl::detail {

/// The small sizes with which `Backend` checks them.
template <class B>
struct StorageProbe {
  using KvCache = typename B::template KvCache<float, 1, 1, 8>;
  Context<B>& ctx;
  typename B::template Matrix<float, 16, 8, Packing::plain>& matrix;
  typename B::template Experts<float, 4, 8, 16, Packing::plain>& experts;
  const RawTensor& raw;
  KvCache& cache;
  std::span<const index_t> new_tokens;
  View<float, Host, dynamic, dynamic, dynamic> host;
};

/// As OperationsCheck: the compiler's first line says what is missing.
template <class B>
struct StorageCheck {
  using Probe = StorageProbe<B>;

  /// B::Matrix<W, N, K, packing>: a weight matrix of N rows (outputs) and K columns (inputs), in a layout that its
  /// kernels like. load_rows(ctx, first_row, RawTensor) converts and packs whole rows.
  static_assert(
      requires(Probe p) {
        p.matrix.allocate();
        p.matrix.load_rows(p.ctx, index_t{0}, p.raw);
        { std::as_const(p.matrix).bytes() } -> std::convertible_to<std::size_t>;
        { std::as_const(p.matrix).allocated() } -> std::convertible_to<bool>;
      },
      "the Matrix of this backend lacks allocate, load_rows, bytes or allocated of backend/contract/storage.hpp");

  /// A matrix whose layout follows from what will be loaded (`stored` weights) also has expect_rows(first_row,
  /// RawTensor), called for every tensor, from the first row on, before bytes() and allocate(); its Experts have
  /// expect_expert(e, RawTensor, transposed).

  /// store_rows(ctx, first_row, span) gives rows back, as stored_weight_t<W>: where a backend has it, its models can be
  /// saved (loading/save_pretrained.hpp).

  /// B::Experts<W, E, N, K, packing>: E such matrices, each for other tokens. load_expert(ctx, e, RawTensor,
  /// transposed) converts and packs one, stored as [N, K] or, transposed, as [K, N]. For saving: store_expert(ctx, e,
  /// span of [N, K]).
  static_assert(
      requires(Probe p) {
        p.experts.allocate();
        p.experts.load_expert(p.ctx, index_t{0}, p.raw, false);
        { std::as_const(p.experts).bytes() } -> std::convertible_to<std::size_t>;
        { std::as_const(p.experts).allocated() } -> std::convertible_to<bool>;
      },
      "the Experts of this backend lacks allocate, load_expert, bytes or allocated of backend/contract/storage.hpp");

  /// On the host, for files of packed weights: visit_memory(f) of both calls f(span of bytes) for what is packed;
  /// B::packed_layout() is a string identifying the packed layout: different layouts have different strings.
  static_assert(
      !memory_t<B>::is_host ||
          requires(Probe p) {
            p.matrix.visit_memory([](std::span<std::byte>) {});
            p.experts.visit_memory([](std::span<std::byte>) {});
            { B::packed_layout() } -> std::convertible_to<std::string>;
          },
      "a backend on the host lacks packed_layout() or visit_memory(f) of backend/contract/storage.hpp");

  /// B::KvCache<T, Layers, KvHeads, HeadDim>(sequences): the keys and values of a batch of sequences. layer(i) is what
  /// qk_norm_rope and attention take. Where there is reserve(ctx, s, tokens), which takes memory for that many tokens
  /// of sequence s, generation calls it with a prompt's length. Where there is KvCache::one_pass(sequences), whose
  /// layers share the memory of one, embeddings are computed with it.
  static_assert(
      requires(Probe p) {
        requires std::constructible_from<typename Probe::KvCache, index_t>;
        { p.cache.sequences() } -> std::convertible_to<index_t>;
        { p.cache.length(index_t{0}) } -> std::convertible_to<index_t>;
        { p.cache.bytes() } -> std::convertible_to<std::size_t>;
      },
      "the KvCache of this backend lacks its constructor, sequences, length(s) or bytes of "
      "backend/contract/storage.hpp");

  /// Tokens of sequence s before this call.
  static_assert(
      requires(Probe p) { p.cache.layer(0).length(index_t{0}); },
      "the KvCache of this backend lacks `layer(i).length(s)` of backend/contract/storage.hpp");

  /// prepare(new_tokens) makes room for new_tokens[s] more in sequence s; commit() makes them part of the cache.
  static_assert(
      requires(Probe p) {
        p.cache.prepare(p.new_tokens);
        p.cache.commit();
      },
      "the KvCache of this backend lacks `prepare` or `commit` of backend/contract/storage.hpp");

  /// truncate(s, length) drops the tokens from `length` on.
  static_assert(
      requires(Probe p) { p.cache.truncate(index_t{0}, index_t{0}); },
      "the KvCache of this backend lacks `truncate` of backend/contract/storage.hpp");

  /// copy_sequence(to, source, from, shared): sequence `to` becomes sequence `from` of `source` (this cache or
  /// another); the first `shared` tokens are equal already, so that only the rest is copied.
  static_assert(
      requires(Probe p) { p.cache.copy_sequence(index_t{0}, std::as_const(p.cache), index_t{0}, index_t{0}); },
      "the KvCache of this backend lacks `copy_sequence` of backend/contract/storage.hpp");

  /// swap_sequences(a, b) exchanges two, without copying.
  static_assert(
      requires(Probe p) { p.cache.swap_sequences(index_t{0}, index_t{0}); },
      "the KvCache of this backend lacks `swap_sequences` of backend/contract/storage.hpp");

  /// copy_keys(layer, s, host), copy_values(layer, s, host): [KvHeads, length(s), HeadDim] as f32.
  static_assert(
      requires(Probe p) {
        p.cache.copy_keys(index_t{0}, index_t{0}, p.host);
        p.cache.copy_values(index_t{0}, index_t{0}, p.host);
      },
      "the KvCache of this backend lacks `copy_keys` or `copy_values` of backend/contract/storage.hpp");
};

}  // namespace qwen3vl::detail
