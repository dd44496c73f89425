/// The fields of a ModelConfig by their names in config.json, listed once: for reading, comparing and printing.
#pragma once

#include "qwen3vl/config/config.hpp"

namespace qwen3vl {

/// Calls f(section, name, member...) for every field; `configs` are any number of configs whose members are passed
/// together. section is "vision_config", "text_config" or "" for the top level. Experts are visited if `moe` says so.
template <class F, class... Configs>
void for_each_field(F&& f, bool moe, Configs&... c) {
  constexpr const char* vision = "vision_config";
  f(vision, "depth", c.vision.depth...);
  f(vision, "hidden_size", c.vision.hidden_size...);
  f(vision, "intermediate_size", c.vision.intermediate_size...);
  f(vision, "num_heads", c.vision.num_heads...);
  f(vision, "in_channels", c.vision.in_channels...);
  f(vision, "patch_size", c.vision.patch_size...);
  f(vision, "spatial_merge_size", c.vision.spatial_merge_size...);
  f(vision, "temporal_patch_size", c.vision.temporal_patch_size...);
  f(vision, "out_hidden_size", c.vision.out_hidden_size...);
  f(vision, "num_position_embeddings", c.vision.num_position_embeddings...);
  f(vision, "deepstack_visual_indexes", c.vision.deepstack_visual_indexes...);
  f(vision, "hidden_act", c.vision.hidden_act...);
  constexpr const char* text = "text_config";
  f(text, "vocab_size", c.text.vocab_size...);
  f(text, "hidden_size", c.text.hidden_size...);
  f(text, "intermediate_size", c.text.intermediate_size...);
  f(text, "num_hidden_layers", c.text.num_hidden_layers...);
  f(text, "num_attention_heads", c.text.num_attention_heads...);
  f(text, "num_key_value_heads", c.text.num_key_value_heads...);
  f(text, "head_dim", c.text.head_dim...);
  f(text, "attention_bias", c.text.attention_bias...);
  f(text, "hidden_act", c.text.hidden_act...);
  f(text, "mrope_section", c.text.mrope_section...);
  if (moe) {
    f(text, "num_experts", c.text.moe.num_experts...);
    f(text, "num_experts_per_tok", c.text.moe.num_experts_per_tok...);
    f(text, "moe_intermediate_size", c.text.moe.moe_intermediate_size...);
    f(text, "decoder_sparse_step", c.text.moe.decoder_sparse_step...);
    f(text, "mlp_only_layers", c.text.moe.mlp_only_layers...);
  }
  f("", "tie_word_embeddings", c.tie_word_embeddings...);
}

/// The name of an activation in config.json.
constexpr const char* name_of(Activation activation) {
  switch (activation) {
    case Activation::silu:
      return "silu";
    case Activation::gelu:
      return "gelu";
    default:
      return "gelu_pytorch_tanh";
  }
}

}  // namespace qwen3vl
