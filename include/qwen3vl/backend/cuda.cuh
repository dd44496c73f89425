/// The CUDA backend, whole.
#pragma once

#include "qwen3vl/backend/cuda/attention.cuh"
#include "qwen3vl/backend/cuda/attention_weights.cuh"
#include "qwen3vl/backend/cuda/copies.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/decoding.cuh"
#include "qwen3vl/backend/cuda/kv_cache.cuh"
#include "qwen3vl/backend/cuda/linear.cuh"
#include "qwen3vl/backend/cuda/logits.cuh"
#include "qwen3vl/backend/cuda/moe.cuh"
#include "qwen3vl/backend/cuda/norms.cuh"
#include "qwen3vl/backend/cuda/operation_memory.cuh"
#include "qwen3vl/backend/cuda/qk_norm_rope.cuh"
#include "qwen3vl/backend/cuda/random.cuh"
#include "qwen3vl/backend/cuda/rope.cuh"
#include "qwen3vl/backend/cuda/rows.cuh"
#include "qwen3vl/backend/cuda/sampling.cuh"
#include "qwen3vl/backend/ops.hpp"

namespace qwen3vl {

static_assert(Backend<Cuda>, "the CUDA backend does not implement the whole contract of backend/ops.hpp");
static_assert(DecodesOnDevice<Cuda>, "the CUDA backend does not have all of backend/decoding.hpp");

}  // namespace qwen3vl
