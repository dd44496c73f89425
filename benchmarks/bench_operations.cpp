// Times the CPU's operations, in GFLOP/s and GB/s, beside this machine's roof.
//   bench_operations [--benchmark_filter=linear]        OMP_NUM_THREADS chooses the threads
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"

using namespace qwen3vl;

namespace {

void set_flops(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}
void set_bytes(benchmark::State& state, double bytes) {
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

/// The roof for products: multiply-adds on registers, all threads.
void peak_fma(benchmark::State& state) {
  Cpu cpu;
  constexpr int chains = simd::registers == 32 ? 24 : 12;
  constexpr int steps = 100000;
  for (auto _ : state) {
#pragma omp parallel num_threads(cpu.threads())
    {
      simd::Floats sums[chains];  // all different, so that the compiler keeps them all
      simd::unroll<chains>([&](auto c) { sums[c] = simd::splat(static_cast<float>(c)); });
      simd::Floats x = simd::splat(1.0f + 1e-9f * static_cast<float>(omp_get_thread_num())), y = simd::splat(1e-9f);
      for (int i = 0; i < steps; ++i) simd::unroll<chains>([&](auto c) { sums[c] = sums[c] * x + y; });
      simd::Floats total = {};
      simd::unroll<chains>([&](auto c) { total += sums[c]; });
      benchmark::DoNotOptimize(total);
    }
  }
  set_flops(state, 2.0 * chains * steps * simd::width * cpu.threads());
}

/// The roof for decoding: reading memory, all threads.
void peak_read(benchmark::State& state) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  constexpr index_t count = index_t{1} << 27;  // 512 MiB
  Tensor<float, Cpu, dynamic> memory(count);
  for (auto _ : state) {
#pragma omp parallel num_threads(cpu.threads())
    {
      const index_t team = omp_get_num_threads(), me = omp_get_thread_num();
      simd::Floats sums[8] = {};
      for (index_t i = count / team * me; i < count / team * (me + 1); i += 8 * simd::width)
        simd::unroll<8>([&](auto c) { sums[c] += simd::load(memory.data() + i + c * simd::width); });
      benchmark::DoNotOptimize(sums);
    }
  }
  set_bytes(state, static_cast<double>(count) * 4);
}

template <class W, index_t N, index_t K, class E>
void linear_op(benchmark::State& state) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  CpuMatrix<W, N, K, gated ? Packing::gate_up : Packing::plain> weight;
  weight.allocate();
  RandomWeights random;
  const index_t part_rows = N / 4, shape[2] = {part_rows, K};
  for (index_t first = 0; first < N; first += part_rows) {
    const RawTensor raw = *random.find(Part("weight", part_rows, {part_rows, K}));
    weight.load_rows(ctx, first, RawTensor{.dtype = raw.dtype, .data = raw.data, .shape = shape});
  }
  const index_t rows = state.range(0);
  constexpr index_t width = epilogue::width<E, N>;
  Tensor<float, Cpu, dynamic, K> x(rows);
  Tensor<float, Cpu, dynamic, width> y(rows);
  for (float& value : x.span()) value = 0.5f;
  for (auto _ : state) linear(ctx, x, weight, View<const float, Cpu, N>(), y, E{});
  set_flops(state, 2.0 * static_cast<double>(rows) * N * K);
  set_bytes(state, static_cast<double>(weight.bytes()));
}

template <class View>
void fill(View view) {
  std::uint32_t state = 1;
  for (index_t i = 0; i < view.size(); ++i)
    view.data()[i] = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f;
}

template <index_t H, index_t D>
void vision_attention(benchmark::State& state) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  const index_t tokens = state.range(0);
  Segments segments;
  segments.append(tokens);
  Tensor<float, Cpu, dynamic, 3 * H * D> qkv(tokens);
  Tensor<float, Cpu, dynamic, H * D> out(tokens);
  fill(qkv.view());
  for (auto _ : state) attention<H, D>(ctx, qkv, segments, out);
  set_flops(state, 4.0 * static_cast<double>(tokens) * static_cast<double>(tokens) * H * D);
}

/// New tokens range(0) after range(1) cached ones of type T. Decoding runs over enough layers to fill 512 MiB, so that
/// the cache is read from memory, as in a model.
template <class T, index_t H, index_t K, index_t D>
void text_attention(benchmark::State& state) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  constexpr index_t layers = 28;
  const std::vector<index_t> past{state.range(1)}, fresh{state.range(0)};
  const Segments segments(fresh);
  Tensor<float, Cpu, dynamic, (H + 2 * K) * D> qkv(fresh[0]);
  Tensor<float, Cpu, dynamic, H * D> out(fresh[0]);
  fill(qkv.view());
  HostKvCache<T, layers, K, D> cache(1);
  cache.prepare(past);
  cache.commit();
  cache.prepare(fresh);
  for (index_t layer = 0; layer < layers; ++layer)
    for (index_t h = 0; h < K; ++h)
      for (index_t i = 0; i < (past[0] + fresh[0]) * D; ++i)
        cache.layer(layer).keys(0, h)[i] = cache.layer(layer).values(0, h)[i] = T(qkv.data()[i % qkv.size()]);
  index_t layer = 0;
  for (auto _ : state) {
    causal_attention<H, K, D>(ctx, qkv, segments, cache.layer(layer), out);
    layer = (layer + 1) % layers;
  }
  const double pairs =
      static_cast<double>(fresh[0]) * static_cast<double>(past[0]) + 0.5 * static_cast<double>(fresh[0] * fresh[0]);
  set_flops(state, 4.0 * pairs * H * D);
  set_bytes(state, 2.0 * static_cast<double>(past[0] + fresh[0]) * K * D * sizeof(T));
}

template <index_t D>
void layer_norm_op(benchmark::State& state) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  Tensor<float, Cpu, dynamic, D> x(state.range(0)), y(state.range(0));
  Tensor<float, Cpu, D> weight, bias;
  fill(x.view());
  fill(weight.view());
  fill(bias.view());
  for (auto _ : state) layer_norm(ctx, x, View<const float, Cpu, D>(weight), View<const float, Cpu, D>(bias), 1e-6f, y);
  set_bytes(state, 8.0 * static_cast<double>(x.size()));
}

template <index_t D>
void rms_norm_op(benchmark::State& state) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  Tensor<float, Cpu, dynamic, D> x(state.range(0)), y(state.range(0));
  Tensor<float, Cpu, D> weight;
  fill(x.view());
  fill(weight.view());
  for (auto _ : state) rms_norm(ctx, x, View<const float, Cpu, D>(weight), 1e-6f, y);
  set_bytes(state, 8.0 * static_cast<double>(x.size()));
}

template <index_t H, index_t D>
void rotate_qk_op(benchmark::State& state) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  Tensor<float, Cpu, dynamic, 3 * H * D> qkv(state.range(0));
  Tensor<float, Cpu, dynamic, D / 2> cos(state.range(0)), sin(state.range(0));
  fill(qkv.view());
  for (float& value : cos.span()) value = 0.8f;
  for (float& value : sin.span()) value = 0.6f;
  for (auto _ : state) rotate_qk<H, D>(ctx, qkv, cos, sin);
  set_bytes(state, 16.0 * static_cast<double>(state.range(0)) * H * D);
}

template <class T, index_t H, index_t K, index_t D>
void qk_norm_rope_op(benchmark::State& state) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  const std::vector<index_t> fresh{state.range(0)};
  const Segments segments(fresh);
  Tensor<float, Cpu, dynamic, (H + 2 * K) * D> qkv(fresh[0]);
  Tensor<float, Cpu, dynamic, D / 2> cos(fresh[0]), sin(fresh[0]);
  Tensor<float, Cpu, D> norm;
  fill(qkv.view());
  fill(norm.view());
  fill(cos.view());
  fill(sin.view());
  HostKvCache<T, 1, K, D> cache(1);
  cache.prepare(fresh);
  for (auto _ : state) qk_norm_rope<H, K, D>(ctx, qkv, norm, norm, 1e-6f, cos, sin, segments, cache.layer(0));
  set_bytes(state, 4.0 * static_cast<double>(fresh[0]) * (2 * H + 3 * K) * D +
                       2.0 * sizeof(T) * static_cast<double>(fresh[0]) * K * D);
}

BENCHMARK(peak_fma)->UseRealTime();
BENCHMARK(peak_read)->UseRealTime();
// Qwen3-VL-2B's layers: the fused query, key and value product, gate and up, down; then decode.
BENCHMARK(linear_op<bf16, 4096, 2048, epilogue::Store>)->Arg(1)->Arg(4)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<bf16, 12288, 2048, epilogue::SwiGlu>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<bf16, 2048, 6144, epilogue::Add>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<bf16, 4096, 1024, epilogue::GeluTanh>)->Arg(1024)->UseRealTime();
BENCHMARK(linear_op<bf16, 1024, 4096, epilogue::Add>)->Arg(1024)->UseRealTime();
BENCHMARK(linear_op<bf16, 4304, 1152, epilogue::GeluTanh>)->Arg(1024)->UseRealTime();
BENCHMARK(linear_op<q8, 4096, 2048, epilogue::Store>)->Arg(1)->Arg(4)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<q8, 12288, 2048, epilogue::SwiGlu>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<q8, 2048, 6144, epilogue::Add>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<q4, 4096, 2048, epilogue::Store>)->Arg(1)->Arg(4)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<q4, 12288, 2048, epilogue::SwiGlu>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(linear_op<q4, 2048, 6144, epilogue::Add>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(vision_attention<16, 64>)->Arg(1024)->Arg(3072)->UseRealTime();
BENCHMARK(vision_attention<16, 72>)->Arg(1024)->Arg(3072)->UseRealTime();
BENCHMARK(text_attention<float, 16, 8, 128>)->Args({512, 0})->Args({512, 3584})->Args({4096, 0})->UseRealTime();
// Decoding: 2B, 8B and 30B-A3B share keys among 2, 4 and 8 heads.
BENCHMARK(text_attention<float, 16, 8, 128>)->Args({1, 512})->Args({1, 4096})->Args({1, 16384})->UseRealTime();
BENCHMARK(text_attention<f16, 16, 8, 128>)->Args({1, 512})->Args({1, 4096})->Args({1, 16384})->UseRealTime();
BENCHMARK(text_attention<bf16, 16, 8, 128>)->Args({1, 4096})->UseRealTime();
BENCHMARK(text_attention<float, 32, 8, 128>)->Args({1, 4096})->UseRealTime();
BENCHMARK(text_attention<f16, 32, 8, 128>)->Args({1, 4096})->UseRealTime();
BENCHMARK(text_attention<float, 32, 4, 128>)->Args({1, 4096})->UseRealTime();
BENCHMARK(text_attention<f16, 32, 4, 128>)->Args({1, 4096})->UseRealTime();
BENCHMARK(layer_norm_op<1024>)->Arg(1024)->UseRealTime();
BENCHMARK(rms_norm_op<2048>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(rotate_qk_op<16, 64>)->Arg(1024)->UseRealTime();
BENCHMARK(rotate_qk_op<16, 72>)->Arg(1024)->UseRealTime();
BENCHMARK(qk_norm_rope_op<float, 16, 8, 128>)->Arg(1)->Arg(512)->UseRealTime();
BENCHMARK(qk_norm_rope_op<f16, 16, 8, 128>)->Arg(1)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
