// Attention of bf16 activations, which runs on the tensor cores, and what is the CUDA cache's own; on the host with
// every access checked. The table in f32 is in cuda_attention_test.cpp.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_bf16_attention
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cuda/attention/attention.cuh"
#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/qk_norm_rope.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
// After the operations, which the cases find by their names.
#include "backend/attention_cases.hpp"
#include "backend/cache_cases.hpp"
#include "backend/score_cases.hpp"
#include "operations/exact_results.hpp"

using namespace qwen3vl;

struct OnDevice {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

// Rows around the 128 of a block and its 32 per warp, keys around the 64 of a tile; all head sizes with tiles of their
// own, and some without.
BOOST_FIXTURE_TEST_CASE(segments, OnDevice) {
  operations::attention_case<Cuda, 2, 72, bf16>(ctx, {1, 5, 40, 0, 17}, 1.0f);
  operations::attention_case<Cuda, 1, 72, bf16>(ctx, {127, 3, 129, 64}, 2.0f);
  operations::attention_case<Cuda, 1, 64, bf16>(ctx, {259, 65}, 3.0f);
  operations::attention_case<Cuda, 3, 32, bf16>(ctx, {64, 6, 14}, 4.0f);  // large scores: the running maximum moves
  operations::attention_case<Cuda, 1, 128, bf16>(ctx, {128, 33}, 1.0f);
  operations::attention_case<Cuda, 2, 8, bf16>(ctx, {70, 0, 1}, 1.0f);
  operations::attention_case<Cuda, 1, 16, bf16>(ctx, {100}, 1.0f);
  operations::attention_case<Cuda, 1, 12, bf16>(ctx, {70}, 1.0f);  // no tiles: f32
}
// More segments than one launch takes.
BOOST_FIXTURE_TEST_CASE(many_segments, OnDevice) {
  operations::attention_case<Cuda, 1, 8, bf16>(ctx, std::vector<index_t>(200, 3), 1.0f);
}

BOOST_FIXTURE_TEST_CASE(causal, OnDevice) {
  operations::causal_case<Cuda, 4, 2, 32, bf16, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}, {200, 0}, {1, 2}});
  operations::causal_case<Cuda, 3, 1, 128, bf16, bf16>(ctx, {{130}, {1}, {5}, {70}, {2}});
  operations::causal_case<Cuda, 2, 2, 64, bf16, bf16>(ctx, {{1, 1, 4}, {40, 1, 0}, {25, 63, 70}});
  operations::causal_case<Cuda, 8, 1, 8, bf16, bf16>(ctx, {{7, 5}, {1, 1}, {2, 0}, {3, 2}, {1, 60}});
  operations::causal_case<Cuda, 16, 1, 16, bf16, bf16>(ctx, {{20, 9}, {1, 1}, {0, 2}, {1, 3}});  // two tiles of rows
  operations::causal_case<Cuda, 5, 1, 40, bf16, bf16>(ctx, {{66}, {1}, {3}});
  operations::causal_case<Cuda, 32, 1, 8, bf16, bf16>(ctx, {{9}, {1}, {2}});  // too many heads share a key for decoding
  // Caches of other types, and a head without tiles.
  operations::causal_case<Cuda, 4, 2, 32, float, bf16>(ctx, {{70, 5}, {1, 1}, {3, 9}});
  operations::causal_case<Cuda, 4, 2, 32, f16, bf16>(ctx, {{70, 5}, {1, 1}, {3, 9}});
  operations::causal_case<Cuda, 3, 1, 6, bf16, bf16>(ctx, {{1, 1}, {40, 1}});
}

// Prompts on the tensor cores in one and two parts of a tile, decoding in one and two tiles of rows, and masks that
// hide whole tiles of keys.
BOOST_FIXTURE_TEST_CASE(score_functions, OnDevice) {
  const operations::TestScore score{.cap = 1.5f, .slope = 0.003f, .window = 90}, window{.window = 7};
  for (const operations::TestScore& some : {score, window}) {
    operations::scored_segments<Cuda, 1, 72, bf16>(ctx, {127, 3, 0, 150}, some);
    operations::scored_segments<Cuda, 1, 128, bf16>(ctx, {128, 33}, some);
    operations::scored_sequences<Cuda, 4, 2, 32, bf16, bf16>(ctx, {{130, 5}, {1, 1}, {3, 9}, {90, 0}, {1, 2}}, some);
    operations::scored_sequences<Cuda, 16, 1, 16, bf16, bf16>(ctx, {{90, 9}, {1, 1}, {0, 2}, {1, 3}}, some);
    operations::scored_sequences<Cuda, 4, 2, 32, float, bf16>(ctx, {{70, 5}, {1, 1}, {3, 9}}, some);
  }
  operations::scored_sequences<Cuda, 2, 1, 8, bf16, bf16>(ctx, {{1100, 300}, {1, 3}}, score);  // several runs
  operations::score_extremes<Cuda, 1, 72, bf16>(ctx, 70);
}

// Around the ends of runs (a page, then several) and pages; sequences so long that runs are longer; sequences alone.
BOOST_FIXTURE_TEST_CASE(long_caches, OnDevice) {
  operations::long_cache_case<Cuda, 4, 2, 128, bf16, bf16>(ctx, {255, 0, 513, 63, 254}, {1, 1, 2, 40, 2}, true);
  operations::long_cache_case<Cuda, 2, 1, 8, bf16, bf16>(ctx, {16384, 300, 16383}, {1, 3, 1}, true);
  operations::long_cache_case<Cuda, 4, 2, 32>(ctx, {255, 0, 513, 64}, {1, 1, 2, 40}, true);
  // More sequences than one launch takes.
  operations::long_cache_case<Cuda, 2, 1, 8, bf16, bf16>(ctx, std::vector<index_t>(100, 3),
                                                         std::vector<index_t>(100, 1), false);
}

BOOST_FIXTURE_TEST_CASE(infinity, OnDevice) {
  for (const index_t tokens : {2, 4, 5, 8, 40, 100}) {
    operations::later_infinity_case<Cuda, bf16, bf16>(ctx, tokens);
    operations::later_infinity_case<Cuda, float, bf16>(ctx, tokens);
  }
  for (const index_t tokens : {2, 40}) operations::later_infinity_case<Cuda, float, float>(ctx, tokens);
}

// Copies of a sequence take no memory until they differ, and then a page.
BOOST_FIXTURE_TEST_CASE(shared_pages, OnDevice) {
  constexpr index_t L = 2, K = 1, D = 8;
  using Cache = CudaKvCache<float, L, K, D>;
  constexpr std::size_t page = sizeof(float) * L * 2 * K * 64 * D;
  Cache cache(3);
  operations::append_tokens<Cuda, L, K, D>(ctx, cache, {200, 0, 0}, 1);
  const std::size_t table = cache.bytes() - 4 * page;
  const auto original = operations::contents<Cuda, L, K, D>(cache, 0);
  cache.copy_sequence(1, cache, 0);
  cache.copy_sequence(2, cache, 0);
  BOOST_TEST(cache.bytes() == table + 4 * page);
  operations::append_tokens<Cuda, L, K, D>(ctx, cache, {0, 3, 3}, 2);
  BOOST_TEST(cache.bytes() == table + 6 * page);  // the unfinished page, for two of three owners
  BOOST_TEST((operations::contents<Cuda, L, K, D>(cache, 0) == original));
  const auto longer = operations::contents<Cuda, L, K, D>(cache, 1);
  BOOST_TEST((longer != operations::contents<Cuda, L, K, D>(cache, 2)));
  cache.truncate(1, 200);
  BOOST_TEST((operations::contents<Cuda, L, K, D>(cache, 1) == original));
  // Pages that no sequence uses any more are reused.
  cache.truncate(1, 0);
  cache.truncate(2, 0);
  operations::append_tokens<Cuda, L, K, D>(ctx, cache, {0, 128, 0}, 3);
  BOOST_TEST(cache.bytes() == table + 6 * page);
  // A copy outlives the cache that it came from.
  {
    Cache other(1);
    operations::append_tokens<Cuda, L, K, D>(ctx, other, {70}, 4);
    cache.copy_sequence(2, other, 0);
    BOOST_TEST((operations::contents<Cuda, L, K, D>(cache, 2) == operations::contents<Cuda, L, K, D>(other, 0)));
  }
  const auto copy = operations::contents<Cuda, L, K, D>(cache, 2);
  operations::append_tokens<Cuda, L, K, D>(ctx, cache, {1, 1, 1}, 5);
  cache.truncate(2, 70);
  BOOST_TEST((operations::contents<Cuda, L, K, D>(cache, 2) == copy));
}
