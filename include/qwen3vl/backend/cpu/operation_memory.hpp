/// Scratch memory of the CPU's operations. tests/backend/linear_memory_test.cpp checks that it equals what they
/// allocate, to the byte.
#pragma once

#include <algorithm>
#include <type_traits>

#include "qwen3vl/backend/contract/operation_memory.hpp"
#include "qwen3vl/backend/cpu/attention/attention.hpp"
#include "qwen3vl/backend/cpu/attention/causal_attention.hpp"
#include "qwen3vl/backend/cpu/attention/decode_attention.hpp"
#include "qwen3vl/backend/cpu/products/product.hpp"
#include "qwen3vl/backend/host/kv_cache.hpp"
#include "qwen3vl/tensor/workspace.hpp"

namespace qwen3vl {

template <>
struct OperationMemory<Cpu> {
  /// Of `stored` weights an upper bound: in which forms they are is known when they are loaded.
  template <class W, index_t N, index_t K, Packing packing>
  static std::size_t linear(const Cpu& cpu, index_t rows) {
    using namespace cpu_kernels;
    if constexpr (std::is_same_v<W, stored>) {
      std::size_t most = 0;
      for (index_t threads = 1; threads <= std::min<index_t>(cpu.threads(), CpuMatrix<W, N, K, packing>::panels);
           ++threads)
        most = std::max({most, linear_of<StoredFloatRows>(K, rows, static_cast<int>(threads)),
                         linear_of<StoredRows>(StoredRows::words(K), rows, static_cast<int>(threads))});
      return most;
    } else {
      const bool worth = rows * N * K > 65536;
      using Rows = PackedRows<W, K>;
      return linear_of<Rows>(
          Rows::words, rows,
          worth ? static_cast<int>(std::min<index_t>(cpu.threads(), CpuMatrix<W, N, K, packing>::panels)) : 1);
    }
  }

 private:
  /// `words` of a row packed as Packed.
  template <class Packed>
  static std::size_t linear_of(index_t words, index_t rows, int threads) {
    using namespace cpu_kernels;
    if (rows == 0) return 0;
    if (rows <= streaming_rows) {
      const index_t packed = std::is_same_v<typename Packed::Word, float> ? 0 : rows;
      return scratch<typename Packed::Word>(packed * words);
    }
    std::size_t bytes = 0;
    RowShares<Packed>::for_most(rows, threads, [&](index_t packed_rows, index_t block) {
      bytes = std::max(bytes, scratch<typename Packed::Word>(packed_rows * words) +
                                  scratch<float>(threads * sums_size<Packed>(block)));
    });
    return bytes;
  }

 public:
  template <index_t H, index_t D>
  static std::size_t attention(const Cpu& cpu, const Segments& segments) {
    return flash<D>(cpu, segments.count() * H, segments.longest(), segments.longest());
  }

  template <class A, index_t H, index_t K, index_t D>
  static std::size_t causal_attention(const Cpu& cpu, const Segments& segments, index_t past) {
    using namespace cpu_kernels;
    index_t fresh = 0, runs = 0, rows = 0, keys = 0;
    for (index_t s = 0; s < segments.count(); ++s) {
      const index_t count = segments.length(s), all = past + count;
      if (count == 0) continue;
      if (count <= streaming_queries) {
        fresh = std::max(fresh, count);
        runs = std::max(runs, (all + decode_run - 1) / decode_run);
      } else {
        rows = std::max(rows, count * (H / K));
        keys = std::max(keys, all);
      }
    }
    return std::max(scratch<PartialAttention<D>>(segments.count() * fresh * H * runs),
                    flash<D>(cpu, segments.count() * K, rows, keys));
  }

  template <class W, index_t TopK, index_t E, index_t I, index_t D>
  static std::size_t expert_mlp(const Cpu& cpu, index_t tokens) {
    using namespace cpu_kernels;
    if constexpr (std::is_same_v<W, stored>) {
      return experts_of<StoredFloatRows, TopK, E, I, D>(cpu, tokens, std::max(D, StoredRows::words(D)),
                                                        std::max(I, StoredRows::words(I)));
    } else {
      using Rows = PackedRows<W, D>;
      return experts_of<Rows, TopK, E, I, D>(cpu, tokens, Rows::words, PackedRows<W, I>::words);
    }
  }

 private:
  /// `x_words` and `activated_words` of rows packed as Packed.
  template <class Packed, index_t TopK, index_t E, index_t I, index_t D>
  static std::size_t experts_of(const Cpu& cpu, index_t tokens, index_t x_words, index_t activated_words) {
    using namespace cpu_kernels;
    if (tokens == 0) return 0;
    const index_t slots = tokens * TopK;
    // Each expert's rows are padded to whole tiles; one expert can have all tokens.
    const index_t rows = slots + std::min(E, slots) * (Packed::tile_rows - 1);
    const index_t threads = slots * D * I > 65536 ? cpu.threads() : 1;
    return scratch<typename Packed::Word>(rows * x_words) + scratch<float>(slots * I) +
           scratch<typename Packed::Word>(rows * activated_words) + scratch<float>(threads * sums_size<Packed>(tokens));
  }

 public:
  template <class Parameter>
  static std::size_t load(const Cpu&, const Parameter&, index_t /*rows*/, std::size_t /*stored_bytes*/) {
    return 0;
  }
  static std::size_t handle(const Cpu&) { return 0; }
  static std::size_t pinned(const Cpu&) { return 0; }

  template <class Cache>
  using CacheGrowth = typename Cache::Growth;

 private:
  template <class T>
  static std::size_t scratch(index_t count) {
    return Workspace<Cpu>::rounded(static_cast<std::size_t>(count) * sizeof(T));
  }

  template <index_t D>
  static std::size_t flash(const Cpu& cpu, index_t units, index_t rows, index_t keys) {
    using namespace cpu_kernels;
    if (units == 0 || rows == 0) return 0;
    const FlashSizes<D> sizes(cpu.threads(), units, rows, keys);
    return scratch<float>(sizes.wave * sizes.unit) + scratch<float>(sizes.threads * FlashBlock<D>::size);
  }
};

}  // namespace qwen3vl
