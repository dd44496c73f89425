/// The released Qwen3-VL variants as types. Instruct and Thinking checkpoints of a size share one type.
/// Sizes as in the `config.json` of the Hub checkpoints `Qwen/Qwen3-VL-<size>-{Instruct,Thinking}`.
#pragma once

#include "qwen3vl/config/config.hpp"

namespace qwen3vl {

namespace detail {

/// The vision tower of 2B and 4B.
constexpr VisionConfig small_vision_tower(int out_hidden_size) {
  return {.depth = 24,
          .hidden_size = 1024,
          .intermediate_size = 4096,
          .out_hidden_size = out_hidden_size,
          .deepstack_visual_indexes = {5, 11, 17}};
}

/// The vision tower of all other sizes.
constexpr VisionConfig large_vision_tower(int out_hidden_size) {
  return {.depth = 27,
          .hidden_size = 1152,
          .intermediate_size = 4304,
          .out_hidden_size = out_hidden_size,
          .deepstack_visual_indexes = {8, 16, 24}};
}

}  // namespace detail

struct Qwen3VL_2B {
  static constexpr ModelConfig config{.vision = detail::small_vision_tower(2048),
                                      .text = {.hidden_size = 2048,
                                               .intermediate_size = 6144,
                                               .num_hidden_layers = 28,
                                               .num_attention_heads = 16,
                                               .num_key_value_heads = 8},
                                      .tie_word_embeddings = true};
};

struct Qwen3VL_4B {
  static constexpr ModelConfig config{.vision = detail::small_vision_tower(2560),
                                      .text = {.hidden_size = 2560,
                                               .intermediate_size = 9728,
                                               .num_hidden_layers = 36,
                                               .num_attention_heads = 32,
                                               .num_key_value_heads = 8},
                                      .tie_word_embeddings = true};
};

struct Qwen3VL_8B {
  static constexpr ModelConfig config{.vision = detail::large_vision_tower(4096),
                                      .text = {.hidden_size = 4096,
                                               .intermediate_size = 12288,
                                               .num_hidden_layers = 36,
                                               .num_attention_heads = 32,
                                               .num_key_value_heads = 8}};
};

struct Qwen3VL_32B {
  static constexpr ModelConfig config{.vision = detail::large_vision_tower(5120),
                                      .text = {.hidden_size = 5120,
                                               .intermediate_size = 25600,
                                               .num_hidden_layers = 64,
                                               .num_attention_heads = 64,
                                               .num_key_value_heads = 8}};
};

struct Qwen3VL_30B_A3B {
  static constexpr ModelConfig config{
      .vision = detail::large_vision_tower(2048),
      .text = {.hidden_size = 2048,
               .intermediate_size = 6144,
               .num_hidden_layers = 48,
               .num_attention_heads = 32,
               .num_key_value_heads = 4,
               .moe = {.num_experts = 128, .num_experts_per_tok = 8, .moe_intermediate_size = 768}}};
};

struct Qwen3VL_235B_A22B {
  static constexpr ModelConfig config{
      .vision = detail::large_vision_tower(4096),
      .text = {.hidden_size = 4096,
               .intermediate_size = 12288,
               .num_hidden_layers = 94,
               .num_attention_heads = 64,
               .num_key_value_heads = 4,
               .moe = {.num_experts = 128, .num_experts_per_tok = 8, .moe_intermediate_size = 1536}}};
};

static_assert(Variant<Qwen3VL_2B> && Variant<Qwen3VL_4B> && Variant<Qwen3VL_8B> && Variant<Qwen3VL_32B> &&
              Variant<Qwen3VL_30B_A3B> && Variant<Qwen3VL_235B_A22B>);

}  // namespace qwen3vl
