/// The inner loop of every product on the CPU: a tile of C += A B held in registers.
#pragma once

#include <algorithm>

#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::cpu_kernels {

using simd::Floats;

/// Rows of a tile: as many as leave registers for two vectors of B and one broadcast of A.
inline constexpr int tile_rows = simd::registers == 32 ? 14 : 6;

/// Maximum number of row tiles that share one reading and widening of a panel: 256 columns of them stay in the L2
/// cache. 28 rather than 24, so that 1024 rows are three blocks. (docs/performance/cpu.md has the measurements behind
/// the constants of products.)
inline constexpr index_t tiles_of_block = simd::has_tiles ? 16 : tile_rows >= 14 ? 28 : 32;
/// Panels visited one after another for one block of columns before the next block of columns: their sums stay in the
/// L2 cache, next to the rows' columns.
inline constexpr index_t panel_group = tile_rows >= 14 && !simd::has_tiles ? 4 : 16;
/// Up to this many rows, the weights are streamed instead; the product is then limited by memory bandwidth.
inline constexpr index_t streaming_rows = 4;

/// Accumulators of a tile of R rows and C vectors.
template <int R, int C>
struct Tile {
  Floats sums[R][C];

  QWEN3VL_INLINE void clear() {
    simd::unroll<R>([&](auto r) { simd::unroll<C>([&](auto c) { sums[r][c] = Floats{}; }); });
  }
  /// c [R, stride]
  QWEN3VL_INLINE void load(const float* p, index_t stride) {
    simd::unroll<R>(
        [&](auto r) { simd::unroll<C>([&](auto c) { sums[r][c] = simd::load(p + r * stride + c * simd::width); }); });
  }
  QWEN3VL_INLINE void store(float* p, index_t stride) const {
    simd::unroll<R>(
        [&](auto r) { simd::unroll<C>([&](auto c) { simd::store(p + r * stride + c * simd::width, sums[r][c]); }); });
  }
};

/// The rows of two tiles as one.
template <int R, int S, int C>
QWEN3VL_INLINE Tile<R + S, C> joined(const Tile<R, C>& first, const Tile<S, C>& second) {
  Tile<R + S, C> both;
  simd::unroll<R>([&](auto r) { simd::unroll<C>([&](auto c) { both.sums[r][c] = first.sums[r][c]; }); });
  simd::unroll<S>([&](auto r) { simd::unroll<C>([&](auto c) { both.sums[R + r][c] = second.sums[r][c]; }); });
  return both;
}

/// tile += A B over `depth` steps. A: element (r, k) at a[r * row_stride + k * step]; B: step k is C vectors at b + k *
/// b_stride. `step` and `b_stride` are compile-time constants in every caller, so that addresses fold.
template <int R, int C, class W>
QWEN3VL_INLINE void multiply_add(Tile<R, C>& tile, index_t depth, const float* a, index_t row_stride, index_t step,
                                 const W* b, index_t b_stride) {
  for (index_t k = 0; k < depth; ++k) {
    Floats columns[C];
    simd::unroll<C>([&](auto c) { columns[c] = simd::load(b + k * b_stride + c * simd::width); });
    simd::unroll<R>([&](auto r) {
      const Floats x = simd::splat(a[r * row_stride + k * step]);
      simd::unroll<C>([&](auto c) { tile.sums[r][c] += x * columns[c]; });
    });
  }
}

/// Part of a panel: `steps` steps of the inner product from `first` on.
struct PanelPart {
  index_t panel, first, steps;
};

/// Visits all parts of panels [begin, end), each of up to `block` of `depth` steps: f(part, next), where `next` is the
/// following part (for the last part: itself). Within a group of panels, blocks of steps are the outer loop.
template <class F>
QWEN3VL_INLINE void visit_panels(index_t begin, index_t end, index_t depth, index_t block, const F& f) {
  const auto part = [&](index_t panel, index_t first) {
    return PanelPart{panel, first, std::min(block, depth - first)};
  };
  for (index_t group = begin; group < end; group += panel_group) {
    const index_t group_end = std::min(end, group + panel_group);
    for (index_t k = 0; k < depth; k += block)
      for (index_t p = group; p < group_end; ++p)
        f(part(p, k), p + 1 < group_end   ? part(p + 1, k)
                      : k + block < depth ? part(group, k + block)
                      : group_end < end   ? part(group_end, 0)
                                          : part(p, k));
  }
}

/// Where the results of a panel are written: `count` of row i from `first` + i * `stride` on. Null if not known in
/// advance.
struct Places {
  const float* first = nullptr;
  index_t stride = 0, count = 0;
};

/// finish.places(panel), if `finish` has such a member.
template <class F>
Places places_of(const F& finish, index_t panel) {
  if constexpr (requires { finish.places(panel); }) {
    return finish.places(panel);
  } else {
    return {};
  }
}

/// Prefetches the memory that a block of rows needs next, a share of it before each tile of rows, so that it is in the
/// L2 cache in time without the requests stalling the computation.
class ReadAhead {
 public:
  /// `bytes` of weights from `next` on, for `rows` rows. Without it, each part of a panel begins with a wait for
  /// memory.
  ReadAhead(const void* next, index_t bytes, index_t rows)
      : at_(static_cast<const char*>(next)), end_(at_ + bytes), rows_(rows) {
    const index_t lines = (bytes + line - 1) / line, tiles = (rows + tile_rows - 1) / tile_rows;
    share_ = (lines + tiles - 1) / tiles;
  }

  /// Distance in words from this part's columns of x to those of the next part (may be negative). A block of rows with
  /// all its columns fits only the last-level cache, which is shared.
  void columns_move(index_t distance) { distance_ = distance; }
  /// Results are written after this part. Their rows are far apart, so the hardware does not prefetch them, and often
  /// they all map to one set of the L1 cache, which limits outstanding misses.
  void results(Places places) { places_ = places; }

  /// Called before each tile of rows, in order.
  QWEN3VL_INLINE void operator()() {
    for (index_t i = 0; i < share_ && at_ < end_; ++i, at_ += line) ask(at_);
    if (places_.first == nullptr) return;
    const index_t tile_end = std::min(rows_, row_ + tile_rows);
    for (; row_ < tile_end; ++row_)
      for (index_t n = 0; n < places_.count; n += line / 4) ask(places_.first + row_ * places_.stride + n);
  }
  /// The address that the next part reads where this one reads x; inner loops prefetch it step by step.
  template <class Word>
  const Word* behind(const Word* x) const {
    return x + distance_;
  }
  static QWEN3VL_INLINE void ask(const void* p) { __builtin_prefetch(p, 0, 2); }

 private:
  static constexpr index_t line = 64;
  const char* at_;
  const char* end_;
  index_t share_;  ///< lines per tile
  index_t rows_, row_ = 0;
  index_t distance_ = 0;
  Places places_;
};

/// Calls f(constant R) with R = rows, 1 <= rows <= tile_rows, so that each number of rows has a kernel.
template <int R = tile_rows, class F>
QWEN3VL_INLINE void with_rows(index_t rows, F&& f) {
  if constexpr (R > 1) {
    if (rows < R) return with_rows<R - 1>(rows, f);
  }
  f(std::integral_constant<int, R>{});
}

/// Prefetch distance for weights in bytes, into the L2 cache. Far enough to cover memory latency, yet near enough not
/// to disable the hardware prefetcher, which stops when it sees only lines that were requested before: Zen 4 slows down
/// from 2048 bytes on, Zen 5 below 1536.
inline constexpr index_t weights_ahead = 1536;

}  // namespace qwen3vl::cpu_kernels
