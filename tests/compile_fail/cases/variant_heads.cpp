// expect: text_config: num_attention_heads must be a multiple of num_key_value_heads
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/layers/mlp.hpp"

using namespace qwen3vl;

struct Broken {
  static constexpr ModelConfig config{
      .vision = {.out_hidden_size = 2048},
      .text = {.hidden_size = 2048, .num_attention_heads = 16, .num_key_value_heads = 5}};
};
SwiGluMlp<Broken, Cpu, F32> mlp;  // 16 heads cannot share 5 key heads
