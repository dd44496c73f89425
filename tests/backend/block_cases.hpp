/// Block weights: rounding errors, the treatment of zeros, outliers and numbers that are not finite, and that sums do
/// not overflow. Their products are in linear_cases.hpp and expert_cases.hpp like those of other weights.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "backend/check.hpp"
#include "operations/products.hpp"

namespace operations {

/// About normally distributed numbers.
inline std::vector<float> normal(std::uint32_t seed, index_t count) {
  Numbers numbers(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = numbers() + numbers() + numbers();
  return values;
}

/// Weights read back are near the originals. An element of q8 is off by half a step: the block's largest magnitude over
/// 127, rounded up to an integer multiple of the scale, which costs up to one unit, 1 / 127 of the superblock's largest
/// step. q4 has 15 steps over a block's range; the search may clip its ends.
template <class B, class W, index_t N, index_t K>
void rounding_case(Context<B>& ctx, const std::vector<float>& weights, const std::string& kind) {
  const std::string what = concat("weights in ", W::name, ", ", kind);
  const std::vector<float> rounded = as_packed<B, W, N, K>(ctx, weights);
  double error = 0.0, squares = 0.0;
  for (index_t n = 0; n < N; ++n)
    for (index_t s = 0; s < K; s += 256) {
      const auto begin = weights.begin() + n * K + s, end = weights.begin() + n * K + std::min(K, s + 256);
      double largest = 0.0;
      for (auto w = begin; w != end; ++w) largest = std::max(largest, std::abs(static_cast<double>(*w)));
      for (auto block = begin; block < end; block += std::min<index_t>(32, end - block)) {
        const auto block_end = block + std::min<index_t>(32, end - block);
        double magnitude = 0.0;
        for (auto w = block; w != block_end; ++w) magnitude = std::max(magnitude, std::abs(static_cast<double>(*w)));
        const auto [low, high] = std::minmax_element(block, block_end);
        const double range = static_cast<double>(*high) - static_cast<double>(*low);
        const double bound = std::is_same_v<W, q8> ? 0.5 * 1.01 * (magnitude / 127 + largest / (127 * 127))
                                                   : 0.2 * range + largest / 120;
        for (auto w = block; w != block_end; ++w) {
          const double original = static_cast<double>(*w);
          const double difference =
              static_cast<double>(rounded[static_cast<std::size_t>(w - weights.begin())]) - original;
          error += difference * difference;
          squares += original * original;
          if (!(std::abs(difference) <= bound)) {
            BOOST_TEST(false, what << ": " << original << " became " << original + difference << ", allowed " << bound);
            return;
          }
        }
      }
    }
  // Normal weights: q8 0.55 %, q4 7.2 % of their root mean square (Q8_0 0.57 %, Q4_0 8.7 % by the same measure).
  if (kind == "normal")
    BOOST_TEST(std::sqrt(error / squares) < (std::is_same_v<W, q8> ? 0.0056 : 0.0735),
               what << ": relative error " << std::sqrt(error / squares));
}

template <class B, class W>
void rounding_cases(Context<B>& ctx) {
  constexpr index_t n = 37, k = 300;
  std::vector<float> weights = normal(3, n * k);
  rounding_case<B, W, n, k>(ctx, weights, "normal");
  rounding_case<B, W, n, k>(ctx, std::vector<float>(n * k, 0.0f), "zeros");
  rounding_case<B, W, n, k>(ctx, std::vector<float>(n * k, -0.75f), "all the same");
  std::vector<float> other = weights;
  for (float& w : other) w = std::abs(w) + 3.0f;
  rounding_case<B, W, n, k>(ctx, other, "far from zero");
  for (float& w : other) w *= 1e-20f;
  rounding_case<B, W, n, k>(ctx, other, "small");
  for (float& w : other) w *= 1e38f;
  rounding_case<B, W, n, k>(ctx, other, "large");
  other = weights;
  for (std::size_t i = 0; i < other.size(); i += 97) other[i] *= 100.0f;
  rounding_case<B, W, n, k>(ctx, other, "outliers");
  // Weights stored as bf16 or f16 round to the same blocks as the equal floats.
  for (const DType dtype : {DType::bf16, DType::f16})
    visit_floating(dtype, [&](auto type) {
      using Stored = decltype(type);
      std::vector<Stored> stored;
      std::vector<float> floats;
      for (const float w : weights) {
        stored.emplace_back(w);
        floats.push_back(static_cast<float>(stored.back()));
      }
      typename B::template Matrix<W, n, k, Packing::plain> matrix;
      matrix.allocate();
      const index_t shape[2] = {n, k};
      matrix.load_rows(
          ctx, 0, RawTensor{.dtype = dtype, .data = reinterpret_cast<const std::byte*>(stored.data()), .shape = shape});
      const std::vector<std::int32_t> ids{36, 0, 9};
      Guarded<B, std::int32_t> id_buffer(ctx, ids);
      Guarded<B> rows(3 * k);
      embedding(ctx, View<const std::int32_t, B, dynamic>(id_buffer.data(), 3), matrix,
                rows.template view<dynamic, k>(3));
      const std::vector<float> got = rows.values(ctx), all = as_packed<B, W, n, k>(ctx, floats);
      for (std::size_t i = 0; i < ids.size(); ++i)
        BOOST_TEST(std::equal(got.begin() + static_cast<index_t>(i) * k, got.begin() + static_cast<index_t>(i + 1) * k,
                              all.begin() + ids[i] * k),
                   "weights in " << W::name << " stored as " << name_of(dtype));
    });
}

/// One product whose weights and activations are all as large as they get, in both signs: the sum of a superblock
/// reaches its bound. And activations with outliers, very small ones, zeros, and what is not finite.
template <class B, class W, index_t N, index_t K>
void extreme_case(Context<B>& ctx, index_t rows) {
  std::vector<float> weights(static_cast<std::size_t>(N * K), 1.0f);
  for (index_t n = 1; n < N; n += 2) std::fill_n(weights.begin() + n * K, K, -1.0f);
  weights[1] = std::numeric_limits<float>::infinity();                                     // row 0 has no finite result
  weights[static_cast<std::size_t>(2 * K + 3)] = std::numeric_limits<float>::quiet_NaN();  // nor has row 2
  typename B::template Matrix<W, N, K, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {N, K};
  matrix.load_rows(
      ctx, 0,
      RawTensor{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
  const auto run = [&](const std::vector<float>& x) {
    Guarded<B> input(ctx, x), output(rows * N);
    linear(ctx, input.template view<dynamic, K>(rows), matrix, View<const float, B, N>(),
           output.template view<dynamic, N>(rows), epilogue::Store{});
    BOOST_TEST(output.intact());
    return output.values(ctx);
  };
  for (const float size : {1.0f, 1e-25f, 1e-38f, 1e30f, 0.0f}) {
    const std::vector<float> y = run(std::vector<float>(static_cast<std::size_t>(rows * K), size));
    for (index_t r = 0; r < rows; ++r)
      for (index_t n = 0; n < N; ++n) {
        const double value = static_cast<double>(y[static_cast<std::size_t>(r * N + n)]);
        const double wanted = static_cast<double>(size) * K * (n % 2 == 0 ? 1.0 : -1.0);
        if (n == 0 || n == 2) {
          BOOST_TEST(std::isnan(value), W::name << ": a weight that is not finite gave " << value);
        } else {
          // Weights of 1 are off by the rounding of their scale; very small activations are integers of 1e-30.
          BOOST_TEST(std::abs(value - wanted) <= 0.006 * std::abs(wanted) + 1e-30 * K,
                     W::name << ": " << K << " times " << size << " gave " << value);
        }
      }
  }
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x(static_cast<std::size_t>(rows * K), 1.0f);
    x[static_cast<std::size_t>(K - 1)] = bad;  // of the first row only
    const std::vector<float> y = run(x);
    for (index_t i = 0; i < rows * N; ++i)
      BOOST_TEST((std::isnan(y[static_cast<std::size_t>(i)]) == (i < N || i % N == 0 || i % N == 2)),
                 W::name << ": element " << i << " with an activation of " << bad);
  }
}

template <class B>
void all_block_cases(Context<B>& ctx) {
  rounding_cases<B, q8>(ctx);
  rounding_cases<B, q4>(ctx);
  for (const index_t rows : {2, 6}) {
    extreme_case<B, q8, 5, 512>(ctx, rows);
    extreme_case<B, q4, 5, 512>(ctx, rows);
    extreme_case<B, q4, 5, 44>(ctx, rows);
  }
}

}  // namespace operations
