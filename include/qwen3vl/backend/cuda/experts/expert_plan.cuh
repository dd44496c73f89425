/// Which tokens go to which expert: the permutation that groups the rows of each expert. Planned on the device, so the
/// host never waits for the routing.
///
/// A slot is one (token, choice); slots are sorted by expert, then by token. The rows of an expert are cut into tiles,
/// one block of a product each. The number of tiles is known only on the device: products launch as many CUDA blocks as
/// there can be tiles, and those without one exit.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"

namespace qwen3vl::cuda {

/// Rows [first, first + rows) of the slots, all of one expert. rows = 0: no tile.
struct ExpertTile {
  std::int32_t expert, first, rows;
};

/// What products read of a plan. One token needs none: its choices are the slots, each a tile of its own (an expert is
/// chosen at most once per token). Then only `choices` is set, which spares decoding a kernel in every layer.
struct ExpertPlan {
  const std::int32_t* choices;         ///< [slots]
  const std::int32_t* choice_of_slot;  ///< [slots]
  const std::int32_t* slot_of_choice;  ///< [slots]
  const ExpertTile* tiles;

  __device__ __forceinline__ ExpertTile tile(int i) const {
    if (tiles != nullptr) return tiles[i];
    return {choices[i], i, 1};
  }
  __device__ __forceinline__ std::int32_t choice(int slot) const {
    return choice_of_slot != nullptr ? choice_of_slot[slot] : slot;
  }
  __device__ __forceinline__ std::int32_t slot(std::int64_t choice) const {
    return slot_of_choice != nullptr ? slot_of_choice[choice] : static_cast<std::int32_t>(choice);
  }
};

/// The most tiles of `tile_rows` rows that `slots` slots of at most E experts make: each expert has at most one that is
/// not full.
constexpr std::int64_t most_tiles(std::int64_t slots, std::int64_t experts, std::int64_t tile_rows) {
  return std::min(slots, slots / tile_rows + std::min(slots, experts));
}

/// Bits for E experts and "none".
template <int E>
inline constexpr int expert_bits = std::bit_width(static_cast<unsigned>(E));

template <int E, int Warps>
struct ExpertPlanShared {
  std::int32_t counts[Warps][E];  ///< slots of an expert in a warp's share; later, where the next one goes
  std::int32_t first_slot[E];
  std::int32_t first_tile[E + 1];
};

/// choices [slots]: the expert of each (token, choice). Gives choice_of_slot [slots], slot_of_choice [slots] and tiles
/// [tile_count]. A counting sort by one block: each warp has a run of choices and counters of its own, so that the
/// order does not depend on which warp is faster. Limited by latency (a decoded batch has one run of 32 choices).
template <int E, int Warps>
__global__ void __launch_bounds__(Warps* warp_size)
    expert_plan_kernel(const std::int32_t* choices, int slots, int tile_rows, std::int32_t* choice_of_slot,
                       std::int32_t* slot_of_choice, ExpertTile* tiles, int tile_count) {
  static_assert(E >= 1 && Warps >= 1 && Warps <= 32);
  static_assert(sizeof(ExpertPlanShared<E, Warps>) <= 227 * 1024, "so many experts need fewer warps");
  auto& shared = shared_memory<ExpertPlanShared<E, Warps>>();
  constexpr int threads = Warps * warp_size;
  take_turn();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  auto& counts = shared.counts[warp];
  const int share = ceil_div(ceil_div(slots, warp_size), Warps) * warp_size;  // whole rounds of 32 choices
  const int begin = min(slots, warp * share), end = min(slots, begin + share);

  for (int e = lane; e < E; e += warp_size) counts[e] = 0;
  __syncwarp();
  for (int i = begin + lane; i < end; i += warp_size) atomicAdd(&counts[choices[i]], 1);
  __syncthreads();

  for (int e = thread; e < E; e += threads) {  // counts become offsets within the expert
    std::int32_t total = 0;
    for (int w = 0; w < Warps; ++w) {
      const std::int32_t count = shared.counts[w][e];
      shared.counts[w][e] = total;
      total += count;
    }
    shared.first_slot[e] = total;
    shared.first_tile[e] = ceil_div(total, tile_rows);
  }
  __syncthreads();
  if (warp == 0) {  // offsets of the experts
    std::int32_t slot = 0, tile = 0;
    for (int first = 0; first < E; first += warp_size) {
      const int e = first + lane;
      std::int32_t rows = e < E ? shared.first_slot[e] : 0, own_tiles = e < E ? shared.first_tile[e] : 0;
      const std::int32_t own_rows = rows, single_tiles = own_tiles;
#pragma unroll
      for (int step = 1; step < warp_size; step *= 2) {
        const std::int32_t r = __shfl_up_sync(all_lanes, rows, static_cast<unsigned>(step));
        const std::int32_t t = __shfl_up_sync(all_lanes, own_tiles, static_cast<unsigned>(step));
        if (lane >= step) {
          rows += r;
          own_tiles += t;
        }
      }
      if (e < E) {
        shared.first_slot[e] = slot + rows - own_rows;
        shared.first_tile[e] = tile + own_tiles - single_tiles;
      }
      slot += __shfl_sync(all_lanes, rows, warp_size - 1);
      tile += __shfl_sync(all_lanes, own_tiles, warp_size - 1);
    }
    if (lane == 0) shared.first_tile[E] = tile;
  }
  __syncthreads();

  for (int e = thread; e < E; e += threads) {
    const std::int32_t first = shared.first_slot[e], next = e + 1 < E ? shared.first_slot[e + 1] : slots;
    ExpertTile* to = tiles + shared.first_tile[e];
    for (std::int32_t row = first; row < next; row += tile_rows) *to++ = {e, row, min(tile_rows, next - row)};
  }
  for (int i = shared.first_tile[E] + thread; i < tile_count; i += threads) tiles[i] = {0, 0, 0};

  for (int first = begin; first < end; first += warp_size) {
    const int i = first + lane;
    const std::int32_t e = i < end ? choices[i] : E;  // E: no expert
    unsigned same = all_lanes;                        // the lanes with the same expert
#pragma unroll
    for (int bit = 0; bit < expert_bits<E>; ++bit) {
      const unsigned votes = __ballot_sync(all_lanes, e >> bit & 1);
      same &= (e >> bit & 1) != 0 ? votes : ~votes;
    }
    const int before = __popc(same & ((1u << lane) - 1u));
    const std::int32_t place = e < E ? counts[e] : 0;
    __syncwarp();
    if (e < E) {
      const std::int32_t slot = shared.first_slot[e] + place + before;
      choice_of_slot[slot] = i;
      slot_of_choice[i] = slot;
      if (before == 0) counts[e] = place + __popc(same);
    }
    __syncwarp();
  }
}

}  // namespace qwen3vl::cuda
