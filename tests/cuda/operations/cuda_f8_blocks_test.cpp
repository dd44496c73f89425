// Weights of e4m3 with scales by blocks of 128 columns on the device, run on the host: what is stored so is kept to the
// bit, other weights are rounded; products of few and of many rows.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_f8_blocks
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "qwen3vl/backend/cuda/operation_memory.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
#include "qwen3vl/backend/cuda/operations/random.cuh"
#include "qwen3vl/backend/cuda/operations/rows.cuh"
#include "qwen3vl/backend/cuda/products/linear.cuh"
// After the operations, which the cases find by their names.
#include "backend/linear_cases.hpp"
#include "operations/exact_results.hpp"
#include "operations/stored_f8.hpp"

using namespace qwen3vl;
using operations::Guarded;
using operations::rounded_blocks;
using operations::same_bits;
using operations::StoredF8;
using operations::weights_of;

struct OnDevice {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

namespace {

/// Loads in three parts, of which the second is where the device's rows are not a multiple of anything.
template <class W, index_t N, index_t K>
void kept_case(Context<Cuda>& ctx, const StoredF8& stored) {
  CudaMatrix<W, N, K, Packing::plain> matrix;
  matrix.allocate();
  index_t first = 0;
  for (const index_t count : {index_t{3}, N / 2, N - N / 2 - 3}) {
    const index_t shape[2] = {count, K};
    matrix.load_rows(ctx, first, stored.tensor(shape, first));
    first += count;
  }
  BOOST_TEST(same_bits(weights_of<Cuda>(ctx, matrix), stored.values()));
}

template <class Stored, index_t N, index_t K>
void rounding_case(Context<Cuda>& ctx, const std::vector<float>& numbers) {
  const std::vector<Stored> stored(numbers.begin(), numbers.end());
  CudaMatrix<fp8_blocks, N, K, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {N, K};
  matrix.load_rows(
      ctx, 0, {.dtype = dtype_of<Stored>, .data = reinterpret_cast<const std::byte*>(stored.data()), .shape = shape});
  BOOST_TEST((weights_of<Cuda>(ctx, matrix) == rounded_blocks({stored.begin(), stored.end()}, K)));
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(kept_as_stored, OnDevice) {
  kept_case<fp8_blocks, 300, 400>(ctx, {300, 400, 128, 128, 1});
  kept_case<fp8_blocks, 34, 80>(ctx, {34, 80, 128, 128, 2});        // less than a block
  kept_case<fp8_blocks, 34, 400>(ctx, {34, 400, 1, 256, 3});        // wider groups
  kept_case<fp8_blocks, 34, 400>(ctx, {34, 400, 1, 400, 4});        // a scale for each row
  kept_case<fp8_blocks, 34, 400>(ctx, {34, 400, 34, 400, 5});       // one for the tensor
  kept_case<fp8, 32, 400>(ctx, {32, 400, 1, 400, 6});               // scales by rows are those of fp8, too
  kept_case<fp8_blocks, 34, 128>(ctx, {34, 128, 1, 128, 7, 90});    // any scale
  kept_case<fp8_blocks, 18, 65536>(ctx, {18, 65536, 128, 128, 8});  // more than a thread copies
  // The numbers themselves, in their order on the device.
  const StoredF8 stored(16, 272, 128, 128, 9);
  CudaMatrix<fp8_blocks, 16, 272, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {16, 272};
  matrix.load_rows(ctx, 0, stored.tensor(shape));
  std::vector<std::uint8_t> bits(16 * 272);
  std::vector<float> scales(16 * 3);
  CudaMemory::copy(bits.data(), matrix.data(), bits.size());
  CudaMemory::copy(scales.data(), matrix.scales(), scales.size() * sizeof(float));
  for (index_t n = 0; n < 16; ++n)
    for (index_t k = 0; k < 272; ++k) {
      const auto place = static_cast<std::size_t>(n * 272 + cuda::f8_place<true>(static_cast<int>(k)));
      if (bits[place] != stored.code(n, k)) BOOST_TEST(bits[place] == stored.code(n, k), n << ", " << k);
      if (const float scale = scales[static_cast<std::size_t>(k / 128 * 16 + n)]; scale != stored.scale(n, k))
        BOOST_TEST(scale == stored.scale(n, k), n << ", " << k);
    }
}

// Where a file's scales do not fit, its values are rounded.
BOOST_FIXTURE_TEST_CASE(other_scales, OnDevice) {
  const StoredF8 narrow(16, 160, 1, 32, 1);
  CudaMatrix<fp8_blocks, 16, 160, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {16, 160};
  matrix.load_rows(ctx, 0, narrow.tensor(shape));
  BOOST_TEST((weights_of<Cuda>(ctx, matrix) == rounded_blocks(narrow.values(), 160)));
  CudaMatrix<fp8, 16, 160, Packing::plain> rows;
  rows.allocate();
  rows.load_rows(ctx, 0, StoredF8(16, 160, 128, 128, 2).tensor(shape));
  BOOST_TEST((weights_of<Cuda>(ctx, rows) == operations::rounded_rows(StoredF8(16, 160, 128, 128, 2).values(), 160)));
}

BOOST_FIXTURE_TEST_CASE(rounding, OnDevice) {
  std::vector<float> numbers = operations::Numbers(1).many(48 * 400);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] *= std::exp2f(static_cast<float>(i % 23) - 12.0f);
  std::fill_n(numbers.begin() + 400, 200, 0.0f);
  rounding_case<float, 48, 400>(ctx, numbers);
  rounding_case<bf16, 48, 400>(ctx, numbers);
  rounding_case<f16, 48, 400>(ctx, numbers);
  rounding_case<float, 32, 9600>(ctx, operations::Numbers(2).many(32 * 9600));  // more than is rounded at once
}

// A number that is none, infinite or NaN, and a scale that is infinite: the row's results are NaN.
BOOST_FIXTURE_TEST_CASE(no_numbers, OnDevice) {
  constexpr index_t N = 32, K = 400;
  const index_t shape[2] = {N, K};
  const auto check = [&](const RawTensor& raw) {
    CudaMatrix<fp8_blocks, N, K, Packing::plain> matrix;
    matrix.allocate();
    matrix.load_rows(ctx, 0, raw);
    for (const index_t rows : {1, 12}) {
      Guarded<Cuda, bf16> x(ctx, std::vector<float>(static_cast<std::size_t>(rows * K), 1.0f));
      Guarded<Cuda, bf16> y(rows * N);
      linear(ctx, x.view<dynamic, K>(rows), matrix, View<const float, Cuda, N>(), y.view<dynamic, N>(rows),
             epilogue::Store{});
      const std::vector<float> got = y.values(ctx);
      for (std::size_t i = 0; i < got.size(); ++i) BOOST_TEST(std::isnan(got[i]) == (i % N == 5));
    }
  };
  StoredF8 stored(N, K, 128, 128, 3);
  stored.code(5, 300) = 0xff;
  check(stored.tensor(shape));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> weights(N * K, 0.5f);
    weights[5 * K + 300] = bad;
    check(operations::raw_matrix(weights.data(), {N, K}));
  }
}

BOOST_FIXTURE_TEST_CASE(few_rows, OnDevice) {
  for (const index_t rows : {1, 2, 3, 5, 8}) {
    operations::linear_epilogues<Cuda, fp8_blocks, 64, 128, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, fp8_blocks, 18, 16, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, fp8_blocks, 50, 720, bf16>(ctx, rows);
  }
  // More blocks of columns than two turns of eight warps.
  for (const index_t rows : {1, 8}) operations::linear_epilogues<Cuda, fp8_blocks, 16, 2608, bf16>(ctx, rows);
}

// All three tilings: up to 16 rows; four multiprocessors have a large tile each, or not.
BOOST_FIXTURE_TEST_CASE(many_rows, OnDevice) {
  for (const index_t rows : {0, 9, 16, 29}) {
    operations::linear_epilogues<Cuda, fp8_blocks, 66, 144, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, fp8_blocks, 6, 16, bf16>(ctx, rows);
  }
  operations::linear_epilogues<Cuda, fp8_blocks, 130, 720, bf16>(ctx, 150);
  operations::linear_case<Cuda, fp8_blocks, 16, 16, epilogue::Add, bf16>(ctx, 2090, true);  // more than one band
  operations::linear_case<Cuda, fp8_blocks, 70, 2608, epilogue::Store, bf16>(ctx, 17, true);
}

namespace {

/// Products of weights that are stored with scales of very different sizes, in double precision of the very numbers.
template <index_t N, index_t K>
void stored_case(Context<Cuda>& ctx, index_t rows) {
  const StoredF8 stored(N, K, 128, 128, 5, 12.0f);
  CudaMatrix<fp8_blocks, N, K, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {N, K};
  matrix.load_rows(ctx, 0, stored.tensor(shape));
  const std::vector<float> x = operations::rounded_to<bf16>(operations::Numbers(6).many(rows * K));
  Guarded<Cuda, bf16> in(ctx, x);
  Guarded<Cuda> out(rows * N);
  linear(ctx, in.view<dynamic, K>(rows), matrix, View<const float, Cuda, N>(), out.view<dynamic, N>(rows),
         epilogue::Store{});
  std::vector<double> expected, bounds;
  for (index_t r = 0; r < rows; ++r)
    for (index_t n = 0; n < N; ++n) {
      double sum = 0.0, norm = 0.0;
      for (index_t k = 0; k < K; ++k) {
        f8_e4m3 q;
        q.bits = stored.code(n, k);
        const double term = static_cast<double>(static_cast<float>(q)) * static_cast<double>(stored.scale(n, k)) *
                            static_cast<double>(x[static_cast<std::size_t>(r * K + k)]);
        sum += term;
        norm += std::abs(term);
      }
      expected.push_back(sum);
      bounds.push_back(static_cast<double>(K + 8) * operations::epsilon * norm);
    }
  operations::check(ctx, out, expected, bounds, concat(rows, " rows of stored weights"));
}

/// Rows of a product by one tiling, which are those of any other.
template <class Tiling, class E, index_t N, index_t K>
std::vector<float> by(Context<Cuda>& ctx, const CudaMatrix<fp8_blocks, N, K, Packing::plain>& matrix,
                      const std::vector<float>& x) {
  const index_t rows = static_cast<index_t>(x.size()) / K, width = epilogue::width<E, N>;
  Guarded<Cuda, bf16> in(ctx, x);
  Guarded<Cuda> out(rows * width);
  cuda::f8_blocks_product<Tiling, E, static_cast<int>(N), static_cast<int>(K)>(ctx, in.data(), rows, matrix.data(),
                                                                               matrix.scales(), nullptr, out.data());
  BOOST_TEST(out.intact());
  return out.values(ctx);
}

}  // namespace

BOOST_FIXTURE_TEST_CASE(stored_products, OnDevice) {
  for (const index_t rows : {1, 8, 9, 40}) stored_case<48, 720>(ctx, rows);
  stored_case<258, 400>(ctx, 140);
}

BOOST_FIXTURE_TEST_CASE(same_in_every_tiling, OnDevice) {
  CudaMatrix<fp8_blocks, 132, 400, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {132, 400};
  matrix.load_rows(ctx, 0, StoredF8(132, 400, 128, 128, 5).tensor(shape));
  const std::vector<float> x = operations::Numbers(6).many(150 * 400);
  const auto check = [&](auto e) {
    using E = decltype(e);
    const index_t width = epilogue::width<E, 132>;
    const std::vector<float> large = by<cuda::LargeTiling, E>(ctx, matrix, x);
    BOOST_TEST(same_bits(by<cuda::SquareTiling, E>(ctx, matrix, x), large));
    BOOST_TEST(same_bits(by<cuda::SmallTiling, E>(ctx, matrix, x), large));
    const std::vector<float> some{x.begin() + 37 * 400, x.begin() + 60 * 400};
    BOOST_TEST(same_bits(by<cuda::SmallTiling, E>(ctx, matrix, some),
                         {large.begin() + 37 * width, large.begin() + 60 * width}));
  };
  check(epilogue::Store{});
  check(epilogue::SwiGlu{});
}

BOOST_FIXTURE_TEST_CASE(scratch_memory, OnDevice) {
  const std::vector<float> weights(32 * 48, 1.0f);
  CudaMatrix<fp8_blocks, 32, 48, Packing::plain> matrix;
  matrix.allocate();
  BOOST_TEST(matrix.bytes() == 32u * 48u + 32u * 4u);
  {
    Context<Cuda> own(cuda);
    matrix.load_rows(own, 0, operations::raw_matrix(weights.data(), {32, 48}));
    BOOST_TEST(own.workspace().peak_bytes() == OperationMemory<Cuda>::load(cuda, matrix, 32, 4));
  }
  for (const index_t rows : {8, 9, 40}) {
    Context<Cuda> own(cuda);
    Guarded<Cuda, bf16> x(own, std::vector<float>(static_cast<std::size_t>(rows * 48), 1.0f));
    Guarded<Cuda, bf16> y(rows * 32);
    linear(own, x.view<dynamic, 48>(rows), matrix, View<const float, Cuda, 32>(), y.view<dynamic, 32>(rows),
           epilogue::Store{});
    BOOST_TEST(own.workspace().peak_bytes() == 0u);
    BOOST_TEST((OperationMemory<Cuda>::linear<fp8_blocks, 32, 48, Packing::plain>(cuda, rows)) == 0u);
  }
}

// Random weights that are made on the device are those that the host makes, rounded as when they are loaded.
BOOST_FIXTURE_TEST_CASE(random_weights, OnDevice) {
  const RandomStream random(1, "a.weight", 0.5f);
  std::vector<float> numbers(2 * 40 * 144);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = random(i);
  const auto bytes_of = [](const auto& weights) {
    std::vector<std::uint8_t> bytes(weights.bytes());
    CudaMemory::copy(bytes.data(), weights.data(), bytes.size());
    return bytes;
  };
  CudaMatrix<fp8_blocks, 80, 144, Packing::plain> made, loaded;
  CudaExperts<fp8_blocks, 2, 40, 144, Packing::plain> made_experts, loaded_experts;
  made.allocate(), loaded.allocate(), made_experts.allocate(), loaded_experts.allocate();
  fill_random(ctx, made, 0, 30, random);
  fill_random(ctx, made, 30, 50, random);
  loaded.load_rows(ctx, 0, operations::raw_matrix(numbers.data(), {30, 144}));
  loaded.load_rows(ctx, 30, operations::raw_matrix(numbers.data(), {50, 144}));
  BOOST_TEST((bytes_of(made) == bytes_of(loaded)));
  fill_random(ctx, made_experts, 0, 0, random);
  for (index_t e = 0; e < 2; ++e)
    loaded_experts.load_expert(ctx, e, operations::raw_matrix(numbers.data() + e * 40 * 144, {144, 40}), true);
  BOOST_TEST((bytes_of(made_experts) == bytes_of(loaded_experts)));
}
