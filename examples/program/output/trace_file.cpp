#include "program/output/trace_file.hpp"

#include "../../../benchmarks/roof.hpp"
#include "qwen3vl/trace/chrome_trace.hpp"

namespace program {

using namespace qwen3vl;

void write_trace(const std::string& path, const Trace& trace, const std::string& program, int threads) {
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

}  // namespace program
