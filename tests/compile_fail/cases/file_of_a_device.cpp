// expect: only tensors on the host are written to files
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/io/weights/npy.hpp"

using namespace qwen3vl;

struct Device : Cpu {
  static constexpr bool is_host = false;
  struct Memory : Host {
    static constexpr bool is_host = false;
  };
};

void run(const Tensor<float, Device, dynamic, 64>& x) { write_npy("x.npy", x); }
