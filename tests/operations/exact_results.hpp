/// How `Exact` computes what the table expects. Eigen takes a second or two to compile for each shape: where one table
/// is compiled several times, these functions are compiled once (tests/backend/exact_shapes.cpp); elsewhere a test
/// includes this header.
#pragma once

#include <algorithm>
#include <span>

#include "operations/cache.hpp"
#include "operations/products.hpp"
#include "operations/rows.hpp"
#include "qwen3vl/backend/eigen.hpp"

namespace operations {

template <class Operation>
Results exact_results(const Operation& operation) {
  Exact backend;
  Context<Exact> ctx(backend);
  typename Operation::template Operands<Exact> operands(ctx, operation);
  operands.call(ctx);
  return operands.results(ctx);
}

/// Puts float weights into the reference's matrix, which keeps them as they are.
void fill_matrix(auto& matrix, const float* weights) {
  matrix.allocate();
  matrix.visit_memory([&](std::span<std::byte> memory) { std::memcpy(memory.data(), weights, memory.size()); });
}

template <index_t N, index_t K, class E>
std::vector<double> exact_linear(index_t rows, const std::vector<float>& x, const std::vector<float>& weights,
                                 const std::vector<float>& bias, std::vector<double> y) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  Exact backend;
  Context<Exact> ctx(backend);
  ReferenceMatrix<float, N, K, gated ? Packing::gate_up : Packing::plain> matrix;
  fill_matrix(matrix, weights.data());
  const std::vector<double> wide(x.begin(), x.end());
  linear(ctx, View<const double, Host, dynamic, K>(wide.data(), rows), matrix,
         bias.empty() ? View<const float, Host, N>() : View<const float, Host, N>(bias.data()),
         View<double, Host, dynamic, epilogue::width<E, N>>(y.data(), rows), E{});
  return y;
}
template <index_t E, index_t TopK, index_t D, index_t I>
std::vector<double> exact_expert_mlp(index_t tokens, const std::vector<float>& x,
                                     const std::vector<std::int32_t>& experts, const std::vector<float>& shares,
                                     const std::vector<float>& gate_up_values, const std::vector<float>& down_values,
                                     std::vector<double> y) {
  Exact backend;
  Context<Exact> ctx(backend);
  ReferenceExperts<float, E, 2 * I, D, Packing::gate_up> gate_up;
  ReferenceExperts<float, E, D, I, Packing::plain> down;
  const auto fill = [](auto& matrices, const float* values) {
    matrices.allocate();
    matrices.visit_memory([&](std::span<std::byte> memory) {
      std::memcpy(memory.data(), values, memory.size());
      values += memory.size() / sizeof(float);
    });
  };
  fill(gate_up, gate_up_values.data());
  fill(down, down_values.data());
  const std::vector<double> wide(x.begin(), x.end());
  expert_mlp<TopK>(ctx, View<const double, Host, dynamic, D>(wide.data(), tokens),
                   View<const std::int32_t, Host, dynamic, TopK>(experts.data(), tokens),
                   View<const float, Host, dynamic, TopK>(shares.data(), tokens), gate_up, down,
                   View<double, Host, dynamic, D>(y.data(), tokens));
  return y;
}

template <index_t H, index_t D>
Results exact_attention(Part part, const Segments& segments, const std::vector<float>& qkv,
                        std::vector<float> weights) {
  Exact backend;
  Context<Exact> ctx(backend);
  const std::vector<double> wide(qkv.begin(), qkv.end());
  const View<const double, Host, dynamic, 3 * H * D> in(wide.data(), segments.total());
  std::vector<double> result(static_cast<std::size_t>(segments.total() * H * D));
  const View<double, Host, dynamic, H * D> out(result.data(), segments.total());
  if (part == Part::attention) attention<H, D>(ctx, in, segments, out);
  float* place = weights.data();
  for (index_t s = 0; s < segments.count() && part != Part::attention; ++s) {
    const View<float, Host, H, dynamic, dynamic> view(place, segments.length(s), segments.length(s));
    if (part == Part::weights) attention_weights<H, D>(ctx, in, segments, s, view);
    if (part == Part::values) weighted_values<H, D>(ctx, view, in, segments, s, out);
    place += view.size();
  }
  if (part == Part::weights) result.assign(weights.begin(), weights.end());
  return {result};
}

template <index_t H, index_t K, index_t D>
Results exact_causal(Part part, const Segments& segments, const std::vector<float>& qkv,
                     const std::vector<std::vector<float>>& keys, const std::vector<std::vector<float>>& values,
                     std::vector<float> weights) {
  Exact backend;
  Context<Exact> ctx(backend);
  HostKvCache<double, 1, K, D> cache(segments.count());
  std::vector<index_t> past, fresh;
  for (index_t s = 0; s < segments.count(); ++s) {
    fresh.push_back(segments.length(s));
    past.push_back(static_cast<index_t>(keys[static_cast<std::size_t>(s)].size()) / (K * D) - fresh.back());
  }
  cache.prepare(past);
  cache.commit();
  cache.prepare(fresh);
  const auto layer = cache.layer(0);
  for (std::size_t s = 0; s < keys.size(); ++s)
    for (index_t h = 0; h < K && !keys[s].empty(); ++h) {
      const index_t count = (past[s] + fresh[s]) * D;
      std::copy_n(keys[s].data() + h * count, count, layer.keys(static_cast<index_t>(s), h));
      std::copy_n(values[s].data() + h * count, count, layer.values(static_cast<index_t>(s), h));
    }
  const std::vector<double> wide(qkv.begin(), qkv.end());
  const View<const double, Host, dynamic, (H + 2 * K) * D> in(wide.data(), segments.total());
  std::vector<double> result(static_cast<std::size_t>(segments.total() * H * D));
  const View<double, Host, dynamic, H * D> out(result.data(), segments.total());
  if (part == Part::attention) causal_attention<H, K, D>(ctx, in, segments, layer, out);
  float* place = weights.data();
  for (index_t s = 0; s < segments.count() && part != Part::attention; ++s) {
    const auto i = static_cast<std::size_t>(s);
    const View<float, Host, H, dynamic, dynamic> view(place, fresh[i], past[i] + fresh[i]);
    if (part == Part::weights) attention_weights<H, K, D>(ctx, in, segments, layer, s, view);
    if (part == Part::values) weighted_values<H, K, D>(ctx, view, segments, layer, s, out);
    place += view.size();
  }
  if (part == Part::weights) result.assign(weights.begin(), weights.end());
  return {result};
}

}  // namespace operations
