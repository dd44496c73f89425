// Stacks are switched by hand on known processors: ucontext makes two system calls per switch.
#include "fiber.hpp"

#include <cstdint>

#if defined(__x86_64__)

// What a called function must keep, and the stack pointer.
asm(R"(
.text
.globl cuda_on_host_switch
.type cuda_on_host_switch, @function
cuda_on_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_on_host_switch, .-cuda_on_host_switch
)");

namespace cuda_on_host {

void* new_fiber(void* top, void (*entry)()) {
  auto* stack = reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15});
  *--stack = 0;  // the return address of entry, which keeps the stack aligned as after a call
  *--stack = reinterpret_cast<std::uint64_t>(entry);
  for (int i = 0; i < 6; ++i) *--stack = 0;
  return stack;
}

}  // namespace cuda_on_host

#elif defined(__aarch64__)

asm(R"(
.text
.globl cuda_on_host_switch
.type cuda_on_host_switch, %function
cuda_on_host_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");

namespace cuda_on_host {

void* new_fiber(void* top, void (*entry)()) {
  auto* stack = reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15}) - 20;
  for (int i = 0; i < 20; ++i) stack[i] = 0;
  stack[11] = reinterpret_cast<std::uint64_t>(entry);  // x30
  return stack;
}

}  // namespace cuda_on_host

#else
#error "tests/cuda/on_host/fiber.cpp: say how this processor switches stacks (what a called function must keep)"
#endif
