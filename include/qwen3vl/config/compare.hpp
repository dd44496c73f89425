/// Comparing a variant with a checkpoint's config.json.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/config/fields.hpp"

namespace qwen3vl {

/// One field that differs; values as text.
struct ConfigDifference {
  std::string field;  ///< "text_config.hidden_size"
  std::string variant;
  std::string checkpoint;
};

namespace detail {

inline std::string field_text(int value) { return concat(value); }
inline std::string field_text(bool value) { return concat(value); }
inline std::string field_text(Activation value) { return name_of(value); }
template <class List>
std::string list_text(const List& list) {
  std::string text;
  for (const int value : list) text += concat(text.empty() ? "" : ", ", value);
  return "[" + text + "]";
}
inline std::string field_text(const int (&list)[3]) { return list_text(list); }
template <std::size_t N>
std::string field_text(const IndexList<N>& list) {
  return list_text(list);
}

}  // namespace detail

/// Every field in which the two differ. The width of the dense MLP is ignored if every layer is sparse.
inline std::vector<ConfigDifference> compare(const ModelConfig& variant, const ModelConfig& checkpoint) {
  std::vector<ConfigDifference> differences;
  const auto has_dense_layer = [](const TextConfig& text) {
    for (int i = 0; i < text.num_hidden_layers; ++i)
      if (!text.is_sparse(i)) return true;
    return false;
  };
  const bool dense = has_dense_layer(variant.text) || has_dense_layer(checkpoint.text);
  const bool moe = variant.text.moe.num_experts > 0 || checkpoint.text.moe.num_experts > 0;
  for_each_field(
      [&](std::string_view section, std::string_view name, const auto& a, const auto& b) {
        if (section == "text_config" && name == "intermediate_size" && !dense) return;
        std::string a_text = detail::field_text(a), b_text = detail::field_text(b);
        if (a_text != b_text)
          differences.push_back(
              {concat(section, section.empty() ? "" : ".", name), std::move(a_text), std::move(b_text)});
      },
      moe, variant, checkpoint);
  return differences;
}

/// Throws one Error that names every differing field. `name`: where the checkpoint's config comes from.
inline void require_equal(const ModelConfig& variant, const ModelConfig& checkpoint, std::string_view name) {
  const std::vector<ConfigDifference> differences = compare(variant, checkpoint);
  if (differences.empty()) return;
  std::string text;
  for (const ConfigDifference& d : differences)
    text +=
        concat(text.empty() ? "" : "; ", d.field, ": the variant has ", d.variant, ", the checkpoint ", d.checkpoint);
  fail(name, " does not fit the variant that this program was built for: ", text,
       "; use the program of the checkpoint's variant, or build one with qwen3vl_add_variant()");
}

}  // namespace qwen3vl
