/// Operations on logits on the CPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"

namespace qwen3vl {

/// The lowest index among equals. NaN is never larger, so a row of NaN gives 0: callers that sample check first.
inline void argmax(Context<Cpu>& ctx, View<const float, Cpu, dynamic, dynamic> logits,
                   View<std::int32_t, Cpu, dynamic> ids) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("argmax", logits.rows(), logits.extent(1), 1); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (logits.size() > 65536)
  for (index_t row = 0; row < logits.rows(); ++row) {
    const float* const begin = logits.data() + row * logits.extent(1);
    ids(row) = static_cast<std::int32_t>(std::max_element(begin, begin + logits.extent(1)) - begin);
  }
}

inline void cross_entropy(Context<Cpu>& ctx, View<const float, Cpu, dynamic, dynamic> logits,
                          View<const std::int32_t, Cpu, dynamic> labels, View<float, Cpu, dynamic> losses) {
  const TraceScope scope(ctx.trace(),
                         [&] { return traced::by_row("cross_entropy", logits.rows(), logits.extent(1), 1, 2); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (logits.size() > 16384)
  for (index_t row = 0; row < logits.rows(); ++row) {
    losses(row) = 0.0f;
    if (labels(row) == -100) continue;
    const float* const begin = logits.data() + row * logits.extent(1);
    const float* const end = begin + logits.extent(1);
    const float highest = *std::max_element(begin, end);
    double sum = 0.0;
    for (const float* p = begin; p != end; ++p) sum += std::exp(static_cast<double>(*p - highest));
    losses(row) =
        static_cast<float>(std::log(sum) + static_cast<double>(highest) - static_cast<double>(begin[labels(row)]));
  }
}

}  // namespace qwen3vl
