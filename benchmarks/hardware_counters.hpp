/// Counts what the processor does while a benchmark runs: cycles, instructions, cache misses, page faults.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace qwen3vl::bench {

/// Counters of the threads of this process's OpenMP team, user code only. Available on Linux (perf_event_open) if the
/// processor, the virtual machine and /proc/sys/kernel/perf_event_paranoid allow it; elsewhere nothing is counted.
class HardwareCounters {
 public:
  /// Opens them for `threads` threads.
  explicit HardwareCounters(int threads);
  HardwareCounters(const HardwareCounters&) = delete;
  HardwareCounters& operator=(const HardwareCounters&) = delete;
  ~HardwareCounters();

  /// The available counters, in the order of stop()'s numbers.
  const std::vector<std::string>& names() const { return names_; }
  /// Why others are unavailable; empty if all are available.
  const std::string& why_not() const { return why_not_; }

  void start() const;
  /// Events of all threads since start(). A counter that shared the hardware with others is scaled to the whole time.
  std::vector<double> stop() const;

 private:
  std::vector<std::string> names_;
  std::string why_not_;
  std::vector<std::vector<int>> files_;  // [counter][thread]
};

}  // namespace qwen3vl::bench
