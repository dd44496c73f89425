// expect: the config of a variant must be constexpr
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/layers/mlp.hpp"

using namespace qwen3vl;

ModelConfig read_from_somewhere();
struct AtRunTime {
  static inline const ModelConfig config = read_from_somewhere();
};
SwiGluMlp<AtRunTime, Cpu, F32> mlp;
