/// The mixture of experts on the CPU: feed-forward products over tokens grouped by expert.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/products/product.hpp"

namespace qwen3vl {

/// E weight matrices of one shape, each packed like any other.
template <class W, index_t E, index_t N, index_t K, Packing packing>
class CpuExperts {
 public:
  using Weight = W;
  using Matrix = CpuMatrix<W, N, K, packing>;

  CpuExperts() : experts_(static_cast<std::size_t>(E)) {}

  std::size_t bytes() const { return static_cast<std::size_t>(E) * experts_.front().bytes(); }
  bool allocated() const { return experts_.front().allocated(); }
  void allocate() {
    for (Matrix& expert : experts_) expert.allocate();
  }
  template <class F>
  void visit_memory(F&& f) {
    for (Matrix& expert : experts_) expert.visit_memory(f);
  }
  /// Of `stored` weights, before allocate(): what load_expert will be given. All experts are stored alike.
  void expect_expert(index_t e, const RawTensor& raw, bool transposed) requires(std::is_same_v<W, stored>) {
    if (transposed ? raw.row_size() != N : raw.rows() != N) fail("an expert of ", N, " rows is one tensor");
    experts_[static_cast<std::size_t>(e)].expect_rows(0, raw, transposed);
  }
  std::string forms() const requires(std::is_same_v<W, stored>) { return experts_.front().forms(); }
  std::string_view form_of(index_t /*n*/) const requires(std::is_same_v<W, stored>) {
    return experts_.front().form_of(0);
  }
  /// Expert e from [N, K], or from [K, N] if `transposed`.
  void load_expert(Context<Cpu>& ctx, index_t e, const RawTensor& raw, bool transposed) {
    Matrix& expert = experts_[static_cast<std::size_t>(e)];
    if (transposed) {
      expert.load_transposed(ctx, raw);
    } else {
      expert.load_rows(ctx, 0, raw);
    }
  }
  /// Gives expert e back, [N, K].
  template <std::same_as<stored_weight_t<W>> Stored>
  void store_expert(Context<Cpu>& ctx, index_t e, std::span<Stored> to) const {
    (*this)[e].store_rows(ctx, 0, to);
  }
  const Matrix& operator[](index_t e) const { return experts_[static_cast<std::size_t>(e)]; }

 private:
  std::vector<Matrix> experts_;
};

namespace cpu_kernels {

/// The tokens of one expert that has any: slots [begin, begin + rows) of the grouped order.
struct ExpertGroup {
  index_t expert;
  index_t begin;
  index_t rows;
  index_t place;  // first row in buffers whose groups are packed

  /// Rows are packed in tiles unless the product streams.
  bool packed() const { return rows > streaming_rows; }
};

/// One (token, choice) pair of the routing.
struct ExpertSlot {
  std::int32_t token;
  float weight;
};

/// Tokens grouped by expert, in ascending order of both, so that a token's sum over its experts has the same order in
/// every batch.
struct ExpertPlan {
  std::vector<ExpertGroup> groups;
  std::vector<ExpertSlot> slots;
  index_t packed_rows = 0;
  std::vector<std::int32_t> tiles;  // group of each tile of rows, to divide the packing among threads

  /// `tile`: rows per tile of the products, for x and for the intermediate activations.
  template <index_t TopK>
  ExpertPlan(index_t expert_count, index_t tile, View<const std::int32_t, Cpu, dynamic, TopK> experts,
             View<const float, Cpu, dynamic, TopK> weights)
      : slots(static_cast<std::size_t>(experts.size())) {
    std::vector<index_t> next(static_cast<std::size_t>(expert_count) + 1, 0);
    for (const std::int32_t e : experts.span()) ++next[static_cast<std::size_t>(e) + 1];
    for (index_t e = 0; e < expert_count; ++e) {
      const auto i = static_cast<std::size_t>(e);
      const index_t rows = next[i + 1];
      next[i + 1] += next[i];
      if (rows == 0) continue;
      const ExpertGroup group{.expert = e, .begin = next[i], .rows = rows, .place = packed_rows};
      const index_t group_tiles = (rows + tile - 1) / tile;
      tiles.insert(tiles.end(), static_cast<std::size_t>(group_tiles), static_cast<std::int32_t>(groups.size()));
      packed_rows += group.packed() ? group_tiles * tile : rows;
      groups.push_back(group);
    }
    for (index_t t = 0; t < experts.rows(); ++t)
      for (index_t j = 0; j < TopK; ++j)
        slots[static_cast<std::size_t>(next[static_cast<std::size_t>(experts(t, j))]++)] = {
            .token = static_cast<std::int32_t>(t), .weight = weights(t, j)};
  }

  /// Rows of the largest group.
  index_t most_rows() const {
    index_t most = 0;
    for (const ExpertGroup& group : groups) most = std::max(most, group.rows);
    return most;
  }

  /// Packs the rows of tile `i` for the products; source(slot) is a row [K].
  template <class Panels, class Source>
  void pack_tile(const Panels& panels, std::size_t i, const Source& source, typename Panels::Rows::Word* packed) const {
    const auto g = static_cast<std::size_t>(tiles[i]);
    const ExpertGroup& group = groups[g];
    const auto first_of_group = std::lower_bound(tiles.begin(), tiles.end(), tiles[i]) - tiles.begin();
    constexpr index_t tile_rows = Panels::Rows::tile_rows;
    const index_t first = (static_cast<index_t>(i) - first_of_group) * tile_rows;
    panels.pack([&](index_t r) { return source(group.begin + first + r); },
                std::min<index_t>(tile_rows, group.rows - first), group.packed(),
                packed + (group.place + first) * panels.row_words());
  }
};

/// The panels of expert e; `Kernels` are those of `stored` weights.
template <class Kernels, class Matrices>
struct ExpertPanels {
  const Matrices& experts;

  auto operator()(index_t e) const {
    if constexpr (std::is_same_v<typename Matrices::Weight, stored>) {
      return section_panels<Kernels>(experts[e], experts[e].sections().front());
    } else {
      return all_panels(experts[e]);
    }
  }
};

/// f(ExpertPanels). Of `stored` weights each expert is one section.
template <class W, index_t E, index_t N, index_t K, Packing packing, class F>
void for_expert_panels(const CpuExperts<W, E, N, K, packing>& experts, const F& f) {
  using Matrices = CpuExperts<W, E, N, K, packing>;
  if constexpr (std::is_same_v<W, stored>) {
    const StoredSection& first = experts[0].sections().front();
    for (index_t e = 1; e < E; ++e)
      if (is_float_form(experts[e].sections().front().form) != is_float_form(first.form))
        fail("of the experts of a layer some are stored as integers, some as floating numbers");
    for_kernels(first, [&]<class Kernels>(Kernels) { f(ExpertPanels<Kernels, Matrices>{experts}); });
  } else {
    f(ExpertPanels<void, Matrices>{experts});
  }
}

/// expert_mlp() with the panels of both products. Each thread computes a share of every expert's outputs, so that work
/// is balanced however the tokens are distributed, and each part of y is written by one thread only.
template <index_t TopK, class W, index_t E, index_t N, index_t D, index_t I, class GateUpPanels, class DownPanels>
void multiply_experts(Context<Cpu>& ctx, View<const float, Cpu, dynamic, D> x,
                      View<const std::int32_t, Cpu, dynamic, TopK> experts,
                      View<const float, Cpu, dynamic, TopK> weights, const GateUpPanels& gate_up_panels,
                      const DownPanels& down_panels, View<float, Cpu, dynamic, D> y) {
  const auto any_gate_up = gate_up_panels(0);  // for what experts have in common
  const auto any_down = down_panels(0);
  using RowsX = typename std::invoke_result_t<GateUpPanels, index_t>::Rows;
  using RowsActivated = typename std::invoke_result_t<DownPanels, index_t>::Rows;
  const index_t x_words = any_gate_up.row_words(), activated_words = any_down.row_words();
  const ExpertPlan plan(E, RowsX::tile_rows, experts, weights);
  auto packed_x = ctx.template scratch<typename RowsX::Word, dynamic, dynamic>(plan.packed_rows, x_words);
  auto activated = ctx.template scratch<float, dynamic, I>(static_cast<index_t>(plan.slots.size()));  // [slots, I]
  auto packed_activated =
      ctx.template scratch<typename RowsActivated::Word, dynamic, dynamic>(plan.packed_rows, activated_words);
  const Finish<W, N, D, Packing::gate_up, epilogue::SwiGlu> swiglu{nullptr};
  const Finish<W, D, I, Packing::plain, epilogue::Add> add{nullptr};
  const auto tiles = static_cast<index_t>(plan.tiles.size());
  const bool worth = static_cast<index_t>(plan.slots.size()) * D * I > 65536;
  const int threads = worth ? ctx.backend().threads() : 1;
  auto sums = ctx.template scratch<float, dynamic, dynamic>(threads, sums_size<RowsX>(plan.most_rows()));
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const index_t team = omp_get_num_threads(), me = omp_get_thread_num();
#pragma omp for schedule(static)
    for (index_t i = 0; i < tiles; ++i)
      plan.pack_tile(
          any_gate_up, static_cast<std::size_t>(i),
          [&](index_t slot) { return x.data() + plan.slots[static_cast<std::size_t>(slot)].token * D; },
          packed_x.data());
    constexpr index_t gate_panels = CpuMatrix<W, N, D, Packing::gate_up>::panels;
    for (const ExpertGroup& group : plan.groups)
      panels_of_rows(gate_up_panels(group.expert), packed_x.data() + group.place * x_words, group.rows,
                     gate_panels * me / team, gate_panels * (me + 1) / team, sums.data() + me * sums.row_size(),
                     [&](index_t p, Floats z0, Floats z1, index_t row) {
                       swiglu(p, z0, z1, activated.data() + (group.begin + row) * I);
                     });
#pragma omp barrier
#pragma omp for schedule(static)
    for (index_t i = 0; i < tiles; ++i)
      plan.pack_tile(
          any_down, static_cast<std::size_t>(i), [&](index_t slot) { return activated.data() + slot * I; },
          packed_activated.data());
    constexpr index_t out_panels = CpuMatrix<W, D, I, Packing::plain>::panels;
    for (const ExpertGroup& group : plan.groups)
      panels_of_rows(down_panels(group.expert), packed_activated.data() + group.place * activated_words, group.rows,
                     out_panels * me / team, out_panels * (me + 1) / team, sums.data() + me * sums.row_size(),
                     [&](index_t p, Floats z0, Floats z1, index_t row) {
                       const ExpertSlot& slot = plan.slots[static_cast<std::size_t>(group.begin + row)];
                       const Floats weight = simd::splat(slot.weight);
                       add(p, z0 * weight, z1 * weight, y.data() + slot.token * D);
                     });
  }
}

}  // namespace cpu_kernels

/// See backend/contract/ops.hpp.
template <index_t TopK, class W, index_t E, index_t N, index_t D, index_t I>
void expert_mlp(Context<Cpu>& ctx, std::type_identity_t<View<const float, Cpu, dynamic, D>> x,
                std::type_identity_t<View<const std::int32_t, Cpu, dynamic, TopK>> experts,
                std::type_identity_t<View<const float, Cpu, dynamic, TopK>> weights,
                const CpuExperts<W, E, N, D, Packing::gate_up>& gate_up,
                const CpuExperts<W, E, D, I, Packing::plain>& down,
                std::type_identity_t<View<float, Cpu, dynamic, D>> y) {
  static_assert(N == 2 * I, "an expert has as many gates as ups");
  using namespace cpu_kernels;
  if (x.rows() == 0) return;
  const TraceScope scope(ctx.trace(), [&] {
    return traced::expert_mlp(traced::type_name<W>(), x.rows(), E, D, I, experts.span(),
                              gate_up[0].bytes() + down[0].bytes());
  });
  for_expert_panels(gate_up, [&](const auto& gate_up_panels) {
    for_expert_panels(down, [&](const auto& down_panels) {
      multiply_experts<TopK, W, E, N, D, I>(ctx, x, experts, weights, gate_up_panels, down_panels, y);
    });
  });
}

}  // namespace qwen3vl
