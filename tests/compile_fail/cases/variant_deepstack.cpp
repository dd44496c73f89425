// expect: vision_config: deepstack_visual_indexes must be below depth
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/mlp.hpp"

using namespace qwen3vl;

struct Broken {
  static constexpr ModelConfig config{
      .vision = {.depth = 12, .out_hidden_size = 4096, .deepstack_visual_indexes = {3, 12}},
      .text = {.num_key_value_heads = 8}};
};
SwiGluMlp<Broken, Cpu, F32> mlp;  // there is no block 12
