/// CPU kernels for products with `stored` weights that are floating numbers (see product.hpp): the kernels of float
/// weights, compiled once per form rather than per shape, and chosen at run time.
#pragma once

#include <algorithm>

#include "qwen3vl/backend/cpu/products/float_product.hpp"
#include "qwen3vl/backend/cpu/weights/stored_form.hpp"

namespace qwen3vl::cpu_kernels {

/// The floating numbers of `StoredForm`, in place of a weight type.
struct stored_floats {};

/// Weights of `depth` columns of an e4m3 panel, from a chunk's beginning on, as floats [depth][panel_rows].
template <class Panels>
[[gnu::noinline, gnu::flatten]] void widen_e4m3(const std::byte* chunk, index_t depth, float* to) {
  for (index_t first = 0; first < depth; first += Panels::chunk_columns, chunk += Panels::chunk_bytes) {
    const Floats scale0 = simd::load(reinterpret_cast<const float*>(chunk));
    const Floats scale1 = simd::load(reinterpret_cast<const float*>(chunk) + simd::width);
    const std::byte* q = chunk + Panels::scale_bytes;
    for (index_t k = first; k < std::min(depth, first + Panels::chunk_columns); ++k, q += panel_rows) {
      simd::store(to + k * panel_rows, load_e4m3(q) * scale0);
      simd::store(to + k * panel_rows + simd::width, load_e4m3(q + simd::width) * scale1);
    }
  }
}

/// Blocked product with a form of floats.
template <index_t K>
class BlockedStoredFloats {
 public:
  static constexpr index_t steps = K, most_steps = depth_block, step_words = 1;
  explicit BlockedStoredFloats(StoredForm form) : form_(form) {}

  void operator()(const std::byte* columns, PanelPart part, const float* x, index_t rows, float* sums,
                  const ReadAhead& ahead) {
    const bool first = part.first == 0;
    visit_float_form(form_, [&]<class T>(T) {
      if constexpr (requires { typename T::Panels; }) {
        widen_e4m3<typename T::Panels>(columns, part.steps, wide_);
        multiply_rows<float>(part.steps, x, K, rows, wide_, nullptr, first, sums, ahead);
      } else {
        using W = typename T::Element;
        multiply_rows<W>(part.steps, x, K, rows, reinterpret_cast<const W*>(columns), wide_, first, sums, ahead);
      }
    });
  }

 private:
  StoredForm form_;
  alignas(64) float wide_[depth_block * panel_rows];
};

/// C panels for R rows x [R][columns].
template <int R, int C, class T>
[[gnu::noinline, gnu::flatten]] void stream_stored_floats(const std::byte* const (&panels)[C], index_t columns,
                                                          const float* x, Tile<R, 2> (&tiles)[C]) {
  Tile<R, 2> sums[C];
  simd::unroll<C>([&](auto c) { sums[c].clear(); });
  if constexpr (requires { typename T::Panels; }) {
    using Panels = typename T::Panels;
    for (index_t first = 0, chunk = 0; first < columns; first += Panels::chunk_columns, chunk += Panels::chunk_bytes)
      for (index_t k = first; k < std::min(columns, first + Panels::chunk_columns); ++k)
        simd::unroll<C>([&](auto c) {
          const std::byte* const q = panels[c] + chunk + Panels::scale_bytes + (k - first) * panel_rows;
          if ((k & 1) == 0 || panel_rows > 32) __builtin_prefetch(q + 1536, 0, 2);
          const auto* const scales = reinterpret_cast<const float*>(panels[c] + chunk);
          const Floats weights[2] = {load_e4m3(q) * simd::load(scales),
                                     load_e4m3(q + simd::width) * simd::load(scales + simd::width)};
          simd::unroll<R>([&](auto r) {
            const Floats value = simd::splat(x[r * columns + k]);
            simd::unroll<2>([&](auto half) { sums[c].sums[r][half] += value * weights[half]; });
          });
        });
  } else {
    using W = typename T::Element;
    for (index_t k = 0; k < columns; ++k)
      simd::unroll<C>([&](auto c) {
        multiply_add(sums[c], 1, x + k, columns, 0, reinterpret_cast<const W*>(panels[c]) + k * panel_rows, index_t{0});
      });
  }
  simd::unroll<C>([&](auto c) { tiles[c] = sums[c]; });
}

/// Streamed product of R rows, several panels at a time as in StreamedFloats.
template <int R, index_t K>
struct StreamedStoredFloats {
  static constexpr int together = R == 1 ? 4 : R == 2 ? 2 : 1;
  StoredForm form;

  template <int C>
  void operator()(const std::byte* const (&panels)[C], const float* x, Tile<R, 2> (&tiles)[C]) const {
    visit_float_form(form, [&]<class T>(T) { stream_stored_floats<R, C, T>(panels, K, x, tiles); });
  }
};

}  // namespace qwen3vl::cpu_kernels
