/// The CPU backend, whole.
#pragma once

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cpu/attention/attention.hpp"
#include "qwen3vl/backend/cpu/attention/attention_weights.hpp"
#include "qwen3vl/backend/cpu/attention/causal_attention.hpp"
#include "qwen3vl/backend/cpu/attention/rope.hpp"
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/backend/cpu/operation_memory.hpp"
#include "qwen3vl/backend/cpu/operations/experts.hpp"
#include "qwen3vl/backend/cpu/operations/linear.hpp"
#include "qwen3vl/backend/cpu/weights/matrix.hpp"
#include "qwen3vl/backend/host/kv_cache.hpp"
#include "qwen3vl/backend/host/logits.hpp"
#include "qwen3vl/backend/host/norms.hpp"
#include "qwen3vl/backend/host/rope.hpp"
#include "qwen3vl/backend/host/rows.hpp"

namespace qwen3vl {

static_assert(Backend<Cpu>, "the CPU backend does not implement the whole contract of backend/contract/ops.hpp");

}  // namespace qwen3vl
