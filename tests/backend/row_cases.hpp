/// Norms, rotary positions, row operations and logits against double precision.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "backend/check.hpp"
#include "operations/attention.hpp"
#include "operations/products.hpp"
#include "operations/rows.hpp"

namespace operations {

template <class B, index_t D>
void norm_cases(Context<B>& ctx, index_t rows, float mean) {
  check_operation(ctx, RmsNorm<D>{rows, mean});
  check_operation(ctx, LayerNorm<D>{rows, mean});
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
void all_stored_type_cases(Context<B>& ctx) {
  stored_type_case<B, float, float>(ctx, DType::f32);
  stored_type_case<B, float, f16>(ctx, DType::f16);
  stored_type_case<B, float, bf16>(ctx, DType::bf16);
  stored_type_case<B, bf16, float>(ctx, DType::f32);
  stored_type_case<B, bf16, f16>(ctx, DType::f16);
  stored_type_case<B, bf16, bf16>(ctx, DType::bf16);
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
  check_operation(ctx, RopeTables<3, 4, 2>{3});
  check_operation(ctx, RotateQk<3, 20>{3});
  check_operation(ctx, ScatterRows{{6, 9, 13}});
  check_operation(ctx, AddRows{{6, 9, 13}});
  check_operation(ctx, GatherRows{{6, 9, 13}});
  check_operation(ctx, CopyRows{{6, 9, 13}});
  check_operation(ctx, InterpolateAdd{2, 9, 13});
  check_operation(ctx, Embedding<bf16, 37, 13>{4});
  check_operation(ctx, Argmax{3, 301});
  all_stored_type_cases(ctx);
  logit_cases(ctx);
  long_logit_cases(ctx);
}

}  // namespace operations
