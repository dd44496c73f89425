/// Counts what the processor does while a benchmark runs: cycles, instructions, cache misses, page faults.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace qwen3vl::bench {

/// Counters of the threads of this process's OpenMP team, user code only. Linux has them (perf_event_open), if the
/// processor, the virtual machine and /proc/sys/kernel/perf_event_paranoid let it; others count nothing.
class HardwareCounters {
 public:
  /// Opens them for `threads` threads.
  explicit HardwareCounters(int threads);
  HardwareCounters(const HardwareCounters&) = delete;
  HardwareCounters& operator=(const HardwareCounters&) = delete;
  ~HardwareCounters();

  /// Those that can be had, in the order of stop()'s numbers.
  const std::vector<std::string>& names() const { return names_; }
  /// Why others cannot; empty if all can.
  const std::string& why_not() const { return why_not_; }

  void start() const;
  /// Events of all threads since start(). A counter that shared the hardware with others is scaled up to the whole
  /// time.
  std::vector<double> stop() const;

 private:
  std::vector<std::string> names_;
  std::string why_not_;
  std::vector<std::vector<int>> files_;  // [counter][thread]
};

}  // namespace qwen3vl::bench
