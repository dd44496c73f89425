/// Vision tower and text model together (Qwen3VLModel): pictures are computed, put in the place of their tokens, and
/// their DeepStack features added to the first decoder layers. Over packed batches.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/text/packing.hpp"
#include "qwen3vl/text/padded_forward.hpp"
#include "qwen3vl/text/text_model.hpp"
#include "qwen3vl/vision/vision_model.hpp"

namespace qwen3vl {

/// New tokens of all sequences of a cache, packed.
struct TokenBatch {
  std::vector<TokenId> ids;             ///< [tokens]
  std::vector<std::int32_t> positions;  ///< [3, tokens]
  /// The largest position of all that the reference would compute in one pass with these tokens: of the whole prompt
  /// where these are a part of it. Some rope types depend on it.
  std::int32_t longest_position = -1;
  Segments sequences;  ///< how many of them belong to each sequence of the cache; may be 0
  /// [tokens] row of the picture features that takes the token's place, or -1; empty: no pictures
  std::vector<std::int32_t> feature_rows;

  index_t tokens() const { return static_cast<index_t>(ids.size()); }
};

template <Variant V, Backend B, class P>
class Qwen3VLModel {
  static constexpr index_t hidden = V::config.text.hidden_size;
  using A = activation_t<B, P>;

  VisionModel<V, B, P> visual_;
  TextModel<V, B, P> language_model_;

 public:
  using Cache = KvCache<V, B, P>;
  using Features = VisionOutput<V, B, P>;

  template <class F>
  void parameters(F&& f) {
    visit("visual.", visual_, f);
    visit("language_model.", language_model_, f);
  }

  void configure(Context<B>& ctx, const RuntimeConfig& config) {
    visual_.set_rope_theta(config.vision_rope_theta);
    language_model_.configure(ctx, config);
  }

  const VisionModel<V, B, P>& visual() const { return visual_; }
  const TextModel<V, B, P>& language_model() const { return language_model_; }

  /// All pictures and clips of `inputs` in one pass: pictures first, then clips. Nothing if there are none.
  std::optional<Features> get_visual_features(Context<B>& ctx, const ModelInputs& inputs) const {
    if (inputs.image_grid_thw.empty() && inputs.video_grid_thw.empty()) return std::nullopt;
    if (inputs.video_grid_thw.empty()) return visual_.forward(ctx, inputs.pixel_values, inputs.image_grid_thw);
    if (inputs.image_grid_thw.empty()) return visual_.forward(ctx, inputs.pixel_values_videos, inputs.video_grid_thw);
    const auto &images = inputs.pixel_values, &videos = inputs.pixel_values_videos;
    if (images.extent(1) != videos.extent(1))
      fail("pixel_values has ", images.extent(1), " values per patch, pixel_values_videos ", videos.extent(1));
    HostMatrix<float> both(images.rows() + videos.rows(), images.extent(1));
    std::ranges::copy(images.span(), both.data());
    std::ranges::copy(videos.span(), both.data() + images.size());
    std::vector<GridThw> grids = inputs.image_grid_thw;
    grids.insert(grids.end(), inputs.video_grid_thw.begin(), inputs.video_grid_thw.end());
    return visual_.forward(ctx, both, grids);
  }

  /// Runs `batch` through all layers and appends it to `cache`; hidden_states [tokens, hidden] are those of the last
  /// layer, before the final norm. `features` are the pictures that batch.feature_rows point into.
  void forward(Context<B>& ctx, const TokenBatch& batch, const Features* features, Cache& cache,
               View<A, B, dynamic, hidden> hidden_states, TextRecord<V, B, P>* record = nullptr) const {
    const TraceScope scope(ctx.trace(), "text_model", {"tokens", batch.tokens()});
    const auto ids = upload<TokenId>(ctx, batch.ids);
    const auto positions = upload<std::int32_t>(ctx, batch.positions);
    language_model_.embed_tokens()(ctx, ids, hidden_states);

    std::vector<std::int32_t> rows, from;
    for (std::size_t i = 0; i < batch.feature_rows.size(); ++i) {
      if (batch.feature_rows[i] < 0) continue;
      rows.push_back(static_cast<std::int32_t>(i));
      from.push_back(batch.feature_rows[i]);
    }
    const auto positions_view = positions.view().template reshape<3, dynamic>(batch.tokens());
    if (rows.empty() || features == nullptr) {
      language_model_.forward(ctx, hidden_states, positions_view, batch.longest_position, batch.sequences, cache,
                              nullptr, record);
      return;
    }

    const auto index = upload<std::int32_t>(ctx, rows);
    const auto from_index = upload<std::int32_t>(ctx, from);
    const auto count = static_cast<index_t>(rows.size());
    auto embeds = ctx.template scratch<A, dynamic, hidden>(count);  // [picture tokens, hidden]
    gather_rows(ctx, features->pooler_output, from_index, embeds);
    scatter_rows(ctx, embeds, index, hidden_states);
    DeepStackInput<V, B, P> deepstack{.index = index, .features = {}};
    std::vector<Tensor<A, B, dynamic, hidden>> taken;
    for (const auto& feature : features->deepstack_features) {
      gather_rows(ctx, feature, from_index, taken.emplace_back(count).view());
      deepstack.features.push_back(taken.back().view());
    }
    language_model_.forward(ctx, hidden_states, positions_view, batch.longest_position, batch.sequences, cache,
                            &deepstack, record);
  }
};

/// Which row of the picture features each packed token takes, -1 for text. Pictures' features come first, then clips'.
/// Throws Error where the number of tokens and of features differ.
inline std::vector<std::int32_t> feature_rows(const PackedTokens& packed, const HostMatrix<std::uint8_t>& types,
                                              const ModelInputs& inputs, index_t merge) {
  index_t images = 0, videos = 0;
  for (const GridThw& grid : inputs.image_grid_thw) images += grid.tokens(merge);
  for (const GridThw& grid : inputs.video_grid_thw) videos += grid.tokens(merge);
  std::vector<std::int32_t> rows;
  index_t next_image = 0, next_video = 0;
  for (const index_t i : packed.source) {
    const std::uint8_t type = types.data()[i];
    if (type == image_token) {
      rows.push_back(static_cast<std::int32_t>(next_image++));
    } else if (type == video_token) {
      rows.push_back(static_cast<std::int32_t>(images + next_video++));
    } else {
      rows.push_back(-1);
    }
  }
  if (next_image != images)
    fail("the prompt has ", next_image, " image tokens, the pictures make ", images,
         "; use the processor of this model");
  if (next_video != videos)
    fail("the prompt has ", next_video, " video tokens, the clips make ", videos, "; use the processor of this model");
  return rows;
}

namespace detail {

/// Throws Error if the tokens of pictures want more feature rows than there are (features of other pictures).
inline void check_features(const std::vector<std::int32_t>& feature_rows, index_t available) {
  for (const std::int32_t row : feature_rows)
    if (row >= available)
      fail("the prompt's pictures need more feature rows than the ", available,
           " that were given; are they of other pictures?");
}

}  // namespace detail
}  // namespace qwen3vl
