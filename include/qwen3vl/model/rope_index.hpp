/// Three position ids per token of a prompt with images and videos (Qwen3VLModel.get_rope_index). Host code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/inputs/prompts.hpp"

namespace qwen3vl {

/// Positions of packed prompts.
struct PromptPositions {
  std::vector<std::int32_t> position_ids;  ///< [3, tokens]: temporal, height, width
  std::vector<std::int64_t> rope_deltas;   ///< [B]: largest position + 1 - tokens of the row
};

/// The same in padded form, with transformers' names.
struct RopeIndex {
  HostCube<std::int32_t> position_ids;    ///< [3, B, S]; 0 where padded
  std::vector<std::int64_t> rope_deltas;  ///< [B]
};

/// Positions of `prompts`. `merge`: spatial_merge_size. `first`: the position of each row's first token, if it is not
/// 0; rope_deltas are then counted from there, too. Throws Error if spans do not match the tokens.
inline PromptPositions get_rope_index(const PromptTokens& prompts, index_t merge,
                                      std::span<const std::int64_t> first = {}) {
  const auto tokens = static_cast<std::size_t>(prompts.rows.total());
  PromptPositions result{.position_ids = std::vector<std::int32_t>(3 * tokens), .rope_deltas = {}};
  auto span = prompts.spans.begin();
  for (index_t b = 0; b < prompts.batch_size(); ++b) {
    const std::int64_t start = first.empty() ? 0 : first[static_cast<std::size_t>(b)];
    std::int64_t position = start, largest = start - 1;
    const auto put = [&](index_t i, std::int64_t t, std::int64_t h, std::int64_t w) {
      std::int32_t* to = result.position_ids.data() + i;
      for (const std::int64_t of_axis : {t, h, w}) {
        *to = static_cast<std::int32_t>(position + of_axis);
        to += tokens;
        largest = std::max(largest, position + of_axis);
      }
    };
    const index_t end = prompts.rows.offset(b + 1);
    for (index_t i = prompts.rows.offset(b); i < end;) {
      if (span == prompts.spans.end() || span->begin != i) {
        put(i++, 0, 0, 0);
        ++position;
        continue;
      }
      if (span->row != b) fail("a span of row ", span->row, " stands in row ", b);
      const GridThw& grid = span->grid;
      const std::int64_t rows = grid.h / merge, columns = grid.w / merge;
      if (span->count < 1 || span->count > end - i || span->count != grid.tokens(merge))
        fail("row ", b, " has ", span->count, " tokens for an image of (", grid.t, ", ", grid.h, ", ", grid.w,
             ") patches, which makes ", grid.tokens(merge));
      for (std::int64_t k = 0; k < span->count; ++k) put(i + k, k / (rows * columns), k / columns % rows, k % columns);
      // An image takes as many positions as its longer side has tokens, however many it has in total.
      position += std::max(grid.h, grid.w) / merge;
      i += span->count;
      ++span;
    }
    result.rope_deltas.push_back(largest + 1 - start - prompts.rows.length(b));
  }
  if (span != prompts.spans.end()) fail("the spans of images and videos are not in the order of their tokens");
  return result;
}

/// Positions of a padded batch. `mm_token_type_ids` [B, S] gives the kind of each token; `attention_mask` [B, S] may be
/// empty. Throws Error if tokens and grids do not match.
inline RopeIndex get_rope_index(const HostMatrix<std::uint8_t>& mm_token_type_ids,
                                std::span<const GridThw> image_grid_thw, std::span<const GridThw> video_grid_thw,
                                const HostMatrix<std::uint8_t>& attention_mask, index_t merge) {
  const index_t batch = mm_token_type_ids.rows(), length = mm_token_type_ids.extent(1);
  detail::check_mask(attention_mask, batch, length);
  const PackedTokens packed = pack(batch, length, attention_mask);
  const PromptPositions positions = get_rope_index(
      {.ids = {},
       .rows = packed.sequences,
       .spans = detail::find_spans(packed, mm_token_type_ids.span(), image_grid_thw, video_grid_thw, merge)},
      merge);
  return {unpack_positions(packed, positions.position_ids), positions.rope_deltas};
}

}  // namespace qwen3vl
