// Products with bf16 weights and activations on the device, run on the host: up to eight rows they stream the weights,
// beyond that cuBLASLt's reference answers.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_gemv
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cuda/operations/copies.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"
// After the operations, which the cases find by their names.
#include "backend/linear_cases.hpp"
#include "operations/exact_results.hpp"

using namespace qwen3vl;

struct OnDevice {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

// Outputs that do and do not fill a tile of 16, columns that do and do not fill a turn of 64 or the turns of eight
// warps and of what is under way.
BOOST_FIXTURE_TEST_CASE(tiles, OnDevice) {
  for (const index_t rows : {1, 2, 3, 5, 8, 9}) {
    operations::linear_epilogues<Cuda, bf16, 64, 64, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, bf16, 33, 72, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, bf16, 24, 512, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, bf16, 7, 8, bf16>(ctx, rows);
  }
  for (const index_t rows : {1, 8}) {
    operations::linear_epilogues<Cuda, bf16, 40, 2048, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, bf16, 17, 2600, bf16>(ctx, rows);
  }
}
// Two tiles in a block: wide matrices only.
BOOST_FIXTURE_TEST_CASE(wide, OnDevice) {
  for (const index_t rows : {1, 8}) {
    operations::linear_case<Cuda, bf16, 16400, 72, epilogue::Store, bf16>(ctx, rows, true);
    operations::linear_case<Cuda, bf16, 16384, 1088, epilogue::Store, bf16>(ctx, rows, false);
    operations::linear_case<Cuda, bf16, 16400, 64, epilogue::SwiGlu, bf16>(ctx, rows, true);
  }
}
// Widths without 16-byte loads, and f32.
BOOST_FIXTURE_TEST_CASE(narrow, OnDevice) {
  for (const index_t rows : {1, 2, 3, 4, 5, 8}) {
    operations::linear_epilogues<Cuda, bf16, 65, 36, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, bf16, 5, 1, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, float, 33, 17>(ctx, rows);
    operations::linear_epilogues<Cuda, float, 10, 300>(ctx, rows);
  }
}

// A row of eight is, to the last bit, what it is alone.
template <class W, index_t N, index_t K, class E>
void rows_alone(Context<Cuda>& ctx) {
  using A = cuda::operand_t<W>;
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  constexpr index_t width = epilogue::width<E, N>;
  CudaMatrix<W, N, K, gated ? Packing::gate_up : Packing::plain> matrix;
  matrix.allocate();
  operations::Numbers numbers(N);
  const std::vector<float> weights = numbers.many(N * K), x = numbers.many(8 * K), before = numbers.many(8 * width);
  const index_t shape[2] = {N, K};
  matrix.load_rows(
      ctx, 0,
      RawTensor{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
  const auto run = [&](index_t first, index_t rows) {
    operations::Guarded<Cuda, A> input(ctx, {x.begin() + first * K, x.begin() + (first + rows) * K});
    operations::Guarded<Cuda, A> output(ctx, {before.begin() + first * width, before.begin() + (first + rows) * width});
    linear(ctx, input.template view<dynamic, K>(rows), matrix, View<const float, Cuda, N>(),
           output.template view<dynamic, width>(rows), E{});
    return output.values(ctx);
  };
  const std::vector<float> all = run(0, 8);
  for (const index_t rows : {1, 2, 3, 5, 7})
    for (index_t first = 0; first + rows <= 8; first += rows) {
      const std::vector<float> some = run(first, rows);
      BOOST_TEST(std::equal(some.begin(), some.end(), all.begin() + first * width), rows << " rows from " << first);
    }
}
BOOST_FIXTURE_TEST_CASE(alone, OnDevice) {
  rows_alone<bf16, 40, 712, epilogue::Add>(ctx);
  rows_alone<bf16, 48, 264, epilogue::SwiGlu>(ctx);
  rows_alone<fp8, 48, 720, epilogue::Add>(ctx);
  rows_alone<fp8, 64, 272, epilogue::SwiGlu>(ctx);
  rows_alone<fp8_blocks, 48, 720, epilogue::Add>(ctx);
  rows_alone<fp8_blocks, 64, 272, epilogue::SwiGlu>(ctx);
  rows_alone<float, 11, 300, epilogue::Store>(ctx);
  rows_alone<float, 12, 65, epilogue::SwiGlu>(ctx);
}
