/// The experts of a layer in `stored` weights on the device; see stored_matrix.cuh.
#pragma once

#include <type_traits>

#include "qwen3vl/backend/cuda/experts/experts.cuh"
#include "qwen3vl/backend/cuda/experts/f8_blocks_experts.cuh"
#include "qwen3vl/backend/cuda/products/stored_matrix.cuh"

namespace qwen3vl {

template <index_t E, index_t N, index_t K, Packing packing>
class CudaExperts<stored, E, N, K, packing>
    : public cuda::StoredWeights<
          CudaExperts<bf16, E, N, K, packing>,
          std::conditional_t<cuda::takes_f8_blocks<N, K, packing>, CudaExperts<fp8_blocks, E, N, K, packing>, void>> {
 public:
  /// Only shape and type of `raw` are read. Transposed, blocks of columns have to be squares; scales for whole rows
  /// would be scales of columns.
  void expect_expert(index_t e, const RawTensor& raw, bool transposed) {
    this->expect(e == 0, raw,
                 !transposed || raw.encoded == nullptr || raw.encoded->blocks().group == cuda::f8_block_columns);
  }
  void load_expert(Context<Cuda>& ctx, index_t e, const RawTensor& raw, bool transposed) {
    this->require_expected(raw);
    this->visit([&](auto& experts) { experts.load_expert(ctx, e, raw, transposed); });
  }
};

}  // namespace qwen3vl
