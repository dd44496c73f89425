/// Linux grants a process the AMX tile registers on request.
#pragma once

#include "qwen3vl/backend/cpu/simd/instruction_set.hpp"

#if QWEN3VL_HAS_TILES
#include <sys/syscall.h>
#include <unistd.h>

#include "qwen3vl/base/error.hpp"
#endif

namespace qwen3vl::simd {

/// Requests the tile registers for all threads of the process; fails if they are refused. Does nothing if the library
/// is compiled without AMX.
inline void request_tiles() {
#if QWEN3VL_HAS_TILES
  // ARCH_REQ_XCOMP_PERM for XTILEDATA, see Documentation/arch/x86/xstate.rst of the kernel.
  static const bool given = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  if (!given)
    fail(
        "this program was compiled for a processor with tile registers (AMX), and the system does not give them; it "
        "needs Linux 5.16 or later on such a processor, or compile with -mno-amx-tile");
#endif
}

}  // namespace qwen3vl::simd
