/// route() and expert_mlp() against double precision, and that no row's result depends on the other rows.
#pragma once

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "guarded.hpp"
#include "linear_cases.hpp"

namespace operations {

/// Softmax over all experts, the largest TopK, divided by their sum.
template <class B, index_t E, index_t TopK>
void route_case(Context<B>& ctx, index_t tokens, float scale) {
  const std::string what = concat("route ", tokens, " tokens, ", TopK, " of ", E, ", scale ", scale);
  std::vector<float> logits = Numbers(static_cast<std::uint32_t>(tokens + E)).many(tokens * E);
  for (float& logit : logits) logit *= scale;
  if (tokens > 2) std::fill_n(logits.begin(), E, 0.5f);  // all equal: the first ones are chosen
  Activations<B> input(ctx, logits);
  Guarded<B> weights(tokens * TopK);
  Guarded<B, std::int32_t> experts(tokens * TopK);
  route<E, TopK>(ctx, input.template view<dynamic, E>(tokens), experts.template view<dynamic, TopK>(tokens),
                 weights.template view<dynamic, TopK>(tokens));
  BOOST_TEST(experts.intact(), what << ": wrote beside the experts");
  const std::vector<std::int32_t> chosen = experts.values(ctx);
  std::vector<double> expected, bound;
  for (index_t t = 0; t < tokens; ++t) {
    const float* const row = logits.data() + t * E;
    std::vector<index_t> order(static_cast<std::size_t>(E));
    std::iota(order.begin(), order.end(), index_t{0});
    std::ranges::stable_sort(order, [&](index_t a, index_t b) { return row[a] > row[b]; });
    double sum = 0.0;
    for (index_t j = 0; j < TopK; ++j)
      sum += std::exp(static_cast<double>(row[order[static_cast<std::size_t>(j)]] - row[order[0]]));
    for (index_t j = 0; j < TopK; ++j) {
      const index_t e = order[static_cast<std::size_t>(j)];
      BOOST_TEST(chosen[static_cast<std::size_t>(t * TopK + j)] == e, what << ": token " << t << ", choice " << j);
      expected.push_back(std::exp(static_cast<double>(row[e] - row[order[0]])) / sum);
      bound.push_back(static_cast<double>(E + 8) * epsilon * expected.back());
    }
  }
  check(ctx, weights, expected, bound, what);
}

/// Logits that are not numbers still choose different experts, all of them in range.
template <class B>
void route_nan_case(Context<B>& ctx) {
  const std::vector<float> logits(6, std::numeric_limits<float>::quiet_NaN());
  Activations<B> input(ctx, logits);
  Guarded<B> weights(3);
  Guarded<B, std::int32_t> experts(3);
  route<6, 3>(ctx, input.template view<dynamic, 6>(1), experts.template view<dynamic, 3>(1),
              weights.template view<dynamic, 3>(1));
  const auto chosen = experts.values(ctx);
  BOOST_TEST(std::set<std::int32_t>(chosen.begin(), chosen.end()).size() == 3u);
  for (const std::int32_t e : chosen) BOOST_TEST((e >= 0 && e < 6));
}

/// E experts of D -> I -> D with pseudo-random weights, one half loaded as stored by torch, the other transposed.
template <class B, class W, index_t E, index_t D, index_t I>
struct ExpertWeights {
  std::vector<float> gate_up, down;  // [E, 2 I, D], [E, D, I]
  typename B::template Experts<W, E, 2 * I, D, Packing::gate_up> packed_gate_up;
  typename B::template Experts<W, E, D, I, Packing::plain> packed_down;

  explicit ExpertWeights(Context<B>& ctx) {
    Numbers numbers(static_cast<std::uint32_t>(E * D + I));
    fill<2 * I, D>(ctx, numbers, gate_up, packed_gate_up);
    fill<D, I>(ctx, numbers, down, packed_down);
  }

 private:
  template <index_t N, index_t K, class Packed>
  void fill(Context<B>& ctx, Numbers& numbers, std::vector<float>& values, Packed& packed) {
    values = numbers.many(E * N * K);
    packed.allocate();
    for (index_t e = 0; e < E; ++e) {
      float* const expert = values.data() + e * N * K;
      const bool transposed = e % 2 == 1;
      std::vector<float> stored(expert, expert + N * K);
      if (transposed)
        for (index_t n = 0; n < N; ++n)
          for (index_t k = 0; k < K; ++k) stored[static_cast<std::size_t>(k * N + n)] = expert[n * K + k];
      const index_t shape[2] = {transposed ? K : N, transposed ? N : K};
      packed.load_expert(
          ctx, e,
          RawTensor{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(stored.data()), .shape = shape},
          transposed);
      const std::vector<float> as_used = as_packed<B, W, N, K>(ctx, {expert, expert + N * K});
      std::copy(as_used.begin(), as_used.end(), expert);
    }
  }
};

/// One call, with what it should give. The bounds follow linear_case's. Activations narrower than float are rounded
/// once where they are kept: after the gate, for each expert's result, and in y.
template <class B, class W, index_t E, index_t TopK, index_t D, index_t I>
void expert_mlp_case(Context<B>& ctx, index_t tokens, bool one_expert) {
  using A = activation_for<B, W>;
  constexpr double rounding_a = rounding_of<A>;
  const std::string what = concat("expert_mlp ", tokens, " tokens, ", TopK, " of ", E, " experts ", D, " x ", I,
                                  one_expert ? " one " : " ", weight_name<W>());
  ExpertWeights<B, W, E, D, I> weights(ctx);
  Numbers numbers(static_cast<std::uint32_t>(tokens * 13 + D));
  std::vector<float> x = numbers.many(tokens * D), before = numbers.many(tokens * D);
  const std::vector<float> shares = numbers.many(tokens * TopK);
  round_to<A>(x);
  round_to<A>(before);
  std::vector<std::int32_t> experts;
  for (index_t t = 0; t < tokens; ++t)
    for (index_t j = 0; j < TopK; ++j)
      experts.push_back(static_cast<std::int32_t>(one_expert ? j : (t * t + t / 3 + j * (E / TopK)) % E));
  const auto run = [&](index_t first, index_t count) {
    Guarded<B, A> input(ctx, {x.begin() + first * D, x.begin() + (first + count) * D});
    Guarded<B> share(ctx, {shares.begin() + first * TopK, shares.begin() + (first + count) * TopK});
    Guarded<B, std::int32_t> choice(ctx, {experts.begin() + first * TopK, experts.begin() + (first + count) * TopK});
    Guarded<B, A> output(ctx, {before.begin() + first * D, before.begin() + (first + count) * D});
    expert_mlp<TopK>(ctx, input.template view<dynamic, D>(count), choice.template view<dynamic, TopK>(count),
                     share.template view<dynamic, TopK>(count), weights.packed_gate_up, weights.packed_down,
                     output.template view<dynamic, D>(count));
    return output;
  };

  std::vector<double> expected, bound;
  for (index_t t = 0; t < tokens; ++t) {
    const std::vector<double> x_error = activation_error<W>(x.data() + t * D, D);
    std::vector<double> sum(before.begin() + t * D, before.begin() + (t + 1) * D), error(static_cast<std::size_t>(D));
    for (index_t j = 0; j < TopK; ++j) {
      const auto e = static_cast<index_t>(experts[static_cast<std::size_t>(t * TopK + j)]);
      const auto share = static_cast<double>(shares[static_cast<std::size_t>(t * TopK + j)]);
      std::vector<double> z(2 * I), z_error(2 * I), activated(I), activated_error(I);
      for (index_t n = 0; n < 2 * I; ++n)
        for (index_t k = 0; k < D; ++k) {
          const double w = static_cast<double>(weights.gate_up[static_cast<std::size_t>((e * 2 * I + n) * D + k)]);
          const double term = static_cast<double>(x[static_cast<std::size_t>(t * D + k)]) * w;
          z[static_cast<std::size_t>(n)] += term;
          z_error[static_cast<std::size_t>(n)] +=
              (D + 8) * epsilon * std::abs(term) + x_error[static_cast<std::size_t>(k)] * std::abs(w);
        }
      for (index_t i = 0; i < I; ++i) {
        const auto g = static_cast<std::size_t>(i), u = static_cast<std::size_t>(I + i);
        const double gate = z[g] / (1.0 + std::exp(-z[g]));
        activated[g] = gate * z[u];
        activated_error[g] = 1.1 * z_error[g] * (std::abs(z[u]) + z_error[u]) + z_error[u] * std::abs(gate) +
                             8 * epsilon * std::abs(activated[g]);
      }
      std::vector<double> largest(I);  // of an activation with its error
      for (std::size_t i = 0; i < I; ++i) largest[i] = std::abs(activated[i]) + activated_error[i];
      const std::vector<double> rounding = activation_error<W>(largest.data(), I);
      for (std::size_t i = 0; i < I; ++i) activated_error[i] += rounding[i] + rounding_a * largest[i];
      for (index_t d = 0; d < D; ++d) {
        double result = 0.0, result_error = 0.0;
        for (index_t i = 0; i < I; ++i) {
          const auto w = static_cast<double>(weights.down[static_cast<std::size_t>((e * D + d) * I + i)]);
          const auto k = static_cast<std::size_t>(i);
          result += share * activated[k] * w;
          result_error += std::abs(share * w) * (activated_error[k] + (I + 8) * epsilon * std::abs(activated[k]));
        }
        sum[static_cast<std::size_t>(d)] += result;
        error[static_cast<std::size_t>(d)] += result_error + rounding_a * (std::abs(result) + result_error);
      }
    }
    for (index_t d = 0; d < D; ++d) {
      const auto k = static_cast<std::size_t>(d);
      expected.push_back(sum[k]);
      bound.push_back(
          error[k] + rounding_a * (std::abs(sum[k]) + error[k]) +
          (TopK + 2) * epsilon *
              (std::abs(sum[k]) + std::abs(static_cast<double>(before[static_cast<std::size_t>(t * D + d)]))) +
          1e-30);
    }
  }
  Guarded<B, A> whole = run(0, tokens);
  check(ctx, whole, expected, bound, what);
  const std::vector<float> together = whole.values(ctx);
  for (index_t t = 0; t < tokens; t += B::is_host || tokens <= 20 ? 1 : 29) {
    Guarded<B, A> one = run(t, 1);
    const std::vector<float> alone = one.values(ctx);
    BOOST_TEST(std::equal(alone.begin(), alone.end(), together.begin() + t * D),
               what << ": token " << t << " alone has another result");
  }
}

/// Each row of a product, alone and among others, to the last bit: what makes results independent of the batch.
template <class B, class W, index_t N, index_t K, class E>
void rows_do_not_matter(Context<B>& ctx) {
  constexpr Packing packing = std::is_same_v<E, epilogue::SwiGlu> ? Packing::gate_up : Packing::plain;
  constexpr index_t width = epilogue::width<E, N>;
  Numbers numbers(static_cast<std::uint32_t>(N + K));
  const std::vector<float> weights = numbers.many(N * K), x = numbers.many(260 * K), bias = numbers.many(N);
  typename B::template Matrix<W, N, K, packing> matrix;
  matrix.allocate();
  const index_t shape[2] = {N, K};
  matrix.load_rows(
      ctx, 0,
      RawTensor{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
  Guarded<B> bias_buffer(ctx, bias);
  const auto run = [&](index_t first, index_t rows) {
    Activations<B> input(ctx, {x.begin() + first * K, x.begin() + (first + rows) * K});
    Activations<B> output(ctx, std::vector<float>(static_cast<std::size_t>(rows * width), 0.25f));
    linear(ctx, input.template view<dynamic, K>(rows), matrix, View<const float, B, N>(bias_buffer.data()),
           output.template view<dynamic, width>(rows), E{});
    return output.values(ctx);
  };
  const std::vector<float> together = run(0, 260);
  for (const index_t rows : {1, 2, 3, 4, 5, 20})
    for (index_t first = 0; first + rows <= 260; first += 73) {
      const std::vector<float> part = run(first, rows);
      BOOST_TEST(std::equal(part.begin(), part.end(), together.begin() + first * width),
                 "linear " << N << " x " << K << ": rows " << first << " to " << first + rows << " differ alone");
    }
}

template <class B>
void all_expert_cases(Context<B>& ctx) {
  for (const index_t tokens : {0, 1, 2, 5, 40}) {
    for (const float scale : {0.1f, 1.0f, 30.0f}) {
      route_case<B, 8, 2>(ctx, tokens, scale);
      route_case<B, 128, 8>(ctx, tokens, scale);
    }
    route_case<B, 1, 1>(ctx, tokens, 1.0f);
  }
  route_nan_case(ctx);
  for (const index_t tokens : {0, 1, 3, 5, 17}) {
    expert_mlp_case<B, float, 4, 2, 20, 33>(ctx, tokens, false);
    expert_mlp_case<B, bf16, 7, 3, 33, 12>(ctx, tokens, false);
    expert_mlp_case<B, bf16, 4, 2, 456, 72>(ctx, tokens, false);
    if constexpr (B::is_host) {
      expert_mlp_case<B, bf16_dot, 4, 2, 33, 17>(ctx, tokens, false);
      expert_mlp_case<B, q8, 4, 2, 300, 33>(ctx, tokens, false);
      expert_mlp_case<B, q4, 4, 2, 40, 64>(ctx, tokens, false);
    }
  }
  expert_mlp_case<B, bf16, 2, 1, 8, 16>(ctx, 20, false);
  for (const index_t tokens : {70, 150}) expert_mlp_case<B, bf16, 4, 2, 200, 72>(ctx, tokens, false);
  expert_mlp_case<B, bf16, 128, 8, 16, 8>(ctx, 50, false);  // as many experts as the released models have
  // Above what one block of rows holds, and all experts for every token.
  expert_mlp_case<B, bf16, 7, 3, 33, 12>(ctx, 260, true);
  if constexpr (B::is_host) {  // cuBLASLt chooses by the number of rows
    rows_do_not_matter<B, bf16, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, bf16, 130, 70, epilogue::SwiGlu>(ctx);
    rows_do_not_matter<B, bf16_dot, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, bf16_dot, 130, 70, epilogue::SwiGlu>(ctx);
    rows_do_not_matter<B, q8, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, q8, 130, 70, epilogue::SwiGlu>(ctx);
    rows_do_not_matter<B, q4, 200, 700, epilogue::Add>(ctx);
    rows_do_not_matter<B, q4, 130, 70, epilogue::SwiGlu>(ctx);
  }
}

}  // namespace operations
