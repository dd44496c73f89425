/// Norms, rotary positions, row operations and logits against double precision.
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "guarded.hpp"

namespace operations {

template <class B, index_t D>
void norm_cases(Context<B>& ctx, index_t rows, float mean) {
  Numbers numbers(static_cast<std::uint32_t>(D));
  std::vector<float> x = numbers.many(rows * D);
  for (float& value : x) value += mean;
  const std::vector<float> w = numbers.many(D), b = numbers.many(D);
  Guarded<B> weight(ctx, w), bias(ctx, b);
  Activations<B> input(ctx, x), rms(rows * D), layer(rows * D);
  rms_norm(ctx, input.template view<dynamic, D>(rows), View<const float, B, D>(weight.data()), 1e-5f,
           rms.template view<dynamic, D>(rows));
  layer_norm(ctx, input.template view<dynamic, D>(rows), View<const float, B, D>(weight.data()),
             View<const float, B, D>(bias.data()), 1e-6f, layer.template view<dynamic, D>(rows));
  std::vector<double> rms_expected, rms_bound, layer_expected, layer_bound;
  for (index_t r = 0; r < rows; ++r) {
    double squares = 0.0, sum = 0.0, variance = 0.0;
    const auto at = [&](index_t i) { return static_cast<double>(x[static_cast<std::size_t>(r * D + i)]); };
    for (index_t i = 0; i < D; ++i) {
      squares += at(i) * at(i);
      sum += at(i);
    }
    const double center = sum / D;
    for (index_t i = 0; i < D; ++i) variance += (at(i) - center) * (at(i) - center);
    const double rms_scale = 1.0 / std::sqrt(squares / D + static_cast<double>(1e-5f));
    const double layer_scale = 1.0 / std::sqrt(variance / D + static_cast<double>(1e-6f));
    for (index_t i = 0; i < D; ++i) {
      const auto wi = static_cast<double>(w[static_cast<std::size_t>(i)]),
                 bi = static_cast<double>(b[static_cast<std::size_t>(i)]);
      rms_expected.push_back(at(i) * rms_scale * wi);
      rms_bound.push_back((D / 4 + 8) * epsilon * std::abs(rms_expected.back()) + 1e-30);
      layer_expected.push_back((at(i) - center) * layer_scale * wi + bi);
      // The mean is rounded to float, which moves every element by up to (D / 8 + 4) eps |mean|.
      layer_bound.push_back((D / 4 + 8) * epsilon * (std::abs(layer_expected.back()) + std::abs(bi)) +
                            (D / 8 + 4) * epsilon * (std::abs(center) + 1.0) * layer_scale * std::abs(wi) * 2.0);
    }
  }
  check(ctx, rms, rms_expected, rms_bound, concat("rms_norm of ", D));
  check(ctx, layer, layer_expected, layer_bound, concat("layer_norm of ", D));
}

/// Interleaved MRoPE tables and the vision tower's rotation.
template <class B>
void rope_cases(Context<B>& ctx) {
  constexpr index_t frequencies = 9;                                           // sections 3, 4, 2
  const std::vector<std::int32_t> positions{0, 5, 262143, 1, 7, 3, 2, 9, 11};  // [3, tokens]
  const index_t tokens = 3;
  std::vector<float> inv_freq;
  for (int i = 0; i < frequencies; ++i) inv_freq.push_back(static_cast<float>(std::pow(5e6, -i / 9.0)));
  Guarded<B, std::int32_t> ids(ctx, positions);
  Guarded<B> table(ctx, inv_freq), cos(tokens * frequencies), sin(tokens * frequencies);
  rope_tables<3, 4, 2>(
      ctx, View<const std::int32_t, B, 3, dynamic>(ids.data(), tokens), View<const float, B, frequencies>(table.data()),
      1.5f, cos.template view<dynamic, frequencies>(tokens), sin.template view<dynamic, frequencies>(tokens));
  const int axis_of[frequencies] = {0, 1, 2, 0, 1,
                                    2, 0, 1, 0};  // i % 3, the width only below 3 * 2, the height below 3 * 4
  std::vector<double> cos_expected, sin_expected;
  for (index_t t = 0; t < tokens; ++t)
    for (index_t i = 0; i < frequencies; ++i) {
      const float angle = static_cast<float>(positions[static_cast<std::size_t>(axis_of[i] * tokens + t)]) *
                          inv_freq[static_cast<std::size_t>(i)];
      cos_expected.push_back(1.5 * std::cos(static_cast<double>(angle)));
      sin_expected.push_back(1.5 * std::sin(static_cast<double>(angle)));
    }
  const std::vector<double> bound(cos_expected.size(), 1.5 * 4 * epsilon);
  check(ctx, cos, cos_expected, bound, "rope_tables cos");
  check(ctx, sin, sin_expected, bound, "rope_tables sin");

  constexpr index_t heads = 3, dim = 20;
  Numbers numbers(3);
  const std::vector<float> qkv = numbers.many(tokens * 3 * heads * dim), angles = numbers.many(tokens * dim / 2);
  std::vector<float> c, s;
  for (const float angle : angles) {
    c.push_back(std::cos(angle));
    s.push_back(std::sin(angle));
  }
  Activations<B> buffer(ctx, qkv);
  Guarded<B> cos_buffer(ctx, c), sin_buffer(ctx, s);
  rotate_qk<heads, dim>(ctx, buffer.template view<dynamic, 3 * heads * dim>(tokens),
                        View<const float, B, dynamic, dim / 2>(cos_buffer.data(), tokens),
                        View<const float, B, dynamic, dim / 2>(sin_buffer.data(), tokens));
  std::vector<double> expected(qkv.begin(), qkv.end());
  for (index_t t = 0; t < tokens; ++t)
    for (index_t h = 0; h < 2 * heads; ++h)  // values do not rotate
      for (index_t i = 0; i < dim / 2; ++i) {
        const auto at = static_cast<std::size_t>((t * 3 * heads + h) * dim + i), pair = at + dim / 2;
        const auto angle = static_cast<std::size_t>(t * dim / 2 + i);
        const double a = static_cast<double>(qkv[at]), b = static_cast<double>(qkv[pair]);
        expected[at] = a * static_cast<double>(c[angle]) - b * static_cast<double>(s[angle]);
        expected[pair] = b * static_cast<double>(c[angle]) + a * static_cast<double>(s[angle]);
      }
  check(ctx, buffer, expected, std::vector<double>(expected.size(), 4 * epsilon), "rotate_qk");
}

template <class B>
void row_cases(Context<B>& ctx) {
  constexpr index_t columns = 13;
  Numbers numbers(11);
  const std::vector<float> x = numbers.many(6 * columns), y = numbers.many(9 * columns);
  const std::vector<std::int32_t> index{8, 0, 3, 4, 1, 7};
  Guarded<B, std::int32_t> places(ctx, index);
  const View<const std::int32_t, B, dynamic> at(places.data(), 6);
  const std::vector<double> exact(y.size(), 0.0);
  const auto rows = [&](auto& buffer, index_t count) { return buffer.template view<dynamic, dynamic>(count, columns); };
  Activations<B> from(ctx, x);
  {
    Activations<B> to(ctx, y);
    scatter_rows(ctx, rows(from, 6), at, rows(to, 9));
    std::vector<double> expected(y.begin(), y.end());
    for (std::size_t i = 0; i < 6; ++i)
      std::copy_n(x.begin() + static_cast<index_t>(i) * columns, columns, expected.begin() + index[i] * columns);
    check(ctx, to, expected, exact, "scatter_rows");
  }
  {
    Activations<B> to(ctx, y);
    add_rows(ctx, rows(from, 6), at, rows(to, 9));
    std::vector<double> expected(y.begin(), y.end());
    for (std::size_t i = 0; i < 6; ++i)
      for (index_t c = 0; c < columns; ++c)
        expected[static_cast<std::size_t>(index[i] * columns + c)] +=
            static_cast<double>(x[i * columns + static_cast<std::size_t>(c)]);
    check(ctx, to, expected, std::vector<double>(y.size(), 2 * epsilon), "add_rows");
  }
  {
    Activations<B> source(ctx, y), to(6 * columns);
    gather_rows(ctx, rows(source, 9), at, rows(to, 6));
    std::vector<double> expected;
    for (const std::int32_t i : index)
      expected.insert(expected.end(), y.begin() + i * columns, y.begin() + (i + 1) * columns);
    check(ctx, to, expected, exact, "gather_rows");
    Activations<B> copied(6 * columns);
    copy_rows(ctx, rows(to, 6), rows(copied, 6));
    check(ctx, copied, expected, exact, "copy_rows");
  }
  {
    const std::vector<std::int32_t> corners{0, 1, 2, 3, 8, 8, 5, 4};
    const std::vector<float> weights = numbers.many(8);
    Guarded<B, std::int32_t> corner_buffer(ctx, corners);
    Guarded<B> table(ctx, y), weight_buffer(ctx, weights);
    Activations<B> to(ctx, std::vector<float>(2 * columns, 0.5f));
    interpolate_add(ctx, rows(table, 9), View<const std::int32_t, B, dynamic, 4>(corner_buffer.data(), 2),
                    View<const float, B, dynamic, 4>(weight_buffer.data(), 2), rows(to, 2));
    std::vector<double> expected(2 * columns, 0.5);
    for (std::size_t i = 0; i < 8; ++i)
      for (index_t c = 0; c < columns; ++c)
        expected[i / 4 * columns + static_cast<std::size_t>(c)] +=
            static_cast<double>(weights[i]) *
            static_cast<double>(y[static_cast<std::size_t>(corners[i] * columns + c)]);
    check(ctx, to, expected, std::vector<double>(2 * columns, 16 * epsilon), "interpolate_add");
  }
  {
    constexpr index_t vocab = 37;
    typename B::template Matrix<bf16, vocab, columns, Packing::plain> table;
    table.allocate();
    std::vector<float> values = numbers.many(vocab * columns);
    for (float& value : values) value = static_cast<float>(bf16(value));
    const index_t shape[2] = {vocab, columns};
    table.load_rows(ctx, 0,
                    {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values.data()), .shape = shape});
    const std::vector<std::int32_t> ids{36, 0, 17, 17};
    Guarded<B, std::int32_t> id_buffer(ctx, ids);
    Activations<B> to(4 * columns);
    embedding(ctx, View<const std::int32_t, B, dynamic>(id_buffer.data(), 4), table,
              to.template view<dynamic, columns>(4));
    std::vector<double> expected;
    for (const std::int32_t id : ids)
      expected.insert(expected.end(), values.begin() + id * columns, values.begin() + (id + 1) * columns);
    check(ctx, to, expected, std::vector<double>(expected.size(), 0.0), "embedding");
  }
}

/// Files hold f32, bf16 or f16, at any address; weights are kept in W.
template <class B, class W, class Stored>
void stored_type_case(Context<B>& ctx, DType dtype) {
  constexpr index_t rows = 35, columns = 9;
  Numbers numbers(77);
  const std::vector<float> values = numbers.many(rows * columns);
  std::vector<std::byte> file(1 + values.size() * sizeof(Stored));  // one byte off any alignment
  std::vector<double> expected;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto stored = static_cast<Stored>(values[i]);
    std::memcpy(file.data() + 1 + i * sizeof stored, &stored, sizeof stored);
    expected.push_back(static_cast<double>(static_cast<float>(static_cast<W>(static_cast<float>(stored)))));
  }
  typename B::template Matrix<W, rows, columns, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {rows, columns};
  matrix.load_rows(ctx, 0, {.dtype = dtype, .data = file.data() + 1, .shape = shape});
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < rows; ++i) ids.push_back(i);
  Guarded<B, std::int32_t> id_buffer(ctx, ids);
  Activations<B> to(rows * columns);
  embedding(ctx, View<const std::int32_t, B, dynamic>(id_buffer.data(), rows), matrix,
            to.template view<dynamic, columns>(rows));
  check(ctx, to, expected, std::vector<double>(expected.size(), 0.0), concat("weights stored as ", name_of(dtype)));
}

template <class B>
void logit_cases(Context<B>& ctx) {
  constexpr index_t vocab = 301;
  Numbers numbers(5);
  std::vector<float> logits = numbers.many(3 * vocab);
  logits[17] = logits[40] = 2.0f;  // equal: the lower index
  logits[vocab + 300] = 1000.0f;
  Guarded<B> buffer(ctx, logits);
  Guarded<B, std::int32_t> ids(3);
  argmax(ctx, buffer.template view<dynamic, dynamic>(3, vocab), ids.template view<dynamic>(3));
  const std::vector<std::int32_t> best = ids.values(ctx);
  BOOST_TEST(ids.intact());
  BOOST_TEST(best[0] == 17);
  BOOST_TEST(best[1] == 300);
  BOOST_TEST(best[2] == std::max_element(logits.begin() + 2 * vocab, logits.end()) - (logits.begin() + 2 * vocab));
}

/// Rows as long as several blocks share, with equals far apart, and with what is no number.
template <class B>
void long_logit_cases(Context<B>& ctx) {
  constexpr index_t vocab = 9001, rows = 5;
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> logits = Numbers(6).many(rows * vocab);
  const auto row = [&](index_t r) { return logits.begin() + r * vocab; };
  row(0)[4100] = row(0)[8999] = 3.0f;
  row(1)[9000] = 3.0f;
  std::fill_n(row(2), vocab, -infinity);
  std::fill_n(row(3), vocab, std::numeric_limits<float>::quiet_NaN());
  for (index_t i = 0; i < vocab; ++i) row(4)[i] = -std::abs(row(4)[i]) - 0.1f;
  row(4)[4500] = -0.0f;  // equal to
  row(4)[8900] = 0.0f;
  Guarded<B> buffer(ctx, logits);
  Guarded<B, std::int32_t> ids(rows);
  argmax(ctx, buffer.template view<dynamic, dynamic>(rows, vocab), ids.template view<dynamic>(rows));
  BOOST_TEST(ids.intact());
  BOOST_TEST(ids.values(ctx) == (std::vector<std::int32_t>{4100, 9000, 0, 0, 4500}), boost::test_tools::per_element());
}

template <class B>
void all_row_cases(Context<B>& ctx) {
  norm_cases<B, 1>(ctx, 3, 0.0f);
  norm_cases<B, 18>(ctx, 5, 0.0f);
  norm_cases<B, 128>(ctx, 2, 0.0f);
  norm_cases<B, 1152>(ctx, 70, 100.0f);  // a large mean
  rope_cases(ctx);
  row_cases(ctx);
  stored_type_case<B, float, float>(ctx, DType::f32);
  stored_type_case<B, float, f16>(ctx, DType::f16);
  stored_type_case<B, float, bf16>(ctx, DType::bf16);
  stored_type_case<B, bf16, float>(ctx, DType::f32);
  stored_type_case<B, bf16, f16>(ctx, DType::f16);
  stored_type_case<B, bf16, bf16>(ctx, DType::bf16);
  logit_cases(ctx);
  long_logit_cases(ctx);
}

}  // namespace operations
