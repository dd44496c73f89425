/// Making and ending a Cuda handle.
#pragma once

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/staging.cuh"
#include "qwen3vl/backend/cuda/products/gemm.cuh"

namespace qwen3vl {

inline Cuda::Cuda(int device) : device_(device) {
  int devices = 0;
  cuda::check(cudaGetDeviceCount(&devices), "looking for devices (is the driver installed and new enough?)");
  if (device < 0 || device >= devices)
    fail("device ", device, " was asked for; this machine has ", devices, ", counted from 0");
  cuda::check(cudaSetDevice(device), "choosing device ", device);
  int major = 0, minor = 0;
  cuda::check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking for its architecture");
  cuda::check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "asking for its architecture");
  cuda::check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device),
              "asking for its number of multiprocessors");
  architecture_ = 10 * major + minor;
  if (architecture_ < 80)
    fail("device ", device, " is of compute capability ", major, ".", minor,
         "; the kernels need 8.0 or later (bf16 tensor cores, asynchronous copies)");
  staging_ = std::make_unique<cuda::Staging>();
  gemm_plans_ = std::make_unique<cuda::GemmPlans>();
  // Not synchronised with the default stream: other libraries in the program may use that.
  cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  const cublasStatus_t status = cublasLtCreate(&blas_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    static_cast<void>(cudaStreamDestroy(stream_));
    fail("cuBLASLt cannot be started: ", cublasLtGetStatusString(status));
  }
}

inline Cuda::~Cuda() {
  static_cast<void>(cudaStreamSynchronize(stream_));
  gemm_plans_.reset();
  staging_.reset();
  static_cast<void>(cublasLtDestroy(blas_));
  static_cast<void>(cudaStreamDestroy(stream_));
}

}  // namespace qwen3vl
