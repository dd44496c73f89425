/// What a variant is: the compile-time half of a checkpoint's config.json, as plain literal structs.
/// The same structs are read from a checkpoint at run time (config_json.hpp) and compared with the variant
/// (compare.hpp). Only what shapes a buffer or a kernel is here; run-time values (rope, epsilons, token ids) are in
/// runtime_config.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <initializer_list>

namespace qwen3vl {

/// A list of layer indexes with room for `Capacity`, usable in constant expressions (std::vector is not).
template <std::size_t Capacity>
struct IndexList {
  int values[Capacity]{};
  std::size_t count = 0;

  constexpr IndexList() = default;
  /// More than `Capacity` indexes do not compile (in a constant expression) and are cut otherwise: readers check first.
  constexpr IndexList(std::initializer_list<int> list) {
    for (const int value : list) push_back(value);
  }
  constexpr void push_back(int value) { values[count++] = value; }
  static constexpr std::size_t capacity() { return Capacity; }
  constexpr std::size_t size() const { return count; }
  constexpr int operator[](std::size_t i) const { return values[i]; }
  constexpr const int* begin() const { return values; }
  constexpr const int* end() const { return values + count; }
  /// Position of `value` in the list, or -1.
  constexpr int find(int value) const {
    for (std::size_t i = 0; i < count; ++i)
      if (values[i] == value) return static_cast<int>(i);
    return -1;
  }
  constexpr bool operator==(const IndexList& other) const {
    if (count != other.count) return false;
    for (std::size_t i = 0; i < count; ++i)
      if (values[i] != other.values[i]) return false;
    return true;
  }
};

/// Activation functions by their names in config.json. `gelu` is the exact one (erf).
enum class Activation { silu, gelu, gelu_pytorch_tanh };

/// `vision_config`.
struct VisionConfig {
  int depth = 27;
  int hidden_size = 1152;
  int intermediate_size = 4304;
  int num_heads = 16;
  int in_channels = 3;
  int patch_size = 16;
  int spatial_merge_size = 2;
  int temporal_patch_size = 2;
  int out_hidden_size = 3584;
  int num_position_embeddings = 2304;
  IndexList<16> deepstack_visual_indexes{8, 16, 24};
  Activation hidden_act = Activation::gelu_pytorch_tanh;

  constexpr int head_dim() const { return hidden_size / num_heads; }
  /// Values of one patch: in_channels * temporal_patch_size * patch_size^2.
  constexpr int patch_dim() const { return in_channels * temporal_patch_size * patch_size * patch_size; }
  /// Patches that become one text token.
  constexpr int merge_unit() const { return spatial_merge_size * spatial_merge_size; }
  constexpr bool operator==(const VisionConfig&) const = default;
};

/// The mixture-of-experts fields of `text_config`; `num_experts == 0` means a dense model.
struct MoeConfig {
  int num_experts = 0;
  int num_experts_per_tok = 0;
  int moe_intermediate_size = 0;
  int decoder_sparse_step = 1;
  IndexList<128> mlp_only_layers{};

  constexpr bool operator==(const MoeConfig&) const = default;
};

/// `text_config`.
struct TextConfig {
  int vocab_size = 151936;
  int hidden_size = 4096;
  int intermediate_size = 22016;
  int num_hidden_layers = 32;
  int num_attention_heads = 32;
  int num_key_value_heads = 32;
  int head_dim = 128;
  bool attention_bias = false;
  Activation hidden_act = Activation::silu;
  /// How many rotary frequencies follow the temporal, height and width position (interleaved).
  int mrope_section[3] = {24, 20, 20};
  MoeConfig moe{};

  /// Whether layer `i` has experts: not in mlp_only_layers and (i + 1) % decoder_sparse_step == 0.
  constexpr bool is_sparse(int i) const {
    return moe.num_experts > 0 && moe.mlp_only_layers.find(i) < 0 && (i + 1) % moe.decoder_sparse_step == 0;
  }
  constexpr bool operator==(const TextConfig&) const = default;
};

/// The compile-time half of config.json.
struct ModelConfig {
  VisionConfig vision{};
  TextConfig text{};
  bool tie_word_embeddings = false;

  constexpr bool operator==(const ModelConfig&) const = default;
};

/// The first rule that a config breaks, or nullptr. Used at compile time by `Variant` and at run time by the reader.
constexpr const char* validate(const VisionConfig& v) {
  if (v.depth < 1 || v.hidden_size < 1 || v.intermediate_size < 1 || v.num_heads < 1 || v.in_channels < 1)
    return "vision_config: depth, hidden_size, intermediate_size, num_heads and in_channels must be positive";
  if (v.patch_size < 1 || v.spatial_merge_size < 1 || v.temporal_patch_size < 1 || v.out_hidden_size < 1)
    return "vision_config: patch_size, spatial_merge_size, temporal_patch_size and out_hidden_size must be positive";
  if (v.hidden_size % v.num_heads != 0) return "vision_config: hidden_size must be a multiple of num_heads";
  if (v.head_dim() % 4 != 0)
    return "vision_config: hidden_size / num_heads must be a multiple of 4 (rows and columns rotate)";
  long long side = 0;
  while (side * side < v.num_position_embeddings) ++side;
  if (v.num_position_embeddings < 1 || side * side != v.num_position_embeddings)
    return "vision_config: num_position_embeddings must be a square number";
  for (std::size_t i = 0; i < v.deepstack_visual_indexes.size(); ++i) {
    const int index = v.deepstack_visual_indexes[i];
    if (index < 0 || index >= v.depth) return "vision_config: deepstack_visual_indexes must be below depth";
    if (i > 0 && index <= v.deepstack_visual_indexes[i - 1])
      return "vision_config: deepstack_visual_indexes must ascend";
  }
  return nullptr;
}

constexpr const char* validate(const TextConfig& t) {
  if (t.vocab_size < 1 || t.hidden_size < 1 || t.intermediate_size < 1 || t.num_hidden_layers < 1)
    return "text_config: vocab_size, hidden_size, intermediate_size and num_hidden_layers must be positive";
  if (t.num_attention_heads < 1 || t.num_key_value_heads < 1 || t.head_dim < 2)
    return "text_config: num_attention_heads, num_key_value_heads and head_dim must be positive";
  if (t.num_attention_heads % t.num_key_value_heads != 0)
    return "text_config: num_attention_heads must be a multiple of num_key_value_heads";
  if (t.head_dim % 2 != 0) return "text_config: head_dim must be even";
  if (t.hidden_act != Activation::silu) return "text_config: hidden_act must be silu";
  for (const int section : t.mrope_section)
    if (section < 0) return "text_config: mrope_section must not be negative";
  if (t.mrope_section[0] + t.mrope_section[1] + t.mrope_section[2] != t.head_dim / 2)
    return "text_config: mrope_section must add up to head_dim / 2";
  const MoeConfig& moe = t.moe;
  if (moe.num_experts < 0) return "text_config: num_experts must not be negative";
  if (moe.num_experts > 0) {
    if (moe.moe_intermediate_size < 1) return "text_config: moe_intermediate_size must be positive";
    if (moe.num_experts_per_tok < 1 || moe.num_experts_per_tok > moe.num_experts)
      return "text_config: num_experts_per_tok must be between 1 and num_experts";
    if (moe.decoder_sparse_step < 1) return "text_config: decoder_sparse_step must be positive";
  }
  return nullptr;
}

constexpr const char* validate(const ModelConfig& c) {
  if (const char* problem = validate(c.vision)) return problem;
  if (const char* problem = validate(c.text)) return problem;
  if (c.vision.hidden_act == Activation::silu) return "vision_config: hidden_act must be gelu or gelu_pytorch_tanh";
  if (c.vision.out_hidden_size != c.text.hidden_size)
    return "vision_config: out_hidden_size must equal text_config.hidden_size";
  return nullptr;
}

/// A variant: a tag type with `static constexpr ModelConfig config` that passes validate().
template <class V>
concept Variant = requires {
  { V::config } -> std::convertible_to<const ModelConfig&>;
}
&&validate(V::config) == nullptr;

}  // namespace qwen3vl
