/// The device memory that CUDA's operations and cache take, as they take it: tests/cuda/model/cuda_memory_plan_test.cpp
/// holds a plan against what the emulated device gave. Besides, CUDA itself has a context and the kernels' code there,
/// some hundred MB, and cudaMalloc rounds what is larger than a megabyte up to two.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/operation_memory.hpp"
#include "qwen3vl/backend/cuda/attention/attention.cuh"
#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/pieces.cuh"
#include "qwen3vl/backend/cuda/experts/moe.cuh"
#include "qwen3vl/backend/cuda/primitives/staging.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"
#include "qwen3vl/tensor/workspace.hpp"

namespace qwen3vl {

template <>
struct OperationMemory<Cuda> {
  /// Gates and ups before they are joined, or a bias in cuBLASLt's type (if there is one; exact GELU has its own).
  template <class W, index_t N, index_t K, Packing packing>
  static std::size_t linear(const Cuda&, index_t rows) {
    using T = cuda::operand_t<W>;
    if (rows <= cuda::gemv_tokens) return 0;
    if constexpr (std::is_same_v<W, fp8>) {  // x in e4m3 with its scales, sums of a piece of rows
      const index_t padded = cuda::f8_padded_rows(rows);
      return scratch<f8_e4m3>(padded * K) + scratch<float>(padded) + scratch<float>(cuda::f8_piece_rows<N>(rows) * N);
    }
    if constexpr (std::is_same_v<W, fp8_blocks>) return 0;
    if (packing == Packing::gate_up) return scratch<T>(rows * N);
    return std::is_same_v<T, float> ? 0 : scratch<T>(N);
  }

  template <index_t H, index_t D>
  static std::size_t attention(const Cuda&, const Segments&) {
    return 0;
  }

  /// The runs of decode attention. The kernels get as many as the cache's table has room for.
  template <class A, index_t H, index_t K, index_t D>
  static std::size_t causal_attention(const Cuda&, const Segments& segments, index_t past) {
    constexpr index_t group = H / K;
    if constexpr (cuda::tensor_core_attention<A, static_cast<int>(D)> && group <= cuda::decode_rows) {
      const int capacity = static_cast<int>(cache_columns(pages_of(past + segments.longest())) * cuda::page_tokens);
      const index_t runs = cuda::most_runs(static_cast<int>(capacity));
      std::size_t most = 0;
      cuda::for_each_pieces(
          segments, [](index_t tokens) -> index_t { return tokens > 0 && tokens * group <= cuda::decode_rows ? 1 : 0; },
          [&](const cuda::Pieces& pieces) {
            const index_t rows = group * *std::max_element(pieces.rows, pieces.rows + pieces.count);
            const index_t results = pieces.count * runs * K * rows;
            most = std::max(most, scratch<float>(results * D) + scratch<float2>(results));
          });
      return most;
    }
    return 0;
  }

  template <class W, index_t TopK, index_t E, index_t I, index_t D>
  static std::size_t expert_mlp(const Cuda&, index_t tokens) {
    using T = cuda::operand_t<W>;
    const index_t slots = tokens * TopK;
    const std::size_t values = scratch<T>(slots * I) + scratch<T>(slots * D);
    if (tokens <= 1) return values;  // needs no plan
    constexpr bool tensor_cores = std::is_same_v<T, bf16> && D % 8 == 0 && I % 8 == 0;
    std::size_t tiles = 0;
    cuda::with_expert_tiling<tensor_cores>(slots, E, [&](auto tiling) {
      tiles = scratch<cuda::ExpertTile>(cuda::most_tiles(slots, E, decltype(tiling)::rows));
    });
    return values + 2 * scratch<std::int32_t>(slots) + tiles;
  }

  template <class Parameter>
  static std::size_t load(const Cuda&, const Parameter&, index_t /*rows*/, std::size_t /*stored_bytes*/) {
    return 0;
  }
  /// An expert before the device transposes it.
  template <class W, index_t E, index_t N, index_t K, Packing packing>
  static std::size_t load(const Cuda&, const CudaExperts<W, E, N, K, packing>&, index_t, std::size_t) {
    return scratch<W>(N * K);
  }
  /// What is to be rounded, as it is stored; f16 as float.
  template <index_t E, index_t N, index_t K, Packing packing>
  static std::size_t load(const Cuda&, const CudaExperts<fp8, E, N, K, packing>&, index_t, std::size_t stored_bytes) {
    return Workspace<Cuda>::rounded(static_cast<std::size_t>(N * K) * stored_bytes);
  }
  template <index_t N, index_t K, Packing packing>
  static std::size_t load(const Cuda&, const CudaMatrix<fp8, N, K, packing>&, index_t rows, std::size_t stored_bytes) {
    return Workspace<Cuda>::rounded(static_cast<std::size_t>(cuda::f8_loaded_rows(rows, K, stored_bytes) * K) *
                                    stored_bytes);
  }
  template <index_t E, index_t N, index_t K, Packing packing>
  static std::size_t load(const Cuda&, const CudaExperts<fp8_blocks, E, N, K, packing>&, index_t,
                          std::size_t stored_bytes) {
    return Workspace<Cuda>::rounded(static_cast<std::size_t>(N * K) * stored_bytes);
  }
  template <index_t N, index_t K, Packing packing>
  static std::size_t load(const Cuda&, const CudaMatrix<fp8_blocks, N, K, packing>&, index_t rows,
                          std::size_t stored_bytes) {
    return Workspace<Cuda>::rounded(static_cast<std::size_t>(cuda::f8_loaded_rows(rows, K, stored_bytes) * K) *
                                    stored_bytes);
  }
  template <index_t E, index_t N, index_t K, Packing packing>
  static std::size_t load(const Cuda& cuda, const CudaExperts<stored, E, N, K, packing>& experts, index_t rows,
                          std::size_t stored_bytes) {
    return experts.visit([&](const auto& weights) { return load(cuda, weights, rows, stored_bytes); });
  }
  static std::size_t handle(const Cuda&) { return cuda::GemmPlans::workspace_bytes; }
  static std::size_t pinned(const Cuda&) { return 2 * cuda::Staging::piece; }

  /// Pages of one pool, which the sequences of a prompt share except for the unfinished one.
  template <class Cache>
  class CacheGrowth {
   public:
    CacheGrowth(index_t prompts, index_t copies) : prompts_(prompts), all_(prompts * copies) {}
    void prompt(index_t length) {
      reserve(prompts_ * (pages_of(length) - each_));
      add(prompts_ * (pages_of(length) - each_), length);
    }
    void share() {
      if (length_ % cuda::page_tokens != 0) unfinished_ = all_ - prompts_;  // copied when they grow
      owners_ = all_;
    }
    void grow(index_t length) {
      const index_t more = owners_ * (pages_of(length) - each_);
      reserve(more);
      for (; unfinished_ > 0; --unfinished_) {
        reserve(1);
        --free_;
      }
      add(more, length);
    }
    std::size_t bytes() const {
      return static_cast<std::size_t>(pages_) * Cache::planned_bytes(1, 1) +
             static_cast<std::size_t>(all_ * columns_ + (all_ + 1) / 2) * sizeof(std::uint64_t);
    }
    std::size_t copying() const { return 0; }

   private:
    /// As PagePool does.
    void reserve(index_t pages) {
      if (free_ >= pages) return;
      const index_t count = std::max(pages - free_, pages_ / 4);
      pages_ += count;
      free_ += count;
    }
    void add(index_t pages, index_t length) {
      reserve(pages);
      free_ -= pages;
      each_ = pages_of(length);
      length_ = length;
      columns_ = cache_columns(each_);
    }

    index_t prompts_, all_, owners_ = 0, each_ = 0, length_ = 0, unfinished_ = 0;
    index_t pages_ = 0, free_ = 0, columns_ = 0;  // of the pool; of the table of addresses
  };

 private:
  template <class T>
  static std::size_t scratch(index_t count) {
    return Workspace<Cuda>::rounded(static_cast<std::size_t>(count) * sizeof(T));
  }
  static index_t pages_of(index_t tokens) { return cuda::ceil_div(tokens, index_t{cuda::page_tokens}); }
  /// Pages that a sequence has room for in the cache's table: CudaKvCache::widen.
  static index_t cache_columns(index_t pages) {
    index_t columns = 8;
    while (columns < pages) columns *= 2;
    return columns;
  }
};

}  // namespace qwen3vl
