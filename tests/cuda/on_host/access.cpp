// The compiler calls __tsan_read4(address) and similar functions before each load and store of a file compiled with
// -fsanitize=thread. They are implemented here: no sanitizer is linked.
#include "access.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "block.hpp"
#include "memory.hpp"

extern "C" {
extern char __executable_start, _end;  // of the linker
}
namespace qwen3vl::cuda {
extern unsigned char qwen3vl_shared_bytes[227 * 1024];
}

namespace cuda_on_host {

namespace {

/// The last accesses to one byte of shared memory.
struct Shadow {
  std::uint32_t write_time = 0, read_time = 0;
  std::uint16_t writer = 0, reader = 0;
  bool atomic = false;      // the write was an atomic
  bool many_lanes = false;  // several lanes of one warp read
  bool many_warps = false;  // several warps read
};
std::vector<Shadow> shadows(227 * 1024);

constexpr std::uint32_t warp_of(std::uint32_t thread) { return thread / 32; }

/// Whether an access of `thread` at `time` may still be under way for the running thread.
bool unordered(std::uint32_t thread, std::uint32_t time) {
  const std::uint32_t me = running.thread->number;
  if (thread == me || time < running.barrier_time) return false;
  return warp_of(thread) != warp_of(me) || time >= running.warp_time[warp_of(me)];
}

}  // namespace

static std::string verb(Access access) {
  return access == Access::read ? "reads" : access == Access::write ? "writes" : "updates";
}
namespace {

std::string place(std::size_t offset) { return "byte " + std::to_string(offset) + " of shared memory"; }

void note_read(Shadow& s, std::uint32_t me) {
  if (s.read_time < running.barrier_time) {
    s.many_lanes = s.many_warps = false;
  } else if (warp_of(s.reader) != warp_of(me)) {
    s.many_warps = true;
  } else {
    const bool stale = s.read_time < running.warp_time[warp_of(me)];
    s.many_lanes = !stale && (s.many_lanes || s.reader != me);
  }
  s.reader = static_cast<std::uint16_t>(me);
  s.read_time = running.clock;
}

void check_shared(std::size_t offset, std::size_t bytes, Access access) {
  if (offset + bytes > running.shared_bytes)
    fail(verb(access) + " " + std::to_string(bytes) + " bytes at " + place(offset) + ", of which there are " +
         std::to_string(running.shared_bytes));
  const std::uint32_t me = running.thread->number;
  for (std::size_t i = offset; i < offset + bytes; ++i) {
    Shadow& s = shadows[i];
    const bool written = s.write_time >= running.block_time;
    if (access != Access::write && !written) fail(verb(access) + " " + place(i) + ", which this block has not written");
    if (written && unordered(s.writer, s.write_time) && !(s.atomic && access == Access::atomic))
      fail(verb(access) + " " + place(i) + ", which thread number " + std::to_string(s.writer) +
           " writes without a barrier between");
    if (access == Access::read) {
      note_read(s, me);
      continue;
    }
    if (s.read_time >= running.barrier_time && (s.many_warps || unordered(s.reader, s.read_time) ||
                                                (s.many_lanes && s.read_time >= running.warp_time[warp_of(me)])))
      fail(verb(access) + " " + place(i) + ", which thread number " + std::to_string(s.reader) +
           (s.many_warps || s.many_lanes ? " (and others)" : "") + " reads without a barrier between");
    s.writer = static_cast<std::uint16_t>(me);
    s.write_time = running.clock;
    s.atomic = access == Access::atomic;
  }
}

void check_any(const void* address, std::size_t bytes, Access access) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto within = [&](const void* begin, const void* end) {
    return at >= reinterpret_cast<std::uintptr_t>(begin) && at < reinterpret_cast<std::uintptr_t>(end);
  };
  if (within(running.stacks, running.stacks_end)) return;
  const unsigned char* const shared = qwen3vl::cuda::qwen3vl_shared_bytes;
  if (within(shared, shared + sizeof qwen3vl::cuda::qwen3vl_shared_bytes))
    return check_shared(at - reinterpret_cast<std::uintptr_t>(shared), bytes, access);
  if (is_device_memory(address)) {
    if (const std::string wrong = device_range_error(address, bytes); !wrong.empty())
      fail(verb(access) + " " + std::to_string(bytes) + " bytes " + wrong);
    if (!running.thread->its_turn) fail(verb(access) + " device memory before its turn (take_turn)");
    return;
  }
  if (within(&__executable_start, &_end)) return;
  const char* const call = static_cast<const char*>(running.call);
  if (within(call, call + running.call_bytes) && access == Access::read) return;
  fail(verb(access) + " host memory");
}

}  // namespace

void check_access(const void* address, std::size_t bytes, Access access) {
  if (!running.checking) return;
  const Pause pause;
  check_any(address, bytes, access);
}

}  // namespace cuda_on_host

namespace {
/// Accesses of a certain size, which is also their alignment: the compiler has other functions for those without.
void aligned(const void* address, std::size_t bytes, cuda_on_host::Access access) {
  using cuda_on_host::running;
  if (!running.checking) return;
  cuda_on_host::check_access(address, bytes, access);
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
    const cuda_on_host::Pause pause;
    cuda_on_host::fail(cuda_on_host::verb(access) + " " + std::to_string(bytes) +
                       " bytes at an address that is no multiple of that");
  }
}
}  // namespace

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
#define QWEN3VL_HOOKS(n)                                                                                   \
  void __tsan_read##n(void* p) { aligned(p, n, cuda_on_host::Access::read); }                              \
  void __tsan_write##n(void* p) { aligned(p, n, cuda_on_host::Access::write); }                            \
  void __tsan_volatile_read##n(void* p) { aligned(p, n, cuda_on_host::Access::read); }                     \
  void __tsan_volatile_write##n(void* p) { aligned(p, n, cuda_on_host::Access::write); }                   \
  void __tsan_unaligned_read##n(void* p) { cuda_on_host::check_access(p, n, cuda_on_host::Access::read); } \
  void __tsan_unaligned_write##n(void* p) { cuda_on_host::check_access(p, n, cuda_on_host::Access::write); }
QWEN3VL_HOOKS(1)
QWEN3VL_HOOKS(2)
QWEN3VL_HOOKS(4)
QWEN3VL_HOOKS(8)
QWEN3VL_HOOKS(16)
#undef QWEN3VL_HOOKS
void __tsan_read_range(void* p, unsigned long n) { cuda_on_host::check_access(p, n, cuda_on_host::Access::read); }
void __tsan_write_range(void* p, unsigned long n) { cuda_on_host::check_access(p, n, cuda_on_host::Access::write); }

// Atomics of host code in the same files (shared_ptr), as the compiler's builtins.
#define QWEN3VL_ATOMICS(bits, type)                                                                             \
  type __tsan_atomic##bits##_load(const volatile type* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); } \
  void __tsan_atomic##bits##_store(volatile type* p, type v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); } \
  type __tsan_atomic##bits##_exchange(volatile type* p, type v, int) {                                          \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                         \
  }                                                                                                             \
  type __tsan_atomic##bits##_fetch_add(volatile type* p, type v, int) {                                         \
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                          \
  }                                                                                                             \
  type __tsan_atomic##bits##_fetch_sub(volatile type* p, type v, int) {                                         \
    return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                                          \
  }                                                                                                             \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type* p, type* expected, type v, int, int) {       \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
  }                                                                                                             \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type* p, type* expected, type v, int, int) {         \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
  }
QWEN3VL_ATOMICS(8, unsigned char)
QWEN3VL_ATOMICS(32, unsigned)
QWEN3VL_ATOMICS(64, unsigned long)
#undef QWEN3VL_ATOMICS
void __tsan_atomic_thread_fence(int) {}
}
