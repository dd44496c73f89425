// expect: this backend lacks the operation `route`
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/linear.hpp"

using namespace qwen3vl;

// A new backend with the CPU's memory, and one operation so far.
struct Begun : Cpu {};
template <class... Rest>
void linear(Context<Begun>& ctx, Rest&&... rest);

Linear<64, 64, Begun, F32> layer;
