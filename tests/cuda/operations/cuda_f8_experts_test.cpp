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

using namespace qwen3vl;

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
