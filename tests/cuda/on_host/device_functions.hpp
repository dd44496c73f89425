/// Functions of device code: where a thread is, barriers, warp functions, atomics, and arithmetic under CUDA's names.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <type_traits>

#include "access.hpp"
#include "block.hpp"
#include "runtime_types.hpp"

/// Not checked: these functions check by themselves.
#define QWEN3VL_NOT_CHECKED __attribute__((no_sanitize("thread")))

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

inline void __syncthreads(std::source_location at = std::source_location::current()) {
  cuda_on_host::block_barrier(false, at);
}
inline int __syncthreads_count(int predicate, std::source_location at = std::source_location::current()) {
  return static_cast<int>(cuda_on_host::block_barrier(predicate != 0, at));
}
inline int __syncthreads_or(int predicate, std::source_location at = std::source_location::current()) {
  return cuda_on_host::block_barrier(predicate != 0, at) != 0;
}
inline int __syncthreads_and(int predicate, std::source_location at = std::source_location::current()) {
  return cuda_on_host::block_barrier(predicate == 0, at) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, std::source_location at = std::source_location::current()) {
  const char nothing = 0;
  cuda_on_host::exchange("__syncwarp", mask, &nothing, 1, at);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace cuda_on_host {

/// What `source` gave.
template <class T>
QWEN3VL_NOT_CHECKED T lane_value(const char* function, const WarpSlots& slots, unsigned source) {
  const Pause pause;
  if ((slots.mask >> source & 1u) == 0)
    fail(std::string(function) + " reads lane " + std::to_string(source) + ", which is not in its mask");
  T value;
  std::memcpy(static_cast<void*>(&value), slots.lanes[source], sizeof(T));
  return value;
}
/// A shuffle: `source` says which lane of a group of `width` is read by a lane of it, or -1 for its own value.
template <class T, class F>
QWEN3VL_NOT_CHECKED T shuffle(const char* function, unsigned mask, T value, int width, std::source_location at,
                              F source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "the device shuffles numbers of 4 and 8 bytes");
  const WarpSlots& slots = exchange(function, mask, &value, sizeof value, at);
  const int lane = static_cast<int>(running.thread->number % 32), first = lane / width * width;
  const int from = source(lane - first);
  return from < 0 || from >= width ? value : lane_value<T>(function, slots, static_cast<unsigned>(first + from));
}

}  // namespace cuda_on_host

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              std::source_location at = std::source_location::current()) {
  return cuda_on_host::shuffle("__shfl_sync", mask, value, width, at, [=](int) { return source & (width - 1); });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  std::source_location at = std::source_location::current()) {
  return cuda_on_host::shuffle("__shfl_xor_sync", mask, value, width, at, [=](int lane) { return lane ^ bits; });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location at = std::source_location::current()) {
  return cuda_on_host::shuffle("__shfl_down_sync", mask, value, width, at,
                               [=](int lane) { return lane + static_cast<int>(delta); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location at = std::source_location::current()) {
  return cuda_on_host::shuffle("__shfl_up_sync", mask, value, width, at,
                               [=](int lane) { return lane - static_cast<int>(delta); });
}
QWEN3VL_NOT_CHECKED inline unsigned __ballot_sync(unsigned mask, int predicate,
                                                  std::source_location at = std::source_location::current()) {
  const auto& slots = cuda_on_host::exchange("__ballot_sync", mask, &predicate, sizeof predicate, at);
  unsigned votes = 0;
  for (unsigned l = 0; l < 32; ++l)
    if ((mask >> l & 1u) != 0 && cuda_on_host::lane_value<int>("__ballot_sync", slots, l) != 0) votes |= 1u << l;
  return votes;
}
inline int __any_sync(unsigned mask, int predicate, std::source_location at = std::source_location::current()) {
  return __ballot_sync(mask, predicate, at) != 0;
}
inline int __all_sync(unsigned mask, int predicate, std::source_location at = std::source_location::current()) {
  return __ballot_sync(mask, predicate, at) == mask;
}

namespace cuda_on_host {
template <class T, class F>
QWEN3VL_NOT_CHECKED T update(T* address, F f) {
  check_access(address, sizeof(T), Access::atomic);
  const Pause pause;
  const T old = *address;
  *address = f(old);
  return old;
}
}  // namespace cuda_on_host

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return cuda_on_host::update(address, [=](T old) { return old + value; });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return cuda_on_host::update(address, [=](T old) { return std::max(old, value); });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return cuda_on_host::update(address, [=](T old) { return std::min(old, value); });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return cuda_on_host::update(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  static_assert(std::is_integral_v<T>);
  return cuda_on_host::update(address, [=](T old) { return old == expected ? value : old; });
}
inline unsigned atomicInc(unsigned* address, unsigned last) {
  return cuda_on_host::update(address, [=](unsigned old) { return old >= last ? 0u : old + 1u; });
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
inline float __uint_as_float(unsigned bits) { return __builtin_bit_cast(float, bits); }
inline unsigned __float_as_uint(float value) { return __builtin_bit_cast(unsigned, value); }
inline float __int_as_float(int bits) { return __builtin_bit_cast(float, bits); }
inline int __float_as_int(float value) { return __builtin_bit_cast(int, value); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
/// Byte i of the result is the byte of (y, x) that digit i of `selector` counts, from x's lowest on.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t{y} << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> (8 * (selector >> (4 * i) & 7u)) & 0xffu) << (8 * i);
  return result;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
template <class T>
requires std::is_integral_v<T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
requires std::is_integral_v<T>
constexpr T max(T a, T b) { return a < b ? b : a; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
