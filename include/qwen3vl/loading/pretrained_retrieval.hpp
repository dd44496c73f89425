/// from_pretrained of ForEmbedding and ForReranker. Both are saved with the names and the config of a
/// Qwen3VLForConditionalGeneration; Qwen3-VL-Embedding-8B has no lm_head.weight, although its config unties the head.
#pragma once

#include <algorithm>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/model/for_embedding.hpp"
#include "qwen3vl/model/for_reranker.hpp"

namespace qwen3vl {
namespace detail {

/// One row of a stored matrix [rows, columns] as f32. Throws Error if it is another one or has no such row.
inline std::vector<float> stored_row(const RawTensor& matrix, index_t row, index_t columns, std::string_view name) {
  if (matrix.shape.size() != 2 || matrix.shape[1] != columns || !is_floating_weight(matrix.dtype))
    fail(name, " is ", shape_text(matrix.shape), " of ", name_of(matrix.dtype), ", wanted rows of ", columns,
         " floating numbers");
  if (row < 0 || row >= matrix.shape[0]) fail(name, " has ", matrix.shape[0], " rows, none for the token ", row);
  const index_t shape[] = {1, columns};
  std::vector<float> values(static_cast<std::size_t>(columns)), decoded;
  const RawTensor plain = widened(matrix.rows_from(row, shape), decoded);
  visit_floating(plain.dtype, [&](auto type) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = load_float<decltype(type)>(plain.data, i);
  });
  return values;
}

}  // namespace detail

template <Variant V, Backend B, class P>
ForEmbedding<V, B, P> ForEmbedding<V, B, P>::from_pretrained(const std::filesystem::path& checkpoint, B& backend,
                                                             const PretrainedOptions& options) {
  return ForEmbedding(ForConditionalGeneration<V, B, P>::without_head(checkpoint, backend, options));
}

template <Variant V, Backend B, class P>
ForReranker<V, B, P> ForReranker<V, B, P>::from_pretrained(const std::filesystem::path& checkpoint, B& backend,
                                                           const RerankerTokens& tokens,
                                                           const PretrainedOptions& options) {
  std::vector<float> yes_minus_no;
  auto base = ForConditionalGeneration<V, B, P>::without_head(
      checkpoint, backend, options, [&](const CheckpointSource& source, bool tied) {
        const char* name = "lm_head.weight";
        std::optional<RawTensor> head = source.find(Part(name));
        if (!head && tied) head = source.find(Part(name = "model.language_model.embed_tokens.weight"));
        if (!head)
          fail(checkpoint.string(), " stores no ", name,
               ", of which a score needs the rows of \"yes\" and \"no\": ", "this is no checkpoint of a reranker");
        yes_minus_no = detail::stored_row(*head, tokens.yes, hidden, name);
        const std::vector<float> no = detail::stored_row(*head, tokens.no, hidden, name);
        for (std::size_t i = 0; i < no.size(); ++i) yes_minus_no[i] -= no[i];
      });
  return ForReranker(std::move(base), std::move(yes_minus_no));
}

}  // namespace qwen3vl
