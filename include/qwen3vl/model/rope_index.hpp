/// Three positions for every token of a prompt with pictures (Qwen3VLModel.get_rope_index). Host code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "qwen3vl/config/runtime_config.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"

namespace qwen3vl {

/// `position_ids` and `rope_deltas` as transformers names them.
struct RopeIndex {
  HostCube<std::int32_t> position_ids;    ///< [3, B, S]: temporal, height, width; 0 where padded
  std::vector<std::int64_t> rope_deltas;  ///< [B]: largest position + 1 - real tokens of the row
};

namespace detail {

/// Hands out grids in the order of their tokens; a clip of t frames is t grids of one frame, since its frames are told
/// apart by the timestamps between them.
class GridQueue {
 public:
  GridQueue(std::span<const GridThw> grids, const char* name, bool split_frames) : name_(name) {
    for (const GridThw& grid : grids) {
      if (grid.t < 1 || grid.h < 1 || grid.w < 1)
        fail(name, " holds a grid of (", grid.t, ", ", grid.h, ", ", grid.w, "); every side must be positive");
      if (split_frames) {
        runs_.push_back({{1, grid.h, grid.w}, grid.t});
      } else {
        runs_.push_back({grid, 1});
      }
    }
  }
  GridThw next() {
    if (at_ == runs_.size())
      fail("the prompt has more runs of picture tokens than ", name_,
           " has entries; two pictures need a token between them");
    const GridThw grid = runs_[at_].grid;
    if (--runs_[at_].repeats == 0) ++at_;
    return grid;
  }
  bool exhausted() const { return at_ == runs_.size(); }
  const char* name() const { return name_; }

 private:
  struct Run {
    GridThw grid;
    std::int64_t repeats;
  };
  const char* name_;
  std::vector<Run> runs_;
  std::size_t at_ = 0;
};

}  // namespace detail

namespace detail {

/// mm_token_type_ids [B, S] from the ids themselves where the caller gave none; empty where they were given, checked.
inline HostMatrix<std::uint8_t> types_if_absent(const ModelInputs& inputs, const SpecialTokens& tokens) {
  const HostMatrix<TokenId>& ids = inputs.input_ids;
  const HostMatrix<std::uint8_t>& given = inputs.mm_token_type_ids;
  if (given.allocated()) {
    if (given.rows() != ids.rows() || given.extent(1) != ids.extent(1))
      fail("mm_token_type_ids is [", given.rows(), ", ", given.extent(1), "], input_ids [", ids.rows(), ", ",
           ids.extent(1), "]");
    return {};
  }
  HostMatrix<std::uint8_t> types(ids.rows(), ids.extent(1));
  for (index_t i = 0; i < ids.size(); ++i) {
    const TokenId id = ids.data()[i];
    types.data()[i] = id == tokens.image_token_id   ? image_token
                      : id == tokens.video_token_id ? video_token
                                                    : text_token;
  }
  return types;
}

}  // namespace detail

/// Positions of a padded batch. `mm_token_type_ids` [B, S] says what each token stands for; `attention_mask` [B, S] may
/// be empty. `merge`: spatial_merge_size. Throws Error where tokens and grids do not fit.
inline RopeIndex get_rope_index(const HostMatrix<std::uint8_t>& mm_token_type_ids,
                                std::span<const GridThw> image_grid_thw, std::span<const GridThw> video_grid_thw,
                                const HostMatrix<std::uint8_t>& attention_mask, index_t merge) {
  const index_t batch = mm_token_type_ids.rows(), length = mm_token_type_ids.extent(1);
  if (attention_mask.allocated() && (attention_mask.rows() != batch || attention_mask.extent(1) != length))
    fail("attention_mask is [", attention_mask.rows(), ", ", attention_mask.extent(1), "], the tokens are [", batch,
         ", ", length, "]");
  RopeIndex index{.position_ids = HostCube<std::int32_t>(3, batch, length), .rope_deltas = {}};
  detail::GridQueue images(image_grid_thw, "image_grid_thw", false);
  detail::GridQueue videos(video_grid_thw, "video_grid_thw", true);

  std::vector<index_t> real;  // columns of one row's real tokens
  for (index_t b = 0; b < batch; ++b) {
    real.clear();
    for (index_t s = 0; s < length; ++s)
      if (!attention_mask.allocated() || attention_mask(b, s) != 0) real.push_back(s);
    const auto type_of = [&](std::size_t i) { return mm_token_type_ids(b, real[i]); };

    std::int64_t position = 0, largest = -1;
    for (std::size_t begin = 0, end = 0; begin < real.size(); begin = end) {
      while (end < real.size() && type_of(end) == type_of(begin)) ++end;
      const auto run = static_cast<std::int64_t>(end - begin);
      const auto put = [&](std::int64_t i, std::int64_t t, std::int64_t h, std::int64_t w) {
        const index_t column = real[begin + static_cast<std::size_t>(i)];
        const std::int64_t axes[] = {t, h, w};
        for (index_t axis = 0; axis < 3; ++axis) {
          index.position_ids(axis, b, column) = static_cast<std::int32_t>(position + axes[axis]);
          largest = std::max(largest, position + axes[axis]);
        }
      };
      if (type_of(begin) == text_token) {
        for (std::int64_t i = 0; i < run; ++i) put(i, i, i, i);
        position += run;
        continue;
      }
      detail::GridQueue& queue = type_of(begin) == image_token ? images : videos;
      const GridThw grid = queue.next();
      const std::int64_t rows = grid.h / merge, columns = grid.w / merge;
      if (grid.tokens(merge) != run)
        fail("row ", b, " has a run of ", run, " picture tokens, its entry of ", queue.name(), " makes ",
             grid.tokens(merge));
      for (std::int64_t i = 0; i < run; ++i) put(i, i / (rows * columns), i / columns % rows, i % columns);
      // A picture takes as many positions as its longer side, however many tokens it has.
      position += std::max(grid.h, grid.w) / merge;
    }
    index.rope_deltas.push_back(largest + 1 - static_cast<std::int64_t>(real.size()));
  }
  for (const detail::GridQueue* queue : {&images, &videos})
    if (!queue->exhausted()) fail(queue->name(), " has more entries than the prompt has pictures");
  return index;
}

}  // namespace qwen3vl
