// expect: (no match for call .*View<const float, Elsewhere|no matching function for call to object of type)
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/layers/mlp.hpp"

using namespace qwen3vl;

struct Elsewhere : Cpu {
  struct Memory : Host {};
};

void run(Context<Cpu>& ctx, View<const float, Elsewhere, dynamic, 2048> x, View<float, Cpu, dynamic, 2048> y) {
  SwiGluMlp<Qwen3VL_2B, Cpu, Bf16> mlp;
  mlp(ctx, x, y);  // x is in another backend's memory
}
