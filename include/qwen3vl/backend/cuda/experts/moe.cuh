/// The mixture-of-experts feed-forward on the device: plan, gate and up products, down products, and each token's
/// weighted sum.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/experts/expert_plan.cuh"
#include "qwen3vl/backend/cuda/experts/expert_product.cuh"
#include "qwen3vl/backend/cuda/experts/experts.cuh"
#include "qwen3vl/backend/cuda/experts/f8_blocks_experts.cuh"
#include "qwen3vl/backend/cuda/experts/f8_experts.cuh"
#include "qwen3vl/backend/cuda/experts/router.cuh"
#include "qwen3vl/backend/cuda/experts/stored_experts.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

namespace qwen3vl {
namespace cuda {

/// y[t] += sum_j weights[t, j] z[slot of choice j of t], in the order of the choices. Limited by memory: z is read
/// once.
template <class T, int D, int TopK>
__global__ void __launch_bounds__(256)
    expert_sum_kernel(const T* z, ExpertPlan plan, const float* weights, T* y, std::int64_t vectors) {
  constexpr int width = vector_width<T, D>, row_vectors = D / width;
  take_turn();
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (at >= vectors) return;
  const std::int64_t token = at / row_vectors;
  const int column = static_cast<int>(at % row_vectors) * width;
  float sum[width] = {}, old[width];
#pragma unroll
  for (int j = 0; j < TopK; ++j) {
    const float weight = weights[token * TopK + j];
    float values[width];
    load_floats<width>(z + static_cast<std::int64_t>(plan.slot(token * TopK + j)) * D + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) sum[i] = fmaf(weight, values[i], sum[i]);
  }
  load_floats<width>(y + token * D + column, old);
#pragma unroll
  for (int i = 0; i < width; ++i) old[i] += sum[i];
  store_floats<width>(y + token * D + column, old);
}

/// f(tiling) with the tiling for so many rows per expert on average; see expert_product.cuh.
template <bool tensor_cores, class F>
void with_expert_tiling(index_t slots, index_t experts, F&& f) {
  if constexpr (!tensor_cores) {
    f(ExpertFmaTiling{});
  } else if (slots <= 8 * experts) {
    f(SmallTiling{});
  } else if (slots <= 64 * experts) {
    f(MediumTiling{});
  } else {
    f(LargeTiling{});
  }
}

/// One product over all tiles; see expert_mma_kernel.
template <class Chosen, int Choices, class W, index_t E, index_t N, index_t K, Packing packing>
void expert_product(Context<Cuda>& ctx, const operand_t<W>* x, const ExpertPlan& plan,
                    const CudaExperts<W, E, N, K, packing>& w, index_t tile_count, operand_t<W>* y) {
  // Sums by blocks of columns take as many registers again, which the medium tiling does not have.
  constexpr bool square = std::is_same_v<W, fp8_blocks> && std::is_same_v<Chosen, MediumTiling>;
  using Tiling = std::conditional_t<square, SquareTiling, Chosen>;
  static_assert(Tiling::rows == Chosen::rows, "the plan is of tiles of so many rows");
  constexpr bool gated = packing == Packing::gate_up;
  constexpr index_t outputs = gated ? N / 2 : N, block_outputs = gated ? Tiling::columns / 2 : Tiling::columns;
  const unsigned blocks = blocks_for(tile_count * ceil_div(outputs, block_outputs), 1);
  if constexpr (std::is_same_v<Tiling, ExpertFmaTiling>) {
    launch_early<typename Tiling::Shared>(ctx, expert_fma_kernel<W, gated, N, K, Choices>, blocks, Tiling::threads, x,
                                          plan, w.data(), y);
  } else {
    using Stored = std::remove_const_t<std::remove_pointer_t<decltype(w.data())>>;
    const float* scales = nullptr;
    if constexpr (std::is_same_v<W, fp8> || std::is_same_v<W, fp8_blocks>) scales = w.scales();
    launch_early<typename Tiling::template Shared<Stored>>(ctx, expert_mma_kernel<Tiling, Stored, gated, N, K, Choices>,
                                                           blocks, Tiling::threads, x, plan, w.data(), scales, y);
  }
}

/// Starts the kernel that fills a plan.
template <int E, int Warps>
void plan_experts(Context<Cuda>& ctx, const std::int32_t* choices, index_t slots, int tile_rows,
                  std::int32_t* choice_of_slot, std::int32_t* slot_of_choice, ExpertTile* tiles, index_t tile_count) {
  launch_early<ExpertPlanShared<E, Warps>>(ctx, expert_plan_kernel<E, Warps>, 1, Warps * warp_size, choices, slots,
                                           tile_rows, choice_of_slot, slot_of_choice, tiles, tile_count);
}

}  // namespace cuda

/// See backend/contract/ops.hpp. x and y are float for float weights and bf16 for all others; so are the
/// activated values and each expert's result in between, rounded once each. Scratch memory: tokens * TopK * (I + D) of
/// them.
template <index_t TopK, class W, class DownW, index_t E, index_t N, index_t D, index_t I>
requires(!std::is_same_v<W, stored>) void expert_mlp(
    Context<Cuda>& ctx, std::type_identity_t<View<const cuda::operand_t<W>, Cuda, dynamic, D>> x,
    std::type_identity_t<View<const std::int32_t, Cuda, dynamic, TopK>> experts,
    std::type_identity_t<View<const float, Cuda, dynamic, TopK>> weights,
    const CudaExperts<W, E, N, D, Packing::gate_up>& gate_up, const CudaExperts<DownW, E, D, I, Packing::plain>& down,
    std::type_identity_t<View<cuda::operand_t<W>, Cuda, dynamic, D>> y) {
  static_assert(N == 2 * I, "an expert has as many gates as ups");
  using T = cuda::operand_t<W>;
  static_assert(std::is_same_v<T, cuda::operand_t<DownW>>);
  const index_t slots = x.rows() * TopK;
  if (slots == 0) return;
  if (slots > 0x7fffffff) fail(x.rows(), " tokens with ", TopK, " experts each are too many for one pass");
  const bool planned = x.rows() > 1;
  auto choice_of_slot = ctx.scratch<std::int32_t, dynamic>(planned ? slots : 0);
  auto slot_of_choice = ctx.scratch<std::int32_t, dynamic>(planned ? slots : 0);
  auto activated = ctx.scratch<T, dynamic, I>(slots);  // [slots, I]
  auto results = ctx.scratch<T, dynamic, D>(slots);    // [slots, D]
  cuda::ExpertPlan plan{
      .choices = experts.data(), .choice_of_slot = nullptr, .slot_of_choice = nullptr, .tiles = nullptr};
  constexpr bool tensor_cores = std::is_same_v<T, bf16> && D % 8 == 0 && I % 8 == 0;
  cuda::with_expert_tiling<tensor_cores>(slots, E, [&](auto tiling) {
    using Tiling = decltype(tiling);
    const index_t tile_count = planned ? cuda::most_tiles(slots, E, Tiling::rows) : slots;
    auto tiles = ctx.scratch<cuda::ExpertTile, dynamic>(planned ? tile_count : 0);
    if (planned) {
      // One warp has the least latency, many are faster for many tokens.
      const auto start = slots <= 256 ? cuda::plan_experts<E, 1> : cuda::plan_experts<E, 16>;
      start(ctx, experts.data(), slots, Tiling::rows, choice_of_slot.data(), slot_of_choice.data(), tiles.data(),
            tile_count);
      plan.choice_of_slot = choice_of_slot.data();
      plan.slot_of_choice = slot_of_choice.data();
      plan.tiles = tiles.data();
    }
    cuda::expert_product<Tiling, TopK>(ctx, x.data(), plan, gate_up, tile_count, activated.data());
    cuda::expert_product<Tiling, 0>(ctx, activated.data(), plan, down, tile_count, results.data());
  });
  const index_t vectors = x.rows() * (D / cuda::vector_width<T, D>);
  cuda::launch_early(ctx, cuda::expert_sum_kernel<T, D, TopK>, cuda::blocks_for(vectors, 256), 256, results.data(),
                     plan, weights.data(), y.data(), vectors);
}

/// The same with what the weights of each product are.
template <index_t TopK, index_t E, index_t N, index_t D, index_t I>
void expert_mlp(Context<Cuda>& ctx, std::type_identity_t<View<const bf16, Cuda, dynamic, D>> x,
                std::type_identity_t<View<const std::int32_t, Cuda, dynamic, TopK>> experts,
                std::type_identity_t<View<const float, Cuda, dynamic, TopK>> weights,
                const CudaExperts<stored, E, N, D, Packing::gate_up>& gate_up,
                const CudaExperts<stored, E, D, I, Packing::plain>& down,
                std::type_identity_t<View<bf16, Cuda, dynamic, D>> y) {
  gate_up.visit([&](const auto& first) {
    down.visit([&](const auto& second) { expert_mlp<TopK>(ctx, x, experts, weights, first, second, y); });
  });
}

}  // namespace qwen3vl
