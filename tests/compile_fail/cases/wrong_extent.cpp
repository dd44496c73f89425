// expect: (deleted function .*F = {-1, 1024}.*E = {-1, 2048}|'View<.*1024>' to 'View<.* invokes a deleted function)
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/layers/mlp.hpp"

using namespace qwen3vl;

void run(Context<Cpu>& ctx, View<const float, Cpu, dynamic, 1024> x, View<float, Cpu, dynamic, 2048> y) {
  SwiGluMlp<Qwen3VL_2B, Cpu, Bf16> mlp;
  mlp(ctx, x, y);  // x has the wrong width
}
