/// What a processor returns and a model accepts: a batch of prompts with their images and videos. Plain host data in
/// the form that transformers uses (padded rows and an attention mask).
#pragma once

#include <cstdint>
#include <vector>

#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/host.hpp"

namespace qwen3vl {

/// `mm_token_type_ids`: the kind of each token.
enum TokenType : std::uint8_t { text_token = 0, image_token = 1, video_token = 2 };

/// The images and videos of a batch, as input for the vision tower.
struct Media {
  HostMatrix<float> pixel_values;         ///< [patches of all images, patch_dim]; empty without images
  std::vector<GridThw> image_grid_thw;    ///< in the order of their tokens, row by row
  HostMatrix<float> pixel_values_videos;  ///< [patches of all videos, patch_dim]
  std::vector<GridThw> video_grid_thw;

  bool no_media() const { return image_grid_thw.empty() && video_grid_thw.empty(); }
};

/// The inputs of `ForConditionalGeneration`. B rows (prompts) of S tokens, left- or right-padded. Give input_ids or
/// inputs_embeds; generate() takes both, too, of which embeddings are computed and ids are what answers follow.
struct ModelInputs : Media {
  HostMatrix<TokenId> input_ids;  ///< [B, S]
  /// [B, S], 0 where padded; empty means all 1. Of forward() over a cache: [B, past + S].
  HostMatrix<std::uint8_t> attention_mask;
  /// [B, S], TokenType; empty: derived from the ids of image and video tokens, or from their embeddings
  HostMatrix<std::uint8_t> mm_token_type_ids;
  /// [B, S, hidden_size]: what embed_tokens gives, or what stands in its place. Rows of images and videos are replaced
  /// by their features.
  HostCube<float> inputs_embeds;
  /// [axes, B, S] with 1, 3 (t, h, w) or 4 (text, t, h, w) axes; empty: computed (get_rope_index)
  HostCube<std::int32_t> position_ids;
  HostMatrix<std::uint8_t> assistant_masks{};  ///< [B, S], of return_assistant_tokens_mask; models do not read it

  index_t batch_size() const {
    return inputs_embeds.allocated() ? inputs_embeds.rows() : input_ids.empty() ? 0 : input_ids.rows();
  }
  index_t length() const {
    return inputs_embeds.allocated() ? inputs_embeds.extent(1) : input_ids.empty() ? 0 : input_ids.extent(1);
  }
};

}  // namespace qwen3vl
