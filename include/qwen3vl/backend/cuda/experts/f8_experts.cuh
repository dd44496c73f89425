/// The experts of a layer in e4m3 on the device: E matrices, one after another, then an f32 scale for each row of each.
/// In a row, each 16 columns are in the order of the tensor cores (f8_place): only expert_product.cuh reads them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/experts/experts.cuh"
#include "qwen3vl/backend/cuda/products/f8_matrix.cuh"
#include "qwen3vl/backend/cuda/products/f8_rounding.cuh"

namespace qwen3vl {

template <index_t E, index_t N, index_t K, Packing packing>
class CudaExperts<fp8, E, N, K, packing> : public cuda::F8Memory<f8_e4m3, E * N, K> {
  static_assert(E >= 1 && N % 2 == 0, "outputs are stored in pairs");

 public:
  /// Rounds and copies expert e from [N, K], or from [K, N] if `transposed` (as the Hub has them). `raw` has been read
  /// when this returns. Throws Error on a device without FP8 products.
  void load_expert(Context<Cuda>& ctx, index_t e, const RawTensor& raw, bool transposed) {
    cuda::require_expert_fits(e, E, raw, transposed ? K : N, transposed ? N : K);
    f8_e4m3* const to = this->data() + e * N * K;
    float* const scales = this->scales() + e * N;
    if (!transposed) return cuda::load_f8_rows<true>(ctx, raw, N, K, to, scales);
    cuda::require_fp8(ctx.backend());
    visit_floating(raw.dtype, [&](auto kind) {
      using Source = cuda::f8_source_t<decltype(kind)>;
      auto stored = ctx.template scratch<Source, K, N>();
      cuda::upload_weights(ctx, raw, 0, N * K, stored.data());
      cuda::round_weights<true>(ctx, cuda::StoredRows<Source>{stored.data(), 1, N}, N, static_cast<int>(K), to, scales);
    });
  }
};

}  // namespace qwen3vl
