/// The table's operations of attention: rotary positions, attention in segments, and over a cache.
#pragma once

#include <algorithm>

#include "operations/buffers.hpp"

namespace operations {

/// Sections S0, S1, S2 of frequencies; one token is as far away as models allow.
template <index_t S0, index_t S1, index_t S2>
struct RopeTables {
  static constexpr std::string_view name = "rope_tables";
  static constexpr index_t frequencies = S0 + S1 + S2;
  index_t tokens;
  std::string sizes() const { return concat('<', S0, ", ", S1, ", ", S2, ">/", tokens); }

  template <class B>
  struct Operands {
    index_t tokens;
    std::vector<std::int32_t> position_values;  // [3, tokens]
    std::vector<float> frequency_values;
    Guarded<B, std::int32_t> positions;
    Guarded<B> inv_freq, cos, sin;

    Operands(Context<B>& ctx, const RopeTables& of)
        : tokens(of.tokens),
          position_values(of.positions()),
          frequency_values(of.inv_freq()),
          positions(ctx, position_values),
          inv_freq(ctx, frequency_values),
          cos(tokens * frequencies),
          sin(tokens * frequencies) {}
    void call(Context<B>& ctx) {
      rope_tables<S0, S1, S2>(ctx, positions.template input<3, dynamic>(tokens), inv_freq.template input<frequencies>(),
                              1.5f, cos.template view<dynamic, frequencies>(tokens),
                              sin.template view<dynamic, frequencies>(tokens));
    }
    Results results(Context<B>& ctx) { return {cos.doubles(ctx), sin.doubles(ctx)}; }
    bool intact() const { return cos.intact() && sin.intact(); }
  };

  std::vector<std::int32_t> positions() const {
    std::vector<std::int32_t> all;
    for (index_t axis = 0; axis < 3; ++axis)
      for (index_t t = 0; t < tokens; ++t)
        all.push_back(axis == 0 && t == 2 ? 262143 : static_cast<std::int32_t>((axis + 3) * t + axis));
    return all;
  }
  std::vector<float> inv_freq() const {
    std::vector<float> all;
    for (index_t i = 0; i < frequencies; ++i)
      all.push_back(static_cast<float>(std::pow(5e6, -static_cast<double>(i) / frequencies)));
    return all;
  }
  Results bounds(const auto&, const Results&) const {
    const std::vector<double> bound(static_cast<std::size_t>(tokens * frequencies), 1.5 * 4 * epsilon);
    return {bound, bound};
  }
};

/// Cosines and sines of random angles, [tokens, half].
template <class B>
struct Angles {
  Guarded<B> cos, sin;
  Angles(Context<B>& ctx, index_t count) : cos(count), sin(count) {
    std::vector<float> c = Numbers(4).many(count), s = c;
    for (float& value : c) value = std::cos(3.0f * value);
    for (float& value : s) value = std::sin(3.0f * value);
    cos.assign(ctx, c);
    sin.assign(ctx, s);
  }
};

template <index_t H, index_t D, class A = float>
struct RotateQk {
  static constexpr std::string_view name = "rotate_qk";
  index_t tokens;
  std::string sizes() const { return concat('<', H, ", ", D, ">/", tokens); }

  template <class B>
  struct Operands {
    index_t tokens;
    std::vector<float> numbers;
    Held<B, A> qkv;
    Angles<B> angles;

    Operands(Context<B>& ctx, const RotateQk& of)
        : tokens(of.tokens),
          numbers(rounded_to<A>(Numbers(3).many(tokens * 3 * H * D))),
          qkv(ctx, numbers),
          angles(ctx, tokens * (D / 2)) {}
    void call(Context<B>& ctx) {
      rotate_qk<H, D>(ctx, qkv.template view<dynamic, 3 * H * D>(tokens),
                      angles.cos.template input<dynamic, D / 2>(tokens),
                      angles.sin.template input<dynamic, D / 2>(tokens));
    }
    Results results(Context<B>& ctx) { return {qkv.doubles(ctx)}; }
    bool intact() const { return qkv.intact(); }
  };

  Results bounds(const auto&, const Results&) const {
    std::vector<double> bound;
    for (index_t i = 0; i < tokens * 3 * H * D; ++i)  // values do not rotate
      bound.push_back(i / (H * D) % 3 == 2 ? 0.0 : 4 * epsilon + 2 * rounding_of<A>);
    return {bound};
  }
};

/// Queries, keys and values are in [-scale, scale]: a score has an error of (D + 4) eps scale^2 sqrt(D) at most, which
/// is a relative error of each weight; outputs are at most scale.
inline double attention_bound(index_t d, double scale, index_t count) {
  const double score_error = static_cast<double>(d + 4) * epsilon * scale * scale * std::sqrt(static_cast<double>(d));
  return scale * (2.0 * score_error + 16.0 * epsilon + static_cast<double>(count) * epsilon);
}

/// Additional error where activations are narrower than float (numbers are rounded to A before): weights are rounded
/// once before they are multiplied by the values, and results once; values are at most `largest`.
template <class A>
double activation_bound(double largest) {
  return std::is_floating_point_v<A> ? 0.0 : 2.0 * 0x1p-8 * largest;
}

/// attention(), its weights, or weighted_values() where weights are given, in double precision.
enum class Part { attention, weights, values };
template <index_t H, index_t D>
Results exact_attention(Part part, const Segments& segments, const std::vector<float>& qkv, std::vector<float> weights);

/// Segments of these lengths, each by itself; queries, keys and values are in [-scale, scale].
template <index_t H, index_t D, class A = float>
struct Attention {
  static constexpr std::string_view name = "attention";
  std::vector<index_t> lengths;
  float scale = 1.0f;
  std::string sizes() const {
    return concat('<', H, ", ", D, ">/", Segments(lengths).total(), lengths.size() > 1 ? " in segments" : "");
  }

  template <class B>
  struct Operands {
    Segments segments;
    index_t tokens = segments.total();
    std::vector<float> numbers;
    Held<B, A> qkv, out;

    Operands(Context<B>& ctx, const Attention& of)
        : segments(of.lengths),
          numbers(rounded_to<A>(
              scaled(Numbers(static_cast<std::uint32_t>(tokens + D)).many(tokens * 3 * H * D), of.scale))),
          qkv(ctx, numbers),
          out(tokens * H * D) {}
    void call(Context<B>& ctx) {
      attention<H, D>(ctx, qkv.template input<dynamic, 3 * H * D>(tokens), segments,
                      out.template view<dynamic, H * D>(tokens));
    }
    Results results(Context<B>& ctx) { return {out.doubles(ctx)}; }
    bool intact() const { return out.intact(); }
  };

  template <class B>
  Results expected(Context<B>&, Operands<B>& of) const {
    return exact_attention<H, D>(Part::attention, of.segments, of.numbers, {});
  }
  Results bounds(const auto&, const Results&) const {
    std::vector<double> bound;
    const auto size = static_cast<double>(scale);
    for (const index_t length : lengths)
      bound.insert(bound.end(), static_cast<std::size_t>(length * H * D),
                   attention_bound(D, size, length) + activation_bound<A>(size));
    return {bound};
  }
};

/// All weights of all segments, [H, n, n] one after the other.
template <index_t H, index_t D, class A = float>
struct AttentionWeights : Attention<H, D, A> {
  static constexpr std::string_view name = "attention_weights";

  template <class B>
  struct Operands : Attention<H, D, A>::template Operands<B> {
    std::vector<index_t> places;  // of the segments in `weights`
    Guarded<B> weights;

    Operands(Context<B>& ctx, const AttentionWeights& of)
        : Attention<H, D, A>::template Operands<B>(ctx, of), places(of.places()), weights(places.back()) {}
    View<float, B, H, dynamic, dynamic> of_segment(index_t s) {
      const index_t length = this->segments.length(s);
      return View<float, B, H, dynamic, dynamic>(weights.data() + places[static_cast<std::size_t>(s)], length, length);
    }
    void call(Context<B>& ctx) {
      for (index_t s = 0; s < this->segments.count(); ++s)
        attention_weights<H, D>(ctx, this->qkv.template input<dynamic, 3 * H * D>(this->tokens), this->segments, s,
                                of_segment(s));
    }
    Results results(Context<B>& ctx) { return {weights.doubles(ctx)}; }
    bool intact() const { return weights.intact(); }
  };

  std::vector<index_t> places() const {
    std::vector<index_t> all{0};
    for (const index_t length : this->lengths) all.push_back(all.back() + H * length * length);
    return all;
  }
  template <class B>
  Results expected(Context<B>&, Operands<B>& of) const {
    return exact_attention<H, D>(Part::weights, of.segments, of.numbers,
                                 std::vector<float>(static_cast<std::size_t>(of.places.back())));
  }
  /// A weight is at most 1, whatever the values are.
  Results bounds(const auto&, const Results&) const {
    std::vector<double> bound;
    const auto size = static_cast<double>(this->scale);
    for (const index_t length : this->lengths)
      bound.insert(bound.end(), static_cast<std::size_t>(H * length * length), attention_bound(D, size, length) / size);
    return {bound};
  }
};

/// Weights that are no softmax: all in [-1, 1].
template <index_t H, index_t D, class A = float>
struct WeightedValues : Attention<H, D, A> {
  static constexpr std::string_view name = "weighted_values";

  template <class B>
  struct Operands : AttentionWeights<H, D, A>::template Operands<B> {
    std::vector<float> weight_values;

    Operands(Context<B>& ctx, const WeightedValues& of)
        : AttentionWeights<H, D, A>::template Operands<B>(ctx, {of}),
          weight_values(Numbers(8).many(this->places.back())) {
      this->weights.assign(ctx, weight_values);
    }
    void call(Context<B>& ctx) {
      for (index_t s = 0; s < this->segments.count(); ++s)
        weighted_values<H, D>(ctx, this->of_segment(s), this->qkv.template input<dynamic, 3 * H * D>(this->tokens),
                              this->segments, s, this->out.template view<dynamic, H * D>(this->tokens));
    }
    Results results(Context<B>& ctx) { return {this->out.doubles(ctx)}; }
    bool intact() const { return this->out.intact(); }
  };

  template <class B>
  Results expected(Context<B>&, Operands<B>& of) const {
    return exact_attention<H, D>(Part::values, of.segments, of.numbers, of.weight_values);
  }
  /// count eps sum |w v|, with all of them at most 1 and scale; narrower activations may round weights and the result.
  Results bounds(const auto&, const Results&) const {
    std::vector<double> bound;
    for (const index_t length : this->lengths) {
      const double sum = static_cast<double>(length) * static_cast<double>(this->scale);
      bound.insert(bound.end(), static_cast<std::size_t>(length * H * D),
                   static_cast<double>(length + 8) * epsilon * sum + activation_bound<A>(sum));
    }
    return {bound};
  }
};

}  // namespace operations
