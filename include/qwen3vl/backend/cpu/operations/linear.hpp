/// linear() and the embedding on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/products/product.hpp"

namespace qwen3vl {

namespace cpu_kernels {

/// linear() for panels of a matrix.
template <class Panels, class F>
void multiply_panels(Context<Cpu>& ctx, const Panels& weight, const float* x, index_t rows, const F& finish, float* y,
                     index_t y_stride) {
  const index_t K = weight.columns(), words = weight.row_words(), panels = weight.end - weight.first;
  // Below about 2^16 multiply-adds, starting a thread costs more than it saves.
  const bool worth = rows * weight.rows() * K > 65536;
  const int threads = worth ? static_cast<int>(std::min<index_t>(ctx.backend().threads(), panels)) : 1;
  const auto share = [&](index_t i, index_t team) { return weight.first + panels * i / team; };

  using Rows = typename Panels::Rows;
  using Word = typename Rows::Word;

  if (rows <= streaming_rows) {
    // Float rows need no packing; other rows are few enough to be packed by one thread.
    auto rounded = ctx.template scratch<Word, dynamic, dynamic>(std::is_same_v<Word, float> ? 0 : rows, words);
    const Word* packed = nullptr;
    if constexpr (std::is_same_v<Word, float>) {
      packed = x;
    } else {
      weight.pack([&](index_t r) { return x + r * K; }, rows, false, rounded.data());
      packed = rounded.data();
    }
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      const index_t team = omp_get_num_threads(), me = omp_get_thread_num();
      panels_of_rows(weight, packed, rows, share(me, team), share(me + 1, team), nullptr,
                     FinishRows{finish, y, y_stride});
    }
    return;
  }

  const RowShares<Rows> shares(rows, threads);
  const index_t block = shares.block;
  auto packed = ctx.template scratch<Word, dynamic, dynamic>(shares.packed_rows(), words);
  auto sums = ctx.template scratch<float, dynamic, dynamic>(threads, sums_size<Rows>(block));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    // One loop for both ways of sharing, so that the product is compiled once.
    const index_t team = omp_get_num_threads(), me = omp_get_thread_num();
    const bool own = shares.own_rows;
    Word* const tiles = packed.data() + (own ? me * block * words : 0);
    const index_t end = own ? rows * (me + 1) / team : rows;
    for (index_t row = own ? rows * me / team : 0; row < end; row += block) {
      const index_t count = std::min(block, end - row);
      for (index_t i = own ? 0 : me * Rows::tile_rows; i < count; i += (own ? 1 : team) * Rows::tile_rows)
        weight.pack([&](index_t r) { return x + (row + i + r) * K; }, std::min<index_t>(Rows::tile_rows, count - i),
                    true, tiles + i * words);
      if (!own) {
#pragma omp barrier
      }
      blocked_product(weight, tiles, count, own ? weight.first : share(me, team),
                      own ? weight.end : share(me + 1, team), sums.data() + me * sums.row_size(),
                      FinishRows{finish, y + row * y_stride, y_stride});
      if (!own && row + block < rows) {  // the next rows overwrite those being read
#pragma omp barrier
      }
    }
  }
}

}  // namespace cpu_kernels

/// See backend/contract/ops.hpp. A row's result does not depend on the other rows, to the last bit.
template <class W, index_t N, index_t K, Packing packing, class E>
void linear(Context<Cpu>& ctx, std::type_identity_t<View<const float, Cpu, dynamic, K>> x,
            const CpuMatrix<W, N, K, packing>& weight, std::type_identity_t<View<const float, Cpu, N>> bias,
            std::type_identity_t<View<float, Cpu, dynamic, epilogue::width<E, N>>> y, E) {
  static_assert((packing == Packing::gate_up) == std::is_same_v<E, epilogue::SwiGlu>,
                "epilogue::SwiGlu goes with Packing::gate_up, the others with Packing::plain");
  using namespace cpu_kernels;
  constexpr index_t y_stride = epilogue::width<E, N>;
  const Finish<W, N, K, packing, E> finish{bias.data()};
  const TraceScope scope(ctx.trace(), [&] {
    return traced::linear(traced::type_name<W>(), x.rows(), N, K, y_stride, std::is_same_v<E, epilogue::Add>,
                          weight.bytes());
  });
  if (x.rows() == 0) return;
  if constexpr (std::is_same_v<W, stored>) {
    for (const StoredSection& section : weight.sections())
      for_kernels(section, [&]<class Kernels>(Kernels) {
        multiply_panels(ctx, section_panels<Kernels>(weight, section), x.data(), x.rows(), AnyFinish(finish), y.data(),
                        y_stride);
      });
  } else {
    multiply_panels(ctx, all_panels(weight), x.data(), x.rows(), finish, y.data(), y_stride);
  }
}

/// Rows of the table; ids are checked by the caller.
template <class W, index_t N, index_t K>
void embedding(Context<Cpu>& ctx, View<const std::int32_t, Cpu, dynamic> ids,
               const CpuMatrix<W, N, K, Packing::plain>& table, std::type_identity_t<View<float, Cpu, dynamic, K>> y) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("embedding", ids.rows(), K, K); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (ids.rows() > 8)
  for (index_t i = 0; i < ids.rows(); ++i) table.read_row(ids(i), y.data() + i * K);
}

}  // namespace qwen3vl
