/// Times GPU work by the device's clock.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>

#include "qwen3vl/backend/cuda.cuh"

namespace qwen3vl::bench {

class DeviceEvent {
 public:
  DeviceEvent() { cuda::check(cudaEventCreateWithFlags(&event_, cudaEventDefault), "creating an event"); }
  DeviceEvent(const DeviceEvent&) = delete;
  DeviceEvent& operator=(const DeviceEvent&) = delete;
  ~DeviceEvent() { static_cast<void>(cudaEventDestroy(event_)); }

  void record(Context<Cuda>& ctx) {
    cuda::check(cudaEventRecord(event_, ctx.backend().stream()), "recording an event");
  }
  double seconds_since(const DeviceEvent& start) const {
    float milliseconds = 0.0f;
    cuda::check(cudaEventSynchronize(event_), "waiting for an event");
    cuda::check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "timing");
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Seconds of one call: call(0) to call(calls - 1) run once, so that memory and algorithms exist, and are then captured
/// as a graph, as in decoding, so that kernel launches by the host are not measured. The median of five measurements of
/// at least 20 ms each.
template <class F>
double time_calls(Context<Cuda>& ctx, int calls, bool quick, F&& call) {
  const auto all = [&] {
    for (int i = 0; i < calls; ++i) call(i);
  };
  all();
  ctx.backend().synchronize();
  ctx.workspace().settle();
  all();  // cuBLASLt's algorithms depend on how scratch memory is aligned
  ctx.backend().synchronize();
  cuda::Recording recording;
  recording.record(ctx, all);
  DeviceEvent begin, end;
  const auto run = [&](int times) {
    begin.record(ctx);
    for (int i = 0; i < times; ++i) recording.start(ctx);
    end.record(ctx);
    return end.seconds_since(begin) / times / calls;
  };
  const double first = run(1);
  if (quick) return std::max(first, 1e-9);
  const int times = static_cast<int>(std::clamp(std::ceil(0.02 / (first * calls)), 1.0, 10000.0));
  std::array<double, 5> seconds;
  for (double& s : seconds) s = run(times);
  std::ranges::sort(seconds);
  return std::max(seconds[2], 1e-9);
}

}  // namespace qwen3vl::bench
