// expect: (no non-static data member named 'num_heads'|field designator 'num_heads' does not refer)
#include "qwen3vl/config/config.hpp"

struct Misspelt {
  static constexpr qwen3vl::ModelConfig config{.text = {.num_heads = 16}};  // num_attention_heads
};
