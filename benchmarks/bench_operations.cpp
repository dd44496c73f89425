// Times the CPU's operations at the sizes of the released models, in GFLOP/s and GB/s, beside this machine's roof. The
// table of operations is that of the tests (tests/operations/); its sizes for this program are in model_sizes.hpp.
//   bench_operations [--benchmark_filter=linear]        OMP_NUM_THREADS chooses the threads
#include <benchmark/benchmark.h>

#include <string>
#include <string_view>

#include "operations/model_sizes.hpp"
#include "qwen3vl/backend/cpu.hpp"

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

/// An operation of the table. Its work is what a trace says of it.
template <class Operation>
void run(benchmark::State& state, const Operation& operation) {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  typename Operation::template Operands<Cpu> operands(ctx, operation);
  Trace trace;
  ctx.set_trace(&trace);
  operands.call(ctx);
  ctx.set_trace(nullptr);
  const TracedCall& work = trace.events().front().call;
  for (auto _ : state) operands.call(ctx);
  if (work.products + work.others > 0.0) set_flops(state, work.products + work.others);
  set_bytes(state, work.bytes);
}

/// As benchmarks have always been called, so that results of two versions can be compared by name.
std::string benchmark_name(std::string_view operation) {
  if (operation == "attention") return "vision_attention";
  if (operation == "causal_attention") return "text_attention";
  return concat(operation, "_op");
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("peak_fma", peak_fma)->UseRealTime();
  benchmark::RegisterBenchmark("peak_read", peak_read)->UseRealTime();
  operations::for_model_sizes([]<class Operation>(const Operation& operation) {
    benchmark::RegisterBenchmark(concat(benchmark_name(Operation::name), operation.sizes()).c_str(),
                                 [=](benchmark::State& state) { run(state, operation); })
        ->UseRealTime();
  });
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
