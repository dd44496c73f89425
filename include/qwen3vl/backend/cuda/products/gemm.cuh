/// Products by cuBLASLt: y = epilogue(x w^T), with the algorithm chosen once per shape.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/tensor/tensor.hpp"

namespace qwen3vl::cuda {

inline void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) fail("cuBLASLt: ", what, ": ", cublasLtGetStatusString(status));
}

/// A kind of product: x [rows, k] and w [n, k] of float, bf16 or e4m3 (then all sizes are multiples of 16), y [rows, n]
/// of the same or of float, with e4m3 of float or bf16; all row-major.
struct GemmShape {
  std::int64_t rows = 0, n = 0, k = 0;
  bool f8_operands = false, bf16_operands = false, bf16_result = false;
  bool bias = false;              ///< + bias [n], of y's type
  bool gelu_tanh = false;         ///< then GELU, the tanh approximation
  bool add = false;               ///< + y
  std::uint32_t alignment = 256;  ///< of all pointers, at least

  auto operator<=>(const GemmShape&) const = default;
};

/// The largest power of two up to 256 that divides all addresses.
template <class... Pointers>
std::uint32_t common_alignment(const Pointers*... pointers) {
  const std::uintptr_t bits = (std::uintptr_t{256} | ... | reinterpret_cast<std::uintptr_t>(pointers));
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

/// The algorithms of one handle. The first product of a shape asks cuBLASLt's heuristic (some 10 us, on the host); with
/// a tuning file it times the heuristic's proposals and stores the best in that file.
class GemmPlans {
 public:
  /// cuBLASLt's recommendation for Hopper; enough for others.
  static constexpr std::size_t workspace_bytes = std::size_t{32} << 20;
  /// With more shapes than this (prompts of many lengths), plans are discarded and requested again.
  static constexpr std::size_t most_plans = 4096;

  /// Time algorithms at the first use of a shape, and keep the fastest in `file` (one line per shape). Entries of the
  /// same kind of device and version of cuBLASLt are used without timing.
  void tune(const std::filesystem::path& file, int device) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device), "asking for the name of device ", device);
    origin_ = concat("cuBLASLt ", cublasLtGetVersion(), ", ", properties.name);
    tuning_file_ = file;
    tuned_.clear();
    std::ifstream in(file);
    std::string line;
    if (!in || !std::getline(in, line) || line != origin_) return;  // none yet, or from another device
    while (std::getline(in, line)) read_tuned(line);
  }
  /// Shapes with a plan, and those whose algorithm was timed or read from the tuning file.
  std::size_t size() const { return plans_.size(); }
  std::size_t tuned() const { return tuned_.size(); }

  /// y = epilogue(x w^T); `bias` is read with shape.bias only.
  void run(cublasLtHandle_t blas, cudaStream_t stream, const GemmShape& shape, const void* x, const void* w,
           const void* bias, void* y) {
    if (!workspace_.allocated()) workspace_ = decltype(workspace_)::uninitialized();
    Plan& plan = find(blas, stream, shape, x, w, bias);
    plan.set_bias(bias);
    check(multiply(blas, stream, plan, plan.algorithm, x, w, shape.add, y), "a product");
  }

 private:
  struct Plan {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t x, w, y;
    cublasLtMatmulAlgo_t algorithm;

    /// cuBLASLt is column-major: y^T [n, rows] = w^T' x^T, with w as a [k, n] that is transposed.
    explicit Plan(const GemmShape& s) {
      const cudaDataType operands = s.f8_operands ? CUDA_R_8F_E4M3 : s.bf16_operands ? CUDA_R_16BF : CUDA_R_32F;
      const cudaDataType result = s.bf16_result ? CUDA_R_16BF : CUDA_R_32F;
      const auto rows = static_cast<std::uint64_t>(s.rows), n = static_cast<std::uint64_t>(s.n),
                 k = static_cast<std::uint64_t>(s.k);
      check(cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
      set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, s.gelu_tanh ? (s.bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU)
                                                     : (s.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT));
      if (s.bias) set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, result);
      check(cublasLtMatrixLayoutInit(&w, operands, k, n, s.k), "describing a matrix");
      check(cublasLtMatrixLayoutInit(&x, operands, k, rows, s.k), "describing a matrix");
      check(cublasLtMatrixLayoutInit(&y, result, n, rows, s.n), "describing a matrix");
    }
    void set_bias(const void* bias) { set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias); }

   private:
    template <class T>
    void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
      check(cublasLtMatmulDescSetAttribute(&product, attribute, &value, sizeof value), "describing a product");
    }
  };

  cublasStatus_t multiply(cublasLtHandle_t blas, cudaStream_t stream, Plan& plan, const cublasLtMatmulAlgo_t& algorithm,
                          const void* x, const void* w, bool add, void* y) {
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    return cublasLtMatmul(blas, &plan.product, &alpha, w, &plan.w, x, &plan.x, &beta, y, &plan.y, y, &plan.y,
                          &algorithm, workspace_.data(), workspace_bytes, stream);
  }

  Plan& find(cublasLtHandle_t blas, cudaStream_t stream, const GemmShape& shape, const void* x, const void* w,
             const void* bias) {
    if (const auto found = plans_.find(shape); found != plans_.end()) return found->second;
    if (plans_.size() >= most_plans) plans_.clear();
    Plan plan(shape);
    plan.set_bias(bias);  // its alignment counts
    if (const auto known = tuned_.find(shape); known != tuned_.end()) {
      plan.algorithm = known->second;
    } else {
      constexpr int most = 8;
      cublasLtMatmulHeuristicResult_t proposals[most];
      const bool timing = !tuning_file_.empty() && !capturing(stream);
      const int found = propose(blas, plan, shape, timing ? most : 1, proposals);
      plan.algorithm = proposals[timing ? fastest(blas, stream, plan, shape, proposals, found, x, w) : 0].algo;
      if (timing) remember(shape, plan.algorithm);
    }
    return plans_.emplace(shape, plan).first->second;
  }

  int propose(cublasLtHandle_t blas, Plan& plan, const GemmShape& s, int most,
              cublasLtMatmulHeuristicResult_t* proposals) {
    cublasLtMatmulPreferenceOpaque_t preference;
    check(cublasLtMatmulPreferenceInit(&preference), "asking for an algorithm");
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      check(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value),
            "asking for an algorithm");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      set(attribute, s.alignment);
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(blas, &plan.product, &plan.w, &plan.x, &plan.y,
                                                                 &plan.y, &preference, most, proposals, &found);
    if (status != CUBLAS_STATUS_SUCCESS || found == 0)
      fail("cuBLASLt has no algorithm for ", s.rows, " x ", s.n, " x ", s.k,
           s.f8_operands     ? " in fp8"
           : s.bf16_operands ? " in bf16"
                             : " in f32",
           ": ", cublasLtGetStatusString(status));
    return found;
  }

  static bool capturing(cudaStream_t stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream, &status), "asking for the state of a stream");
    return status != cudaStreamCaptureStatusNone;
  }

  /// The fastest proposal over five runs, writing to a separate output so that y does not change.
  int fastest(cublasLtHandle_t blas, cudaStream_t stream, Plan& plan, const GemmShape& s,
              const cublasLtMatmulHeuristicResult_t* proposals, int count, const void* x, const void* w) {
    auto result = Tensor<std::byte, Cuda, dynamic>::uninitialized(s.rows * s.n * (s.bf16_result ? 2 : 4));
    void* const y = result.data();
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreateWithFlags(&begin, cudaEventDefault), "creating an event");
    check(cudaEventCreateWithFlags(&end, cudaEventDefault), "creating an event");
    int best = 0;
    float best_time = 1e30f;
    for (int i = 0; i < count; ++i) {
      if (multiply(blas, stream, plan, proposals[i].algo, x, w, s.add, y) != CUBLAS_STATUS_SUCCESS) continue;  // warm
      for (int run = 0; run < 5; ++run) {
        float time = 0.0f;
        check(cudaEventRecord(begin, stream), "timing");
        static_cast<void>(multiply(blas, stream, plan, proposals[i].algo, x, w, s.add, y));
        check(cudaEventRecord(end, stream), "timing");
        check(cudaEventSynchronize(end), "timing");
        check(cudaEventElapsedTime(&time, begin, end), "timing");
        if (time < best_time) {
          best_time = time;
          best = i;
        }
      }
    }
    static_cast<void>(cudaEventDestroy(begin));
    static_cast<void>(cudaEventDestroy(end));
    return best;
  }

  /// Adds a line to the tuning file; a new file begins with its origin.
  void remember(const GemmShape& s, const cublasLtMatmulAlgo_t& algorithm) {
    const bool fresh = tuned_.empty();
    tuned_[s] = algorithm;
    std::ofstream out(tuning_file_, fresh ? std::ios::trunc : std::ios::app);
    if (fresh) out << origin_ << '\n';
    out << s.rows << ' ' << s.n << ' ' << s.k << ' ' << s.f8_operands << s.bf16_operands << s.bf16_result << s.bias
        << s.gelu_tanh << s.add << ' ' << s.alignment;
    for (const std::uint64_t word : algorithm.data) out << ' ' << word;
    out << '\n';
    if (!out.flush()) fail("cannot write ", tuning_file_.string(), ", the file of tuned products");
  }
  void read_tuned(const std::string& line) {
    std::istringstream in(line);
    GemmShape s;
    std::string flags;
    cublasLtMatmulAlgo_t algorithm{};
    in >> s.rows >> s.n >> s.k >> flags >> s.alignment;
    for (std::uint64_t& word : algorithm.data) in >> word;
    if (!in || flags.size() != 6) fail(tuning_file_.string(), " is damaged (delete it): ", line);
    const auto flag = [&](std::size_t i) { return flags[i] == '1'; };
    s.f8_operands = flag(0);
    s.bf16_operands = flag(1);
    s.bf16_result = flag(2);
    s.bias = flag(3);
    s.gelu_tanh = flag(4);
    s.add = flag(5);
    tuned_[s] = algorithm;
  }

  std::map<GemmShape, Plan> plans_;
  std::map<GemmShape, cublasLtMatmulAlgo_t> tuned_;
  std::filesystem::path tuning_file_;
  std::string origin_;
  Tensor<std::byte, Cuda, index_t{workspace_bytes}> workspace_;
};

}  // namespace qwen3vl::cuda
