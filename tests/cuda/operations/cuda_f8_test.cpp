// Weights of e4m3 on the device, run on the host: conversions, rounding, products of few and of many rows.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_f8
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

using namespace qwen3vl;

struct OnDevice {
  Cuda cuda;
  Context<Cuda> ctx{cuda};
};

// On the host: there and back, saturation, zeros, NaN. Rounding is below.
BOOST_AUTO_TEST_CASE(numbers) {
  for (int code = 0; code < 256; ++code) {
    f8_e4m3 x;
    x.bits = static_cast<std::uint8_t>(code);
    const auto value = static_cast<float>(x);
    BOOST_TEST((code % 128 == 127 ? std::isnan(value) : f8_e4m3(value).bits == code));
    if (code % 128 != 127) BOOST_TEST(static_cast<double>(std::abs(value)) == operations::e4m3_magnitude(code % 128));
  }
  for (const float large : {448.0f, 449.0f, 464.0f, 465.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
    BOOST_TEST(f8_e4m3(large).bits == 0x7e);
    BOOST_TEST(f8_e4m3(-large).bits == 0xfe);
  }
  BOOST_TEST(f8_e4m3(0x1p-10f).bits == 0);  // half way to the least number: to even
  BOOST_TEST(f8_e4m3(0x1.8p-9f).bits == 2);
  BOOST_TEST(f8_e4m3(std::nextafter(0x1p-10f, 1.0f)).bits == 1);
  BOOST_TEST(f8_e4m3(-1e-30f).bits == 0x80);
  BOOST_TEST(f8_e4m3(std::numeric_limits<float>::quiet_NaN()).bits == 0x7f);
}

__global__ void unpack_all(std::uint32_t* pairs) {
  const std::uint32_t code = threadIdx.x, word = code | (code ^ 0x80u) << 8 | (code ^ 1u) << 16 | code << 24;
  const auto with = cuda::unpack_f8(word), without = cuda::unpack_f8<false>(word);
  pairs[4 * code] = with.low;
  pairs[4 * code + 1] = with.high;
  pairs[4 * code + 2] = without.low;
  pairs[4 * code + 3] = without.high;
}

// All codes, in all places of a word.
BOOST_FIXTURE_TEST_CASE(unpacking, OnDevice) {
  Tensor<std::uint32_t, Cuda, dynamic> pairs(1024);
  cuda::launch(ctx, unpack_all, 1, 256, pairs.data());
  std::vector<std::uint32_t> got(1024);
  CudaMemory::copy(got.data(), pairs.data(), 4096);
  for (std::uint32_t code = 0; code < 256; ++code)
    for (int part = 0; part < 8; ++part) {
      const std::uint32_t codes[4] = {code, code ^ 0x80u, code ^ 1u, code}, used = codes[part % 4];
      const std::uint32_t word = got[4 * code + static_cast<std::uint32_t>(part) / 2];
      bf16 value;
      value.bits = static_cast<std::uint16_t>(word >> (16 * (part % 2)));
      const double sign = used < 128 ? 1.0 : -1.0, x = static_cast<double>(static_cast<float>(value));
      if (used % 128 == 127) {
        BOOST_TEST((part < 4 ? std::isnan(x) : x == sign * 480.0));
      } else {
        BOOST_TEST(x == sign * operations::e4m3_magnitude(static_cast<int>(used % 128)));
        BOOST_TEST(std::signbit(x) == (used >= 128));
      }
    }
}

// Scratch memory is what a plan says.
BOOST_FIXTURE_TEST_CASE(scratch_memory, OnDevice) {
  CudaMatrix<fp8, 32, 48, Packing::plain> matrix;
  matrix.allocate();
  const std::vector<float> weights(32 * 48, 1.0f);
  const index_t shape[2] = {32, 48};
  matrix.load_rows(ctx, 0,
                   {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
  for (const index_t rows : {8, 9, 40}) {
    Context<Cuda> own(cuda);
    operations::Guarded<Cuda, bf16> x(own, std::vector<float>(static_cast<std::size_t>(rows * 48), 1.0f));
    operations::Guarded<Cuda, bf16> y(rows * 32);
    linear(own, x.view<dynamic, 48>(rows), matrix, View<const float, Cuda, 32>(), y.view<dynamic, 32>(rows),
           epilogue::Store{});
    BOOST_TEST(own.workspace().peak_bytes() ==
               (OperationMemory<Cuda>::linear<fp8, 32, 48, Packing::plain>(cuda, rows)));
  }
}

// Weights are the nearest e4m3 numbers, with scales by rows; stored as f32, bf16 and f16, in pieces, and at random.
template <class Stored, index_t N, index_t K>
void rounding_case(Context<Cuda>& ctx, const std::vector<float>& numbers) {
  std::vector<Stored> stored(numbers.begin(), numbers.end());
  std::vector<float> values(stored.begin(), stored.end());
  CudaMatrix<fp8, N, K, Packing::plain> matrix;
  matrix.allocate();
  const index_t shape[2] = {N, K};
  matrix.load_rows(
      ctx, 0, {.dtype = dtype_of<Stored>, .data = reinterpret_cast<const std::byte*>(stored.data()), .shape = shape});
  std::vector<std::int32_t> ids;
  for (std::int32_t n = 0; n < N; ++n) ids.push_back(n);
  operations::Guarded<Cuda, std::int32_t> id_buffer(ctx, ids);
  operations::Guarded<Cuda> rows(N * K);
  embedding(ctx, View<const std::int32_t, Cuda, dynamic>(id_buffer.data(), N), matrix, rows.view<dynamic, K>(N));
  BOOST_TEST(rows.intact());
  BOOST_TEST((rows.values(ctx) == operations::rounded_rows(values, K)));
}
BOOST_FIXTURE_TEST_CASE(rounding, OnDevice) {
  std::vector<float> numbers = operations::Numbers(1).many(48 * 160);
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] *= std::exp2f(static_cast<float>(i % 23) - 12.0f);
  std::fill_n(numbers.begin() + 160, 160, 0.0f);  // a row of zeros
  rounding_case<float, 48, 160>(ctx, numbers);
  rounding_case<bf16, 48, 160>(ctx, numbers);
  rounding_case<f16, 48, 160>(ctx, numbers);
  // Half way between two numbers, everywhere: 448 makes the scale 1.
  std::vector<float> ties{448.0f};
  for (int code = 0; code + 1 < 127; ++code)
    ties.push_back(static_cast<float>((operations::e4m3_magnitude(code) + operations::e4m3_magnitude(code + 1)) / 2));
  ties.resize(16 * 128, 1.0f);
  rounding_case<float, 16, 128>(ctx, ties);
  // More than the 1 MiB that is rounded at once.
  rounding_case<float, 32, 9600>(ctx, operations::Numbers(2).many(32 * 9600));
}

// A row with an infinite weight gives NaN, not something that looks like a number.
BOOST_FIXTURE_TEST_CASE(infinite_weights, OnDevice) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> weights(16 * 32, 0.5f);
    weights[5 * 32 + 3] = bad;
    CudaMatrix<fp8, 16, 32, Packing::plain> matrix;
    matrix.allocate();
    const index_t shape[2] = {16, 32};
    matrix.load_rows(ctx, 0,
                     {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
    for (const index_t rows : {1, 12}) {
      operations::Guarded<Cuda, bf16> x(ctx, std::vector<float>(static_cast<std::size_t>(rows * 32), 1.0f));
      operations::Guarded<Cuda, bf16> y(rows * 16);
      linear(ctx, x.view<dynamic, 32>(rows), matrix, View<const float, Cuda, 16>(), y.view<dynamic, 16>(rows),
             epilogue::Store{});
      const std::vector<float> got = y.values(ctx);
      for (std::size_t i = 0; i < got.size(); ++i) BOOST_TEST((i % 16 == 5 ? std::isnan(got[i]) : got[i] == 16.0f));
    }
  }
}

// Streamed: columns that do and do not fill a turn of 64, or the turns of eight warps and what is under way.
BOOST_FIXTURE_TEST_CASE(few_rows, OnDevice) {
  for (const index_t rows : {1, 2, 3, 5, 8}) {
    operations::linear_epilogues<Cuda, fp8, 64, 64, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, fp8, 16, 16, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, fp8, 48, 720, bf16>(ctx, rows);
  }
  for (const index_t rows : {1, 8}) operations::linear_epilogues<Cuda, fp8, 16, 2608, bf16>(ctx, rows);
  // Two tiles in a block: wide matrices only.
  operations::linear_case<Cuda, fp8, 16400, 80, epilogue::Store, bf16>(ctx, 3, true);
  operations::linear_case<Cuda, fp8, 16416, 64, epilogue::SwiGlu, bf16>(ctx, 8, true);
}
// By cuBLASLt, with activations rounded: rows that do and do not fill up to 16.
BOOST_FIXTURE_TEST_CASE(many_rows, OnDevice) {
  for (const index_t rows : {0, 9, 16, 29}) {
    operations::linear_epilogues<Cuda, fp8, 64, 80, bf16>(ctx, rows);
    operations::linear_epilogues<Cuda, fp8, 16, 16, bf16>(ctx, rows);
  }
  operations::linear_epilogues<Cuda, fp8, 32, 2608, bf16>(ctx, 17);  // two vectors of a thread
  // 4096 rows at a time.
  operations::linear_case<Cuda, fp8, 16, 16, epilogue::Add, bf16>(ctx, 4130, true);
}
