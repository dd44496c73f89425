/// What the vision tower made of the images or the videos of a call, on the host: `image_outputs` and `video_outputs`
/// of transformers.
#pragma once

#include <span>
#include <vector>

#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/layers/layer_selection.hpp"
#include "qwen3vl/vision/vision_model.hpp"

namespace qwen3vl {

/// BaseModelOutputWithDeepstackFeatures, of all images or of all videos.
struct VisionOutputs {
  HostMatrix<float> last_hidden_state;           ///< [patches, hidden_size], before the merger
  std::vector<HostMatrix<float>> pooler_output;  ///< of each image: [its tokens, out_hidden_size]
  /// [j][image]: of the vision block deepstack_visual_indexes[j], [its tokens, out_hidden_size]
  std::vector<std::vector<HostMatrix<float>>> deepstack_features;
  /// The embedded patches, then the output of each vision block; empty where not requested. [patches, hidden_size]
  std::vector<HostMatrix<float>> hidden_states;
  /// [block][frame]: softmax weights [num_heads, patches, patches]; blocks that are not requested have no frames
  std::vector<std::vector<HostCube<float>>> attentions;
};

namespace detail {

/// The part of `features` that belongs to `grids`, which follow `before` in the tower's input. `hidden_states`: those
/// that the caller wants of the recorded ones.
template <Variant V, Backend B, class P>
VisionOutputs vision_outputs(Context<B>& ctx, const VisionOutput<V, B, P>& features, std::span<const GridThw> grids,
                             std::span<const GridThw> before, const LayerSelection& hidden_states) {
  constexpr index_t merge = V::config.vision.spatial_merge_size;
  const auto to_host = [&](const auto& tensor, index_t first, index_t rows) {
    HostMatrix<float> host(rows, tensor.extent(1));
    std::ranges::copy(download_floats(ctx, tensor.slice(first, rows)), host.data());
    return host;
  };
  const auto of_images = [&](const auto& tensor) {
    std::vector<HostMatrix<float>> images;
    index_t first = total_patches(before) / (merge * merge);
    for (const GridThw& grid : grids) {
      images.push_back(to_host(tensor, first, grid.tokens(merge)));
      first += grid.tokens(merge);
    }
    return images;
  };
  VisionOutputs outputs{.last_hidden_state = {},
                        .pooler_output = of_images(features.pooler_output),
                        .deepstack_features = {},
                        .hidden_states = {},
                        .attentions = {}};
  for (const auto& tap : features.deepstack_features) outputs.deepstack_features.push_back(of_images(tap));
  const auto recorded = static_cast<index_t>(features.hidden_states.size());
  for (index_t i = 0; i < recorded; ++i) {
    const auto& states = features.hidden_states[static_cast<std::size_t>(i)];
    const auto copy = [&] {
      return states.allocated() ? to_host(states, total_patches(before), total_patches(grids)) : HostMatrix<float>{};
    };
    if (i + 1 == recorded) outputs.last_hidden_state = copy();
    if (hidden_states)
      outputs.hidden_states.push_back(hidden_states.contains(i, recorded) ? copy() : HostMatrix<float>{});
  }
  const auto frames = [](std::span<const GridThw> of) {
    index_t count = 0;
    for (const GridThw& grid : of) count += grid.t;
    return count;
  };
  for (const auto& block : features.attentions) {
    auto& of_block = outputs.attentions.emplace_back();
    if (!block.empty() && static_cast<index_t>(block.size()) < frames(before) + frames(grids))
      fail("the features have attentions of ", block.size(), " frames, the grids of ", frames(before) + frames(grids),
           "; are they of other images?");
    for (index_t frame = frames(before); !block.empty() && frame < frames(before) + frames(grids); ++frame) {
      const auto& weights = block[static_cast<std::size_t>(frame)];
      of_block.emplace_back(weights.extent(0), weights.extent(1), weights.extent(2));
      std::ranges::copy(download_floats(ctx, weights.view()), of_block.back().data());
    }
  }
  return outputs;
}

}  // namespace detail
}  // namespace qwen3vl
