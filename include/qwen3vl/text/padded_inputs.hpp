/// Checks of the padded inputs of a model (TextInputs, ModelInputs), and their positions. Host code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/inputs/packing.hpp"
#include "qwen3vl/inputs/token_id.hpp"

namespace qwen3vl::detail {

/// [3, tokens] of the packed tokens from positions of 1, 3 or 4 axes, or from the token's index plus `past`.
inline std::vector<std::int32_t> pack_positions(const PackedTokens& packed, const HostCube<std::int32_t>& position_ids,
                                                index_t past) {
  std::vector<std::int32_t> positions;
  const index_t axes = position_ids.allocated() ? position_ids.rows() : 0;
  for (index_t axis = 0; axis < 3; ++axis) {
    for (const index_t i : packed.source) {
      if (axes == 0) {
        positions.push_back(static_cast<std::int32_t>(past + i % packed.length));
      } else {
        // With four axes, the first is the plain text position, which is not used for rotation.
        const index_t used = axes == 1 ? 0 : axes == 3 ? axis : axis + 1;
        positions.push_back(position_ids.data()[used * packed.batch * packed.length + i]);
      }
    }
  }
  return positions;
}

/// Positions of 1, 3 or 4 axes as those that are used for rotation, [3, B, S].
inline HostCube<std::int32_t> three_axes(const HostCube<std::int32_t>& position_ids) {
  HostCube<std::int32_t> used(3, position_ids.extent(1), position_ids.extent(2));
  for (index_t axis = 0; axis < 3; ++axis) {
    const index_t from = position_ids.rows() == 1 ? 0 : position_ids.rows() == 3 ? axis : axis + 1;
    std::ranges::copy(position_ids[from].span(), used[axis].data());
  }
  return used;
}

/// The largest position used for rotation, padded tokens included, as the reference counts for some rope types.
inline std::int32_t longest_position(const HostCube<std::int32_t>& position_ids) {
  std::span<const std::int32_t> used = position_ids.span();
  if (position_ids.rows() == 4) used = used.subspan(used.size() / 4);
  return used.empty() ? -1 : *std::ranges::max_element(used);
}

inline void check_positions(const HostCube<std::int32_t>& position_ids, index_t batch, index_t length) {
  if (!position_ids.allocated()) return;
  const index_t axes = position_ids.rows();
  if ((axes != 1 && axes != 3 && axes != 4) || position_ids.extent(1) != batch || position_ids.extent(2) != length)
    fail("position_ids is [", axes, ", ", position_ids.extent(1), ", ", position_ids.extent(2),
         "]; wanted [1, 3 or 4, ", batch, ", ", length, "]");
  for (const std::int32_t position : position_ids.span())
    if (position < 0) fail("position_ids holds ", position, "; positions are not negative");
}

/// Throws Error unless `inputs` (TextInputs, ModelInputs) have either ids or embeddings, and these the model's size.
template <class Inputs>
void check_embeds(const Inputs& inputs, index_t hidden_size) {
  if (inputs.input_ids.allocated() == inputs.inputs_embeds.allocated()) fail("give either input_ids or inputs_embeds");
  if (inputs.inputs_embeds.allocated() && inputs.inputs_embeds.extent(2) != hidden_size)
    fail("inputs_embeds has ", inputs.inputs_embeds.extent(2), " columns, hidden_size is ", hidden_size);
}

/// Without a mask, positions with a text axis tell apart the sequences that are packed into one row.
template <class Inputs>
void split_by_positions(PackedTokens& packed, const Inputs& inputs) {
  if (inputs.position_ids.allocated() && inputs.position_ids.rows() != 3 && !inputs.attention_mask.allocated())
    split_packed_sequences(packed, inputs.position_ids.span().first(packed.source.size()));
}

/// Throws Error unless the mask, if there is one, marks as many cached tokens of each sequence as there are: keys of
/// padding are never cached, and others cannot be left out later.
inline void check_cached(const PackedTokens& packed, const HostMatrix<std::uint8_t>& attention_mask,
                         std::span<const index_t> cached) {
  if (!attention_mask.allocated()) return;
  const index_t past = attention_mask.extent(1) - packed.length;
  for (index_t b = 0; b < packed.batch; ++b) {
    index_t marked = 0;
    for (index_t column = 0; column < past; ++column) marked += attention_mask(b, column) != 0;
    if (marked != cached[static_cast<std::size_t>(b)])
      fail("attention_mask marks ", marked, " tokens of row ", b, " before the ", packed.length,
           " new ones, the cache holds ", cached[static_cast<std::size_t>(b)],
           "; the mask needs a column for each cached and each new token");
  }
}

inline void check_ids(std::span<const TokenId> ids, index_t vocab_size) {
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocab_size)
      fail("input_ids holds ", ids[i], ", but the vocabulary has ", vocab_size,
           " entries; is the tokenizer another model's?");
}

}  // namespace qwen3vl::detail
