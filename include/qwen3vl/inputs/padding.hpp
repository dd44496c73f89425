/// Converts between prompts as models read them and the padded form of transformers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/inputs/packing.hpp"
#include "qwen3vl/inputs/prompts.hpp"

namespace qwen3vl {

/// Where short rows are padded. Generation needs prompts that end together: left.
enum class PaddingSide { left, right };
/// `padding`: False, True or "longest", "max_length".
enum class Padding { do_not_pad, longest, max_length };
/// The end at which a text that is too long is cut.
enum class TruncationSide { left, right };

/// Ids, mask and token types [B, S] of prompts, S the longest of them, or `at_least`; without pixels and grids.
inline ModelInputs to_padded(const PromptTokens& prompts, TokenId pad_token, PaddingSide side, index_t at_least = 0) {
  const index_t batch = prompts.batch_size(), length = std::max(prompts.rows.longest(), at_least);
  if (prompts.rows.longest() == 0) fail("every text of the batch is empty: there is nothing a model could read");
  if (prompts.tokens() != prompts.rows.total())
    fail("the rows of the prompts are of ", prompts.rows.total(), " tokens, there are ", prompts.tokens());
  for (const MediaSpan& span : prompts.spans)
    if (span.row < 0 || span.row >= batch || span.begin < prompts.rows.offset(span.row) || span.count < 0 ||
        span.begin > prompts.rows.offset(span.row + 1) || span.count > prompts.rows.offset(span.row + 1) - span.begin)
      fail("the span of ", span.count, " tokens from token ", span.begin, " on is not within row ", span.row);
  ModelInputs inputs;
  inputs.input_ids = HostMatrix<TokenId>(batch, length);
  inputs.attention_mask = HostMatrix<std::uint8_t>(batch, length);
  inputs.mm_token_type_ids = HostMatrix<std::uint8_t>(batch, length);
  std::ranges::fill(inputs.input_ids.span(), pad_token);
  const auto first = [&](index_t b) {
    return b * length + (side == PaddingSide::left ? length - prompts.rows.length(b) : 0);
  };
  for (index_t b = 0; b < batch; ++b) {
    std::ranges::copy(prompts.row(b), inputs.input_ids.data() + first(b));
    std::fill_n(inputs.attention_mask.data() + first(b), prompts.rows.length(b), std::uint8_t{1});
  }
  for (const MediaSpan& span : prompts.spans)
    std::fill_n(inputs.mm_token_type_ids.data() + first(span.row) + span.begin - prompts.rows.offset(span.row),
                span.count, span.kind);
  return inputs;
}

/// The complete output of transformers' processor.
inline ModelInputs to_padded(Prompts prompts, TokenId pad_token, PaddingSide side, index_t at_least = 0) {
  ModelInputs inputs = to_padded(static_cast<const PromptTokens&>(prompts), pad_token, side, at_least);
  if (!prompts.assistant_masks.empty()) {
    inputs.assistant_masks = HostMatrix<std::uint8_t>(inputs.batch_size(), inputs.length());
    auto of_row = prompts.assistant_masks.begin();
    for (index_t i = 0; i < inputs.input_ids.size(); ++i)
      if (inputs.attention_mask.data()[i] != 0) inputs.assistant_masks.data()[i] = *of_row++;
  }
  static_cast<Media&>(inputs) = std::move(prompts.media);
  return inputs;
}

namespace detail {

/// Yields grids in the order of their tokens; a video of t temporal patches yields t grids with t = 1.
class GridQueue {
 public:
  GridQueue(std::span<const GridThw> grids, const char* name, bool split_time)
      : grids_(grids), name_(name), split_time_(split_time) {
    for (const GridThw& grid : grids)
      if (grid.t < 1 || grid.h < 1 || grid.w < 1)
        fail(name, " holds a grid of (", grid.t, ", ", grid.h, ", ", grid.w, "); every side must be positive");
  }
  GridThw next() {
    if (exhausted())
      fail("the prompt has more runs of image tokens than ", name_,
           " has entries; two images need a token between them");
    const GridThw& grid = grids_[at_];
    if (!split_time_) return grids_[at_++];
    if (++time_ == grid.t) ++at_, time_ = 0;
    return {1, grid.h, grid.w};
  }
  bool exhausted() const { return at_ == grids_.size(); }
  const char* name() const { return name_; }

 private:
  std::span<const GridThw> grids_;
  const char* name_;
  bool split_time_;
  std::size_t at_ = 0;
  std::int64_t time_ = 0;
};

/// The runs of image and video tokens of a padded batch with token types [B, S], each with its grid. `merge`:
/// spatial_merge_size. Throws Error if tokens and grids do not match.
inline std::vector<MediaSpan> find_spans(const PackedTokens& packed, std::span<const std::uint8_t> types,
                                         std::span<const GridThw> image_grid_thw,
                                         std::span<const GridThw> video_grid_thw, index_t merge) {
  GridQueue images(image_grid_thw, "image_grid_thw", false), videos(video_grid_thw, "video_grid_thw", true);
  const auto type_of = [&](index_t i) {
    return types[static_cast<std::size_t>(packed.source[static_cast<std::size_t>(i)])];
  };
  std::vector<MediaSpan> spans;
  for (index_t b = 0; b < packed.sequences.count(); ++b) {
    for (index_t begin = packed.sequences.offset(b), row_end = begin + packed.sequences.length(b), end = begin;
         begin < row_end; begin = end) {
      while (end < row_end && type_of(end) == type_of(begin)) ++end;
      if (type_of(begin) == text_token) continue;
      const TokenType kind = type_of(begin) == image_token ? image_token : video_token;
      GridQueue& queue = kind == image_token ? images : videos;
      const GridThw grid = queue.next();
      if (grid.tokens(merge) != end - begin)
        fail("row ", b, " has a run of ", end - begin, " image tokens, its entry of ", queue.name(), " makes ",
             grid.tokens(merge));
      spans.push_back({.row = b, .begin = begin, .count = end - begin, .grid = grid, .kind = kind});
    }
  }
  for (const GridQueue* queue : {&images, &videos})
    if (!queue->exhausted()) fail(queue->name(), " has more entries than the prompt has images");
  return spans;
}

/// Throws Error unless `prompts` have a span for each of their grids and for each placeholder id. The positions of the
/// spans in the rows are checked by get_rope_index.
inline void check_media(const Prompts& prompts, TokenId image, TokenId video) {
  GridQueue images(prompts.media.image_grid_thw, "image_grid_thw", false);
  GridQueue videos(prompts.media.video_grid_thw, "video_grid_thw", true);
  std::uint64_t image_tokens = 0, video_tokens = 0;
  for (const MediaSpan& span : prompts.spans) {
    if (span.kind != image_token && span.kind != video_token)
      fail("a span of row ", span.row, " is of no image or video");
    GridQueue& queue = span.kind == image_token ? images : videos;
    if (const GridThw grid = queue.next(); grid != span.grid)
      fail("a span of row ", span.row, " has a grid of (", span.grid.t, ", ", span.grid.h, ", ", span.grid.w, "), ",
           queue.name(), " says (", grid.t, ", ", grid.h, ", ", grid.w, ")");
    (span.kind == image_token ? image_tokens : video_tokens) += static_cast<std::uint64_t>(span.count);
  }
  for (const GridQueue* queue : {&images, &videos})
    if (!queue->exhausted()) fail(queue->name(), " has more entries than the prompt has images");
  const auto check = [&](TokenId id, std::uint64_t wanted, const char* what) {
    const auto found = static_cast<std::uint64_t>(std::ranges::count(prompts.ids, id));
    if (found != wanted) fail("the prompt has ", found, " ", what, " tokens, its spans ", wanted);
  };
  check(image, image_tokens, "image");
  check(video, video_tokens, "video");
}

/// mm_token_type_ids [B, S] of packed tokens; derived from their ids if the caller gave none.
inline HostMatrix<std::uint8_t> types_if_absent(const ModelInputs& inputs, TokenId image, TokenId video) {
  const HostMatrix<TokenId>& ids = inputs.input_ids;
  const HostMatrix<std::uint8_t>& given = inputs.mm_token_type_ids;
  if (given.allocated()) {
    if (given.rows() != inputs.batch_size() || given.extent(1) != inputs.length())
      fail("mm_token_type_ids is [", given.rows(), ", ", given.extent(1), "], the tokens are [", inputs.batch_size(),
           ", ", inputs.length(), "]");
    return {};
  }
  HostMatrix<std::uint8_t> types(ids.rows(), ids.extent(1));
  std::ranges::transform(ids.span(), types.data(), [&](TokenId id) {
    return static_cast<std::uint8_t>(id == image ? image_token : id == video ? video_token : text_token);
  });
  return types;
}

/// Throws Error unless the mask, if there is one, is [B, S]: without columns for past tokens.
inline void check_mask(const HostMatrix<std::uint8_t>& attention_mask, index_t batch, index_t length) {
  if (attention_mask.allocated() && (attention_mask.rows() != batch || attention_mask.extent(1) != length))
    fail("attention_mask is [", attention_mask.rows(), ", ", attention_mask.extent(1), "], the tokens are [", batch,
         ", ", length, "]");
}

}  // namespace detail

/// The tokens of `inputs` and the spans of their images and videos; `packed` lists its real tokens, `types` [B, S] is
/// the kind of each (TokenType), `merge` is spatial_merge_size. Inputs with inputs_embeds make tokens without ids.
/// Throws Error if tokens and grids do not match.
inline PromptTokens from_padded(const ModelInputs& inputs, const PackedTokens& packed,
                                std::span<const std::uint8_t> types, index_t merge) {
  const auto check = [&](TokenType kind, std::span<const GridThw> grids, const char* what, const char* media) {
    index_t wanted = 0;
    for (const GridThw& grid : grids) wanted += grid.tokens(merge);
    const index_t found =
        std::ranges::count_if(packed.source, [&](index_t i) { return types[static_cast<std::size_t>(i)] == kind; });
    if (found != wanted)
      fail("the prompt has ", found, " ", what, " tokens, the ", media, " make ", wanted,
           "; use the processor of this model");
  };
  check(image_token, inputs.image_grid_thw, "image", "images");
  check(video_token, inputs.video_grid_thw, "video", "videos");
  return {
      .ids = inputs.input_ids.allocated() ? gather<TokenId>(packed, inputs.input_ids.span()) : std::vector<TokenId>{},
      .rows = packed.sequences,
      .spans = detail::find_spans(packed, types, inputs.image_grid_thw, inputs.video_grid_thw, merge)};
}

/// The same; without mm_token_type_ids, `image` and `video`, the ids of the placeholders, say the kinds.
inline PromptTokens from_padded(const ModelInputs& inputs, const PackedTokens& packed, TokenId image, TokenId video,
                                index_t merge) {
  const HostMatrix<std::uint8_t> own_types = detail::types_if_absent(inputs, image, video);
  return from_padded(inputs, packed, own_types.allocated() ? own_types.span() : inputs.mm_token_type_ids.span(), merge);
}

}  // namespace qwen3vl
