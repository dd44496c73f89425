// expect: epilogue::SwiGlu goes with Packing::gate_up
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/linear.hpp"

using namespace qwen3vl;

void run(Context<Cpu>& ctx, View<const float, Cpu, dynamic, 64> x, View<float, Cpu, dynamic, 32> y) {
  Linear<64, 64, Cpu, F32> layer;  // packed plain
  layer(ctx, x, y, epilogue::SwiGlu{});
}
