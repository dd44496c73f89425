// Threads of a block as fibers: a thread runs until it waits for others or returns.
#include "block.hpp"

#include <cxxabi.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "fiber.hpp"

/// The dynamic shared memory of the block that runs, as launch.cuh declares it.
namespace qwen3vl::cuda {
alignas(1024) unsigned char qwen3vl_shared_bytes[227 * 1024];
}

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_host {

Running running;

namespace {

constexpr std::size_t stack_bytes = 128 * 1024;
constexpr std::size_t largest_block = 1024;

void* scheduler = nullptr;  // where the scheduler stands while a thread runs
std::string failure;
void (*enter_kernel)(void*) = nullptr;

unsigned char* stacks() {
  static unsigned char* const memory = [] {
    void* const m = mmap(nullptr, stack_bytes * largest_block, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) throw Failure("no memory for the stacks of a block's threads");
    // A page at the lower end of each stack that may not be touched: a stack that is too small is a clear end.
    for (std::size_t i = 0; i < largest_block; ++i) mprotect(static_cast<char*>(m) + i * stack_bytes, 4096, PROT_NONE);
    return static_cast<unsigned char*>(m);
  }();
  return memory;
}

std::string text(uint3 v) {
  return "(" + std::to_string(v.x) + ", " + std::to_string(v.y) + ", " + std::to_string(v.z) + ")";
}
std::string text(const std::source_location& at) {
  const char* const file = std::strrchr(at.file_name(), '/');
  return std::string(file != nullptr ? file + 1 : at.file_name()) + ":" + std::to_string(at.line());
}
bool same(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

/// Back to the scheduler, until it chooses this thread again.
void yield() {
  running.on_fiber = false;
  cuda_on_host_switch(&running.thread->stack, scheduler);
  running.on_fiber = true;
}

void thread_main() {
  running.on_fiber = running.checking = true;
  enter_kernel(const_cast<void*>(running.call));
  running.checking = false;
  if (running.early && !running.thread->its_turn)
    fail("returns before its turn: a kernel of launch_early() begins with take_turn()");
  running.thread->state = Thread::State::finished;
  --running.live;
  yield();
  std::abort();  // a finished thread is never chosen
}

/// Opens the block's barrier if all threads still running have arrived.
void try_block_barrier() {
  const Thread* first = nullptr;
  std::uint32_t waiting = 0;
  for (const Thread& t : running.threads) {
    if (t.state != Thread::State::at_block_barrier) continue;
    if (first == nullptr) first = &t;
    ++waiting;
  }
  if (waiting == 0 || waiting != running.live) return;
  running.votes = 0;
  for (Thread& t : running.threads) {
    if (t.state != Thread::State::at_block_barrier) continue;
    if (!same(t.at, first->at)) {
      running.thread = &t;
      fail("waits at the barrier of " + text(t.at) + " while thread " + text(first->index) + " waits at that of " +
           text(first->at));
    }
    running.votes += t.predicate ? 1u : 0u;
    t.state = Thread::State::ready;
  }
  running.barrier_time = ++running.clock;
  for (std::uint32_t& time : running.warp_time) time = running.barrier_time;
}

/// Completes the running thread's warp function if every lane of its mask is there.
void try_warp_function() {
  const Thread& me = *running.thread;
  const std::uint32_t warp = me.number / 32;
  WarpSlots& slots = running.warps[warp];
  for (unsigned l = 0; l < 32; ++l) {
    if ((me.mask >> l & 1u) == 0) continue;
    const std::uint32_t number = warp * 32 + l;
    if (number >= running.threads.size())
      fail(std::string(me.function) + " with a mask that names lanes beyond the block");
    const Thread& other = running.threads[number];
    if (other.state == Thread::State::finished)
      fail(std::string(me.function) + " at " + text(me.at) + " waits for lane " + std::to_string(l) +
           ", which has returned");
    if (other.state != Thread::State::at_warp_function) return;
    if (other.mask != me.mask || std::strcmp(other.function, me.function) != 0 || !same(other.at, me.at))
      fail(std::string(me.function) + " at " + text(me.at) + " meets lane " + std::to_string(l) + " in " +
           other.function + " at " + text(other.at));
  }
  slots.mask = me.mask;
  bool whole = true;
  for (std::uint32_t i = warp * 32; i < running.threads.size() && i < warp * 32 + 32; ++i)
    if (running.threads[i].state != Thread::State::finished && (me.mask >> i % 32 & 1u) == 0) whole = false;
  // Of the warp functions only this one orders accesses to memory.
  if (whole && std::strcmp(me.function, "__syncwarp") == 0) running.warp_time[warp] = ++running.clock;
  for (unsigned l = 0; l < 32; ++l) {
    if ((me.mask >> l & 1u) == 0) continue;
    Thread& other = running.threads[warp * 32 + l];
    std::memcpy(slots.lanes[l], other.slot, slot_bytes);
    other.state = Thread::State::ready;
  }
}

[[noreturn]] void report_deadlock() {
  for (Thread& t : running.threads) {
    if (t.state == Thread::State::finished) continue;
    running.thread = &t;
    const std::string what = t.state == Thread::State::at_block_barrier ? "the barrier" : t.function;
    std::string rest;
    for (const Thread& other : running.threads)
      if (other.state != Thread::State::finished && !same(other.at, t.at)) {
        rest = ", thread " + text(other.index) + " at " + text(other.at);
        break;
      }
    fail("waits for ever at " + what + " of " + text(t.at) + rest);
  }
  std::abort();
}

void run_block() {
  running.block_time = running.barrier_time = ++running.clock;
  for (std::uint32_t& time : running.warp_time) time = running.barrier_time;
  std::memset(qwen3vl::cuda::qwen3vl_shared_bytes, 0xff, running.shared_bytes);
  running.live = static_cast<std::uint32_t>(running.threads.size());
  for (std::size_t i = 0; i < running.threads.size(); ++i) {
    Thread& t = running.threads[i];
    t.state = Thread::State::ready;
    t.copies.assign(1, {});
    t.its_turn = !running.early;
    t.stack = new_fiber(stacks() + (i + 1) * stack_bytes, thread_main);
  }
  while (running.live > 0) {
    bool progress = false;
    for (Thread& t : running.threads) {
      if (t.state != Thread::State::ready) continue;
      progress = true;
      running.thread = &t;
      threadIdx = t.index;
      cuda_on_host_switch(&scheduler, t.stack);
      if (!failure.empty()) throw Failure(std::exchange(failure, {}));
      if (t.state == Thread::State::at_warp_function) try_warp_function();
    }
    try_block_barrier();
    if (!progress) {
      bool ready = false;
      for (const Thread& t : running.threads) ready = ready || t.state == Thread::State::ready;
      if (!ready && running.live > 0) report_deadlock();
    }
  }
}

}  // namespace

std::string name_of_kernel(const void* kernel) {
  const char* mangled = nullptr;
  if (cudaFuncGetName(&mangled, kernel) != cudaSuccess) return "a kernel without an exported name";
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : mangled;
}

void fail(const std::string& message) {
  running.checking = false;
  std::string all = name_of_kernel(running.kernel) + ", block " + text(running.block);
  if (running.thread != nullptr) all += ", thread " + text(running.thread->index);
  all += ": " + message;
  if (!running.on_fiber) throw Failure(all);
  running.on_fiber = false;
  failure = all;  // thrown by the scheduler: an exception does not pass from one stack to another
  cuda_on_host_switch(&running.thread->stack, scheduler);
  std::abort();
}

unsigned block_barrier(bool predicate, std::source_location at) {
  const Pause pause;
  Thread& me = *running.thread;
  me.predicate = predicate;
  me.at = at;
  me.state = Thread::State::at_block_barrier;
  yield();
  return running.votes;
}

const WarpSlots& exchange(const char* function, unsigned mask, const void* data, std::size_t bytes,
                          std::source_location at) {
  const Pause pause;
  Thread& me = *running.thread;
  if ((mask >> (me.number % 32) & 1u) == 0) fail(std::string(function) + " with a mask without the calling lane");
  std::memcpy(me.slot, data, bytes);
  me.mask = mask;
  me.function = function;
  me.at = at;
  me.state = Thread::State::at_warp_function;
  yield();
  return running.warps[me.number / 32];
}

void take_turn() { running.thread->its_turn = true; }

bool begins_early(const cudaLaunchConfig_t& config) {
  for (unsigned i = 0; i < config.numAttrs; ++i)
    if (config.attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization)
      return config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
  return false;
}

void run_kernel(const cudaLaunchConfig_t& config, bool early, const void* kernel, void (*enter)(void*), void* call,
                std::size_t call_bytes) {
  const std::size_t threads = std::size_t{config.blockDim.x} * config.blockDim.y * config.blockDim.z;
  blockDim = config.blockDim;
  gridDim = config.gridDim;
  enter_kernel = enter;
  running.kernel = kernel;
  running.early = early;
  running.call = call;
  running.call_bytes = call_bytes;
  running.shared_bytes = config.dynamicSmemBytes;
  running.stacks = stacks();
  running.stacks_end = stacks() + stack_bytes * largest_block;
  running.threads.resize(threads);
  running.warps.resize((threads + 31) / 32);
  running.warp_time.assign(running.warps.size(), 0);
  for (std::size_t i = 0; i < threads; ++i) {
    Thread& t = running.threads[i];
    t.number = static_cast<std::uint32_t>(i);
    t.index = {t.number % blockDim.x, t.number / blockDim.x % blockDim.y, t.number / blockDim.x / blockDim.y};
  }
  for (running.block.z = 0; running.block.z < gridDim.z; ++running.block.z)
    for (running.block.y = 0; running.block.y < gridDim.y; ++running.block.y)
      for (running.block.x = 0; running.block.x < gridDim.x; ++running.block.x) {
        running.thread = nullptr;
        blockIdx = running.block;
        run_block();
      }
}

}  // namespace cuda_on_host
