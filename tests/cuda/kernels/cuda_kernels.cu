// Whole models of released sizes for the device: nvcc compiles every kernel that they launch. Never run; see
// check_cuda_kernels.sh.
#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/generation/decode_pass.hpp"
#include "qwen3vl/layers/score_functions.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"

// On a device the cache is kept in bf16, or with weights of e4m3 in e4m3, too.
namespace qwen3vl {
#if defined(QWEN3VL_CHECKED_FP8)
using Precision = WithKv<Fp8, f8_e4m3>;
#elif defined(QWEN3VL_CHECKED_FP8_BLOCKS)
using Precision = Fp8Blocks;
#elif defined(QWEN3VL_CHECKED_SOFTCAP)
using Precision = WithAttention<WithKv<Bf16, bf16>, attention_policy::Scored<SoftCap, SoftCap>>;
#else
using Precision = WithKv<Bf16, bf16>;
#endif
using Model = ForConditionalGeneration<QWEN3VL_CHECKED_VARIANT, Cuda, Precision>;
template class ForConditionalGeneration<QWEN3VL_CHECKED_VARIANT, Cuda, Precision>;
template class DecodePass<Model>;
}  // namespace qwen3vl
