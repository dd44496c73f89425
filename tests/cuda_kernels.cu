// Whole models of released sizes for the device: nvcc compiles every kernel that they launch. Never run; see
// check_cuda_kernels.sh.
#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/generation/decode_pass.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

// On a device the cache is kept in bf16.
using Model = qwen3vl::ForConditionalGeneration<qwen3vl::QWEN3VL_CHECKED_VARIANT, qwen3vl::Cuda,
                                                qwen3vl::WithKv<qwen3vl::Bf16, qwen3vl::bf16>>;
template class qwen3vl::ForConditionalGeneration<qwen3vl::QWEN3VL_CHECKED_VARIANT, qwen3vl::Cuda,
                                                 qwen3vl::WithKv<qwen3vl::Bf16, qwen3vl::bf16>>;
template class qwen3vl::DecodePass<Model>;
