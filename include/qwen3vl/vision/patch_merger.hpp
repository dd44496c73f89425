/// merge x merge patches become one text token (Qwen3VLVisionPatchMerger).
#pragma once

#include "qwen3vl/config/config.hpp"
#include "qwen3vl/layers/linear.hpp"
#include "qwen3vl/layers/norm.hpp"

namespace qwen3vl {

/// What a merger normalises: each patch (the main merger), or the whole group (the DeepStack mergers).
enum class MergerNorm { patch, group };

/// fc2(gelu(fc1(norm(x)))) over groups of patches. The GELU is the exact one, whatever the vision blocks use.
template <Variant V, Backend B, class P, MergerNorm which>
class PatchMerger {
  static constexpr VisionConfig vision = V::config.vision;
  static constexpr index_t hidden = vision.hidden_size;
  static constexpr index_t group = hidden * vision.merge_unit();
  static constexpr index_t normed_size = which == MergerNorm::patch ? hidden : group;
  static constexpr index_t out = vision.out_hidden_size;
  using A = activation_t<B, P>;

  LayerNorm<normed_size, B, P> norm_;
  VisionLinear<group, group, B, P, true> fc1_;
  VisionLinear<group, out, B, P, true> fc2_;

 public:
  template <class F>
  void parameters(F&& f) {
    visit("norm.", norm_, f);
    visit("linear_fc1.", fc1_, f);
    visit("linear_fc2.", fc2_, f);
  }

  /// x [patches, hidden] to y [patches / merge^2, out_hidden_size].
  void operator()(Context<B>& ctx, View<const A, B, dynamic, hidden> x, View<A, B, dynamic, out> y) const {
    const index_t tokens = y.rows();
    auto normed = ctx.template scratch<A, dynamic, group>(tokens);     // [tokens, merge^2 * hidden]
    auto activated = ctx.template scratch<A, dynamic, group>(tokens);  // [tokens, merge^2 * hidden]
    // Patches come in merge-block order, so grouping is a reshape.
    const index_t rows = x.size() / normed_size;
    norm_(ctx, x.template reshape<dynamic, normed_size>(rows), normed.template reshape<dynamic, normed_size>(rows));
    fc1_(ctx, normed, activated, epilogue::Gelu{});
    fc2_(ctx, activated, y);
  }
};

}  // namespace qwen3vl
