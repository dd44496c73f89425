/// The CUDA backend, whole.
#pragma once

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cuda/attention/attention.cuh"
#include "qwen3vl/backend/cuda/attention/attention_weights.cuh"
#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/qk_norm_rope.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/decoding/decoding.cuh"
#include "qwen3vl/backend/cuda/decoding/sampling.cuh"
#include "qwen3vl/backend/cuda/experts/moe.cuh"
#include "qwen3vl/backend/cuda/operation_memory.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
#include "qwen3vl/backend/cuda/operations/logits.cuh"
#include "qwen3vl/backend/cuda/operations/norms.cuh"
#include "qwen3vl/backend/cuda/operations/random.cuh"
#include "qwen3vl/backend/cuda/operations/rope.cuh"
#include "qwen3vl/backend/cuda/operations/rows.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"

namespace qwen3vl {

static_assert(Backend<Cuda>, "the CUDA backend does not implement the whole contract of backend/contract/ops.hpp");
static_assert(DecodesOnDevice<Cuda>, "the CUDA backend does not have all of backend/contract/decoding.hpp");

}  // namespace qwen3vl
