// expect: (deleted function .*U = const float.*T = float|'View<const float.*' invokes a deleted function)
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/tensor/tensor.hpp"

using namespace qwen3vl;

View<float, Cpu, dynamic> mutate(View<const float, Cpu, dynamic> x) {
  View<float, Cpu, dynamic> y = x;
  return y;
}
