/// Rows of tokens of different lengths as one matrix and a mask.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"

namespace qwen3vl {

/// Where short rows are filled up. Models that generate want their prompts to end together: left.
enum class PaddingSide { left, right };

/// Fills `inputs.input_ids` [B, S] and `inputs.attention_mask` [B, S] from `rows`, S the longest of them.
inline void pad_rows(std::span<const std::vector<TokenId>> rows, TokenId pad_token, PaddingSide side,
                     ModelInputs& inputs) {
  std::size_t length = 0;
  for (const auto& row : rows) length = std::max(length, row.size());
  if (length == 0) fail("every text of the batch is empty: there is nothing a model could read");
  inputs.input_ids = HostMatrix<TokenId>(rows.size(), length);
  inputs.attention_mask = HostMatrix<std::uint8_t>(rows.size(), length);
  std::fill_n(inputs.input_ids.data(), inputs.input_ids.size(), pad_token);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t begin = i * length + (side == PaddingSide::left ? length - rows[i].size() : 0);
    std::copy(rows[i].begin(), rows[i].end(), inputs.input_ids.data() + begin);
    std::fill_n(inputs.attention_mask.data() + begin, rows[i].size(), std::uint8_t{1});
  }
}

}  // namespace qwen3vl
