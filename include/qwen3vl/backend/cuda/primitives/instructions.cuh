/// Device instructions without a C++ equivalent, one inline function each. This is the only header that differs between
/// the device and the host: there, tests/cuda/on_host/ has the same functions, exactly emulated.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "qwen3vl/tensor/dtype.hpp"

#if defined(QWEN3VL_CUDA_ON_HOST)
#include <cuda_instructions_on_host.hpp>  // of tests/cuda/on_host/
#else

namespace qwen3vl::cuda {

/// The shared-memory address that instructions take.
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Loads four 8 x 8 tiles of 16-bit numbers from shared memory, by a whole warp. Lane l gives the address of row l % 8
/// of tile l / 8 (16 bytes, 16-byte aligned); in r[i] it gets columns 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of tile
/// i. (ldmatrix.sync.aligned.m8n8.x4.shared.b16)
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// The same with each tile transposed: r[i] holds rows 2 (l % 4) and 2 (l % 4) + 1 of column l / 4.
__device__ __forceinline__ void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// d += a b by a whole warp: a 16 x 16 and b 16 x 8 of bf16, d 16 x 8 of f32. With g = lane / 4 and c = 2 (lane % 4),
/// and each register holding two neighbours (the lower half first):
///   a[0] = A[g, c..]  a[1] = A[g + 8, c..]  a[2] = A[g, c + 8..]  a[3] = A[g + 8, c + 8..]
///   b[0] = B[c.., g]  b[1] = B[c + 8.., g]
///   d[0], d[1] = D[g, c..]  d[2], d[3] = D[g + 8, c..]
__device__ __forceinline__ void mma_bf16_16x8x16(float (&d)[4], const std::uint32_t (&a)[4],
                                                 const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Begins to copy 16 bytes from global to shared memory, both 16-byte aligned; zeros instead if not `valid` (the
/// source is not read then, but must still be an address).
__device__ __forceinline__ void cp_async_16(void* to_shared, const void* from_global, bool valid = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)), "l"(from_global),
               "r"(valid ? 16 : 0)
               : "memory");
}
/// The same of 8 bytes, both 8-byte aligned.
__device__ __forceinline__ void cp_async_8(void* to_shared, const void* from_global, bool valid = true) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to_shared)), "l"(from_global),
               "r"(valid ? 8 : 0)
               : "memory");
}
/// Closes the group of this thread's copies begun since the last commit.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `Pending` of this thread's newest groups are unfinished. Other threads see the data after a
/// barrier that follows.
template <int Pending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Two floats as bf16, rounded to nearest even: `low` in the lower half.
__device__ __forceinline__ std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/// The products of two pairs of bf16, each rounded to nearest even; subnormal operands and results are kept.
__device__ __forceinline__ std::uint32_t multiply_bf16x2(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product;  // -0 added: zeros keep their sign
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
  return product;
}

/// 2^x to about 2 units in the last place; subnormal results are zero.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Prefetches the 128 bytes around an address of device memory to the L2 cache; does not count as an access.
__device__ __forceinline__ void prefetch_l2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

/// Called first, by every thread, in a kernel of launch_early(): allows the stream's next kernel to start (once all
/// CUDA blocks have called it), then waits until the previous kernel is done and its writes are visible. Before it,
/// device memory must not be read or written; prefetch_l2 is allowed.
__device__ __forceinline__ void take_turn() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Loads 16 bytes that are read once and never written during the kernel, bypassing the L1 cache: streamed weights.
__device__ __forceinline__ uint4 load_streaming(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

}  // namespace qwen3vl::cuda

#endif
