// D = epilogue(alpha op(A) op(B) + beta C), plainly.
#include <cmath>
#include <cstring>
#include <string>

#include "block.hpp"
#include "cublasLt.h"
#include "memory.hpp"
#include "qwen3vl/tensor/dtype.hpp"

using qwen3vl::bf16;

namespace {

std::size_t size_of(cudaDataType_t type) { return type == CUDA_R_8F_E4M3 ? 1 : type == CUDA_R_16BF ? 2 : 4; }

double load(const void* data, cudaDataType_t type, std::int64_t i) {
  switch (type) {
    case CUDA_R_8F_E4M3:
      return static_cast<double>(static_cast<float>(static_cast<const qwen3vl::f8_e4m3*>(data)[i]));
    case CUDA_R_16BF:
      return static_cast<double>(static_cast<float>(static_cast<const bf16*>(data)[i]));
    default:
      return static_cast<double>(static_cast<const float*>(data)[i]);
  }
}
void store(void* data, cudaDataType_t type, std::int64_t i, double value) {
  if (type == CUDA_R_16BF) {
    static_cast<bf16*>(data)[i] = bf16(static_cast<float>(value));
  } else {
    static_cast<float*>(data)[i] = static_cast<float>(value);
  }
}

/// What the real library demands of combinations that are used here.
bool supported(const cublasLtMatmulDescOpaque_t& desc, const cublasLtMatrixLayoutOpaque_t& a,
               const cublasLtMatrixLayoutOpaque_t& b, const cublasLtMatrixLayoutOpaque_t& c,
               const cublasLtMatrixLayoutOpaque_t& d) {
  const bool f8 = a.type == CUDA_R_8F_E4M3;
  const bool types = a.type == b.type && c.type == d.type && d.type != CUDA_R_8F_E4M3 &&
                     (a.type == d.type || a.type == CUDA_R_16BF || f8);
  // Its tables of types: a bias is of D's, but for FP8 never of float.
  const bool bias =
      (desc.epilogue & CUBLASLT_EPILOGUE_BIAS) == 0 || (desc.bias_type == d.type && !(f8 && d.type == CUDA_R_32F));
  const bool ta = desc.transposed_a == CUBLAS_OP_T, tb = desc.transposed_b == CUBLAS_OP_T;
  const std::uint64_t m = ta ? a.columns : a.rows, k = ta ? a.rows : a.columns;
  const std::uint64_t kb = tb ? b.columns : b.rows, n = tb ? b.rows : b.columns;
  // FP8: rows of both operands are of k, and all sizes of 16 bytes.
  if (f8 && (!ta || tb || m % 16 != 0 || n % 16 != 0 || k % 16 != 0 || a.stride % 16 != 0 || b.stride % 16 != 0))
    return false;
  return types && bias && k == kb && m == d.rows && n == d.columns && c.rows == d.rows && c.columns == d.columns;
}

/// The matrix lies in one allocation of device memory.
void check_matrix(const char* name, const void* data, const cublasLtMatrixLayoutOpaque_t& layout) {
  if (layout.rows == 0 || layout.columns == 0) return;
  const std::size_t bytes =
      (static_cast<std::size_t>(layout.stride) * (layout.columns - 1) + layout.rows) * size_of(layout.type);
  if (const std::string wrong = cuda_on_host::device_range_error(data, bytes); !wrong.empty())
    throw cuda_on_host::Failure(std::string("cublasLtMatmul: matrix ") + name + " of " + std::to_string(bytes) +
                                " bytes " + wrong);
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS         ? "success"
         : status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported"
                                                 : "invalid value";
}
std::size_t cublasLtGetVersion() { return 0; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t desc, cublasComputeType_t, cudaDataType_t) {
  *desc = {CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, CUDA_R_32F};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  const auto set = [&](auto& field) {
    if (bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
  };
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(desc->transposed_a);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(desc->transposed_b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(desc->epilogue);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(desc->bias);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
      return set(desc->bias_type);
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType_t type, std::uint64_t rows,
                                        std::uint64_t columns, std::int64_t stride) {
  if (stride < static_cast<std::int64_t>(rows)) return CUBLAS_STATUS_INVALID_VALUE;
  *layout = {type, rows, columns, stride};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference) {
  *preference = {0, {256, 256, 256, 256}};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
    if (bytes != 8) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&preference->workspace, value, bytes);
  } else {
    if (bytes != 4) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
  }
  return CUBLAS_STATUS_SUCCESS;
}

/// Two algorithms, which differ in nothing but in what they demand: the alignments that were promised are kept in it.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference,
                                              int wanted, cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  if (!supported(*desc, *a, *b, *c, *d)) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (a->type == CUDA_R_8F_E4M3)
    for (const std::uint32_t alignment : preference->alignment)
      if (alignment < 16) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (; *found < wanted && *found < 2; ++*found) {
    results[*found] = {};
    for (int i = 0; i < 4; ++i) results[*found].algo.data[i] = preference->alignment[i];
    results[*found].algo.data[4] = static_cast<std::uint64_t>(*found) + 1;
    results[*found].workspaceSize = 1024;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc_, const void* alpha_, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta_, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  const cublasLtMatmulDescOpaque_t desc = *desc_;
  const cublasLtMatrixLayoutOpaque_t la = *a_layout, lb = *b_layout, lc = *c_layout, ld = *d_layout;
  if (!supported(desc, la, lb, lc, ld)) return CUBLAS_STATUS_NOT_SUPPORTED;
  const void* const operands[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i)
    if (algo != nullptr && reinterpret_cast<std::uintptr_t>(operands[i]) % algo->data[i] != 0)
      return CUBLAS_STATUS_INVALID_VALUE;
  if (workspace_bytes < 1024 || !cuda_on_host::is_device_memory(workspace)) return CUBLAS_STATUS_INVALID_VALUE;
  const auto alpha = static_cast<double>(*static_cast<const float*>(alpha_));
  const auto beta = static_cast<double>(*static_cast<const float*>(beta_));
  cuda_on_host::submit(stream, [=] {
    check_matrix("A", a, la);
    check_matrix("B", b, lb);
    check_matrix("C", c, lc);
    check_matrix("D", d, ld);
    const bool ta = desc.transposed_a == CUBLAS_OP_T, tb = desc.transposed_b == CUBLAS_OP_T;
    const auto m = static_cast<std::int64_t>(ld.rows), n = static_cast<std::int64_t>(ld.columns);
    const auto k = static_cast<std::int64_t>(ta ? la.rows : la.columns);
    const bool bias = (desc.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0,
               gelu = (desc.epilogue & CUBLASLT_EPILOGUE_GELU) != 0;
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t i = 0; i < m; ++i) {
        double sum = 0.0;
        for (std::int64_t l = 0; l < k; ++l)
          sum += load(a, la.type, ta ? i * la.stride + l : l * la.stride + i) *
                 load(b, lb.type, tb ? l * lb.stride + j : j * lb.stride + l);
        double z = alpha * sum;
        if (beta != 0.0) z += beta * load(c, lc.type, j * lc.stride + i);
        if (bias) z += load(desc.bias, desc.bias_type, i);
        if (gelu) z = 0.5 * z * (1.0 + std::tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)));
        store(d, ld.type, j * ld.stride + i, z);
      }
  });
  return CUBLAS_STATUS_SUCCESS;
}
