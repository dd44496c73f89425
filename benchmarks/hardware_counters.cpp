#include "hardware_counters.hpp"

#include <omp.h>

#include <cerrno>
#include <cstring>

#include "qwen3vl/base/error.hpp"

#ifdef __linux__
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace qwen3vl::bench {

#ifdef __linux__
namespace {

struct Counted {
  const char* name;
  std::uint32_t type;
  std::uint64_t event;
};
constexpr Counted counted[] = {
    {"cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    {"instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    {"cache-misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
    {"page-faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS},
};

/// A counter of the calling thread, stopped; -1 and errno if it is unavailable.
int open_counter(const Counted& what) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = what.type;
  attributes.config = what.event;
  attributes.disabled = 1;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  return static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

std::string reason(int error) {
  if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV)
    return "this processor or virtual machine does not show them";
  if (error == EACCES || error == EPERM)
    return "not permitted; as root: sysctl kernel.perf_event_paranoid=2, and in a container --cap-add=PERFMON";
  return std::strerror(error);
}

}  // namespace

HardwareCounters::HardwareCounters(int threads) {
  for (const Counted& what : counted) {
    std::vector<int> files(static_cast<std::size_t>(threads), -1);
    int error = 0;
    // Each thread of the team opens its own; the runs use the same threads.
#pragma omp parallel num_threads(threads)
    {
      const int file = open_counter(what);
      files[static_cast<std::size_t>(omp_get_thread_num())] = file;
      if (file < 0) {
#pragma omp atomic write
        error = errno;
      }
    }
    if (error == 0) {
      names_.emplace_back(what.name);
      files_.push_back(std::move(files));
      continue;
    }
    for (const int file : files)
      if (file >= 0) ::close(file);
    why_not_ += concat(why_not_.empty() ? "no " : ", ", what.name, " (", reason(error), ")");
  }
}

HardwareCounters::~HardwareCounters() {
  for (const auto& files : files_)
    for (const int file : files) ::close(file);
}

void HardwareCounters::start() const {
  for (const auto& files : files_)
    for (const int file : files) {
      ioctl(file, PERF_EVENT_IOC_RESET, 0);
      ioctl(file, PERF_EVENT_IOC_ENABLE, 0);
    }
}

std::vector<double> HardwareCounters::stop() const {
  std::vector<double> counts;
  for (const auto& files : files_)
    for (const int file : files) ioctl(file, PERF_EVENT_IOC_DISABLE, 0);
  for (const auto& files : files_) {
    double sum = 0.0;
    for (const int file : files) {
      std::uint64_t values[3] = {};  // count, nanoseconds enabled, nanoseconds counted
      if (::read(file, values, sizeof values) != sizeof values || values[2] == 0) continue;
      sum += static_cast<double>(values[0]) * static_cast<double>(values[1]) / static_cast<double>(values[2]);
    }
    counts.push_back(sum);
  }
  return counts;
}

#else

HardwareCounters::HardwareCounters(int) : why_not_("no counters: only Linux has them") {}
HardwareCounters::~HardwareCounters() = default;
void HardwareCounters::start() const {}
std::vector<double> HardwareCounters::stop() const { return {}; }

#endif

}  // namespace qwen3vl::bench
