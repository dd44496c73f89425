// The CUDA backend's attention and key/value cache against double precision, run on the host with every access checked.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_attention
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cuda/attention/attention.cuh"
#include "qwen3vl/backend/cuda/attention/attention_weights.cuh"
#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/qk_norm_rope.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
// After the operations, which the cases find by their names.
#include "backend/attention_cases.hpp"
#include "backend/cache_cases.hpp"
#include "backend/score_cases.hpp"
#include "operations/exact_results.hpp"

using namespace qwen3vl;

BOOST_AUTO_TEST_CASE(segments) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  operations::attention_case<Cuda, 2, 72>(ctx, {1, 5, 40, 0, 17}, 1.0f);
  operations::attention_case<Cuda, 1, 12>(ctx, {300}, 1.0f);
  operations::attention_case<Cuda, 3, 32>(ctx, {64, 6, 14}, 4.0f);
  operations::attention_case<Cuda, 1, 64>(ctx, {259}, 3.0f);
}

BOOST_AUTO_TEST_CASE(causal) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  operations::causal_case<Cuda, 4, 2, 32>(ctx, {{7, 5}, {1, 1}, {0, 9}, {3, 0}});
  operations::causal_case<Cuda, 3, 1, 128>(ctx, {{130}, {1}, {200}, {2}});
  operations::causal_case<Cuda, 2, 2, 6>(ctx, {{1, 1, 4}, {40, 1, 0}});
  operations::causal_case<Cuda, 8, 1, 64>(ctx, {{1021, 3}, {1, 1}, {3, 0}, {1, 520}, {4, 4}});
  operations::causal_case<Cuda, 4, 2, 32, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}, {700, 0}, {1, 2}});
}

BOOST_AUTO_TEST_CASE(score_functions) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  const operations::TestScore score{.cap = 1.5f, .slope = 0.003f, .window = 60}, window{.window = 7};
  operations::scored_segments<Cuda, 2, 72>(ctx, {1, 5, 130, 0, 17}, score);
  operations::scored_segments<Cuda, 2, 72>(ctx, {100}, window);
  operations::scored_sequences<Cuda, 4, 2, 32>(ctx, {{7, 5}, {1, 1}, {130, 9}, {3, 0}, {40, 1}}, score);
  operations::scored_sequences<Cuda, 4, 2, 32>(ctx, {{7, 100}, {1, 1}}, window);
  operations::score_extremes<Cuda, 2, 72>(ctx, 70);
}

BOOST_AUTO_TEST_CASE(caches) {
  Cuda cuda;
  Context<Cuda> ctx(cuda);
  operations::all_cache_cases(ctx);
}
