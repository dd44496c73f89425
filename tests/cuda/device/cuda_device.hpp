/// Behind the source of each test that runs on a GPU (cuda_device.cmake): without one it says so, once, and is skipped.
#pragma once

#include <cuda_runtime.h>
#include <unistd.h>

#include <cstdio>

namespace device_tests {

inline constexpr int skipped = 77;  // SKIP_RETURN_CODE

struct NeedsDevice {
  NeedsDevice() {
    int devices = 0;
    const cudaError_t result = cudaGetDeviceCount(&devices);
    if (result == cudaSuccess && devices > 0) return;
    std::fprintf(stderr, "no CUDA device: %s\n",
                 cudaGetErrorString(result == cudaSuccess ? cudaErrorNoDevice : result));
    _exit(skipped);
  }
};
inline const NeedsDevice needs_device;  // before main()

}  // namespace device_tests
