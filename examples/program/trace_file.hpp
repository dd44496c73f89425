/// What --trace writes.
#pragma once

#include <string>

#include "../../benchmarks/roof.hpp"
#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/trace/chrome_trace.hpp"

namespace program {

/// Has `ctx` record into `trace` from now on. Throws Error on a device, where operations go on after their call
/// returns.
template <class B>
void begin_trace(qwen3vl::Context<B>& ctx, qwen3vl::Trace& trace) {
  if constexpr (B::is_host) {
    ctx.set_trace(&trace);
  } else {
    static_cast<void>(trace);
    qwen3vl::fail("--trace is for the CPU's programs; on a GPU, its own tools (nsys profile) see every kernel");
  }
}

/// Measures what the machine can do at most, which takes a few seconds, and writes the trace beside it.
inline void write_trace(const std::string& path, const qwen3vl::Trace& trace, const std::string& program, int threads) {
  using namespace qwen3vl;
  const bench::Roof roof = bench::measure_roof(threads);
  ChromeTraceOptions options;
  options.least_seconds = [&](const TracedCall& call) {
    return bench::least_seconds({.products = call.products, .others = call.others, .bytes = call.bytes},
                                bench::arithmetic_of(call.weights), roof);
  };
  options.about = {{"program", program},
                   {"isa", simd::isa},
                   {"threads", std::to_string(threads)},
                   {"roof, GFLOP/s of f32", std::to_string(roof.fma_all * 1e-9)},
                   {"roof, GB/s of memory reads", std::to_string(roof.read_all * 1e-9)}};
  write_chrome_trace(path, trace, options);
}
/// The same with the threads of a backend; nothing was traced on a device.
template <class B>
void write_trace(const std::string& path, const qwen3vl::Trace& trace, const std::string& program, const B& backend) {
  if constexpr (B::is_host) write_trace(path, trace, program, backend.threads());
}

}  // namespace program
