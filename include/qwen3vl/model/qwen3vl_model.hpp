/// Vision tower and text model together (Qwen3VLModel), over packed batches.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/prompts.hpp"
#include "qwen3vl/text/padded_inputs.hpp"
#include "qwen3vl/text/text_model.hpp"
#include "qwen3vl/vision/vision_model.hpp"

namespace qwen3vl {

/// New tokens of all sequences of a cache, packed.
struct TokenBatch {
  std::vector<TokenId> ids;             ///< [tokens]
  std::vector<std::int32_t> positions;  ///< [3, tokens]
  /// The largest position of all tokens that the reference would compute in the same pass: of the whole prompt for a
  /// chunk of it. Some rope types depend on it.
  std::int32_t longest_position = -1;
  Segments sequences;  ///< how many of them belong to each sequence of the cache; may be 0
  /// [tokens] row of the visual features that replaces the token's embedding, or -1; empty: no images
  std::vector<std::int32_t> feature_rows;
  HostMatrix<float>
      inputs_embeds{};  ///< [tokens, hidden_size]; if not empty, used instead of `ids`, which are not read

  index_t tokens() const { return inputs_embeds.allocated() ? inputs_embeds.rows() : static_cast<index_t>(ids.size()); }
};

/// Vision tower and text model together (Qwen3VLModel), without the head:
///   features = visual(pixels)               rows for images and videos, and DeepStack features
///   h = embed_tokens(ids), with the rows of visual tokens replaced by features
///   h = language_model(h), adding DeepStack feature j to those rows after decoder layer j
/// h is [tokens, hidden_size], with all sequences of the batch packed. Only the cache changes; the head and generation
/// are up to the caller.
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

  /// Sets the run-time values of the attention policy, of both; a function of the layer's index only of the text model.
  template <class Policy>
  void set_attention(const Policy& policy) {
    if constexpr (!std::is_invocable_v<const Policy&, int>) visual_.set_attention(policy);
    language_model_.set_attention(policy);
  }

  const VisionModel<V, B, P>& visual() const { return visual_; }
  const TextModel<V, B, P>& language_model() const { return language_model_; }

  /// All images and videos in one pass: images first, then videos. Empty if there are none. The selections: see
  /// VisionModel::forward.
  std::optional<Features> get_visual_features(Context<B>& ctx, const Media& media,
                                              const LayerSelection& output_hidden_states = {},
                                              const LayerSelection& output_attentions = {}) const {
    const auto compute = [&](const HostMatrix<float>& pixels, const std::vector<GridThw>& grids) {
      return visual_.forward(ctx, pixels, grids, output_hidden_states, output_attentions);
    };
    if (media.no_media()) return std::nullopt;
    if (media.video_grid_thw.empty()) return compute(media.pixel_values, media.image_grid_thw);
    if (media.image_grid_thw.empty()) return compute(media.pixel_values_videos, media.video_grid_thw);
    const auto &images = media.pixel_values, &videos = media.pixel_values_videos;
    if (images.extent(1) != videos.extent(1))
      fail("pixel_values has ", images.extent(1), " values per patch, pixel_values_videos ", videos.extent(1));
    HostMatrix<float> both(images.rows() + videos.rows(), images.extent(1));
    std::ranges::copy(images.span(), both.data());
    std::ranges::copy(videos.span(), both.data() + images.size());
    std::vector<GridThw> grids = media.image_grid_thw;
    grids.insert(grids.end(), media.video_grid_thw.begin(), media.video_grid_thw.end());
    return compute(both, grids);
  }

  /// Runs `batch` through all layers and appends it to `cache`; hidden_states [tokens, hidden] receives the output of
  /// the last layer, before the final norm. batch.feature_rows refers to rows of `features`.
  void forward(Context<B>& ctx, const TokenBatch& batch, const Features* features, Cache& cache,
               View<A, B, dynamic, hidden> hidden_states, TextRecord<V, B, P>* record = nullptr) const {
    const TraceScope scope(ctx.trace(), "text_model", {"tokens", batch.tokens()});
    const auto ids = upload<TokenId>(ctx, batch.ids);
    const auto positions = upload<std::int32_t>(ctx, batch.positions);
    language_model_.embed(ctx, ids, batch.inputs_embeds, hidden_states);

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
    auto embeds = ctx.template scratch<A, dynamic, hidden>(count);  // [image tokens, hidden]
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

/// Prompts with positions [3, tokens], ready to be computed. Features of images come first, then those of videos.
/// `inputs_embeds` [tokens, hidden_size], if not empty, stand for the ids. Throws Error for ids that are outside the
/// vocabulary.
inline TokenBatch token_batch(const PromptTokens& prompts, std::vector<std::int32_t> positions, index_t vocab_size,
                              HostMatrix<float> inputs_embeds = {}) {
  const index_t tokens = inputs_embeds.allocated() ? inputs_embeds.rows() : prompts.tokens();
  if (tokens != prompts.rows.total())
    fail("the rows of the prompts are of ", prompts.rows.total(), " tokens, but there are ", tokens);
  detail::check_ids(prompts.ids, vocab_size);
  TokenBatch batch;
  batch.ids = prompts.ids;
  batch.inputs_embeds = std::move(inputs_embeds);
  batch.positions = std::move(positions);
  batch.sequences = prompts.rows;
  if (!batch.positions.empty()) batch.longest_position = *std::ranges::max_element(batch.positions);
  batch.feature_rows.assign(static_cast<std::size_t>(tokens), -1);
  std::int32_t row = 0;
  for (const TokenType kind : {image_token, video_token})
    for (const MediaSpan& span : prompts.spans)
      for (index_t i = span.begin; span.kind == kind && i < span.end(); ++i)
        batch.feature_rows[static_cast<std::size_t>(i)] = row++;
  return batch;
}

namespace detail {

/// Throws Error if image tokens need more feature rows than there are (features of other images).
inline void check_features(const std::vector<std::int32_t>& feature_rows, index_t available) {
  for (const std::int32_t row : feature_rows)
    if (row >= available)
      fail("the prompt's images need more feature rows than the ", available,
           " that were given; are they of other images?");
}

}  // namespace detail
}  // namespace qwen3vl
