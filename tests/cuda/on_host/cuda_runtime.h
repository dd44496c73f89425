/// Stands in for CUDA's header of the same name where this folder is first on the include path: kernel sources then
/// compile with any C++ compiler and run on the host, every access checked. Only what this library uses is here.
///
/// How it works: threads of a block are fibers that switch at barriers and warp functions (block.hpp); device memory is
/// a part of the host's (memory.hpp); test programs are compiled with -fsanitize=thread but linked without its library,
/// so that the compiler tells us of every load and store (access.hpp).
/// What it cannot show: blocks run one after another, so that races between blocks are not seen; a warp's lanes run
/// apart, so that nothing may depend on their running together; speed.
#pragma once

#if !defined(QWEN3VL_CUDA_ON_HOST)
#error "tests/cuda/on_host/ is on the include path, but QWEN3VL_CUDA_ON_HOST is not defined"
#endif

#include <cstddef>
#include <cstdint>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "device_functions.hpp"
#include "runtime_types.hpp"

namespace cuda_on_host {

/// Runs, or records while a graph is captured, one kernel: every thread calls enter(call), of `call_bytes`.
cudaError_t start_kernel(const cudaLaunchConfig_t& config, const void* kernel, void (*enter)(void*),
                         std::shared_ptr<void> call, std::size_t call_bytes);

/// A kernel with its arguments, copied when it is launched.
template <class... Parameters>
struct KernelCall {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> arguments;
  static void enter(void* call) {
    auto& self = *static_cast<KernelCall*>(call);
    std::apply(self.kernel, self.arguments);
  }
};

}  // namespace cuda_on_host

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  using Call = cuda_on_host::KernelCall<Parameters...>;
  auto call = std::make_shared<Call>(
      Call{kernel, std::tuple<Parameters...>(static_cast<Parameters>(std::forward<Arguments>(arguments))...)});
  return cuda_on_host::start_kernel(*config, reinterpret_cast<const void*>(kernel), &Call::enter, call, sizeof(Call));
}
