/// The table's operations with weights: linear, embedding, route, expert_mlp.
#pragma once

#include <memory>

#include "operations/weights.hpp"

namespace operations {

inline std::string epilogue_name(epilogue::Store) { return "epilogue::Store"; }
inline std::string epilogue_name(epilogue::Add) { return "epilogue::Add"; }
inline std::string epilogue_name(epilogue::Gelu) { return "epilogue::Gelu"; }
inline std::string epilogue_name(epilogue::GeluTanh) { return "epilogue::GeluTanh"; }
inline std::string epilogue_name(epilogue::SwiGlu) { return "epilogue::SwiGlu"; }

/// Of silu(gate) * up, where the slope of silu is at most 1.1.
inline double swiglu_error(double gate, double up, double gate_error, double up_error, double rounding_a) {
  const double activated = std::abs(gate / (1.0 + std::exp(-gate)));
  return 1.1 * gate_error * (std::abs(up) + up_error) + up_error * activated +
         (8 * epsilon + 1.1 * rounding_a) * activated * std::abs(up);
}

/// The part of a product's bound that needs no types, so that it is compiled once rather than for each of many shapes.
struct ProductErrors {
  index_t outputs, inputs;
  std::vector<double> (*activation_error)(const float* x, index_t count);
  double rounding_a;    ///< of activations that are kept
  double sum_rounding;  ///< of the sums, relative to sum |x w|

  struct Row {
    std::vector<double> z, error;
  };
  /// One row z = x weight^T + bias, and its error: (K + 8) eps sum |x w|, the worst case of any order of summation, and
  /// what activations may be off by, times |w|. With activations of bf16 the bias and z may each be rounded once more.
  Row operator()(const float* x, const float* weights, const float* bias) const {
    const std::vector<double> x_error = activation_error(x, inputs);
    Row row;
    for (index_t n = 0; n < outputs; ++n) {
      double sum = bias ? static_cast<double>(bias[n]) : 0.0, norm = std::abs(sum), rounding = 0.0;
      for (index_t k = 0; k < inputs; ++k) {
        const auto w = static_cast<double>(weights[n * inputs + k]);
        const double term = static_cast<double>(x[k]) * w;
        sum += term;
        norm += std::abs(term);
        rounding += x_error[static_cast<std::size_t>(k)] * std::abs(w);
      }
      row.z.push_back(sum);
      row.error.push_back((static_cast<double>(inputs + 8) * epsilon + sum_rounding) * norm + rounding +
                          rounding_a * (std::abs(sum) + (bias ? 1.0 : 0.0)));
    }
    return row;
  }

  /// The bounds of y: the error of z through the epilogue, whose slope is at most 1.13 (GELU), or |gate| and |up|
  /// (SwiGLU), and a few units in the last place. `before`: what is added to, or empty.
  [[gnu::noinline]] std::vector<double> bounds(index_t rows, const std::vector<float>& x,
                                               const std::vector<float>& weights, const std::vector<float>& bias,
                                               const std::vector<float>& before, bool gated,
                                               std::vector<double> y) const {
    const auto width = static_cast<std::size_t>(gated ? outputs / 2 : outputs);
    for (index_t r = 0; r < rows; ++r) {
      const Row row = (*this)(x.data() + r * inputs, weights.data(), bias.empty() ? nullptr : bias.data());
      for (std::size_t n = 0; n < width; ++n) {
        const std::size_t at = static_cast<std::size_t>(r) * width + n;
        if (gated) {
          y[at] = swiglu_error(row.z[n], row.z[width + n], row.error[n], row.error[width + n], rounding_a) + 1e-30;
        } else {
          const double old = before.empty() ? 0.0 : std::abs(static_cast<double>(before[at]));
          // exp's range reduction costs a few units of z itself where the result is small beside it.
          y[at] = 1.2 * row.error[n] + 8 * epsilon * (std::abs(row.z[n]) + old) + 1.1 * rounding_a * std::abs(y[at]) +
                  1e-30;
        }
      }
    }
    return y;
  }
};
/// linear() in double precision; `y` is what it is added to. Neither types of weights nor of activations matter here,
/// so that a shape is compiled once.
template <index_t N, index_t K, class E>
std::vector<double> exact_linear(index_t rows, const std::vector<float>& x, const std::vector<float>& weights,
                                 const std::vector<float>& bias, std::vector<double> y);

/// x weight^T + bias with weights of type W and activations of type A.
template <class W, index_t N, index_t K, class E, class A = float>
struct Linear {
  static constexpr std::string_view name = "linear";
  static constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>, adds = std::is_same_v<E, epilogue::Add>;
  static constexpr Packing packing = gated ? Packing::gate_up : Packing::plain;
  static constexpr index_t width = epilogue::width<E, N>;
  index_t rows;
  bool with_bias = false;
  std::string sizes() const {
    return concat('<', weight_name<W>(), ", ", N, ", ", K, ", ", epilogue_name(E{}), ">/", rows,
                  with_bias ? " with bias" : "");
  }

  template <class B>
  struct Operands {
    using Matrix = typename B::template Matrix<W, N, K, packing>;
    index_t rows;
    std::vector<float> weights, numbers, before, biases;  // [N, K], [rows, K]; [rows, width], [N] or none
    std::shared_ptr<Matrix> matrix = std::make_shared<Matrix>();
    Guarded<B> bias;
    Held<B, A> x, y;

    Operands(Context<B>& ctx, const Linear& of)
        : Operands(ctx, of, Numbers(static_cast<std::uint32_t>(of.rows * 31 + N * 7 + K))) {}
    /// Rows [first, first + count) alone, with the same weights.
    Operands(Context<B>& ctx, const Operands& of, index_t first, index_t count)
        : rows(count),
          numbers(of.numbers.begin() + first * K, of.numbers.begin() + (first + count) * K),
          before(
              adds ? std::vector<float>(of.before.begin() + first * width, of.before.begin() + (first + count) * width)
                   : std::vector<float>()),
          biases(of.biases),
          matrix(of.matrix),
          bias(ctx, biases),
          x(ctx, numbers),
          y(rows * width) {
      if constexpr (adds) y.assign(ctx, before);
    }
    void call(Context<B>& ctx) {
      linear(ctx, x.template view<dynamic, K>(rows), *matrix,
             biases.empty() ? View<const float, B, N>() : bias.template input<N>(),
             y.template view<dynamic, width>(rows), E{});
    }
    Results results(Context<B>& ctx) { return {y.doubles(ctx)}; }
    bool intact() const { return y.intact(); }

   private:
    Operands(Context<B>& ctx, const Linear& of, Numbers from)
        : rows(of.rows),
          weights(from.many(N * K)),
          numbers(rounded_to<A>(from.many(rows * K))),
          before(rounded_to<A>(from.many(adds ? rows * width : 0))),
          biases(from.many(of.with_bias ? N : 0)),
          bias(ctx, biases),
          x(ctx, numbers),
          y(rows * width) {
      if constexpr (adds) y.assign(ctx, before);
      matrix->allocate();
      // In two parts, as fused projections are loaded.
      constexpr index_t split = N / 3;
      if (split > 0) matrix->load_rows(ctx, 0, raw_matrix(weights.data(), {split, K}));
      matrix->load_rows(ctx, split, raw_matrix(weights.data() + split * K, {N - split, K}));
    }
  };

  /// Replaces the operands' weights and activations by those that count.
  template <class B>
  Results expected(Context<B>& ctx, Operands<B>& of) const {
    of.weights = as_packed<B, W, N, K>(ctx, of.weights);
    of.numbers = as_multiplied<W>(of.numbers, rows, K);
    std::vector<double> y(of.before.begin(), of.before.end());
    y.resize(static_cast<std::size_t>(rows * width));
    return {exact_linear<N, K, E>(rows, of.numbers, of.weights, of.biases, std::move(y))};
  }
  Results bounds(const auto& of, const Results& expected) const {
    const ProductErrors errors{N, K, &activation_error<W, float>, rounding_of<A>, sum_rounding<W>(rows)};
    return {errors.bounds(rows, of.numbers, of.weights, of.biases, of.before, gated, expected[0])};
  }
};

/// Rows of a table of N: the last, the first, and others, some of them twice.
template <class W, index_t N, index_t K>
struct Embedding {
  static constexpr std::string_view name = "embedding";
  index_t tokens;
  std::string sizes() const { return concat('<', weight_name<W>(), ", ", N, ", ", K, ">/", tokens); }

  template <class B>
  struct Operands {
    index_t tokens;
    std::vector<float> weights = Numbers(N).many(N * K);
    typename B::template Matrix<W, N, K, Packing::plain> table;
    Guarded<B, std::int32_t> ids;
    Activations<B> y;

    Operands(Context<B>& ctx, const Embedding& of) : tokens(of.tokens), ids(ctx, of.ids()), y(tokens * K) {
      table.allocate();
      table.load_rows(ctx, 0, raw_matrix(weights.data(), {N, K}));
    }
    void call(Context<B>& ctx) {
      embedding(ctx, ids.template input<dynamic>(tokens), table, y.template view<dynamic, K>(tokens));
    }
    Results results(Context<B>& ctx) { return {y.doubles(ctx)}; }
    bool intact() const { return y.intact(); }
  };

  std::vector<std::int32_t> ids() const {
    std::vector<std::int32_t> all;
    for (index_t i = 0; i < tokens; ++i) all.push_back(static_cast<std::int32_t>(i == 0 ? N - 1 : i / 2 * 17 % N));
    return all;
  }
  Results bounds(const auto&, const Results&) const {
    return {std::vector<double>(static_cast<std::size_t>(tokens * K), 0.0)};
  }
};

/// Logits in [-scale, scale], of the first of several tokens all equal: the first experts are chosen.
template <index_t E, index_t TopK>
struct Route {
  static constexpr std::string_view name = "route";
  index_t tokens;
  float scale = 1.0f;
  std::string sizes() const {
    return concat('<', E, ", ", TopK, ">/", tokens, scale == 1.0f ? "" : concat(" of ", scale));
  }

  template <class B>
  struct Operands {
    index_t tokens;
    Activations<B> logits;
    Guarded<B, std::int32_t> experts;
    Guarded<B> weights;

    Operands(Context<B>& ctx, const Route& of)
        : tokens(of.tokens), logits(ctx, of.logits()), experts(tokens * TopK), weights(tokens * TopK) {}
    void call(Context<B>& ctx) {
      route<E, TopK>(ctx, logits.template view<dynamic, E>(tokens), experts.template view<dynamic, TopK>(tokens),
                     weights.template view<dynamic, TopK>(tokens));
    }
    Results results(Context<B>& ctx) { return {experts.doubles(ctx), weights.doubles(ctx)}; }
    bool intact() const { return experts.intact() && weights.intact(); }
  };

  /// Multiples of 2^-16, so that differences of logits are exact in float: their rounding is no error of the operation.
  std::vector<float> logits() const {
    std::vector<float> all = Numbers(static_cast<std::uint32_t>(tokens + E)).many(tokens * E);
    for (float& logit : all) logit = std::round(logit * scale * 65536.0f) / 65536.0f;
    if (tokens > 2) std::fill_n(all.begin(), E, 0.5f);
    return all;
  }
  Results bounds(const auto&, Results results) const {
    for (double& expert : results[0]) expert = 0.0;
    for (double& weight : results[1]) weight *= static_cast<double>(E + 8) * epsilon;
    return results;
  }
};

/// expert_mlp() in double precision; `y` is what it is added to.
template <index_t E, index_t TopK, index_t D, index_t I>
std::vector<double> exact_expert_mlp(index_t tokens, const std::vector<float>& x,
                                     const std::vector<std::int32_t>& experts, const std::vector<float>& shares,
                                     const std::vector<float>& gate_up, const std::vector<float>& down,
                                     std::vector<double> y);

/// As the bounds of products. Activations narrower than float are rounded once where they are kept: after the gate, for
/// each expert's result, and in y.
struct ExpertErrors {
  index_t experts, top_k, hidden, inner;
  std::vector<double> (*activation_error)(const double* x, index_t count);
  double rounding_a;

  [[gnu::noinline]] std::vector<double> bounds(const ProductErrors& up, const std::vector<float>& x,
                                               const std::vector<float>& before, const std::vector<float>& shares,
                                               const std::vector<std::int32_t>& choices,
                                               const std::vector<float>& gate_up, const std::vector<float>& down,
                                               std::vector<double> y) const {
    const auto depth = static_cast<std::size_t>(inner), slots = static_cast<std::size_t>(top_k);
    std::vector<double> error(y.size());
    for (std::size_t slot = 0; slot < choices.size(); ++slot) {
      const auto token = static_cast<index_t>(slot / slots), e = static_cast<index_t>(choices[slot]);
      const ProductErrors::Row row = up(x.data() + token * hidden, gate_up.data() + e * 2 * inner * hidden, nullptr);
      std::vector<double> activated, activated_error, largest;
      for (std::size_t g = 0, u = depth; g < depth; ++g, ++u) {
        activated.push_back(row.z[g] / (1.0 + std::exp(-row.z[g])) * row.z[u]);
        activated_error.push_back(swiglu_error(row.z[g], row.z[u], row.error[g], row.error[u], 0.0));
        largest.push_back(std::abs(activated[g]) + activated_error[g]);
      }
      const std::vector<double> rounding = activation_error(largest.data(), inner);
      for (std::size_t i = 0; i < depth; ++i) activated_error[i] += rounding[i] + rounding_a * largest[i];
      const float* w = down.data() + e * hidden * inner;
      for (index_t d = 0; d < hidden; ++d) {
        double result = 0.0, result_error = 0.0;
        for (std::size_t i = 0; i < depth; ++i, ++w) {
          const double factor = static_cast<double>(shares[slot]) * static_cast<double>(*w);
          result += activated[i] * factor;
          result_error += std::abs(factor) *
                          (activated_error[i] + static_cast<double>(inner + 8) * epsilon * std::abs(activated[i]));
        }
        error[static_cast<std::size_t>(token * hidden + d)] +=
            result_error + rounding_a * (std::abs(result) + result_error);
      }
    }
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double size = std::abs(y[i]);
      y[i] = error[i] + rounding_a * (size + error[i]) +
             static_cast<double>(top_k + 2) * epsilon * (size + std::abs(static_cast<double>(before[i]))) + 1e-30;
    }
    return y;
  }
};

/// Each token's experts are spread, or with `one_expert` all tokens have the first ones.
template <class W, index_t E, index_t TopK, index_t D, index_t I, class A = float>
struct ExpertMlp {
  static constexpr std::string_view name = "expert_mlp";
  index_t tokens;
  bool one_expert = false;
  std::string sizes() const {
    return concat('<', weight_name<W>(), ", ", E, ", ", TopK, ", ", D, ", ", I, ">/", tokens,
                  one_expert ? " of one expert" : "");
  }

  template <class B>
  struct Operands {
    /// Every other expert is loaded as stored by torch, those between transposed.
    struct Weights {
      std::vector<float> gate_up, down;  // [E, 2 I, D], [E, D, I]
      typename B::template Experts<W, E, 2 * I, D, Packing::gate_up> packed_gate_up;
      typename B::template Experts<W, E, D, I, Packing::plain> packed_down;

      void load(Context<B>& ctx) {
        load<2 * I, D>(ctx, gate_up, packed_gate_up);
        load<D, I>(ctx, down, packed_down);
      }

     private:
      template <index_t N, index_t K>
      static void load(Context<B>& ctx, const std::vector<float>& values, auto& packed) {
        packed.allocate();
        for (index_t e = 0; e < E; ++e) {
          const float* const expert = values.data() + e * N * K;
          const bool transposed = e % 2 == 1;
          std::vector<float> stored(expert, expert + N * K);
          if (transposed)
            for (index_t n = 0; n < N; ++n)
              for (index_t k = 0; k < K; ++k) stored[static_cast<std::size_t>(k * N + n)] = expert[n * K + k];
          packed.load_expert(ctx, e, raw_matrix(stored.data(), {transposed ? K : N, transposed ? N : K}), transposed);
        }
      }
    };
    index_t tokens;
    std::vector<float> numbers, before, share_values;
    std::vector<std::int32_t> choices;
    std::shared_ptr<Weights> weights = std::make_shared<Weights>();
    Guarded<B, std::int32_t> experts;
    Guarded<B> shares;
    Held<B, A> x, y;

    Operands(Context<B>& ctx, const ExpertMlp& of)
        : Operands(ctx, of.tokens, of.activations(0), of.activations(1),
                   Numbers(static_cast<std::uint32_t>(of.tokens + D)).many(of.tokens * TopK), of.choices()) {
      Numbers from(static_cast<std::uint32_t>(E * D + I));
      weights->gate_up = from.many(E * 2 * I * D);
      weights->down = from.many(E * D * I);
      weights->load(ctx);
    }
    /// Tokens [first, first + count) alone, with the same weights.
    Operands(Context<B>& ctx, const Operands& of, index_t first, index_t count)
        : Operands(ctx, count, {of.numbers.begin() + first * D, of.numbers.begin() + (first + count) * D},
                   {of.before.begin() + first * D, of.before.begin() + (first + count) * D},
                   {of.share_values.begin() + first * TopK, of.share_values.begin() + (first + count) * TopK},
                   {of.choices.begin() + first * TopK, of.choices.begin() + (first + count) * TopK}) {
      weights = of.weights;
    }
    void call(Context<B>& ctx) {
      expert_mlp<TopK>(ctx, x.template view<dynamic, D>(tokens), experts.template view<dynamic, TopK>(tokens),
                       shares.template view<dynamic, TopK>(tokens), weights->packed_gate_up, weights->packed_down,
                       y.template view<dynamic, D>(tokens));
    }
    Results results(Context<B>& ctx) { return {y.doubles(ctx)}; }
    bool intact() const { return y.intact(); }

   private:
    Operands(Context<B>& ctx, index_t count, std::vector<float> x_values, std::vector<float> y_values,
             std::vector<float> share, std::vector<std::int32_t> choice)
        : tokens(count),
          numbers(std::move(x_values)),
          before(std::move(y_values)),
          share_values(std::move(share)),
          choices(std::move(choice)),
          experts(ctx, choices),
          shares(ctx, share_values),
          x(ctx, numbers),
          y(ctx, before) {}
  };

  std::vector<float> activations(index_t which) const {
    return rounded_to<A>(Numbers(static_cast<std::uint32_t>(tokens * 13 + D + which)).many(tokens * D));
  }
  std::vector<std::int32_t> choices() const {
    std::vector<std::int32_t> all;
    for (index_t t = 0; t < tokens; ++t)
      for (index_t j = 0; j < TopK; ++j)
        all.push_back(static_cast<std::int32_t>(one_expert ? j : (t * t + t / 3 + j * (E / TopK)) % E));
    return all;
  }

  /// Replaces the operands' weights by those that count.
  template <class B>
  Results expected(Context<B>& ctx, Operands<B>& of) const {
    std::vector<float>&gate_up = of.weights->gate_up, &down = of.weights->down;
    for (auto expert = gate_up.begin(); expert != gate_up.end(); expert += 2 * I * D)
      std::ranges::copy(as_packed<B, W, 2 * I, D>(ctx, {expert, expert + 2 * I * D}), expert);
    for (auto expert = down.begin(); expert != down.end(); expert += D * I)
      std::ranges::copy(as_packed<B, W, D, I>(ctx, {expert, expert + D * I}), expert);
    const std::vector<float> x = rounds_to_bytes<W> ? as_multiplied<W>(of.numbers, tokens, D) : of.numbers;
    return {exact_expert_mlp<E, TopK, D, I>(tokens, x, of.choices, of.share_values, gate_up, down,
                                            {of.before.begin(), of.before.end()})};
  }
  Results bounds(const auto& of, Results results) const {
    const ProductErrors up{2 * I, D, &activation_error<W, float>, 0.0, 0.0};
    const ExpertErrors errors{E, TopK, D, I, &activation_error<W, double>, rounding_of<A>};
    return {errors.bounds(up, of.numbers, of.before, of.share_values, of.choices, of.weights->gate_up, of.weights->down,
                          results[0])};
  }
};

}  // namespace operations
