// Device memory and copies.
#include "memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "block.hpp"
#include "counters.hpp"

namespace cuda_on_host {

namespace {

constexpr std::size_t red_zone = 256;  // on both sides of each allocation; also its alignment
constexpr unsigned char red = 0xcd;

struct Heap {
  unsigned char *begin = nullptr, *end = nullptr, *next = nullptr;
  std::map<std::uintptr_t, std::size_t> live, freed;  // address -> bytes
  std::size_t used = 0, peak = 0, limit = std::size_t{64} << 30;
  std::uintptr_t last = 0;  // the allocation of the last access: most follow it
  std::size_t last_bytes = 0;

  Heap() {
    for (std::size_t bytes = std::size_t{1} << 40; bytes >= std::size_t{1} << 32; bytes /= 2) {
      void* const m = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (m == MAP_FAILED) continue;
      begin = next = static_cast<unsigned char*>(m);
      end = begin + bytes;
      return;
    }
    throw Failure("no address space for the device's memory");
  }
};
Heap& heap() {
  static Heap heap;
  return heap;
}

bool intact(const unsigned char* zone) {
  return std::all_of(zone, zone + red_zone, [](unsigned char byte) { return byte == red; });
}

/// Reports what was written beside an allocation by code that is not checked (a memcpy within a kernel).
void check_red_zones(std::uintptr_t at, std::size_t bytes) {
  const auto* const p = reinterpret_cast<const unsigned char*>(at);
  if (intact(p - red_zone) && intact(p + bytes)) return;
  std::fprintf(stderr, "device memory beside an allocation of %zu bytes was written\n", bytes);
  std::abort();
}

void check_copy(const void* to, const void* from, std::size_t bytes) {
  for (const void* p : {to, from}) {
    if (bytes == 0 || !is_device_memory(p)) continue;
    if (const std::string wrong = device_range_error(p, bytes); !wrong.empty())
      throw Failure("a copy of " + std::to_string(bytes) + " bytes " + wrong);
  }
}
void copy(void* to, const void* from, std::size_t bytes) {
  check_copy(to, from, bytes);
  std::memmove(to, from, bytes);
}
void check_memset(const void* memory, std::size_t bytes) {
  if (const std::string wrong = device_range_error(memory, bytes); bytes != 0 && !wrong.empty())
    throw Failure("setting " + std::to_string(bytes) + " bytes " + wrong);
}

}  // namespace

bool is_device_memory(const void* address) {
  const Heap& h = heap();
  return address >= h.begin && address < h.end;
}

std::string device_range_error(const void* address, std::size_t bytes) {
  Heap& h = heap();
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  if (at >= h.last && at + bytes <= h.last + h.last_bytes) return {};
  auto next = h.live.upper_bound(at);
  if (next != h.live.begin()) {
    const auto [begin, size] = *std::prev(next);
    if (at + bytes <= begin + size) {
      h.last = begin;
      h.last_bytes = size;
      return {};
    }
    if (at < begin + size + red_zone)
      return "that end " + std::to_string(at + bytes - begin - size) + " bytes after the end of an allocation of " +
             std::to_string(size);
  }
  if (next != h.live.end() && at + red_zone >= next->first)
    return "that begin " + std::to_string(next->first - at) + " bytes before an allocation of " +
           std::to_string(next->second);
  auto freed = h.freed.upper_bound(at);
  if (freed != h.freed.begin() && at < std::prev(freed)->first + std::prev(freed)->second)
    return "of an allocation of " + std::to_string(std::prev(freed)->second) + " that was freed";
  return "of device memory that was never allocated";
}

void set_device_memory(std::size_t bytes) { heap().limit = bytes; }
std::size_t allocated_device_memory() { return heap().used; }
std::size_t peak_device_memory() { return heap().peak; }
void reset_peak_device_memory() { heap().peak = heap().used; }

}  // namespace cuda_on_host

using namespace cuda_on_host;

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (refused_while_capturing()) return cudaErrorStreamCaptureUnsupported;
  Heap& h = heap();
  const std::size_t rounded = (bytes + red_zone - 1) / red_zone * red_zone;
  if (rounded > h.limit - std::min(h.limit, h.used) ||
      rounded + 2 * red_zone > static_cast<std::size_t>(h.end - h.next))
    return cudaErrorMemoryAllocation;
  unsigned char* const p = h.next + red_zone;
  // Not initialised: floats are NaN. Fresh pages of large allocations are not touched, to keep them cheap.
  std::memset(p - red_zone, red, red_zone);
  std::memset(p, 0xff, bytes);
  std::memset(p + bytes, red, red_zone);
  h.next = p + rounded + red_zone;
  h.live[reinterpret_cast<std::uintptr_t>(p)] = bytes;
  h.used += rounded;
  h.peak = std::max(h.peak, h.used);
  *memory = p;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  if (refused_while_capturing()) return cudaErrorStreamCaptureUnsupported;
  ++counters().waits;
  finish_late();
  Heap& h = heap();
  const auto found = h.live.find(reinterpret_cast<std::uintptr_t>(memory));
  if (found == h.live.end()) return cudaErrorInvalidValue;
  const auto [at, bytes] = *found;
  check_red_zones(at, bytes);
  h.freed[at] = bytes;
  h.live.erase(found);
  h.used -= (bytes + red_zone - 1) / red_zone * red_zone;
  h.last_bytes = 0;
  // Whole pages go back to the system.
  const std::uintptr_t page = 4096, first = (at + page - 1) / page * page, end = (at + bytes) / page * page;
  if (end > first) madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return *memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* available, std::size_t* total) {
  *total = heap().limit;
  *available = heap().limit - std::min(heap().limit, heap().used);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (bytes != 0 && kind != cudaMemcpyDefault &&
      (to_device != is_device_memory(to) || from_device != is_device_memory(from)))
    return cudaErrorInvalidValue;
  return submit(stream, [=] {
    if (from_device && !to_device) counters().bytes_to_host += bytes;
    if (to_device && !from_device) counters().bytes_to_device += bytes;
    copy(to, from, bytes);
  });
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  if (refused_while_capturing()) return cudaErrorStreamCaptureUnsupported;
  ++counters().waits;
  if (!is_device_memory(to) || is_device_memory(from)) return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  if (kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDefault) return cudaErrorInvalidValue;
  check_copy(to, from, bytes);
  counters().bytes_to_device += bytes;
  const auto* const begin = static_cast<const unsigned char*>(from);
  submit_late([to, source = std::vector<unsigned char>(begin, begin + bytes)] {  // it was read, and is on its way
    std::memcpy(to, source.data(), source.size());
  });
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  if (!is_device_memory(memory)) return cudaErrorInvalidValue;
  return submit(stream, [=] {
    check_memset(memory, bytes);
    std::memset(memory, value, bytes);
  });
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  if (refused_while_capturing()) return cudaErrorStreamCaptureUnsupported;
  if (!is_device_memory(memory)) return cudaErrorInvalidValue;
  check_memset(memory, bytes);
  submit_late([=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}
