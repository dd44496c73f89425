/// The CPU backend, whole.
#pragma once

#include "qwen3vl/backend/cpu/attention.hpp"
#include "qwen3vl/backend/cpu/attention_weights.hpp"
#include "qwen3vl/backend/cpu/causal_attention.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/experts.hpp"
#include "qwen3vl/backend/cpu/kv_cache.hpp"
#include "qwen3vl/backend/cpu/linear.hpp"
#include "qwen3vl/backend/cpu/logits.hpp"
#include "qwen3vl/backend/cpu/norms.hpp"
#include "qwen3vl/backend/cpu/operation_memory.hpp"
#include "qwen3vl/backend/cpu/packed_matrix.hpp"
#include "qwen3vl/backend/cpu/rope.hpp"
#include "qwen3vl/backend/cpu/rows.hpp"
#include "qwen3vl/backend/ops.hpp"

namespace qwen3vl {

static_assert(Backend<Cpu>, "the CPU backend does not implement the whole contract of backend/ops.hpp");

}  // namespace qwen3vl
