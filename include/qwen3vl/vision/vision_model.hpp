/// The vision tower (Qwen3VLVisionModel). Usable alone, as an image encoder.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/layers/layer_selection.hpp"
#include "qwen3vl/vision/patch_embed.hpp"
#include "qwen3vl/vision/patch_merger.hpp"
#include "qwen3vl/vision/position_embedding.hpp"
#include "qwen3vl/vision/rotary.hpp"
#include "qwen3vl/vision/vision_block.hpp"

namespace qwen3vl {

/// Results of the tower, images and videos in the order of `grid_thw`.
template <Variant V, Backend B, class P>
struct VisionOutput {
  static constexpr std::size_t taps = V::config.vision.deepstack_visual_indexes.size();
  using A = activation_t<B, P>;
  using Features = Tensor<A, B, dynamic, V::config.vision.out_hidden_size>;

  Features pooler_output;                         ///< [tokens, out_hidden_size], after the merger
  std::array<Features, taps> deepstack_features;  ///< [tokens, out_hidden_size] of each tapped block
  /// On request: the embedded patches, then the output of each vision block, [patches, hidden_size] each; empty where
  /// not wanted.
  std::vector<Tensor<A, B, dynamic, V::config.vision.hidden_size>> hidden_states;
  /// On request: attentions[block][frame], f32 [num_heads, patches, patches] each; no frames where not wanted.
  std::vector<std::vector<Tensor<float, B, V::config.vision.num_heads, dynamic, dynamic>>> attentions;
};

/// The vision tower (Qwen3VLVisionModel): patches of any number of images or videos to rows for the text model.
///   h = patch_embed(pixels) + position table, resampled to each grid     [patches, hidden_size]
///   for each vision block i:  h = block_i(h);  if i is in deepstack_visual_indexes: feature = deepstack_merger(h)
///   pooler_output = merger(h)                            [patches / spatial_merge_size^2, out_hidden_size]
/// Attention stays within a frame, so the images of a batch do not affect one another. Calls change nothing in the
/// model.
template <Variant V, Backend B, class P>
class VisionModel {
  static constexpr VisionConfig vision = V::config.vision;
  static constexpr index_t hidden = vision.hidden_size;
  static constexpr index_t head_dim = vision.head_dim();
  static constexpr std::size_t taps = vision.deepstack_visual_indexes.size();
  using A = activation_t<B, P>;

  PatchEmbed<V, B, P> patch_embed_;
  VisionPositionEmbedding<V, B, P> pos_embed_;
  std::array<VisionBlock<V, B, P>, static_cast<std::size_t>(vision.depth)> blocks_;
  PatchMerger<V, B, P, MergerNorm::patch> merger_;
  std::array<PatchMerger<V, B, P, MergerNorm::group>, taps> deepstack_mergers_;
  double rope_theta_ = 10000.0;
  [[no_unique_address]] attention_t<P> policy_{};

 public:
  using Output = VisionOutput<V, B, P>;

  template <class F>
  void parameters(F&& f) {
    visit("patch_embed.", patch_embed_, f);
    visit("pos_embed.", pos_embed_, f);
    for (std::size_t i = 0; i < blocks_.size(); ++i) visit(concat("blocks.", i, "."), blocks_[i], f);
    visit("merger.", merger_, f);
    for (std::size_t i = 0; i < taps; ++i) visit(concat("deepstack_merger_list.", i, "."), deepstack_mergers_[i], f);
  }

  void set_rope_theta(double theta) { rope_theta_ = theta; }
  /// Sets the run-time values of the attention policy.
  void set_attention(const attention_t<P>& policy) { policy_ = policy; }

  const PatchEmbed<V, B, P>& patch_embed() const { return patch_embed_; }
  const VisionPositionEmbedding<V, B, P>& pos_embed() const { return pos_embed_; }

  /// pixel_values [patches, patch_dim] of all images or videos, as the image processor cuts them, and one grid for
  /// each. Throws Error if the two disagree. Layers that the tower does not have select nothing, as in the reference,
  /// where one list is for the text model, too.
  Output forward(Context<B>& ctx, View<const float, Host, dynamic, dynamic> pixel_values,
                 std::span<const GridThw> grid_thw, const LayerSelection& output_hidden_states = {},
                 const LayerSelection& output_attentions = {}) const {
    const index_t patches = check(pixel_values, grid_thw);
    const index_t tokens = patches / vision.merge_unit();
    const TraceScope scope(ctx.trace(), "vision_model", {"patches", patches});

    auto x = ctx.template scratch<A, dynamic, hidden>(patches);  // [patches, hidden]
    embed(ctx, pixel_values, grid_thw, x);

    VisionRotaryTables tables;
    if constexpr (!only_counts<B>)
      tables = vision_rotary_tables(grid_thw, vision.spatial_merge_size, head_dim, rope_theta_);
    const auto cos = upload<float>(ctx, tables.cos, patches * (head_dim / 2));
    const auto sin = upload<float>(ctx, tables.sin, patches * (head_dim / 2));
    const auto cos_view = cos.view().template reshape<dynamic, head_dim / 2>(patches);  // [patches, head_dim / 2]
    const auto sin_view = sin.view().template reshape<dynamic, head_dim / 2>(patches);
    Segments frames;  // attention stays inside one frame
    for (const GridThw& grid : grid_thw)
      for (index_t frame = 0; frame < grid.t; ++frame) frames.append(grid.h * grid.w);

    Output output;
    const auto record = [&] {
      if (!output_hidden_states) return;
      const auto i = static_cast<index_t>(output.hidden_states.size());
      auto& states = output.hidden_states.emplace_back();
      if (!output_hidden_states.contains(i, vision.depth + 1)) return;
      states = Tensor<A, B, dynamic, hidden>(patches);
      copy_rows(ctx, x, states.view());
    };
    const auto record_attentions = [&](const auto& qkv) {
      if (!output_attentions) return;
      const auto i = static_cast<index_t>(output.attentions.size());
      auto& of_block = output.attentions.emplace_back();
      if (!output_attentions.contains(i, vision.depth)) return;
      for (index_t s = 0; s < frames.count(); ++s)
        attention_weights<vision.num_heads, head_dim>(ctx, qkv, frames, s,
                                                      of_block.emplace_back(frames.length(s), frames.length(s)).view(),
                                                      attention_policy::vision_score(policy_));
    };
    record();
    for (int i = 0; i < vision.depth; ++i) {
      const TraceScope block_scope(ctx.trace(), "vision_block", {"block", i});
      blocks_[static_cast<std::size_t>(i)](ctx, x, cos_view, sin_view, frames, record_attentions, policy_);
      record();
      if (const int tap = vision.deepstack_visual_indexes.find(i); tap >= 0) {
        const auto j = static_cast<std::size_t>(tap);
        output.deepstack_features[j] = typename Output::Features(tokens);
        deepstack_mergers_[j](ctx, x, output.deepstack_features[j]);
      }
    }
    output.pooler_output = typename Output::Features(tokens);
    merger_(ctx, x, output.pooler_output);
    return output;
  }

 private:
  static index_t check(View<const float, Host, dynamic, dynamic> pixel_values, std::span<const GridThw> grid_thw) {
    constexpr index_t merge = vision.spatial_merge_size;
    index_t patches = 0;
    for (std::size_t i = 0; i < grid_thw.size(); ++i) {
      const GridThw& grid = grid_thw[i];
      if (grid.t < 1 || grid.h < 1 || grid.w < 1 || grid.h % merge != 0 || grid.w % merge != 0)
        fail("grid_thw[", i, "] is (", grid.t, ", ", grid.h, ", ", grid.w,
             "); rows and columns must be positive multiples of ", merge);
      index_t frame = 0, image = 0;
      if (__builtin_mul_overflow(grid.h, grid.w, &frame) || __builtin_mul_overflow(frame, grid.t, &image) ||
          __builtin_add_overflow(patches, image, &patches))
        fail("grid_thw[", i, "] has more patches than can be counted");
    }
    if (pixel_values.rows() != patches)
      fail("pixel_values has ", pixel_values.rows(), " patches, grid_thw says ", patches);
    if (patches > 0 && pixel_values.extent(1) != vision.patch_dim())
      fail("pixel_values has ", pixel_values.extent(1), " values per patch, this model takes ", vision.patch_dim(),
           " (channels * temporal_patch_size * patch_size^2); is the processor another model's, or the image gray?");
    return patches;
  }

  void embed(Context<B>& ctx, View<const float, Host, dynamic, dynamic> pixel_values, std::span<const GridThw> grid_thw,
             View<A, B, dynamic, hidden> x) const {
    const View<const float, Host, dynamic, vision.patch_dim()> host(pixel_values.data(), pixel_values.rows());
    if constexpr (B::is_host && std::is_same_v<A, float>) {
      patch_embed_(ctx, View<const A, B, dynamic, vision.patch_dim()>(host.data(), host.rows()), x);
    } else {
      auto pixels = ctx.template scratch<A, dynamic, vision.patch_dim()>(host.rows());  // [patches, patch_dim]
      copy_from_host(ctx, host, pixels);                                                // to the activations' type
      patch_embed_(ctx, pixels, x);
    }
    pos_embed_(ctx, grid_thw, x);
  }
};

}  // namespace qwen3vl
