/// Pixels to hidden states. A 3-D convolution whose stride equals its kernel is a matrix product, and is computed as
/// one.
#pragma once

#include "qwen3vl/config/config.hpp"
#include "qwen3vl/layers/linear.hpp"

namespace qwen3vl {

/// Qwen3VLVisionPatchEmbed over patches already cut out by the image processor.
template <Variant V, Backend B, class P>
class PatchEmbed {
  static constexpr VisionConfig vision = V::config.vision;
  static constexpr index_t patch = vision.patch_dim();
  static constexpr index_t hidden = vision.hidden_size;
  using A = activation_t<B, P>;

  VisionLinear<patch, hidden, B, P, true> proj_;

 public:
  template <class F>
  void parameters(F&& f) {
    // Stored as a Conv3d weight; row-major it is the matrix that the product needs.
    proj_.parameters([&](auto& parameter, Parts parts) {
      parts[0].name.insert(0, "proj.");
      if (!parameter_shape(parameter).is_vector)
        parts[0].shape = {hidden, vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size};
      f(parameter, std::move(parts));
    });
  }

  /// pixel_values [patches, channels * temporal * patch * patch] to y [patches, hidden].
  void operator()(Context<B>& ctx, View<const A, B, dynamic, patch> pixel_values, View<A, B, dynamic, hidden> y) const {
    proj_(ctx, pixel_values, y);
  }
};

}  // namespace qwen3vl
