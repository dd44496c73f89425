// expect: no (member )?type named 'Weight' in '(struct )?ActivationsOnly'
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/linear.hpp"

using namespace qwen3vl;

struct ActivationsOnly {
  using Activation = float;
};
Linear<64, 64, Cpu, ActivationsOnly> layer;
