/// What forward() makes of its inputs before a layer runs: kinds of tokens, positions, the columns that get logits.
/// Host code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/model/forward_types.hpp"
#include "qwen3vl/model/rope_index.hpp"
#include "qwen3vl/text/padded_inputs.hpp"

namespace qwen3vl::detail {

/// Kinds [B, S] of the tokens that are given as embeddings [B, S, hidden_size]: images and videos are where a row
/// equals the embedding of their placeholder, `image` or `video`.
inline HostMatrix<std::uint8_t> types_of(const HostCube<float>& embeds, std::span<const float> image,
                                         std::span<const float> video) {
  HostMatrix<std::uint8_t> types(embeds.rows(), embeds.extent(1));
  for (index_t i = 0; i < types.size(); ++i) {
    const auto row = embeds.span().subspan(static_cast<std::size_t>(i) * image.size(), image.size());
    types.data()[i] = std::ranges::equal(row, image)   ? image_token
                      : std::ranges::equal(row, video) ? video_token
                                                       : text_token;
  }
  return types;
}

/// Positions of one call, and what it leaves behind in PastKeyValues.
struct ForwardPositions {
  HostCube<std::int32_t> position_ids;    ///< [3, B, S]
  std::vector<std::int64_t> rope_deltas;  ///< of each sequence
  bool has_media = false;
};

/// Positions for forward(). `cached`: the tokens that `past` holds of each sequence. Whatever comes continues from the
/// largest position so far; so do images over a cache, as in one pass over all. As in a plain forward of the reference
/// (generate differs), padding is counted for text without images, and images that are given with inputs_embeds have
/// the positions of text.
template <class Past>
ForwardPositions forward_positions(const ModelInputs& inputs, const PackedTokens& packed, const PromptTokens& prompts,
                                   index_t merge, const Past& past, std::span<const index_t> cached) {
  const Segments& sequences = packed.sequences;
  ForwardPositions result{.position_ids = {}, .rope_deltas = {}, .has_media = past.has_media};
  std::vector<std::int64_t> next;  // position of each sequence's next token
  for (std::size_t s = 0; s < cached.size(); ++s) {
    next.push_back(cached[s] + (past.rope_deltas.empty() ? 0 : past.rope_deltas[s]));
    if (next[s] > std::numeric_limits<std::int32_t>::max() - packed.length)
      fail("row ", s, " continues at position ", next[s], "; positions have 31 bits");
  }
  if (inputs.position_ids.allocated()) {
    const std::vector<std::int32_t> positions = pack_positions(packed, inputs.position_ids, 0);
    for (index_t s = 0; s < sequences.count(); ++s) {
      if (sequences.length(s) == 0) continue;
      std::int32_t largest = -1;
      for (index_t axis = 0; axis < 3; ++axis)
        for (index_t i = sequences.offset(s); i < sequences.offset(s + 1); ++i)
          largest = std::max(largest, positions[static_cast<std::size_t>(axis * packed.tokens() + i)]);
      next[static_cast<std::size_t>(s)] = std::int64_t{largest} + 1;
    }
    result.position_ids = three_axes(inputs.position_ids);
    result.has_media = past.has_media || !prompts.spans.empty();
  } else if (!inputs.inputs_embeds.allocated() && (!prompts.spans.empty() || past.has_media)) {
    const PromptPositions positions = get_rope_index(prompts, merge, next);
    result.position_ids = unpack_positions(packed, positions.position_ids);
    for (index_t s = 0; s < sequences.count(); ++s)
      next[static_cast<std::size_t>(s)] += positions.rope_deltas[static_cast<std::size_t>(s)] + sequences.length(s);
    result.has_media = true;
  } else {
    result.position_ids = HostCube<std::int32_t>(3, packed.batch, packed.length);
    for (index_t axis = 0; axis < 3; ++axis)
      for (index_t b = 0; b < packed.batch; ++b)
        for (index_t s = 0; s < packed.length; ++s)
          result.position_ids(axis, b, s) = static_cast<std::int32_t>(next[static_cast<std::size_t>(b)] + s);
    for (std::int64_t& position : next) position += packed.length;
  }
  for (index_t s = 0; s < sequences.count(); ++s) {
    const auto i = static_cast<std::size_t>(s);
    result.rope_deltas.push_back(next[i] - cached[i] - sequences.length(s));
  }
  return result;
}

/// Columns whose logits are wanted.
inline std::vector<index_t> kept_positions(const ForwardOptions& options, index_t length) {
  std::vector<index_t> kept = options.logits_positions;
  for (index_t& position : kept) {
    if (position < -length || position >= length)
      fail("logits_positions holds ", position, " of ", length, " positions");
    if (position < 0) position += length;
  }
  if (!kept.empty()) return kept;
  if (options.logits_to_keep < 0) fail("logits_to_keep is ", options.logits_to_keep, "; give 0 for all positions");
  const index_t count = options.logits_to_keep == 0 ? length : std::min(options.logits_to_keep, length);
  for (index_t s = length - count; s < length; ++s) kept.push_back(s);
  return kept;
}

}  // namespace qwen3vl::detail
