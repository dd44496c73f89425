// expect: the weights of a precision are float, bf16, bf16_dot, q8, q4, q8_dot, q4_dot or stored
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/linear.hpp"

using namespace qwen3vl;

struct Wide : F32 {
  using Weight = double;
};
Linear<64, 64, Cpu, Wide> layer;
