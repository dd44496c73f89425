/// Choosing tokens on the device: greedy, or random by probability after temperature, top-k, top-p and min-p. One id
/// per row goes back to the host; the random numbers come from there, so that a seed gives the same answer on every
/// backend.
///
/// What it covers of transformers: TemperatureLogitsWarper, TopKLogitsWarper (ties with the k-th stay),
/// TopPLogitsWarper and MinPLogitsWarper, in that order, with min_tokens_to_keep = 1, then torch.multinomial or argmax:
/// what generation/logits/logits_warpers.hpp and generation/sampler.hpp do. All other processors (penalties, n-grams,
/// forced or forbidden tokens) change the logits first, wherever they are.
///
/// Probabilities are integers (2^42 for the best token), so sums do not depend on their order, and every step is the
/// same search: the highest threshold such that the tokens at or above it have at least a given total weight. Top-k
/// searches scores and counts, top-p searches scores and weighs, the choice searches ids and weighs. Sixteen steps find
/// it, each narrowing the range to a quarter. All but the few best tokens are discarded first: each of 1024 threads
/// knows its own best score, and whatever is below the k-th best of those cannot be among the k best.
///
/// Limits: the two passes over a row that this takes by one multiprocessor's share of the L2 cache (about 64 bytes a
/// cycle: 6 us each for 152 thousand floats), then barriers; an H100 takes 60 us, waiting for loads most of the time.
/// Without top-k, or with a top-p that the best thousands do not reach, each step passes over the row again.
#pragma once

#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/contract/decoding.hpp"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/decoding/selection.cuh"

namespace qwen3vl {

namespace cuda {

/// The tokens of a row that may be chosen, and their weights.
struct Kept {
  float highest, inverse_temperature;
  float lowest = -INFINITY;    ///< scores at or above stay
  std::uint32_t first_id = 0;  ///< from this id on
  float min_p = 0.0f;

  /// A whole number: at most `vocab` of them are added, each at most 2^42.
  __device__ __forceinline__ Weight operator()(float score, std::uint32_t id) const {
    if (score < lowest || (score == lowest && id < first_id)) return 0;
    const float probability = expf((score - highest) * inverse_temperature);
    if (probability < min_p && score < highest) return 0;
    return static_cast<Weight>(probability * 0x1p42f);
  }
};
/// Of the kept ones, keeps the smallest set of best tokens whose weight reaches top_p, the higher id first among
/// equals: a token stays if those before it weigh less than that.
template <int Threads, class Source>
__device__ __forceinline__ void keep_top_p(BlockSums<Threads>& block_sums, const Source& source, int id_bits,
                                           Weight total, Weight need, Kept& kept) {
  const Border border = find_border<false>(block_sums, source, 32, total, need, kept);
  kept.lowest = from_order(static_cast<std::uint32_t>(border.key));
  const Weight each = kept(kept.lowest, 0), ties = (border.at_least - border.above) / each;
  const Weight stay = (need - border.above + each - 1) / each;
  if (stay < ties) {
    const float lowest = kept.lowest;
    const auto tied = [=](float score, std::uint32_t) { return score == lowest ? Weight{1} : Weight{0}; };
    kept.first_id = static_cast<std::uint32_t>(find_border<true>(block_sums, source, id_bits, ties, stay, tied).key);
  }
}

/// The id at `uniform` in [0, 1) of the kept weights, laid side by side in the order of ids.
template <int Threads, class Source>
__device__ __forceinline__ std::int32_t draw(BlockSums<Threads>& block_sums, const Source& source, int id_bits,
                                             const Kept& kept, double uniform) {
  Weight mine = 0;
  source.for_each(0, all_ids, [&](float score, std::uint32_t id) { mine += kept(score, id); });
  const Weight total = block_sums(mine, source.warps);  // at least 2^42: the best one stays
  Weight before = static_cast<Weight>(uniform * static_cast<double>(total));
  if (before >= total) before = total - 1;
  return static_cast<std::int32_t>(find_border<true>(block_sums, source, id_bits, total, total - before, kept).key);
}

/// The most tokens kept in shared memory.
inline constexpr int sampling_list = 4096;

template <int Threads>
struct SamplingShared {
  typename BlockSums<Threads>::Shared sums;
  BlockReduce<unsigned long long, Threads> best;
  float scores[sampling_list];
  std::uint32_t ids[sampling_list];
  std::uint32_t listed;
};

/// One block per row.
template <int Threads>
__global__ void __launch_bounds__(Threads)
    sample_kernel(const float* logits, std::int64_t vocab, const SamplingSettings* settings, const double* uniforms,
                  std::int32_t* ids) {
  auto& shared = shared_memory<SamplingShared<Threads>>();
  take_turn();
  const int thread = static_cast<int>(threadIdx.x);
  const std::int64_t block = blockIdx.x;
  const SamplingSettings set = settings[block];
  const ScoreRow<Threads> row{logits + block * vocab, static_cast<std::uint32_t>(vocab)};
  const int id_bits = 32 - __clz(static_cast<int>(row.count));
  BlockSums<Threads> block_sums{shared.sums};

  float mine = -INFINITY;
  std::uint32_t my_id = 0;
  bool broken = false;
  row.for_each(0, all_ids, [&](float score, std::uint32_t id) {
    broken = broken || score != score;  // NaN
    if (score > mine) {
      mine = score;
      my_id = id;
    }
  });
  if (thread == 0) shared.listed = 0;
  broken = __syncthreads_or(broken || mine == INFINITY ? 1 : 0) != 0;
  const unsigned long long best = shared.best(ranked(mine, my_id), 0ull, Larger{});
  const float highest = from_order(static_cast<std::uint32_t>(best >> 32));
  if (broken || !(highest > -INFINITY) || set.do_sample == 0) {  // the whole block
    if (thread == 0)
      ids[block] = broken                ? broken_scores
                   : highest > -INFINITY ? static_cast<std::int32_t>(index_of(best))
                                         : no_token_left;
    return;
  }

  // Collects the best ones: all of the k best, or about two thousand.
  const bool few = set.top_k > 0 && set.top_k <= Threads;
  const float lowest = from_order(kth_largest(mine, true, few ? set.top_k : Threads * 7 / 8));
  row.for_each(0, all_ids, [&](float score, std::uint32_t id) {
    if (score < lowest) return;
    const std::uint32_t place = atomicAdd(&shared.listed, 1u);
    if (place >= sampling_list) return;
    shared.scores[place] = score;
    shared.ids[place] = id;
  });
  __syncthreads();
  const std::uint32_t listed = shared.listed;
  const bool fits = listed <= sampling_list;
  const ScoreList<Threads> list{shared.scores, shared.ids, fits ? listed : 0};

  Kept kept{.highest = highest, .inverse_temperature = 1.0f / set.temperature};
  bool in_list = fits && (few || listed == row.count);  // whether the list has all that may be chosen
  const auto from_source = [&](auto&& f) { return in_list ? f(list) : f(row); };
  if (set.top_k > 0 && set.top_k < vocab) {
    std::uint32_t kth = 0;
    if (in_list && list.count <= Threads) {
      const bool present = thread < static_cast<int>(list.count);
      kth = kth_largest(present ? list.scores[thread] : 0.0f, present, set.top_k);
    } else {
      const auto one = [](float, std::uint32_t) { return Weight{1}; };
      const auto most = static_cast<Weight>(set.top_k);
      const auto find = [&](const auto& source) {
        return find_border<false>(block_sums, source, 32, ~Weight{0}, most, one);
      };
      kth = static_cast<std::uint32_t>(from_source(find).key);
    }
    kept.lowest = from_order(kth);
  }
  const auto weight_of = [&](const auto& source) {
    Weight weight = 0;
    source.for_each(0, all_ids, [&](float score, std::uint32_t id) { weight += kept(score, id); });
    return block_sums(weight, source.warps);
  };
  if (set.top_p < 1.0f) {
    const Weight total = from_source(weight_of);
    const auto removed = static_cast<Weight>((1.0 - static_cast<double>(set.top_p)) * static_cast<double>(total));
    const Weight need = total > removed ? total - removed : 1;
    // The list has the best ones. If they weigh enough, the border is among them.
    if (fits && !in_list) in_list = weight_of(list) >= need;
    from_source([&](const auto& source) { keep_top_p(block_sums, source, id_bits, total, need, kept); });
  }
  kept.min_p = set.min_p;
  const double uniform = uniforms[block];
  const std::int32_t id =
      from_source([&](const auto& source) { return draw(block_sums, source, id_bits, kept, uniform); });
  if (thread == 0) ids[block] = id;
}

}  // namespace cuda

/// Chooses a token for each row. logits f32 [n, V], V at most 2^21; settings [n]; uniforms [n] in [0, 1), used by rows
/// that sample; ids int32 [n], or `broken_scores` or `no_token_left`: the host then decides. A row's choice depends on
/// its own scores, settings and number only. As the CPU's Sampler, except that the temperature makes no ties by
/// rounding, and tokens less likely than 2^-42 times the best are never chosen.
inline void sample(Context<Cuda>& ctx, View<const float, Cuda, dynamic, dynamic> logits,
                   View<const SamplingSettings, Cuda, dynamic> settings, View<const double, Cuda, dynamic> uniforms,
                   View<std::int32_t, Cuda, dynamic> ids) {
  constexpr int threads = 1024;
  const index_t vocab = logits.extent(1);
  if (vocab > largest_sampled_vocab)
    fail("sampling on the device is for at most ", largest_sampled_vocab, " tokens, not ", vocab);
  cuda::launch_early<cuda::SamplingShared<threads>>(ctx, cuda::sample_kernel<threads>,
                                                    cuda::blocks_for(logits.rows(), 1), threads, logits.data(), vocab,
                                                    settings.data(), uniforms.data(), ids.data());
}

}  // namespace qwen3vl
