/// The check of every access of a kernel: is there memory, was it written, does another thread use it at the same time?
#pragma once

#include <cstddef>

namespace cuda_on_host {

enum class Access { read, write, atomic };

/// One access by the running thread; ends the launch if it is wrong. Does nothing outside of kernels.
///   device memory   inside one live allocation
///   shared memory   inside what the launch gave, written before it is read, and no two threads use one byte, at least
///                   one of them writing, without a barrier between (or __syncwarp within one warp); atomics may meet
///   host memory     constants of the program and the kernel's own arguments and variables only
/// All accesses are at multiples of their size, as the device wants it.
void check_access(const void* address, std::size_t bytes, Access access);

}  // namespace cuda_on_host
