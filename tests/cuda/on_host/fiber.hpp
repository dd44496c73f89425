/// Switching between stacks.
#pragma once

namespace cuda_on_host {

/// Saves where the caller stands in *from and goes on where `to` was saved.
extern "C" void cuda_on_host_switch(void** from, void* to);

/// A place to switch to: a new stack that ends at `top`, on which entry() begins. entry must not return.
void* new_fiber(void* top, void (*entry)());

}  // namespace cuda_on_host
