// A cache of e4m3 on the device, run on the host: what is written into it, attention of many tokens over it and of few.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_f8_cache
#include <boost/test/unit_test.hpp>
#include <limits>

#include "qwen3vl/backend/cuda/attention/attention.cuh"
#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/qk_norm_rope.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
// After the operations, which the cases find by their names.
#include "backend/attention_cases.hpp"
#include "operations/exact_results.hpp"

using namespace qwen3vl;

struct OnDevice {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

// Rows around the 128 of a block, keys around the 64 of a tile; heads with tiles and without.
BOOST_FIXTURE_TEST_CASE(causal, OnDevice) {
  operations::causal_case<Cuda, 4, 2, 32, f8_e4m3, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}, {100, 0}, {1, 2}});
  operations::causal_case<Cuda, 3, 1, 128, f8_e4m3, bf16>(ctx, {{65}, {1}, {5}, {2}});
  operations::causal_case<Cuda, 16, 1, 16, f8_e4m3, bf16>(ctx, {{20, 9}, {1, 1}, {0, 2}, {1, 3}});
  operations::causal_case<Cuda, 5, 1, 40, f8_e4m3, bf16>(ctx, {{66}, {1}, {3}});
  operations::causal_case<Cuda, 3, 1, 6, f8_e4m3, bf16>(ctx, {{1, 1}, {40, 1}});
  operations::causal_case<Cuda, 4, 2, 32, f8_e4m3, float>(ctx, {{40, 5}, {1, 1}});  // activations of f32
}
// Around the ends of runs (a page, then several) and pages.
BOOST_FIXTURE_TEST_CASE(long_caches, OnDevice) {
  operations::long_cache_case<Cuda, 4, 2, 128, f8_e4m3, bf16>(ctx, {255, 0, 513, 63}, {1, 1, 2, 9}, true);
  operations::long_cache_case<Cuda, 2, 1, 8, f8_e4m3, bf16>(ctx, {300, 255}, {3, 1}, true);
}
// NaN stays NaN, and where it is seen; infinities become 448.
BOOST_FIXTURE_TEST_CASE(not_numbers, OnDevice) {
  for (const index_t tokens : {2, 8, 40})
    operations::later_infinity_case<Cuda, f8_e4m3, bf16>(ctx, tokens, std::numeric_limits<float>::quiet_NaN());
}
