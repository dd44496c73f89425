// A mixture of experts with weights of e4m3 on the device, run on the host.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_f8_experts
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cuda/experts/moe.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
#include "qwen3vl/backend/cuda/operations/rows.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"
// After the operations, which the cases find by their names.
#include "backend/expert_cases.hpp"
#include "operations/exact_results.hpp"
#include "operations/stored_f8.hpp"

using namespace qwen3vl;
using operations::StoredF8;

struct OnDevice {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

// Columns that do and do not fill a stage of 64; all tilings; tokens alone, to the last bit.
BOOST_FIXTURE_TEST_CASE(experts, OnDevice) {
  for (const index_t tokens : {0, 1, 3, 5, 17}) {
    operations::expert_mlp_case<Cuda, fp8, 4, 2, 64, 128>(ctx, tokens, false);
    operations::expert_mlp_case<Cuda, fp8, 7, 3, 48, 16>(ctx, tokens, false);
  }
  operations::expert_mlp_case<Cuda, fp8, 2, 1, 16, 80>(ctx, 20, false);
  operations::expert_mlp_case<Cuda, fp8, 4, 2, 464, 48>(ctx, 9, false);
  for (const index_t tokens : {70, 150}) operations::expert_mlp_case<Cuda, fp8, 4, 2, 144, 80>(ctx, tokens, false);
  operations::expert_mlp_case<Cuda, fp8, 3, 3, 32, 16>(ctx, 140, true);
}

// The same with scales by blocks of columns.
BOOST_FIXTURE_TEST_CASE(experts_in_blocks, OnDevice) {
  for (const index_t tokens : {0, 1, 3, 17}) {
    operations::expert_mlp_case<Cuda, fp8_blocks, 4, 2, 64, 128>(ctx, tokens, false);
    operations::expert_mlp_case<Cuda, fp8_blocks, 7, 3, 48, 16>(ctx, tokens, false);
  }
  operations::expert_mlp_case<Cuda, fp8_blocks, 4, 2, 464, 48>(ctx, 9, false);
  for (const index_t tokens : {70, 150})
    operations::expert_mlp_case<Cuda, fp8_blocks, 4, 2, 144, 208>(ctx, tokens, false);
  operations::expert_mlp_case<Cuda, fp8_blocks, 3, 3, 32, 16>(ctx, 140, true);
}

namespace {

/// The experts' numbers and scales on the device are those of matrices [N, K] that are loaded one by one.
template <index_t E, index_t N, index_t K>
void experts_kept_case(Context<Cuda>& ctx, const StoredF8& stored, bool transposed, bool kept) {
  CudaExperts<fp8_blocks, E, N, K, Packing::plain> experts;
  experts.allocate();
  const index_t shape[2] = {transposed ? K : N, transposed ? N : K};
  const std::size_t bytes = experts.bytes() / E;
  std::vector<std::uint8_t> all(experts.bytes());
  for (index_t e = 0; e < E; ++e) experts.load_expert(ctx, e, stored.tensor(shape, e * shape[0]), transposed);
  CudaMemory::copy(all.data(), experts.data(), all.size());
  const std::vector<float> values = stored.values();
  for (index_t e = 0; e < E; ++e) {
    // Stored with the same scales, not transposed.
    std::vector<float> wanted(static_cast<std::size_t>(N * K));
    for (index_t n = 0; n < N; ++n)
      for (index_t k = 0; k < K; ++k)
        wanted[static_cast<std::size_t>(n * K + k)] =
            values[static_cast<std::size_t>(e * N * K + (transposed ? k * N + n : n * K + k))];
    if (!kept) wanted = operations::rounded_blocks(wanted, K);
    CudaMatrix<fp8_blocks, N, K, Packing::plain> matrix;
    matrix.allocate();
    std::vector<std::uint8_t> one(bytes);
    const auto numbers = all.begin() + e * N * K;
    const auto scales = all.begin() + E * N * K + e * static_cast<index_t>(bytes - static_cast<std::size_t>(N * K));
    std::copy_n(numbers, N * K, one.begin());
    std::copy(scales, scales + static_cast<index_t>(bytes) - N * K, one.begin() + N * K);
    CudaMemory::copy(matrix.data(), one.data(), bytes);
    BOOST_TEST(operations::same_bits(operations::weights_of<Cuda>(ctx, matrix), wanted), "expert " << e);
  }
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(kept_as_stored, OnDevice) {
  experts_kept_case<3, 256, 384>(ctx, {3 * 256, 384, 128, 128, 1}, false, true);
  experts_kept_case<3, 256, 384>(ctx, {3 * 384, 256, 128, 128, 2}, true, true);
  experts_kept_case<1, 200, 144>(ctx, {144, 200, 128, 128, 3}, true, true);  // edges
  experts_kept_case<2, 48, 64>(ctx, {2 * 64, 48, 1, 48, 4}, true, false);    // scales of columns, once transposed
}
