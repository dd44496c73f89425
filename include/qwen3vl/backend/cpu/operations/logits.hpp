/// Operations on logits on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"

namespace qwen3vl {

/// The lowest index among equals. NaN never compares larger, so a row of NaN gives 0; callers that sample check for it.
inline void argmax(Context<Cpu>& ctx, View<const float, Cpu, dynamic, dynamic> logits,
                   View<std::int32_t, Cpu, dynamic> ids) {
  const TraceScope scope(ctx.trace(), [&] { return traced::by_row("argmax", logits.rows(), logits.extent(1), 1); });
#pragma omp parallel for schedule(static) num_threads(ctx.backend().threads()) if (logits.size() > 65536)
  for (index_t row = 0; row < logits.rows(); ++row) {
    const float* const begin = logits.data() + row * logits.extent(1);
    ids(row) = static_cast<std::int32_t>(std::max_element(begin, begin + logits.extent(1)) - begin);
  }
}

}  // namespace qwen3vl
