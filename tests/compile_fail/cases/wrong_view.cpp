// expect: (deleted function .*F = {-1, 32}.*E = {-1, 64}|'View<.*32>' to 'View<.*64>' invokes a deleted function)
#include "qwen3vl/backend/cpu/cpu.hpp"
#include "qwen3vl/tensor/tensor.hpp"

using namespace qwen3vl;

View<float, Cpu, dynamic, 64> narrow(View<float, Cpu, dynamic, 32> x) {
  View<float, Cpu, dynamic, 64> y = x;
  return y;
}
