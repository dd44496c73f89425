/// Attention of a few new tokens over a long cache on the CPU: the cache is streamed once, at memory speed.
///
/// The keys of a sequence are divided into runs of a fixed length, each a unit of work with its own softmax (split-KV),
/// whose results are combined in order. Runs do not depend on the number of threads, so results do not either, and
/// every thread has work whatever the number of heads.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cpu/attention/scores.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/simd/simd.hpp"
#include "qwen3vl/tensor/segments.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// Keys of one unit of work: with D = 128 in f32 512 KiB are read, which takes some 30 us.
inline constexpr index_t decode_run = 512;
static_assert(decode_run % 16 == 0);

/// One query over one run of keys: softmax weights relative to the run's maximum, their sum, and the values' sum.
template <index_t D>
struct alignas(64) PartialAttention {
  float sums[D];
  float maximum, total;
};

/// A register tile of `heads` queries that share keys, and `keys` of these.
template <index_t G, index_t D>
struct DecodeTile {
  using Floats = simd::Floats;
  static constexpr int width = simd::width;
  /// Sums at once: enough to hide the latency of the multiply-add.
  static constexpr int chains = simd::registers == 32 ? 16 : 8;
  static constexpr int heads = G % 4 == 0 ? 4 : G % 3 == 0 ? 3 : G % 2 == 0 ? 2 : 1;
  static constexpr int keys = chains / heads;
  static_assert(chains >= width && decode_run % width == 0, "the padding of a run's scores counts on it");
  static constexpr int vectors = D / width, rest = D % width;
  /// Prefetch distance in bytes. The hardware prefetcher does not recognise several rows read column by column as one
  /// stream: without this, reading takes twice as long.
  static constexpr index_t distance = 4096;

  /// Prefetches as many bytes as columns d to d + width of the rows at `rows` have, as one run of memory.
  template <class T>
  static QWEN3VL_INLINE void prefetch(const T* rows, index_t d) {
    constexpr std::uintptr_t bytes = keys * width * sizeof(T);
    // An integer, since the address may be past the array. A plain loop: GCC considers a function that only prefetches
    // to have no effect and drops its calls.
    const std::uintptr_t p = reinterpret_cast<std::uintptr_t>(rows) + static_cast<std::size_t>(d * keys) * sizeof(T);
    for (std::uintptr_t line = 0; line < (bytes + 63) / 64; ++line)
      __builtin_prefetch(reinterpret_cast<const void*>(p + line * 64));  // NOLINT(performance-no-int-to-ptr)
  }

  /// scores[h * stride + t] = q_h k_t; q [heads, D], k [keys, D]. `ahead`: rows that will be wanted soon.
  template <class T>
  static QWEN3VL_INLINE void dots(const float* q, const T* k, const T* ahead, float* scores, index_t stride) {
    Floats sums[chains];
    simd::unroll<chains>([&](auto c) { sums[c] = Floats{}; });
    const auto add = [&](auto load, index_t d) __attribute__((always_inline)) {
      prefetch(ahead, d);
      Floats key[keys];
      simd::unroll<keys>([&](auto t) { key[t] = load(k + t * D + d); });
      simd::unroll<heads>([&](auto h) {
        const Floats x = load(q + h * D + d);
        simd::unroll<keys>([&](auto t) { sums[h * keys + t] += x * key[t]; });
      });
    };
    for (index_t v = 0; v < vectors; ++v)
      add(
          [](const auto* p) __attribute__((always_inline)) { return simd::load(p); }, v * width);
    if constexpr (rest > 0)
      add(
          [](const auto* p) __attribute__((always_inline)) { return simd::load_first<rest>(p); }, vectors * width);
    float all[chains];
    simd::unroll<chains / width>([&](auto c) { simd::store(all + c * width, simd::lane_sums(sums + c * width)); });
    simd::unroll<heads>([&](auto h) { std::memcpy(scores + h * stride, all + h * keys, keys * sizeof(float)); });
  }

  /// sums[h] += sum_t weights[h * stride + t] v_t; v [keys, D], sums one for each head.
  template <class T>
  static QWEN3VL_INLINE void values(const float* weights, index_t stride, const T* v, const T* ahead,
                                    PartialAttention<D>* sums) {
    Floats weight[heads * keys];
    simd::unroll<heads>([&](auto h) {
      simd::unroll<keys>([&](auto t) { weight[h * keys + t] = simd::splat(weights[h * stride + t]); });
    });
    for (index_t d = 0; d < vectors * width; d += width) {
      prefetch(ahead, d);
      Floats value[keys];
      simd::unroll<keys>([&](auto t) { value[t] = simd::load(v + t * D + d); });
      simd::unroll<heads>([&](auto h) {
        Floats sum = simd::load(sums[h].sums + d);
        simd::unroll<keys>([&](auto t) { sum += weight[h * keys + t] * value[t]; });
        simd::store(sums[h].sums + d, sum);
      });
    }
    if constexpr (rest > 0)
      for (index_t d = vectors * width; d < D; ++d)
        simd::unroll<heads>([&](auto h) {
          simd::unroll<keys>(
              [&](auto t) { sums[h].sums[d] += weights[h * stride + t] * static_cast<float>(v[t * D + d]); });
        });
  }
};

/// The first `count` keys of a run (1 to decode_run) for the G queries q [G, D] that share them; `place` is that of the
/// first of both.
template <index_t G, index_t D, class T, class Score>
QWEN3VL_KERNEL void attend_run(const float* q, const T* keys, const T* values, index_t count, const Score& score,
                               ScorePlace place, PartialAttention<D>* out) {
  using Tile = DecodeTile<G, D>;
  constexpr index_t step = Tile::keys;
  const float scale = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(D));  // weights are powers of two
  alignas(64) float queries[G * D];
  for (index_t i = 0; i < G * D; ++i) queries[i] = q[i] * scale;
  alignas(64) float scores[G][decode_run + Tile::chains] = {};
  constexpr index_t stride = decode_run + Tile::chains;
  // The last keys may fill no tile: they are copied, with zeros behind them, so that nothing beyond them is read.
  const index_t whole = count / step * step;
  T last[step * D];
  const auto pad = [&](const T* rows) {
    std::fill(std::copy_n(rows + whole * D, (count - whole) * D, last), last + step * D, T{});
  };

  // The values follow the keys.
  constexpr index_t ahead = Tile::distance / static_cast<index_t>(step * D * sizeof(T)) * step;
  for (index_t i = 0; i < whole; i += step) {
    const T* const soon = i + ahead < whole ? keys + (i + ahead) * D : values + (i + ahead - whole) * D;
    for (index_t g = 0; g < G; g += Tile::heads) Tile::dots(queries + g * D, keys + i * D, soon, &scores[g][i], stride);
  }
  if (whole < count) {
    pad(keys);
    for (index_t g = 0; g < G; g += Tile::heads) Tile::dots(queries + g * D, last, last, &scores[g][whole], stride);
  }
  for (index_t g = 0; g < G; ++g) {
    if constexpr (changes_scores<Score>) {
      change_scores(score, place, count, scores[g]);
      ++place.head;
    }
    // Whole tiles of keys, and whole vectors: at most decode_run + chains.
    const index_t padded = ((count + step - 1) / step * step + simd::width - 1) / simd::width * simd::width;
    std::fill(scores[g] + count, scores[g] + padded, -std::numeric_limits<float>::infinity());
    simd::Floats highest = simd::load(scores[g]);
    for (index_t i = simd::width; i < padded; i += simd::width) highest = simd::max(highest, simd::load(scores[g] + i));
    const float maximum = simd::largest(highest);
    const simd::Floats shift = simd::splat(softmax_shift<Score>(maximum));
    simd::Floats total = {};
    for (index_t i = 0; i < padded; i += simd::width) {
      const simd::Floats weight = softmax_weights<Score>(simd::load(scores[g] + i), shift);
      simd::store(scores[g] + i, weight);
      total += weight;
    }
    out[g].maximum = maximum;
    out[g].total = simd::sum(total);
    std::fill_n(out[g].sums, D, 0.0f);
  }
  for (index_t i = 0; i < whole; i += step) {
    const T* const soon = values + std::min(i + ahead, whole) * D;
    for (index_t g = 0; g < G; g += Tile::heads) Tile::values(&scores[g][i], stride, values + i * D, soon, out + g);
  }
  if (whole < count) {
    pad(values);
    for (index_t g = 0; g < G; g += Tile::heads) Tile::values(&scores[g][whole], stride, last, last, out + g);
  }
}

/// Puts the runs of one query together; partials are `stride` apart.
template <index_t D>
QWEN3VL_KERNEL void merge_runs(const PartialAttention<D>* partial, index_t stride, index_t runs, float* out) {
  float maximum = partial[0].maximum;
  for (index_t i = 1; i < runs; ++i) maximum = std::max(maximum, partial[i * stride].maximum);
  alignas(64) float sums[D] = {};
  float total = 0.0f;
  for (index_t i = 0; i < runs; ++i) {
    const PartialAttention<D>& run = partial[i * stride];
    const float weight = std::exp2(run.maximum - maximum);
    total += weight * run.total;
    for (index_t d = 0; d < D; ++d) sums[d] += weight * run.sums[d];
  }
  const float inverse = 1.0f / total;
  for (index_t d = 0; d < D; ++d) out[d] = sums[d] * inverse;
}

/// causal_attention for the sequences that have at most `most` new tokens.
template <index_t H, index_t K, index_t D, class CacheLayer, class Score>
void decode_attention(Context<Cpu>& ctx, const float* qkv, const Segments& segments, CacheLayer cache, index_t most,
                      const Score& score, float* out) {
  constexpr index_t stride = (H + 2 * K) * D, group = H / K;
  index_t runs = 0, fresh = 0, work = 0;  // the most of any sequence, and of all together
  for (index_t s = 0; s < segments.count(); ++s) {
    const index_t count = segments.length(s), all = cache.length(s) + count;
    if (count == 0 || count > most) continue;
    runs = std::max(runs, (all + decode_run - 1) / decode_run);
    fresh = std::max(fresh, count);
    work += all * count;
  }
  if (fresh == 0) return;
  const index_t sequences = segments.count(), items = sequences * K * runs, rows = sequences * fresh * H;
  const int threads = work * H * D > 65536 ? static_cast<int>(std::min<index_t>(ctx.backend().threads(), items)) : 1;
  auto partials = ctx.template scratch<PartialAttention<D>, dynamic>(rows * runs);
  // Of token t and head h of sequence s; its runs follow one another.
  const auto partial = [&](index_t s, index_t t, index_t h, index_t run) {
    return partials.data() + ((s * fresh + t) * runs + run) * H + h;
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for schedule(dynamic)
    for (index_t item = 0; item < items; ++item) {
      const index_t s = item / (K * runs), kv = item / runs % K, run = item % runs;
      const index_t first = run * decode_run, tokens = segments.length(s), past = cache.length(s);
      if (tokens > most) continue;
      for (index_t t = 0; t < tokens; ++t) {
        const index_t count = std::min(decode_run, past + t + 1 - first);
        if (count <= 0) continue;
        attend_run<group, D>(qkv + (segments.offset(s) + t) * stride + kv * group * D, cache.keys(s, kv) + first * D,
                             cache.values(s, kv) + first * D, count, score,
                             score_place(s, kv * group, H, past + t, first), partial(s, t, kv * group, run));
      }
    }
#pragma omp for schedule(static)
    for (index_t row = 0; row < rows; ++row) {
      const index_t s = row / (fresh * H), t = row / H % fresh, h = row % H;
      if (segments.length(s) > most || t >= segments.length(s)) continue;
      const index_t own = (cache.length(s) + t + decode_run) / decode_run;  // runs of its past + t + 1 keys
      merge_runs<D>(partial(s, t, h, 0), H, own, out + ((segments.offset(s) + t) * H + h) * D);
    }
  }
}

}  // namespace cpu_kernels
}  // namespace qwen3vl
