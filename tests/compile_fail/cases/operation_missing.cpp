// expect: this backend lacks the operation `expert_mlp`
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/linear.hpp"

using namespace qwen3vl;

// A new backend with the CPU's memory and row operations (backend/host/), and one of its own so far.
struct Begun : Cpu {};
template <class... Rest>
void linear(Context<Begun>& ctx, Rest&&... rest);

Linear<64, 64, Begun, F32> layer;
