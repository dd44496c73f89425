/// Device memory: a part of the host's address space that nothing else is in. What was freed is never given out again,
/// so that its use is seen.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "runtime_types.hpp"

namespace cuda_on_host {

bool is_device_memory(const void* address);

/// Empty if [address, address + bytes) lies in one live allocation; else what it is instead, to follow "reads 4 bytes".
std::string device_range_error(const void* address, std::size_t bytes);

/// How much memory the device pretends to have; for tests of running out.
void set_device_memory(std::size_t bytes);
/// Bytes of live allocations.
std::size_t allocated_device_memory();
/// The most of them at one time, since the last call of reset_peak_device_memory().
std::size_t peak_device_memory();
void reset_peak_device_memory();

/// Does `work` now, or records it while `stream` is captured.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);
/// Does `work` on the default stream when somebody waits for that, or after the next work of another stream.
void submit_late(std::function<void()> work);
void finish_late();

}  // namespace cuda_on_host
