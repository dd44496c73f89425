/// The names that GGUF files give the tensors of Qwen3-VL, and transformers' names of the same: those of llama.cpp
/// (gguf-py/gguf/tensor_mapping.py, conversion/qwen3vl.py) and of Ollama (convert/convert_qwen3vl.go), which names the
/// vision tower its own way. Neither permutes the rows of q and k for this architecture.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl::detail {

/// What a tensor is called here and there; a "*" stands for the number of a layer.
struct GgufName {
  std::string_view stored, ours;
};

/// Without ".weight" and ".bias".
inline constexpr GgufName gguf_names[] = {
    {"token_embd", "model.language_model.embed_tokens"},
    {"output_norm", "model.language_model.norm"},
    {"output", "lm_head"},
    {"blk.*.attn_norm", "model.language_model.layers.*.input_layernorm"},
    {"blk.*.attn_q", "model.language_model.layers.*.self_attn.q_proj"},
    {"blk.*.attn_k", "model.language_model.layers.*.self_attn.k_proj"},
    {"blk.*.attn_v", "model.language_model.layers.*.self_attn.v_proj"},
    {"blk.*.attn_output", "model.language_model.layers.*.self_attn.o_proj"},
    {"blk.*.attn_q_norm", "model.language_model.layers.*.self_attn.q_norm"},
    {"blk.*.attn_k_norm", "model.language_model.layers.*.self_attn.k_norm"},
    {"blk.*.ffn_norm", "model.language_model.layers.*.post_attention_layernorm"},
    {"blk.*.ffn_gate", "model.language_model.layers.*.mlp.gate_proj"},
    {"blk.*.ffn_up", "model.language_model.layers.*.mlp.up_proj"},
    {"blk.*.ffn_down", "model.language_model.layers.*.mlp.down_proj"},
    {"blk.*.ffn_gate_inp", "model.language_model.layers.*.mlp.gate"},
    // Both converters store experts as [experts, rows, columns], as transformers 5 does.
    {"blk.*.ffn_gate_up_exps", "model.language_model.layers.*.mlp.experts.gate_up_proj"},
    {"blk.*.ffn_down_exps", "model.language_model.layers.*.mlp.experts.down_proj"},
    {"v.patch_embd", "model.visual.patch_embed.proj"},
    {"v.position_embd", "model.visual.pos_embed"},
    {"v.blk.*.ln1", "model.visual.blocks.*.norm1"},
    {"v.blk.*.ln2", "model.visual.blocks.*.norm2"},
    {"v.blk.*.attn_qkv", "model.visual.blocks.*.attn.qkv"},
    {"v.blk.*.attn_out", "model.visual.blocks.*.attn.proj"},
    {"v.blk.*.ffn_up", "model.visual.blocks.*.mlp.linear_fc1"},
    {"v.blk.*.ffn_down", "model.visual.blocks.*.mlp.linear_fc2"},
    {"v.post_ln", "model.visual.merger.norm"},
    {"mm.0", "model.visual.merger.linear_fc1"},
    {"mm.2", "model.visual.merger.linear_fc2"},
    // The number is that of the block whose output the merger takes.
    {"v.deepstack.*.norm", "model.visual.deepstack_merger_list.*.norm"},
    {"v.deepstack.*.fc1", "model.visual.deepstack_merger_list.*.linear_fc1"},
    {"v.deepstack.*.fc2", "model.visual.deepstack_merger_list.*.linear_fc2"},
    // Ollama's.
    {"v.patch_embed", "model.visual.patch_embed.proj"},
    {"v.pos_embed", "model.visual.pos_embed"},
    {"v.blk.*.norm1", "model.visual.blocks.*.norm1"},
    {"v.blk.*.norm2", "model.visual.blocks.*.norm2"},
    {"v.blk.*.mlp.linear_fc1", "model.visual.blocks.*.mlp.linear_fc1"},
    {"v.blk.*.mlp.linear_fc2", "model.visual.blocks.*.mlp.linear_fc2"},
    {"v.merger.norm", "model.visual.merger.norm"},
    {"v.merger.linear_fc1", "model.visual.merger.linear_fc1"},
    {"v.merger.linear_fc2", "model.visual.merger.linear_fc2"},
    {"v.deepstack_merger.*.norm", "model.visual.deepstack_merger_list.*.norm"},
    {"v.deepstack_merger.*.linear_fc1", "model.visual.deepstack_merger_list.*.linear_fc1"},
    {"v.deepstack_merger.*.linear_fc2", "model.visual.deepstack_merger_list.*.linear_fc2"},
};

/// A tensor whose rows are those of several stored ones, one after the other; of experts, expert by expert.
struct GgufJoinedName {
  std::string_view ours;
  std::vector<std::string_view> stored;
  bool of_experts = false;
};
inline const std::vector<GgufJoinedName>& gguf_joined_names() {
  static const std::vector<GgufJoinedName> names{
      {"model.language_model.layers.*.mlp.experts.gate_up_proj", {"blk.*.ffn_gate_exps", "blk.*.ffn_up_exps"}, true},
      {"model.visual.blocks.*.attn.qkv", {"v.blk.*.attn_q", "v.blk.*.attn_k", "v.blk.*.attn_v"}},
  };
  return names;
}

/// A name in parts: "blk.3.attn_q.bias" is "blk.*.attn_q", the number 3 and ".bias".
struct GgufNameParts {
  std::string pattern;
  std::optional<std::size_t> number;
  std::string_view ending;

  explicit GgufNameParts(std::string_view name) {
    for (const std::string_view known : {".weight", ".bias"})
      if (name.ends_with(known)) {
        ending = known;
        name.remove_suffix(known.size());
      }
    for (std::size_t begin = 0; begin <= name.size();) {
      const std::size_t end = std::min(name.find('.', begin), name.size());
      const std::string_view part = name.substr(begin, end - begin);
      std::size_t value = 0;
      const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), value);
      const bool is_number = error == std::errc() && stop == part.data() + part.size();
      if (begin > 0) pattern += '.';
      // Not the number of mm.0 and mm.2, which is part of the name.
      if (is_number && !number && name.substr(0, 3) != "mm.") {
        number = value;
        pattern += '*';
      } else {
        pattern += part;
      }
      begin = end + 1;
    }
  }

  /// `ours` with this name's number; experts have no ending in transformers.
  std::string as(std::string_view ours) const {
    std::string name(ours);
    if (const std::size_t star = name.find('*'); star != std::string::npos)
      name.replace(star, 1, std::to_string(number.value_or(0)));
    if (ours.find(".experts.") == std::string_view::npos) name += ending;
    return name;
  }
};

}  // namespace qwen3vl::detail
