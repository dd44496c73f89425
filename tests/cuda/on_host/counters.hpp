/// What a program has asked of the emulated device, for tests of how often it does.
#pragma once

#include <cstddef>

namespace cuda_on_host {

struct Counters {
  std::size_t launches = 0;     ///< of kernels one by one, not in graphs
  std::size_t graphs_made = 0;  ///< made executable
  std::size_t graphs_started = 0;
  std::size_t waits = 0;          ///< of the host for the device; copies and memory that wait included
  std::size_t bytes_to_host = 0;  ///< copied, in graphs too
  std::size_t bytes_to_device = 0;
};
Counters& counters();

/// Whether a stream is captured; nothing may then wait, allocate or free, and what tries spoils the capture.
bool refused_while_capturing();

}  // namespace cuda_on_host
