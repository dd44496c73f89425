/// The variant of config.json, written by hand: for a build without CMake.
#pragma once

#include "qwen3vl/config/config.hpp"

namespace qwen3vl::variants {

struct MyModel {
  static constexpr ModelConfig config{.vision = {.depth = 2,
                                                 .hidden_size = 32,
                                                 .intermediate_size = 48,
                                                 .num_heads = 2,
                                                 .out_hidden_size = 32,
                                                 .num_position_embeddings = 16,
                                                 .deepstack_visual_indexes = {1}},
                                      .text = {.vocab_size = 100,
                                               .hidden_size = 32,
                                               .intermediate_size = 48,
                                               .num_hidden_layers = 2,
                                               .num_attention_heads = 4,
                                               .num_key_value_heads = 2,
                                               .head_dim = 16,
                                               .mrope_section = {4, 2, 2}},
                                      .tie_word_embeddings = true};
};

}  // namespace qwen3vl::variants
