/// A block of threads as fibers: what the device functions and the checks know of the running kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime_types.hpp"

namespace cuda_on_host {

/// What a check found, with kernel, block and thread. Thrown by the launch.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The most bytes that a lane gives to the others of its warp at once.
inline constexpr std::size_t slot_bytes = 64;

/// A cp.async that was begun: 16 bytes, from nowhere for zeros.
struct PendingCopy {
  unsigned char* to;
  const unsigned char* from;
  std::size_t bytes;
};

struct Thread {
  enum class State { ready, at_block_barrier, at_warp_function, finished };
  State state = State::ready;
  std::uint32_t number = 0;  // within the block
  uint3 index{};
  void* stack = nullptr;    // where it stands while it does not run
  std::source_location at;  // of what it waits for
  bool predicate = false;   // of __syncthreads_or and its kin
  unsigned mask = 0;        // of the warp function, and which one it is
  const char* function = nullptr;
  bool its_turn = false;                             // whether it waited for the kernel before
  alignas(16) unsigned char slot[slot_bytes];        // what it gives
  std::vector<std::vector<PendingCopy>> copies{{}};  // committed groups, and the open one
};

/// The lanes' slots as they were when the last of them arrived.
struct WarpSlots {
  unsigned mask = 0;
  alignas(16) unsigned char lanes[32][slot_bytes];
};

/// Everything about the launch that runs now; there is one at a time.
struct Running {
  bool checking = false;  // whether the code of a kernel runs, whose accesses are checked
  bool on_fiber = false;  // whether a thread's stack is in use
  const void* kernel = nullptr;
  bool early = false;  // begins while the kernel before may still run
  uint3 block{};
  Thread* thread = nullptr;
  std::vector<Thread> threads;
  std::vector<WarpSlots> warps;
  std::uint32_t live = 0;        // threads that have not returned
  std::size_t shared_bytes = 0;  // of dynamic shared memory
  const void* call = nullptr;    // arguments of the kernel
  std::size_t call_bytes = 0;
  const void *stacks = nullptr, *stacks_end = nullptr;
  // Clock of the race check: advances at each barrier. All of a block's accesses before `barrier_time` are ordered
  // before what comes now, and those of a warp's own lanes before `warp_time`.
  std::uint32_t clock = 1, block_time = 1, barrier_time = 1;
  std::vector<std::uint32_t> warp_time;
  unsigned votes = 0;  // threads that said yes at the last block barrier
};
extern Running running;

/// Ends the launch: the message with where it was. Called on a fiber or beside one; does not return.
[[noreturn]] void fail(const std::string& message);

/// The running thread waits for its block; the number of threads whose predicate held.
unsigned block_barrier(bool predicate, std::source_location at);
/// The running thread gives `bytes` (at most slot_bytes) to the lanes of `mask` and waits for theirs.
const WarpSlots& exchange(const char* function, unsigned mask, const void* data, std::size_t bytes,
                          std::source_location at);
/// Between a kernel's call of a device function and its return nothing is checked.
class Pause {
 public:
  Pause() : before_(running.checking) { running.checking = false; }
  ~Pause() { running.checking = before_; }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  bool before_;
};

/// Whether a launch may begin before the kernel before it is done.
bool begins_early(const cudaLaunchConfig_t& config);
/// Runs every block of a launch. config.attrs is not looked at.
void run_kernel(const cudaLaunchConfig_t& config, bool early, const void* kernel, void (*enter)(void*), void* call,
                std::size_t call_bytes);

/// A kernel's name for messages.
std::string name_of_kernel(const void* kernel);

}  // namespace cuda_on_host
