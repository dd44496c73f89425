// expect: a variant is a type with a member `static constexpr qwen3vl::ModelConfig config`
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/mlp.hpp"

using namespace qwen3vl;

struct Sizes {
  static constexpr int hidden_size = 2048;
};
SwiGluMlp<Sizes, Cpu, F32> mlp;
