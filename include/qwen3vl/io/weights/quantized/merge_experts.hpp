/// Experts that a file keeps one by one become the stacks that the model has.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/concatenated_rows.hpp"
#include "qwen3vl/io/weights/plain_rows.hpp"

namespace qwen3vl {
namespace detail {

/// "P.experts.7.up_proj.weight" in its parts; an empty prefix if the name is another one.
struct ExpertName {
  std::string prefix;  ///< "P.experts."
  index_t expert = 0;
  std::string_view matrix;  ///< "up_proj"
};
inline ExpertName expert_name(std::string_view name) {
  constexpr std::string_view experts = ".experts.";
  const std::size_t begin = name.find(experts);
  if (begin == std::string_view::npos) return {};
  const std::string_view prefix = name.substr(0, begin + experts.size());
  std::string_view rest = name.substr(prefix.size());
  const std::size_t digits = rest.find('.');
  if (digits == 0 || digits > 6 || (digits > 1 && rest[0] == '0') || rest.find_first_not_of("0123456789") != digits)
    return {};
  index_t expert = 0;
  for (const char c : rest.substr(0, digits)) expert = expert * 10 + (c - '0');
  rest.remove_prefix(digits + 1);
  for (const std::string_view matrix : {"gate_proj", "up_proj", "down_proj"})
    if (rest == concat(matrix, ".weight")) return {std::string(prefix), expert, matrix};
  return {};
}

}  // namespace detail

/// The weights of gate_proj, up_proj and down_proj that are stored for each of a layer's experts, quantised or plain,
/// become gate_up_proj [experts, 2 * inner, hidden], the gate's rows first, and down_proj [experts, hidden, inner], as
/// transformers 5 has them. Throws Error if one is missing or has another shape than the others.
inline void merge_experts(Checkpoint& checkpoint) {
  using Matrices = std::map<std::string_view, const StoredTensor*>;  // gate_proj, up_proj, down_proj
  std::map<std::string, std::map<index_t, Matrices>> layers;
  for (const std::string& name : checkpoint.names())
    if (detail::ExpertName expert = detail::expert_name(name); !expert.prefix.empty())
      layers[expert.prefix][expert.expert][expert.matrix] = checkpoint.find(name);
  for (auto& [prefix, experts] : layers) {
    const auto place = [&, &prefix_ = prefix] { return concat(checkpoint.name(), ": ", detail::shown(prefix_)); };
    std::vector<SomeRows> gate_up, down;
    std::vector<index_t> shape;  // of the first gate: [inner, hidden]
    for (auto& [expert, matrices] : experts) {
      const auto e = static_cast<index_t>(down.size());
      for (const std::string_view matrix : {"gate_proj", "up_proj", "down_proj"}) {
        const StoredTensor* const tensor = expert == e ? matrices[matrix] : nullptr;
        if (tensor == nullptr) fail(place(), e, ".", matrix, ".weight is missing");
        if (shape.empty()) shape = tensor->shape;
        std::vector<index_t> wanted = shape;
        if (matrix == "down_proj" && wanted.size() == 2) std::swap(wanted[0], wanted[1]);
        if (wanted.size() != 2 || tensor->shape != wanted || tensor->size() == 0)
          fail(place(), e, ".", matrix, ".weight is ", detail::shape_text(tensor->shape), ", wanted ",
               wanted.size() == 2 ? detail::shape_text(wanted) : "a matrix", " as of its neighbours");
        (matrix == "down_proj" ? down : gate_up).push_back({rows_of(*tensor), 0, wanted[0]});
      }
    }
    const auto count = static_cast<index_t>(down.size());
    for (const bool is_down : {false, true}) {
      const std::string name = prefix + (is_down ? "down_proj" : "gate_up_proj");
      if (checkpoint.find(name) != nullptr) fail(place(), " has experts one by one and ", detail::shown(name), ", too");
      StoredTensor stack{.name = name, .shape = {count, 2 * shape[0], shape[1]}, .bytes = {}};
      if (is_down) stack.shape = {count, shape[1], shape[0]};
      stack.encoded = std::make_shared<ConcatenatedRows>(std::move(is_down ? down : gate_up), name);
      checkpoint.put(std::move(stack));
    }
    for (const auto& [expert, matrices] : experts)
      for (const auto& [matrix, tensor] : matrices) checkpoint.erase(concat(prefix, expert, ".", matrix, ".weight"));
  }
}

}  // namespace qwen3vl
