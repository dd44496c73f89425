/// What a variant is: the compile-time half of a checkpoint's config.json, as plain literal structs.
/// The same structs are read from a checkpoint at run time (config_json.hpp) and compared with the variant
/// (compare.hpp). Only what shapes a buffer or a kernel is here; run-time values (rope, epsilons, token ids) are in
/// runtime_config.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <type_traits>

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
  /// The number of rotary frequencies for temporal, height and width positions (interleaved).
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

namespace detail {

constexpr bool is_square(int n) {
  long long side = 0;
  while (side * side < n) ++side;
  return n > 0 && side * side == n;
}
constexpr bool are_below(const IndexList<16>& indexes, int limit) {
  for (const int index : indexes)
    if (index < 0 || index >= limit) return false;
  return true;
}
constexpr bool ascend(const IndexList<16>& indexes) {
  for (std::size_t i = 1; i < indexes.size(); ++i)
    if (indexes[i] <= indexes[i - 1]) return false;
  return true;
}

}  // namespace detail

// The rules of a config, each once: a condition on `v` (vision_config), `t` (text_config) or both, and its message. A
// macro, because static_assert needs a literal, and a broken rule must be the compiler's first line. Earlier rules
// guard later ones.
// clang-format off
#define QWEN3VL_CONFIG_RULES(rule) \
  rule(v.depth > 0 && v.hidden_size > 0 && v.intermediate_size > 0 && v.num_heads > 0 && v.in_channels > 0, \
       "vision_config: depth, hidden_size, intermediate_size, num_heads and in_channels must be positive") \
  rule(v.patch_size > 0 && v.spatial_merge_size > 0 && v.temporal_patch_size > 0 && v.out_hidden_size > 0, \
       "vision_config: patch_size, spatial_merge_size, temporal_patch_size and out_hidden_size must be positive") \
  rule(v.hidden_size % v.num_heads == 0, \
       "vision_config: hidden_size must be a multiple of num_heads") \
  rule(v.head_dim() % 4 == 0, \
       "vision_config: hidden_size / num_heads must be a multiple of 4 (rows and columns rotate)") \
  rule(detail::is_square(v.num_position_embeddings), \
       "vision_config: num_position_embeddings must be a square number") \
  rule(detail::are_below(v.deepstack_visual_indexes, v.depth), \
       "vision_config: deepstack_visual_indexes must be below depth") \
  rule(detail::ascend(v.deepstack_visual_indexes), \
       "vision_config: deepstack_visual_indexes must ascend") \
  rule(t.vocab_size > 0 && t.hidden_size > 0 && t.intermediate_size > 0 && t.num_hidden_layers > 0, \
       "text_config: vocab_size, hidden_size, intermediate_size and num_hidden_layers must be positive") \
  rule(t.num_attention_heads > 0 && t.num_key_value_heads > 0 && t.head_dim > 1, \
       "text_config: num_attention_heads, num_key_value_heads and head_dim must be positive") \
  rule(t.num_attention_heads % t.num_key_value_heads == 0, \
       "text_config: num_attention_heads must be a multiple of num_key_value_heads") \
  rule(t.head_dim % 2 == 0, \
       "text_config: head_dim must be even") \
  rule(t.hidden_act == Activation::silu, \
       "text_config: hidden_act must be silu") \
  rule(t.mrope_section[0] >= 0 && t.mrope_section[1] >= 0 && t.mrope_section[2] >= 0, \
       "text_config: mrope_section must not be negative") \
  rule(t.mrope_section[0] + t.mrope_section[1] + t.mrope_section[2] == t.head_dim / 2, \
       "text_config: mrope_section must add up to head_dim / 2") \
  rule(t.moe.num_experts >= 0, \
       "text_config: num_experts must not be negative") \
  rule(t.moe.num_experts == 0 || t.moe.moe_intermediate_size > 0, \
       "text_config: moe_intermediate_size must be positive") \
  rule(t.moe.num_experts == 0 || (t.moe.num_experts_per_tok > 0 && t.moe.num_experts_per_tok <= t.moe.num_experts), \
       "text_config: num_experts_per_tok must be between 1 and num_experts") \
  rule(t.moe.num_experts == 0 || t.moe.decoder_sparse_step > 0, \
       "text_config: decoder_sparse_step must be positive") \
  rule(v.hidden_act != Activation::silu, \
       "vision_config: hidden_act must be gelu or gelu_pytorch_tanh") \
  rule(v.out_hidden_size == t.hidden_size, \
       "vision_config: out_hidden_size must equal text_config.hidden_size")
// clang-format on

/// The first rule that a config breaks, or nullptr: for configs that are read at run time.
constexpr const char* validate(const ModelConfig& config) {
  const VisionConfig& v = config.vision;
  const TextConfig& t = config.text;
#define QWEN3VL_RETURN(condition, text) \
  if (!(condition)) return text;
  QWEN3VL_CONFIG_RULES(QWEN3VL_RETURN)
#undef QWEN3VL_RETURN
  return nullptr;
}

namespace detail {

template <class V>
concept HasConfig = requires {
  { V::config } -> std::convertible_to<const ModelConfig&>;
};
template <class V>
concept HasConstantConfig = requires {
  typename std::integral_constant<int, V::config.text.hidden_size>;
};

/// Its instantiation reports the first rule that the config of V breaks.
template <class V>
struct ConfigRules {
  static constexpr VisionConfig v = V::config.vision;
  static constexpr TextConfig t = V::config.text;
#define QWEN3VL_ASSERT(condition, text) static_assert(condition, text);
  QWEN3VL_CONFIG_RULES(QWEN3VL_ASSERT)
#undef QWEN3VL_ASSERT
};
struct NoRules {};

/// The requirements of a variant, in order of reporting. A violation is a hard error rather than a false concept: the
/// first line of a failed concept says where, not why.
template <class V>
struct VariantCheck {
  static_assert(HasConfig<V>, "a variant is a type with a member `static constexpr qwen3vl::ModelConfig config`");
  static_assert(!HasConfig<V> || HasConstantConfig<V>,
                "the config of a variant must be constexpr, a constant expression");
  static constexpr bool holds =
      sizeof(std::conditional_t < HasConfig<V> && HasConstantConfig<V>, ConfigRules<V>, NoRules >) > 0;
};

}  // namespace detail
#undef QWEN3VL_CONFIG_RULES

/// A variant: a tag type with `static constexpr ModelConfig config` that keeps the rules above. Anything else is a
/// compile error whose first line names the rule.
template <class V>
concept Variant = detail::VariantCheck<V>::holds;

}  // namespace qwen3vl
