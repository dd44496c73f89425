/// Products by cuBLASLt: which algorithm, per shape.
#pragma once

#include <cublasLt.h>

#include "qwen3vl/backend/cuda/cuda.cuh"

namespace qwen3vl::cuda {

class GemmPlans {};

}  // namespace qwen3vl::cuda
