// Weights as a file has them on the device, run on the host: e4m3 stays, all else is bf16.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_stored
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cuda/experts/moe.cuh"
#include "qwen3vl/backend/cuda/operation_memory.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
#include "qwen3vl/backend/cuda/operations/random.cuh"
#include "qwen3vl/backend/cuda/operations/rows.cuh"
// After the operations, which the cases find by their names.
#include "operations/exact_results.hpp"
#include "operations/stored_f8.hpp"
#include "support/check_fails.hpp"

using namespace qwen3vl;
using operations::Guarded;
using operations::StoredF8;

struct OnDevice {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

namespace {

constexpr index_t N = 48, K = 144;

template <class W>
std::vector<float> product(Context<Cuda>& ctx, const CudaMatrix<W, N, K, Packing::plain>& matrix, index_t rows) {
  Guarded<Cuda, bf16> x(ctx, operations::Numbers(3).many(rows * K));
  Guarded<Cuda> y(rows * N);
  linear(ctx, x.view<dynamic, K>(rows), matrix, View<const float, Cuda, N>(), y.view<dynamic, N>(rows),
         epilogue::Store{});
  return y.values(ctx);
}

/// A matrix of `stored` weights of these parts of N rows is one of type W.
template <class W>
void check_is(Context<Cuda>& ctx, const std::vector<RawTensor>& parts) {
  CudaMatrix<stored, N, K, Packing::plain> matrix;
  CudaMatrix<W, N, K, Packing::plain> same;
  index_t first = 0;
  for (const RawTensor& part : parts) {
    matrix.expect_rows(first, part);
    first += part.rows();
  }
  BOOST_TEST(!matrix.allocated());
  BOOST_TEST(matrix.bytes() == same.bytes());
  matrix.allocate(), same.allocate();
  BOOST_TEST(matrix.allocated());
  first = 0;
  for (const RawTensor& part : parts) {
    matrix.load_rows(ctx, first, part);
    same.load_rows(ctx, first, part);
    first += part.rows();
  }
  BOOST_TEST(operations::same_bits(operations::weights_of<Cuda>(ctx, matrix), operations::weights_of<Cuda>(ctx, same)));
  for (const index_t rows : {1, 20})
    BOOST_TEST(operations::same_bits(product(ctx, matrix, rows), product(ctx, same, rows)));
}

constexpr index_t all[2] = {N, K}, a_third[2] = {N / 3, K}, two_thirds[2] = {N - N / 3, K};

}  // namespace

BOOST_FIXTURE_TEST_CASE(matrices, OnDevice) {
  const StoredF8 f8(N, K, 128, 128, 1), narrow(N, K, 1, 32, 2);
  const std::vector<float> numbers = operations::Numbers(4).many(N * K);
  const RawTensor floats = operations::raw_matrix(numbers.data(), all);
  check_is<fp8_blocks>(ctx, {f8.tensor(all)});
  check_is<fp8_blocks>(ctx, {f8.tensor(a_third), f8.tensor(two_thirds, N / 3)});
  check_is<bf16>(ctx, {floats});
  check_is<bf16>(ctx, {narrow.tensor(all)});  // scales that blocks of columns do not have
  // Parts in both forms.
  check_is<bf16>(ctx, {f8.tensor(a_third), floats.rows_from(N / 3, two_thirds)});
  check_is<bf16>(ctx, {floats.rows_from(0, a_third), f8.tensor(two_thirds, N / 3)});
}

BOOST_FIXTURE_TEST_CASE(announcements, OnDevice) {
  const StoredF8 f8(N, K, 128, 128, 1);
  const std::vector<float> numbers = operations::Numbers(4).many(N * K);
  const RawTensor floats = operations::raw_matrix(numbers.data(), all);
  CudaMatrix<stored, N, K, Packing::plain> matrix;
  BOOST_TEST(matrix.bytes() == 0u);
  matrix.allocate();  // in bf16
  BOOST_TEST(matrix.form_of(0) == "bf16");
  BOOST_TEST(matrix.bytes() == static_cast<std::size_t>(N * K) * 2);
  matrix.load_rows(ctx, 0, f8.tensor(all));
  BOOST_TEST((operations::weights_of<Cuda>(ctx, matrix) == operations::rounded_to<bf16>(f8.values())));
  matrix.expect_rows(0, f8.tensor(all));  // loaded again
  BOOST_TEST(!matrix.allocated());
  matrix.allocate();
  matrix.load_rows(ctx, 0, f8.tensor(all));
  BOOST_TEST(matrix.form_of(0) == "e4m3");
  BOOST_TEST(operations::same_bits(operations::weights_of<Cuda>(ctx, matrix), f8.values()));
  CHECK_FAILS(matrix.load_rows(ctx, 0, floats), "call expect_rows() with every tensor");
  // Sizes that blocks do not have.
  CudaMatrix<stored, 6, 40, Packing::plain> odd;
  const index_t shape[2] = {6, 40};
  const StoredF8 small(6, 40, 128, 128, 2);
  odd.expect_rows(0, small.tensor(shape));
  odd.allocate();
  odd.load_rows(ctx, 0, small.tensor(shape));
  BOOST_TEST((operations::weights_of<Cuda>(ctx, odd) == operations::rounded_to<bf16>(small.values())));
}

namespace {

/// expert_mlp() of experts that are loaded from [E, 2 I, D] and [E, D, I].
template <class W, class DownW, index_t E, index_t D, index_t I>
std::vector<float> mlp(Context<Cuda>& ctx, const RawTensor& gate_up, const RawTensor& down, index_t tokens) {
  CudaExperts<W, E, 2 * I, D, Packing::gate_up> first;
  CudaExperts<DownW, E, D, I, Packing::plain> second;
  const auto load = [&](auto& experts, const RawTensor& raw) {
    if constexpr (requires { experts.expect_expert(0, raw, false); })
      for (index_t e = 0; e < E; ++e) experts.expect_expert(e, raw.matrix(e), false);
    experts.allocate();
    for (index_t e = 0; e < E; ++e) experts.load_expert(ctx, e, raw.matrix(e), false);
  };
  load(first, gate_up), load(second, down);
  Guarded<Cuda, bf16> x(ctx, operations::Numbers(1).many(tokens * D));
  Guarded<Cuda, bf16> y(ctx, operations::Numbers(2).many(tokens * D));
  Guarded<Cuda> shares(ctx, std::vector<float>(static_cast<std::size_t>(tokens * 2), 0.5f));
  std::vector<std::int32_t> choices;
  for (index_t i = 0; i < tokens * 2; ++i) choices.push_back(static_cast<std::int32_t>(i % E));
  Guarded<Cuda, std::int32_t> experts(ctx, choices);
  expert_mlp<2>(ctx, x.view<dynamic, D>(tokens), experts.view<dynamic, 2>(tokens), shares.view<dynamic, 2>(tokens),
                first, second, y.view<dynamic, D>(tokens));
  return y.values(ctx);
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(experts, OnDevice) {
  constexpr index_t E = 3, D = 32, I = 16;
  const StoredF8 up(E * 2 * I, D, 128, 128, 1, 1.0f), down(E * D, I, 128, 128, 2, 1.0f);
  const index_t up_shape[3] = {E, 2 * I, D}, down_shape[3] = {E, D, I};
  const std::vector<float> numbers = operations::Numbers(5).many(E * D * I);
  const RawTensor f8_up = up.tensor(up_shape), f8_down = down.tensor(down_shape),
                  floats{.data = reinterpret_cast<const std::byte*>(numbers.data()), .shape = down_shape};
  for (const index_t tokens : {1, 20}) {
    BOOST_TEST((mlp<stored, stored, E, D, I>(ctx, f8_up, f8_down, tokens) ==
                mlp<fp8_blocks, fp8_blocks, E, D, I>(ctx, f8_up, f8_down, tokens)));
    BOOST_TEST((mlp<stored, stored, E, D, I>(ctx, f8_up, floats, tokens) ==
                mlp<fp8_blocks, bf16, E, D, I>(ctx, f8_up, floats, tokens)));
  }
  // Transposed: scales for squares stay, those for rows would be for columns.
  CudaExperts<stored, 2, 256, 128, Packing::plain> transposed;
  const StoredF8 squares(2 * 128, 256, 128, 128, 3), rows(2 * 128, 256, 1, 256, 3);
  const index_t hub[2] = {128, 256};
  const auto bytes = [&](const StoredF8& f8) {
    for (index_t e = 0; e < 2; ++e) transposed.expect_expert(e, f8.tensor(hub, e * 128), true);
    return transposed.bytes();
  };
  BOOST_TEST(bytes(squares) == 2u * 256u * (128u + 4u));
  BOOST_TEST(bytes(rows) == 2u * 256u * 128u * 2u);
}
