/// The experts of a layer in e4m3 on the device with scales by blocks of columns: E matrices as f8_blocks_matrix.cuh
/// has one, then the scales of each.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "qwen3vl/backend/cuda/experts/experts.cuh"
#include "qwen3vl/backend/cuda/products/f8_blocks_matrix.cuh"

namespace qwen3vl {
namespace cuda {

/// Loads a matrix [rows, columns] from `raw`, [columns, rows], as it is, if its scales are the same in squares of 128:
/// then each row of the result has one for 128 columns, too. Otherwise returns false.
inline bool load_f8_squares(Context<Cuda>& ctx, const RawTensor& raw, index_t rows, index_t columns, F8InBlocks* to,
                            float* scales) {
  constexpr index_t side = f8_block_columns;
  if (!stores_f8(raw, side)) return false;
  const index_t across = ceil_div(rows, side), down = ceil_div(columns, side);
  std::vector<std::int8_t> stored(static_cast<std::size_t>(rows * columns));
  std::vector<float> stored_scales(static_cast<std::size_t>(columns * across));  // [columns, across]
  const F8Rows from(raw, side);
#pragma omp parallel for schedule(static)
  for (index_t c = 0; c < columns; ++c)
    from.read(raw.first_row + c, stored.data() + c * rows, stored_scales.data() + c * across, 1);
  std::vector<float> factors(static_cast<std::size_t>(down * rows));  // [down, rows]
  for (index_t c = 0; c < columns; ++c)
    for (index_t b = 0; b < across; ++b) {
      const float scale = stored_scales[static_cast<std::size_t>(c * across + b)];
      float* const factor = factors.data() + c / side * rows + b * side;
      const bool same = std::bit_cast<std::uint32_t>(*factor) == std::bit_cast<std::uint32_t>(scale);
      if (c % side != 0 && !same) return false;
      if (c % side == 0) std::fill_n(factor, std::min(side, rows - b * side), scale);
    }
  upload_rows(ctx, rows, columns, to, [&](std::byte* pinned, index_t first, index_t count) {
    constexpr index_t strip = 64;  // rows whose numbers are neighbours as they are stored
#pragma omp parallel for schedule(static)
    for (index_t begin = 0; begin < count; begin += strip)
      for (index_t c = 0; c < columns; ++c)
        for (index_t i = begin; i < std::min(count, begin + strip); ++i)
          pinned[i * columns + f8_place<true>(static_cast<int>(c))] =
              std::bit_cast<std::byte>(stored[static_cast<std::size_t>(c * rows + first + i)]);
  });
  upload_floats(ctx, factors, 0, factors.size(), scales);
  return true;
}

}  // namespace cuda

template <index_t E, index_t N, index_t K, Packing packing>
class CudaExperts<fp8_blocks, E, N, K, packing> : public cuda::F8BlocksMemory<E, N, K> {
  static_assert(E >= 1);
  static_assert(packing == Packing::plain || N % 4 == 0, "gate_up needs as many gates as ups, each an even number");
  static constexpr index_t blocks = cuda::F8BlocksMemory<E, N, K>::blocks;

 public:
  /// Expert e from [N, K], or from [K, N] if `transposed` (as the Hub has them): numbers in e4m3 with fitting scales
  /// are copied, others rounded. `raw` has been read when this returns.
  void load_expert(Context<Cuda>& ctx, index_t e, const RawTensor& raw, bool transposed) {
    cuda::require_expert_fits(e, E, raw, transposed ? K : N, transposed ? N : K);
    cuda::F8InBlocks* const to = this->data() + e * N * K;
    float* const scales = this->scales() + e * blocks * N;
    if (!transposed) return cuda::load_f8_blocks(ctx, raw, K, 0, N, to, scales);
    if (cuda::load_f8_squares(ctx, raw, N, K, to, scales)) return;
    visit_floating(raw.dtype, [&](auto kind) {
      using Source = cuda::f8_source_t<decltype(kind)>;
      auto stored = ctx.template scratch<Source, K, N>();
      cuda::upload_weights(ctx, raw, 0, N * K, stored.data());
      cuda::round_blocks(ctx, cuda::StoredRows<Source>{stored.data(), 1, N}, N, 0, N, static_cast<int>(K), to, scales);
    });
  }
};

}  // namespace qwen3vl
