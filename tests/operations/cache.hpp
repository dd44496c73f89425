/// The table's operations over a cache: writing keys and values, causal attention, its weights, and their product.
#pragma once

#include <algorithm>

#include "operations/attention.hpp"

namespace operations {

/// New tokens over what a cache of type T holds: chunks[c][s] tokens of sequence s come at a time, and the operation
/// concerns the last chunk. Activations are of type A.
template <index_t H, index_t K, index_t D, class T = float, class A = float>
struct Chunks {
  static constexpr index_t stride = (H + 2 * K) * D;
  static constexpr std::string_view type_name = std::is_same_v<T, float>  ? "float"
                                                : std::is_same_v<T, f16>  ? "f16"
                                                : std::is_same_v<T, bf16> ? "bf16"
                                                                          : "f8_e4m3";
  std::vector<std::vector<index_t>> chunks;
  index_t first = 0;         ///< number of the first sequence: to compute a sequence alone that is also in a batch
  bool every_layer = false;  ///< fills all layers of the cache, with the same numbers; otherwise only the last

  index_t past(index_t s) const {
    index_t count = 0;
    for (std::size_t c = 0; c + 1 < chunks.size(); ++c) count += chunks[c][static_cast<std::size_t>(s)];
    return count;
  }
  std::string sizes() const {
    index_t all = 0;
    for (std::size_t s = 0; s < chunks.back().size(); ++s) all += past(static_cast<index_t>(s));
    return concat('<', type_name, ", ", H, ", ", K, ", ", D, ">/", Segments(chunks.back()).total(), '/', all,
                  chunks.back().size() > 1 ? " in sequences" : "");
  }
  /// Rows of chunk c, [tokens, stride].
  std::vector<float> numbers(std::size_t c) const {
    std::vector<float> all;
    for (std::size_t s = 0; s < chunks[c].size(); ++s) {
      const auto seed = static_cast<std::uint32_t>(D + H + 1000 * (first + static_cast<index_t>(s))) + 100 * c;
      const auto rows = Numbers(static_cast<std::uint32_t>(seed)).many(chunks[c][s] * stride);
      all.insert(all.end(), rows.begin(), rows.end());
    }
    return rounded_to<A>(all);
  }
  /// f(past, fresh, all) with the numbers of tokens of each sequence.
  template <class F>
  void for_sequences(F&& f) const {
    for (std::size_t s = 0; s < chunks.back().size(); ++s)
      f(past(static_cast<index_t>(s)), chunks.back()[s], past(static_cast<index_t>(s)) + chunks.back()[s]);
  }
};

/// A cache with all chunks but the last, and room for that.
template <class B, index_t H, index_t K, index_t D, class T, class A, index_t Layers>
struct CacheOperands {
  static constexpr index_t stride = (H + 2 * K) * D;
  using Cache = typename B::template KvCache<T, Layers, K, D>;

  Segments segments;
  index_t tokens = segments.total();
  bool every_layer;
  Cache cache;
  Held<B, A> qkv;
  index_t layer = Layers - 1;  ///< of the next call

  CacheOperands(Context<B>& ctx, const Chunks<H, K, D, T, A>& of)
      : segments(of.chunks.back()),
        every_layer(of.every_layer),
        cache(segments.count()),
        qkv(ctx, of.numbers(of.chunks.size() - 1)) {
    for (std::size_t c = 0; c < of.chunks.size(); ++c) {
      cache.prepare(of.chunks[c]);
      if (c == 0) poison(of.chunks[0]);
      if (c + 1 == of.chunks.size()) break;
      Held<B, A> rows(ctx, of.numbers(c));
      append(ctx, rows, Segments(of.chunks[c]));
      cache.commit();
    }
  }
  /// Writes rows into the cache. Weights of 1 and no rotation: normalising once more changes nothing.
  void append(Context<B>& ctx, Held<B, A>& rows, const Segments& chunk) {
    const index_t count = chunk.total();
    Guarded<B> norm(ctx, std::vector<float>(D, 1.0f));
    Guarded<B> cos(ctx, std::vector<float>(static_cast<std::size_t>(count * (D / 2)), 1.0f));
    Guarded<B> sin(ctx, std::vector<float>(static_cast<std::size_t>(count * (D / 2)), 0.0f));
    for (index_t i = every_layer ? 0 : Layers - 1; i < Layers; ++i)
      qk_norm_rope<H, K, D>(ctx, rows.template view<dynamic, stride>(count), norm.template input<D>(),
                            norm.template input<D>(), 1e-6f, cos.template input<dynamic, D / 2>(count),
                            sin.template input<dynamic, D / 2>(count), chunk, cache.layer(i));
  }
  /// f(s, keys, values) with what the cache now holds of each sequence, [K, length, D].
  template <class F>
  void for_contents(F&& f) {
    cache.commit();
    for (index_t s = 0; s < segments.count(); ++s) {
      Tensor<float, Host, dynamic, dynamic, dynamic> keys(K, cache.length(s), D), values(K, cache.length(s), D);
      cache.copy_keys(Layers - 1, s, keys.view());
      cache.copy_values(Layers - 1, s, values.view());
      f(s, keys, values);
    }
  }

 private:
  /// The cache's memory is not cleared: no result may depend on what follows a sequence's keys.
  void poison(const std::vector<index_t>& chunk) {
    if constexpr (requires { *cache.layer(0).keys(0, 0) = typename Cache::Layer::value_type(0.0f); }) {
      using Value = typename Cache::Layer::value_type;
      for (index_t s = 0; s < segments.count(); ++s)
        for (index_t h = 0; chunk[static_cast<std::size_t>(s)] > 0 && h < K; ++h) {
          const index_t capacity = Cache::grown(chunk[static_cast<std::size_t>(s)], 0) * D;
          std::fill_n(cache.layer(Layers - 1).keys(s, h), capacity, Value(std::numeric_limits<float>::quiet_NaN()));
          std::fill_n(cache.layer(Layers - 1).values(s, h), capacity, Value(std::numeric_limits<float>::quiet_NaN()));
        }
    }
  }
};

/// What a number that is kept as T is off by.
template <class T>
double cached_error(double value) {
  if constexpr (std::is_floating_point_v<T>) return 0.0;
  if constexpr (std::is_same_v<T, f16>) return 0x1p-11 * std::abs(value) + 0x1p-25;
  if constexpr (std::is_same_v<T, bf16>) return 0x1p-8 * std::abs(value);
  return 0x1p-4 * std::abs(value) + 0x1p-10;
}

template <index_t H, index_t K, index_t D, class T = float, class A = float, index_t Layers = 2>
struct QkNormRope : Chunks<H, K, D, T, A> {
  static constexpr std::string_view name = "qk_norm_rope";
  std::string sizes() const {
    const std::string all = Chunks<H, K, D, T, A>::sizes();
    return all.ends_with("/0") ? all.substr(0, all.size() - 2) : all;  // nothing was there before
  }

  template <class B>
  struct Operands : CacheOperands<B, H, K, D, T, A, Layers> {
    Guarded<B> q_norm, k_norm;
    Angles<B> angles;

    Operands(Context<B>& ctx, const QkNormRope& of)
        : CacheOperands<B, H, K, D, T, A, Layers>(ctx, of),
          q_norm(ctx, Numbers(1).many(D)),
          k_norm(ctx, Numbers(2).many(D)),
          angles(ctx, this->tokens * (D / 2)) {}
    void call(Context<B>& ctx) {
      qk_norm_rope<H, K, D>(
          ctx, this->qkv.template view<dynamic, QkNormRope::stride>(this->tokens), q_norm.template input<D>(),
          k_norm.template input<D>(), 1e-6f, angles.cos.template input<dynamic, D / 2>(this->tokens),
          angles.sin.template input<dynamic, D / 2>(this->tokens), this->segments, this->cache.layer(this->layer));
    }
    /// Queries, keys, values.
    Results results(Context<B>& ctx) {
      Results all(3);
      const std::vector<double> rows = this->qkv.doubles(ctx);
      for (auto row = rows.begin(); row != rows.end(); row += QkNormRope::stride)
        all[0].insert(all[0].end(), row, row + H * D);
      this->for_contents([&](index_t, auto& keys, auto& values) {
        all[1].insert(all[1].end(), keys.span().begin(), keys.span().end());
        all[2].insert(all[2].end(), values.span().begin(), values.span().end());
      });
      return all;
    }
    bool intact() const { return this->qkv.intact(); }
  };

  /// The types do not matter, but for numbers that are rounded to A before.
  template <class B>
  Results expected(Context<B>&, Operands<B>&) const {
    return exact_results(QkNormRope<H, K, D, float, A>{{this->chunks, this->first}});
  }
  /// A rotated pair is as long as before: its length bounds the products that are added.
  Results bounds(const auto&, Results results) const {
    for (const std::size_t which : {0u, 1u}) {
      const std::vector<double> y = results[which];
      for (std::size_t i = 0; i < y.size(); ++i) {
        const std::size_t pair = i % D < D / 2 ? i + D / 2 : i - D / 2;
        results[which][i] = ((D / 4 + 16) * epsilon + 2 * rounding_of<A>)*1.5 * std::hypot(y[i], y[pair]) + 1e-30 +
                            (which == 1 ? cached_error<T>(y[i]) : 0.0);
      }
    }
    for (double& value : results[2]) value = cached_error<T>(value);
    return results;
  }
};

/// causal_attention(), its weights, or weighted_values() where weights are given, in double precision, over keys and
/// values [K, length, D] of each sequence.
template <index_t H, index_t K, index_t D>
Results exact_causal(Part part, const Segments& segments, const std::vector<float>& qkv,
                     const std::vector<std::vector<float>>& keys, const std::vector<std::vector<float>>& values,
                     std::vector<float> weights);
/// On the operands of B, with its own queries, keys and values as it has rounded them.
template <index_t H, index_t K, index_t D, class B>
Results exact_causal(Part part, Context<B>& ctx, auto& of, std::vector<float> weights) {
  std::vector<std::vector<float>> all_keys, all_values;
  of.for_contents([&](index_t, auto& keys, auto& values) {
    all_keys.emplace_back(keys.span().begin(), keys.span().end());
    all_values.emplace_back(values.span().begin(), values.span().end());
  });
  return exact_causal<H, K, D>(part, of.segments, of.qkv.values(ctx), all_keys, all_values, std::move(weights));
}

template <index_t H, index_t K, index_t D, class T = float, class A = float, index_t Layers = 2>
struct CausalAttention : Chunks<H, K, D, T, A> {
  static constexpr std::string_view name = "causal_attention";

  template <class B>
  struct Operands : CacheOperands<B, H, K, D, T, A, Layers> {
    Held<B, A> out;

    Operands(Context<B>& ctx, const Chunks<H, K, D, T, A>& of)
        : CacheOperands<B, H, K, D, T, A, Layers>(ctx, of), out(this->tokens * H * D) {
      this->append(ctx, this->qkv, this->segments);
    }
    void call(Context<B>& ctx) {
      causal_attention<H, K, D>(ctx, this->qkv.template input<dynamic, CausalAttention::stride>(this->tokens),
                                this->segments, this->cache.layer(this->layer),
                                out.template view<dynamic, H * D>(this->tokens));
      if (this->every_layer) this->layer = (this->layer + 1) % Layers;
    }
    Results results(Context<B>& ctx) { return {out.doubles(ctx)}; }
    bool intact() const { return this->qkv.intact() && out.intact(); }
  };

  template <class B>
  Results expected(Context<B>& ctx, Operands<B>& of) const {
    return exact_causal<H, K, D>(Part::attention, ctx, of, {});
  }
  /// Normalised heads have elements up to sqrt(D), with a square sum of D.
  Results bounds(const auto&, const Results&) const {
    std::vector<double> bound;
    this->for_sequences([&](index_t, index_t fresh, index_t all) {
      bound.insert(bound.end(), static_cast<std::size_t>(fresh * H * D),
                   attention_bound(D, 2.0, all) + activation_bound<A>(1.0));
    });
    return {bound};
  }
};

/// All weights of all sequences, [H, new tokens, all tokens] one after the other.
template <index_t H, index_t K, index_t D, class T = float, class A = float, index_t Layers = 2>
struct CausalWeights : Chunks<H, K, D, T, A> {
  static constexpr std::string_view name = "attention_weights";

  template <class B>
  struct Operands : CausalAttention<H, K, D, T, A, Layers>::template Operands<B> {
    std::vector<index_t> places{0};  // of the sequences in `weights`
    Guarded<B> weights;

    Operands(Context<B>& ctx, const Chunks<H, K, D, T, A>& of)
        : CausalAttention<H, K, D, T, A, Layers>::template Operands<B>(ctx, of), weights(count(of)) {
      of.for_sequences([&](index_t, index_t fresh, index_t all) { places.push_back(places.back() + H * fresh * all); });
    }
    static index_t count(const Chunks<H, K, D, T, A>& of) {
      index_t total = 0;
      of.for_sequences([&](index_t, index_t fresh, index_t all) { total += H * fresh * all; });
      return total;
    }
    View<float, B, H, dynamic, dynamic> of_sequence(index_t s) {
      const index_t fresh = this->segments.length(s);
      return View<float, B, H, dynamic, dynamic>(weights.data() + places[static_cast<std::size_t>(s)], fresh,
                                                 this->cache.length(s) + fresh);
    }
    void call(Context<B>& ctx) {
      for (index_t s = 0; s < this->segments.count(); ++s)
        attention_weights<H, K, D>(ctx, this->qkv.template input<dynamic, CausalWeights::stride>(this->tokens),
                                   this->segments, this->cache.layer(this->layer), s, of_sequence(s));
    }
    Results results(Context<B>& ctx) { return {weights.doubles(ctx)}; }
    bool intact() const { return this->qkv.intact() && weights.intact(); }
  };

  template <class B>
  Results expected(Context<B>& ctx, Operands<B>& of) const {
    return exact_causal<H, K, D>(Part::weights, ctx, of,
                                 std::vector<float>(static_cast<std::size_t>(of.places.back())));
  }
  Results bounds(const auto&, const Results&) const {
    std::vector<double> bound;
    this->for_sequences([&](index_t, index_t fresh, index_t all) {
      bound.insert(bound.end(), static_cast<std::size_t>(H * fresh * all), attention_bound(D, 2.0, all));
    });
    return {bound};
  }
};

/// Weights that are no softmax: all that are not masked in [-1, 1].
template <index_t H, index_t K, index_t D, class T = float, class A = float, index_t Layers = 2>
struct CausalValues : Chunks<H, K, D, T, A> {
  static constexpr std::string_view name = "weighted_values";

  template <class B>
  struct Operands : CausalWeights<H, K, D, T, A, Layers>::template Operands<B> {
    Operands(Context<B>& ctx, const Chunks<H, K, D, T, A>& of)
        : CausalWeights<H, K, D, T, A, Layers>::template Operands<B>(ctx, of) {
      std::vector<float> values = Numbers(8).many(this->places.back());
      auto weight = values.begin();
      of.for_sequences([&](index_t past, index_t fresh, index_t all) {
        for (index_t row = 0; row < H * fresh; ++row, weight += all)
          std::fill(weight + past + row % fresh + 1, weight + all, 0.0f);
      });
      this->weights.assign(ctx, values);
    }
    void call(Context<B>& ctx) {
      for (index_t s = 0; s < this->segments.count(); ++s)
        weighted_values<H, K, D>(ctx, this->of_sequence(s), this->segments, this->cache.layer(this->layer), s,
                                 this->out.template view<dynamic, H * D>(this->tokens));
    }
    Results results(Context<B>& ctx) { return {this->out.doubles(ctx)}; }
    bool intact() const { return this->out.intact(); }
  };

  template <class B>
  Results expected(Context<B>& ctx, Operands<B>& of) const {
    return exact_causal<H, K, D>(Part::values, ctx, of, of.weights.values(ctx));
  }
  /// As WeightedValues: all tokens' values are in [-1, 1].
  Results bounds(const auto&, const Results&) const {
    std::vector<double> bound;
    this->for_sequences([&](index_t, index_t fresh, index_t all) {
      const auto sum = static_cast<double>(all);
      bound.insert(bound.end(), static_cast<std::size_t>(fresh * H * D),
                   (sum + 8) * epsilon * sum + activation_bound<A>(sum));
    });
    return {bound};
  }
};

}  // namespace operations
