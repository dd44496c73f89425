// Devices, streams, graphs, events and launches.
#include <dlfcn.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "block.hpp"
#include "counters.hpp"
#include "cuda_runtime.h"
#include "memory.hpp"

struct CUgraph_st {
  std::vector<std::function<void()>> work;
};
struct CUgraphExec_st : CUgraph_st {};
struct CUstream_st {
  CUgraph_st* capturing = nullptr;
  bool invalid = false;  // the capture
};
struct CUevent_st {
  std::chrono::steady_clock::time_point time;
};

namespace cuda_on_host {

namespace {
std::map<const void*, std::size_t>& shared_limits() {
  static std::map<const void*, std::size_t> limits;
  return limits;
}
std::vector<cudaStream_t> capturing;
std::vector<std::function<void()>> late;
}  // namespace

Counters& counters() {
  static Counters counters;
  return counters;
}
bool refused_while_capturing() {
  for (const cudaStream_t stream : capturing) stream->invalid = true;
  return !capturing.empty();
}

void submit_late(std::function<void()> work) { late.push_back(std::move(work)); }
void finish_late() {
  for (const auto& work : std::exchange(late, {})) work();
}

cudaError_t submit(cudaStream_t stream, std::function<void()> work) {
  if (stream == nullptr) {
    finish_late();
    work();
  } else if (stream->capturing != nullptr) {
    stream->capturing->work.push_back(std::move(work));
  } else {
    work();
    finish_late();  // as late as can be: other streams do not wait for the default one
  }
  return cudaSuccess;
}

cudaError_t start_kernel(const cudaLaunchConfig_t& config, const void* kernel, void (*enter)(void*),
                         std::shared_ptr<void> call, std::size_t call_bytes) {
  const dim3 g = config.gridDim, b = config.blockDim;
  const auto limit = shared_limits().find(kernel);
  const std::size_t shared = limit == shared_limits().end() ? std::size_t{48} * 1024 : limit->second;
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535 || b.x == 0 || b.y == 0 ||
      b.z == 0 || b.z > 64 || std::size_t{b.x} * b.y * b.z > 1024 || config.dynamicSmemBytes > shared)
    return cudaErrorInvalidConfiguration;
  if (config.stream == nullptr || config.stream->capturing == nullptr) ++counters().launches;
  return submit(config.stream, [config, early = begins_early(config), kernel, enter, call = std::move(call),
                                call_bytes] { run_kernel(config, early, kernel, enter, call.get(), call_bytes); });
}

}  // namespace cuda_on_host

using namespace cuda_on_host;

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    default:
      return "cudaErrorInvalidValue";
  }
}
const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }
cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  // Few multiprocessors: kernels that cut work by their number then have few blocks to run here.
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : attribute == cudaDevAttrComputeCapabilityMinor ? 0 : 4;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::strcpy(properties->name, "emulated on the host");
  return cudaSuccess;
}
// Whatever waits for work that is recorded, and so not started, is refused, as in CUDA, and nothing can be captured
// then.
static cudaError_t wait() {
  if (refused_while_capturing()) return cudaErrorStreamCaptureUnsupported;
  ++counters().waits;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  finish_late();
  return wait();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == nullptr) finish_late();
  return wait();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream->capturing != nullptr ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->capturing != nullptr) return cudaErrorStreamCaptureUnsupported;
  stream->capturing = new CUgraph_st;
  stream->invalid = false;
  capturing.push_back(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream->capturing == nullptr) return cudaErrorInvalidValue;
  *graph = std::exchange(stream->capturing, nullptr);
  std::erase(capturing, stream);
  if (!stream->invalid) return cudaSuccess;
  delete std::exchange(*graph, nullptr);
  return cudaErrorStreamCaptureInvalidated;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{*graph};
  ++counters().graphs_made;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  ++counters().graphs_started;
  return submit(stream, [work = executable->work] {
    for (const auto& step : work) step();
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return wait(); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (value < 0 || value > 227 * 1024) return cudaErrorInvalidValue;
  shared_limits()[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaFuncGetName(const char** name, const void* kernel) {
  Dl_info info{};  // needs the program's symbols: link with -rdynamic
  if (dladdr(kernel, &info) == 0 || info.dli_sname == nullptr || info.dli_saddr != kernel) return cudaErrorInvalidValue;
  *name = info.dli_sname;
  return cudaSuccess;
}
