/// Row operations on the CPU: embedding, scatter, gather, additions, copies to and from the host.
#pragma once

#include <algorithm>
#include <cstdint>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/weights/matrix.hpp"

namespace qwen3vl {

namespace cpu_kernels {
using ConstRows = View<const float, Cpu, dynamic, dynamic>;
using Rows = View<float, Cpu, dynamic, dynamic>;
using RowIndex = View<const std::int32_t, Cpu, dynamic>;
}  // namespace cpu_kernels

template <class W, index_t N, index_t K>
void embedding(Context<Cpu>& ctx, View<const std::int32_t, Cpu, dynamic> ids,
               const CpuMatrix<W, N, K, Packing::plain>& table, std::type_identity_t<View<float, Cpu, dynamic, K>> y) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("embedding", ids.rows(), K, K); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (ids.rows() > 8)
  for (index_t i = 0; i < ids.rows(); ++i) table.read_row(ids(i), y.data() + i * K);
}

inline void interpolate_add(Context<Cpu>& ctx, cpu_kernels::ConstRows table,
                            View<const std::int32_t, Cpu, dynamic, 4> indices,
                            View<const float, Cpu, dynamic, 4> weights, cpu_kernels::Rows y) {
  const index_t columns = y.extent(1);
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("interpolate_add", y.rows(), 5 * columns, columns, 1.6); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (y.size() > 65536)
  for (index_t row = 0; row < y.rows(); ++row) {
    const float* corner[4];
    for (index_t j = 0; j < 4; ++j) corner[j] = table.data() + indices(row, j) * columns;
    const float w0 = weights(row, 0), w1 = weights(row, 1), w2 = weights(row, 2), w3 = weights(row, 3);
    float* const to = y.data() + row * columns;
    for (index_t i = 0; i < columns; ++i)
      to[i] += corner[0][i] * w0 + corner[1][i] * w1 + corner[2][i] * w2 + corner[3][i] * w3;
  }
}

inline void scatter_rows(Context<Cpu>& ctx, cpu_kernels::ConstRows rows, cpu_kernels::RowIndex index,
                         cpu_kernels::Rows y) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("scatter_rows", index.rows(), y.extent(1), y.extent(1)); });
  for (index_t i = 0; i < index.rows(); ++i)
    std::copy_n(rows.data() + i * y.extent(1), y.extent(1), y.data() + index(i) * y.extent(1));
}

inline void add_rows(Context<Cpu>& ctx, cpu_kernels::ConstRows rows, cpu_kernels::RowIndex index, cpu_kernels::Rows y) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("add_rows", index.rows(), 2 * y.extent(1), y.extent(1), 0.5); });
  const index_t columns = y.extent(1);
  for (index_t i = 0; i < index.rows(); ++i) {
    const float* const from = rows.data() + i * columns;
    float* const to = y.data() + index(i) * columns;
    for (index_t c = 0; c < columns; ++c) to[c] += from[c];
  }
}

inline void gather_rows(Context<Cpu>& ctx, cpu_kernels::ConstRows x, cpu_kernels::RowIndex index, cpu_kernels::Rows y) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("gather_rows", index.rows(), y.extent(1), y.extent(1)); });
  for (index_t i = 0; i < index.rows(); ++i)
    std::copy_n(x.data() + index(i) * y.extent(1), y.extent(1), y.data() + i * y.extent(1));
}

inline void copy_rows(Context<Cpu>& ctx, cpu_kernels::ConstRows x, cpu_kernels::Rows y) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("copy_rows", y.rows(), y.extent(1), y.extent(1)); });
  std::copy_n(x.data(), x.size(), y.data());
}

/// CPU memory is host memory: both directions are one copy, with a conversion if the types differ.
template <class T, class U, index_t... E, index_t... F>
void copy_to_host(Context<Cpu>& ctx, View<T, Cpu, E...> from, View<U, Cpu, F...> to) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("copy", from.size(), 1, 1); });
  if (from.size() != to.size()) fail("copying ", from.size(), " elements to ", to.size());
  std::transform(from.data(), from.data() + from.size(), to.data(), [](auto value) { return static_cast<U>(value); });
}
template <class T, class U, index_t... E, index_t... F>
void copy_from_host(Context<Cpu>& ctx, View<T, Cpu, E...> from, View<U, Cpu, F...> to) {
  copy_to_host(ctx, from, to);
}

}  // namespace qwen3vl
