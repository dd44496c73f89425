/// linear() against sums in double precision: sizes that do and do not fill tiles, all weight types, all epilogues.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "guarded.hpp"
#include "weights.hpp"

namespace operations {

inline double activate(double z, epilogue::Gelu) { return 0.5 * z * std::erfc(-z / std::sqrt(2.0)); }
inline double activate(double z, epilogue::GeluTanh) {
  return 0.5 * z * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979323846) * (z + 0.044715 * z * z * z)));
}
template <class E>
double activate(double z, E) {
  return z;
}

/// A product's operands and its epilogue without the types, so that the reference is compiled once rather than for each
/// of the many shapes.
struct LinearOperands {
  index_t rows, outputs, inputs;
  const std::vector<float>& x;        // [rows, inputs]
  const std::vector<float>& weights;  // [outputs, inputs], those that count
  const std::vector<float>* bias;     // [outputs], or null
  const std::vector<float>* before;   // what is added to, [rows, outputs], or null
  bool gated;
  double (*activate)(double z);  // where not gated
  std::vector<double> (*activation_error)(const float* x, index_t count);
  double rounding_a;    // of activations that are kept
  double sum_rounding;  // of the sums, relative to sum |x w|
};

/// The bound of a sum is (K + 8) eps sum |x w|, the worst case of any order of summation, plus a few units in the last
/// place for the epilogue, whose slope is at most 1.13 (GELU), or |gate| and |up| (SwiGLU). Block weights add what
/// activations may be off by, times |w|. With activations of bf16 (x is rounded before), the bias, z and y may each be
/// rounded once more.
inline void linear_reference(const LinearOperands& of, std::vector<double>& expected, std::vector<double>& bound) {
  const index_t n_count = of.outputs, k_count = of.inputs, width = of.gated ? n_count / 2 : n_count;
  for (index_t r = 0; r < of.rows; ++r) {
    std::vector<double> z(static_cast<std::size_t>(n_count)), error(z.size());
    const std::vector<double> x_error = of.activation_error(of.x.data() + r * k_count, k_count);
    for (index_t n = 0; n < n_count; ++n) {
      double sum = of.bias ? static_cast<double>((*of.bias)[static_cast<std::size_t>(n)]) : 0.0, norm = std::abs(sum);
      double rounding = 0.0;
      for (index_t k = 0; k < k_count; ++k) {
        const double w = static_cast<double>(of.weights[static_cast<std::size_t>(n * k_count + k)]);
        const double term = static_cast<double>(of.x[static_cast<std::size_t>(r * k_count + k)]) * w;
        rounding += x_error[static_cast<std::size_t>(k)] * std::abs(w);
        sum += term;
        norm += std::abs(term);
      }
      z[static_cast<std::size_t>(n)] = sum;
      error[static_cast<std::size_t>(n)] = (static_cast<double>(k_count + 8) * epsilon + of.sum_rounding) * norm +
                                           rounding + of.rounding_a * (std::abs(sum) + (of.bias ? 1.0 : 0.0));
    }
    for (index_t n = 0; n < width; ++n) {
      const auto i = static_cast<std::size_t>(n);
      if (of.gated) {
        const auto u = static_cast<std::size_t>(width + n);
        const double gate = z[i] / (1.0 + std::exp(-z[i]));
        expected.push_back(gate * z[u]);
        bound.push_back(1.1 * error[i] * (std::abs(z[u]) + error[u]) + error[u] * std::abs(gate) +
                        (8 * epsilon + 1.1 * of.rounding_a) * std::abs(gate * z[u]) + 1e-30);
      } else {
        const double old = of.before ? static_cast<double>((*of.before)[static_cast<std::size_t>(r * width + n)]) : 0.0;
        expected.push_back(of.activate(z[i]) + old);
        // exp's range reduction costs a few units of z itself where the result is small beside it.
        bound.push_back(1.2 * error[i] + 8 * epsilon * (std::abs(z[i]) + std::abs(old)) +
                        1.1 * of.rounding_a * std::abs(expected.back()) + 1e-30);
      }
    }
  }
}

/// One product.
template <class B, class W, index_t N, index_t K, class E, class A = activation_for<B, W>>
void linear_case(Context<B>& ctx, index_t rows, bool with_bias) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>, adds = std::is_same_v<E, epilogue::Add>;
  constexpr Packing packing = gated ? Packing::gate_up : Packing::plain;
  constexpr index_t width = epilogue::width<E, N>;
  const std::string what =
      concat("linear ", rows, " x ", N, " x ", K, gated ? " gated" : "", with_bias ? " bias " : " ", weight_name<W>());
  Numbers numbers(static_cast<std::uint32_t>(rows * 31 + N * 7 + K));
  const std::vector<float> weights = numbers.many(N * K);
  const std::vector<float> packed = as_packed<B, W, N, K>(ctx, weights);
  typename B::template Matrix<W, N, K, packing> matrix;
  matrix.allocate();
  // In two parts, as fused projections are loaded.
  const index_t split = N / 3;
  const index_t shapes[2][2] = {{split, K}, {N - split, K}};
  for (const int part : {0, 1}) {
    const index_t first = part == 0 ? 0 : split;
    if (shapes[part][0] > 0)
      matrix.load_rows(ctx, first,
                       RawTensor{.dtype = DType::f32,
                                 .data = reinterpret_cast<const std::byte*>(weights.data() + first * K),
                                 .shape = shapes[part]});
  }
  std::vector<float> x = numbers.many(rows * K), before = numbers.many(rows * width);
  const std::vector<float> bias = numbers.many(N);
  round_to<A>(x);
  round_to<A>(before);
  Guarded<B> bias_buffer(ctx, bias);
  Guarded<B, A> input(ctx, x), output(rows * width);
  if constexpr (adds)
    copy_from_host(ctx, View<const float, Cpu, dynamic>(before.data(), rows * width),
                   output.template view<dynamic>(rows * width));

  linear(ctx, input.template view<dynamic, K>(rows), matrix,
         with_bias ? View<const float, B, N>(bias_buffer.data()) : View<const float, B, N>(),
         output.template view<dynamic, width>(rows), E{});

  std::vector<double> expected, bound;
  x = as_multiplied<W>(x, rows, K);
  linear_reference({.rows = rows,
                    .outputs = N,
                    .inputs = K,
                    .x = x,
                    .weights = packed,
                    .bias = with_bias ? &bias : nullptr,
                    .before = adds ? &before : nullptr,
                    .gated = gated,
                    .activate = [](double z) { return activate(z, E{}); },
                    .activation_error = &activation_error<W, float>,
                    .rounding_a = rounding_of<A>,
                    .sum_rounding = sum_rounding<W>(rows)},
                   expected, bound);
  check(ctx, output, expected, bound, what);
}

/// The two epilogues that read or write differently from the others: what depends only on the shape is the same in all,
/// and each is compiled for every shape.
template <class B, class W, index_t N, index_t K, class A = activation_for<B, W>>
void linear_shapes(Context<B>& ctx, index_t rows) {
  linear_case<B, W, N, K, epilogue::Add, A>(ctx, rows, true);
  linear_case<B, W, 2 * N, K, epilogue::SwiGlu, A>(ctx, rows, rows % 2 == 0);
}

/// All epilogues.
template <class B, class W, index_t N, index_t K, class A = activation_for<B, W>>
void linear_epilogues(Context<B>& ctx, index_t rows) {
  linear_shapes<B, W, N, K, A>(ctx, rows);
  linear_case<B, W, N, K, epilogue::Store, A>(ctx, rows, false);
  linear_case<B, W, N, K, epilogue::Gelu, A>(ctx, rows, true);
  linear_case<B, W, N, K, epilogue::GeluTanh, A>(ctx, rows, false);
}

/// Rows around the edges of tiles (6 and 14), of the streamed path (4) and of a block.
template <class B>
void all_linear_cases(Context<B>& ctx) {
  for (const index_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29}) {
    linear_epilogues<B, float, 33, 17>(ctx, rows);
    linear_epilogues<B, bf16, 64, 36>(ctx, rows);
    linear_epilogues<B, bf16_dot, 33, 37>(ctx, rows);
  }
  for (const index_t rows : {1, 9, 127}) linear_shapes<B, float, 1, 1>(ctx, rows);
  for (const index_t rows : {1, 9}) linear_shapes<B, bf16_dot, 1, 1>(ctx, rows);
  // Deeper than one block of columns, and a last panel of one row.
  for (const index_t rows : {1, 2, 5, 20, 240}) linear_case<B, bf16, 65, 1100, epilogue::Add>(ctx, rows, true);
  for (const index_t rows : {1, 2, 240}) linear_case<B, bf16_dot, 65, 1100, epilogue::Add>(ctx, rows, true);
  for (const index_t rows : {1, 3, 4, 5, 13, 29}) {
    linear_epilogues<B, q8, 33, 17>(ctx, rows);
    linear_epilogues<B, q4, 64, 36>(ctx, rows);
    // Two superblocks, the last of two blocks and not full; three, the last full.
    linear_shapes<B, q8, 24, 300>(ctx, rows);
    linear_shapes<B, q4, 37, 768>(ctx, rows);
  }
  for (const index_t rows : {1, 9, 127}) {
    linear_shapes<B, q8, 1, 1>(ctx, rows);
    linear_shapes<B, q4, 1, 1>(ctx, rows);
  }
  for (const index_t rows : {2, 240}) {
    linear_case<B, q8, 65, 1100, epilogue::Add>(ctx, rows, true);
    linear_case<B, q4, 65, 1100, epilogue::Add>(ctx, rows, true);
  }
  // More outputs than a group of panels, so that a thread has several groups.
  linear_case<B, bf16, 1100, 300, epilogue::Store>(ctx, 6, false);
  linear_case<B, bf16_dot, 1100, 300, epilogue::Store>(ctx, 6, false);
  linear_case<B, q8, 1100, 300, epilogue::Store>(ctx, 6, false);
  // Rows that two or three threads divide among them, also more than one of them packs at once.
  for (const index_t rows : {300, 401, 810}) {
    linear_case<B, float, 33, 17, epilogue::Store>(ctx, rows, true);
    linear_case<B, bf16, 64, 36, epilogue::Add>(ctx, rows, true);
    linear_case<B, bf16_dot, 65, 37, epilogue::GeluTanh>(ctx, rows, false);
    linear_case<B, q8, 66, 40, epilogue::SwiGlu>(ctx, rows, true);
    linear_case<B, q4, 33, 300, epilogue::Add>(ctx, rows, false);
  }
  for (const index_t rows : {4, 33}) linear_case<B, float, 96, 513, epilogue::SwiGlu>(ctx, rows, false);
}

}  // namespace operations
