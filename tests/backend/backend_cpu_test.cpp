// Every operation of the backend contract on the CPU, for the instruction set that this file is compiled for and with
// one, two and three threads. The tables in tests/backend/ are templates over the backend; another backend is another
// file like this. With QWEN3VL_PRODUCTS_ONLY only products: for instruction sets that change nothing else.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_NO_MAIN
#include <bit>
#include <boost/test/unit_test.hpp>

#include "backend/block_cases.hpp"
#include "backend/expert_cases.hpp"
#include "backend/formulas.hpp"
#include "backend/linear_cases.hpp"
#include "backend/processor.hpp"
#include "backend/stored_cases.hpp"
#ifndef QWEN3VL_PRODUCTS_ONLY
#include "backend/attention_cases.hpp"
#include "backend/cache_cases.hpp"
#include "backend/row_cases.hpp"
#include "backend/score_cases.hpp"
#endif
#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/backend/cpu/products/row_tiles.hpp"

using namespace qwen3vl;

namespace {

template <class F>
void with_threads(F&& f) {
  for (const int threads : {1, 2, 3}) {
    Cpu cpu(threads);
    Context<Cpu> ctx(cpu);
    f(ctx);
  }
}

void all_linear() {
  with_threads([](Context<Cpu>& ctx) { operations::all_linear_cases(ctx); });
}
void all_experts() {
  with_threads([](Context<Cpu>& ctx) { operations::all_expert_cases(ctx); });
}
void all_blocks() {
  with_threads([](Context<Cpu>& ctx) { operations::all_block_cases(ctx); });
}
void all_stored() {
  for (const int threads : {1, 3}) {
    Cpu cpu(threads);
    Context<Cpu> ctx(cpu);
    operations::all_stored_cases(ctx);
  }
}
#ifndef QWEN3VL_PRODUCTS_ONLY
void all_attention() {
  with_threads([](Context<Cpu>& ctx) { operations::all_attention_cases(ctx); });
}
void all_scores() {
  with_threads([](Context<Cpu>& ctx) { operations::all_score_cases(ctx); });
}
void all_caches() {
  with_threads([](Context<Cpu>& ctx) { operations::all_cache_cases(ctx); });
}
void all_rows() {
  with_threads([](Context<Cpu>& ctx) { operations::all_row_cases(ctx); });
}
#endif

/// The vectorised functions against double precision, over the whole range.
void all_functions() {
  const auto worst = [](auto vector_function, auto exact, float from, float to, double floor) {
    double error = 0.0;
    for (float x = from; x <= to; x += 0.00737f) {
      const double expected = exact(static_cast<double>(x));
      const double got = static_cast<double>(vector_function(simd::splat(x))[0]);
      error = std::max(error, std::abs(got - expected) / std::max(std::abs(expected), floor));
    }
    return error;
  };
  BOOST_TEST(worst([](simd::Floats x) { return simd::exp(x); }, [](double x) { return std::exp(x); }, -87.0f, 88.0f,
                   0.0) < 3e-7);
  BOOST_TEST(worst([](simd::Floats x) { return simd::silu(x); }, [](double x) { return x / (1.0 + std::exp(-x)); },
                   -80.0f, 80.0f, 1e-30) < 1e-6);
  BOOST_TEST(worst([](simd::Floats x) { return simd::gelu_tanh(x); },
                   [](double x) { return formulas::activate(x, epilogue::GeluTanh{}); }, -5.0f, 5.0f, 1e-2) < 1e-6);
  const auto gelu = [](double x) { return formulas::activate(x, epilogue::Gelu{}); };
  BOOST_TEST(worst([](simd::Floats x) { return simd::gelu(x); }, gelu, -3.0f, 20.0f, 0.0) < 1e-6);
  // Far below, x^2 is rounded before it is an exponent.
  BOOST_TEST(worst([](simd::Floats x) { return simd::gelu(x); }, gelu, -13.0f, -3.0f, 0.0) < 1e-5);
  for (const float x : {-20.0f, -1e10f, -1e30f}) BOOST_TEST(std::abs(simd::gelu(simd::splat(x))[0]) < 1e-36f);
  for (const float x : {20.0f, 1e10f, 1e30f, std::numeric_limits<float>::infinity()})
    BOOST_TEST(simd::gelu(simd::splat(x))[0] == x);
  BOOST_TEST(simd::gelu(simd::splat(0.0f))[0] == 0.0f);
  BOOST_TEST(std::isnan(simd::gelu(simd::splat(std::numeric_limits<float>::quiet_NaN()))[0]));
  BOOST_TEST(worst([](simd::Floats x) { return simd::exp2_negative(x); }, [](double x) { return std::exp2(x); },
                   -126.0f, 0.0f, 0.0) < 2.4e-7);
  for (const float x : {-126.0f, -126.5f, -1000.0f, -1e30f, -std::numeric_limits<float>::infinity()})
    BOOST_TEST(simd::exp2_negative(simd::splat(x))[0] == 0x1p-126f);
  BOOST_TEST(simd::exp2_negative(simd::splat(0.0f))[0] == 1.0f);
  BOOST_TEST(std::isnan(simd::exp2_negative(simd::splat(std::numeric_limits<float>::quiet_NaN()))[0]));
  BOOST_TEST(simd::exp(simd::splat(-1000.0f))[0] == 0.0f);
  BOOST_TEST(std::isinf(simd::exp(simd::splat(1000.0f))[0]));
  BOOST_TEST(std::isnan(simd::exp(simd::splat(std::numeric_limits<float>::quiet_NaN()))[0]));
}

/// Widening and rounding in vectors, against the types' own conversions: all 65536 numbers of each, and what lies
/// between them.
template <class T>
void conversions() {
  for (std::uint32_t first = 0; first < 65536; first += simd::width) {
    T narrow[simd::width];
    float between[simd::width];
    for (int i = 0; i < simd::width; ++i) narrow[i].bits = static_cast<std::uint16_t>(first + static_cast<unsigned>(i));
    const simd::Floats wide = simd::load(narrow);
    for (int i = 0; i < simd::width; ++i) {
      const auto expected = static_cast<float>(narrow[i]);
      BOOST_REQUIRE((wide[i] == expected || (std::isnan(wide[i]) && std::isnan(expected))));
      // Halfway to the next number and a little to each side; for f16 these are exact in float.
      const auto above = std::bit_cast<std::uint32_t>(expected) + (std::is_same_v<T, bf16> ? 0x8000u : 0x1000u);
      between[i] = std::bit_cast<float>(above + static_cast<std::uint32_t>(i % 3) - 1u);
    }
    T rounded[simd::width], again[simd::width];
    simd::store(rounded, simd::load(between));
    simd::store(again, wide);
    for (int i = 0; i < simd::width; ++i) {
      const auto same = [](T a, T b) {
        return a.bits == b.bits || (std::isnan(static_cast<float>(a)) && std::isnan(static_cast<float>(b)));
      };
      BOOST_REQUIRE(same(rounded[i], static_cast<T>(between[i])));
      BOOST_REQUIRE(same(again[i], narrow[i]));
    }
  }
}

void all_lanes() {
  conversions<f16>();
  conversions<bf16>();
  simd::Floats v[simd::width];
  float numbers[simd::width][simd::width];
  for (int i = 0; i < simd::width; ++i)
    for (int j = 0; j < simd::width; ++j) v[i][j] = numbers[i][j] = static_cast<float>((7 * i * i + 13 * j) % 101 - 50);
  const simd::Floats sums = simd::lane_sums(v);
  for (int i = 0; i < simd::width; ++i) {
    float sum = 0.0f, largest = numbers[i][0];
    for (const float number : numbers[i]) {
      sum += number;  // small whole numbers: exact
      largest = std::max(largest, number);
    }
    BOOST_TEST(sums[i] == sum);
    BOOST_TEST(simd::sum(v[i]) == sum);
    BOOST_TEST(simd::largest(v[i]) == largest);
  }
}

/// Rows to tiles: bit for bit, for any number of rows, and nothing outside the tile is written.
void all_row_tiles() {
  using cpu_kernels::put_in_tile;
  using cpu_kernels::tile_rows;
  constexpr std::int32_t guard = 0x5a5a5a5a;
  for (const index_t words : {index_t{1}, index_t{simd::width} - 1, index_t{simd::width}, 3 * index_t{simd::width} + 2})
    for (index_t count = 1; count <= tile_rows; ++count) {
      // Among them what would be a signalling NaN, which a float must not pass through.
      std::vector<std::vector<std::int32_t>> rows;
      for (index_t r = 0; r < count; ++r) {
        auto& row = rows.emplace_back();
        for (index_t k = 0; k < words; ++k)
          row.push_back(static_cast<std::int32_t>((k % 3 == 0 ? 0x7f800001u : 0x10000u) +
                                                  static_cast<std::uint32_t>(r * 1000 + k)));
      }
      std::vector<std::int32_t> tile(static_cast<std::size_t>(words * tile_rows) + 2 * simd::width, guard);
      std::int32_t* const begin = tile.data() + simd::width;
      put_in_tile(
          words, count, [&](index_t r) { return rows.at(static_cast<std::size_t>(r)).data(); }, begin);
      for (index_t k = 0; k < words; ++k)
        for (index_t r = 0; r < count; ++r)
          BOOST_REQUIRE(begin[k * tile_rows + r] == rows[static_cast<std::size_t>(r)][static_cast<std::size_t>(k)]);
      for (int i = 0; i < simd::width; ++i)
        BOOST_REQUIRE((tile[static_cast<std::size_t>(i)] == guard && begin[words * tile_rows + i] == guard));
    }
}

/// The integer instruction of this build against its portable form, at the ends of the range and inside.
void all_integers() {
  std::vector<std::int16_t> values{0, 1, -1, 32767, -32767, 127, -16129, 16129};
  operations::Numbers numbers(1);
  for (int i = 0; i < 200; ++i) values.push_back(static_cast<std::int16_t>(numbers() * 32767.0f));
  for (std::size_t i = 0; i + 2 * simd::width < values.size(); ++i)
    for (std::size_t j = 0; j + 2 * simd::width < values.size(); j += 3) {
      const simd::Shorts a = simd::load_shorts(values.data() + i), b = simd::load_shorts(values.data() + j);
      const simd::Ints sum = simd::Ints{} + static_cast<std::int32_t>(i * j * 1000);
      const simd::Ints got = simd::dot_pairs(sum, a, b), wanted = simd::dot_pairs_portable(sum, a, b);
      BOOST_REQUIRE(std::memcmp(&got, &wanted, sizeof got) == 0);
      for (int lane = 0; lane < simd::width; ++lane)
        BOOST_REQUIRE(wanted[lane] == static_cast<std::int32_t>(static_cast<std::int64_t>(sum[lane]) +
                                                                std::int64_t{a[2 * lane]} * b[2 * lane] +
                                                                std::int64_t{a[2 * lane + 1]} * b[2 * lane + 1]));
    }
}

/// Rounded activations are the same integers on every instruction set: this is the rule, one number at a time.
template <class W, index_t K>
void rounded_rows(float outlier) {
  using Rows = cpu_kernels::BlockRows<W, K>;
  std::vector<float> x = operations::Numbers(K).many(K);
  x[K / 2] *= outlier;
  std::vector<std::int32_t> words(static_cast<std::size_t>(Rows::words));
  const auto word = [&](index_t i) { return words[static_cast<std::size_t>(i)]; };
  Rows::put(x.data(), words.data());
  for (index_t s = 0; s < Rows::superblocks; ++s) {
    const index_t first = s * 256, end = std::min<index_t>(K, first + 256);
    float sums[16] = {}, largest = 0.0f;
    for (index_t k = first; k < end; ++k) {
      sums[(k - first) % 16] += std::abs(x[static_cast<std::size_t>(k)]);
      largest = std::max(largest, std::abs(x[static_cast<std::size_t>(k)]));
    }
    for (int step = 8; step > 0; step /= 2)
      for (int i = 0; i < step; ++i) sums[i] += sums[i + step];
    const float factor = std::min(32767.0f / largest, Rows::largest_sum / sums[0]);
    BOOST_TEST(word(Rows::pairs + s) == std::bit_cast<std::int32_t>(1.0f / factor));
    std::int64_t magnitude = 0;
    for (index_t b = 0; first + b * 32 < end; ++b) {
      std::int32_t sum = 0;
      for (index_t k = first + b * 32; k < first + (b + 1) * 32; ++k) {
        const std::int32_t pair = word(k / 2);
        const int got = k % 2 == 0 ? static_cast<std::int16_t>(pair & 0xffff) : pair >> 16;
        volatile const float scaled = k < end ? x[static_cast<std::size_t>(k)] * factor : 0.0f;
        BOOST_TEST(got == std::lrint(scaled));
        sum += got;
        magnitude += std::abs(got);
      }
      BOOST_TEST(word(Rows::pairs + Rows::superblocks + s * 8 + b) == sum);
    }
    BOOST_TEST(magnitude * cpu_kernels::BlockFormat<W>::largest_weight <= 0x7fffffff);
  }
}
/// Activations that are infinite, no number, or the largest ones, for few rows and for many: products with bf16 weights
/// are those of float, however they are made.
void all_extremes() {
  constexpr index_t n = 40, k = 48;
  constexpr float infinite = std::numeric_limits<float>::infinity(), largest = std::numeric_limits<float>::max();
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  const std::vector<float> weights(n * k, 0.5f);
  const index_t shape[2] = {n, k};
  CpuMatrix<bf16, n, k, Packing::plain> matrix;
  matrix.allocate();
  matrix.load_rows(
      ctx, 0,
      RawTensor{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(weights.data()), .shape = shape});
  for (const index_t rows : {1, 3, 7, 40}) {
    const auto product = [&](float value) {
      std::vector<float> x(static_cast<std::size_t>(rows * k), 0.0f), y(static_cast<std::size_t>(rows * n), 7.0f);
      for (index_t r = 0; r < rows; r += 2) x[static_cast<std::size_t>(r * k + r % k)] = value;
      linear(ctx, View<const float, Cpu, dynamic, k>(x.data(), rows), matrix, View<const float, Cpu, n>(),
             View<float, Cpu, dynamic, n>(y.data(), rows), epilogue::Store{});
      for (index_t i = n; i < std::min<index_t>(2, rows) * n; ++i)  // the other row, all zeros
        BOOST_REQUIRE(y[static_cast<std::size_t>(i)] == 0.0f);
      for (index_t i = 1; i < n; ++i)
        BOOST_REQUIRE(std::bit_cast<std::uint32_t>(y[0]) ==
                      std::bit_cast<std::uint32_t>(y[static_cast<std::size_t>(i)]));
      return y[0];
    };
    BOOST_TEST(product(infinite) == infinite);
    BOOST_TEST(product(-infinite) == -infinite);
    BOOST_TEST(std::isnan(product(std::numeric_limits<float>::quiet_NaN())));
    BOOST_TEST(std::isnan(product(std::bit_cast<float>(0x7f800001u))));  // one that cut off would be infinite
    BOOST_TEST(product(largest) == 0.5f * largest);
    BOOST_TEST(product(1.0f + 0x1p-23f) == 0.5f + 0x1p-24f);
    BOOST_TEST(product(-(1.0f + 0x1p-8f)) == -(0.5f + 0x1p-9f));
  }
}
/// A matrix of 16-bit weights returns the rows that were packed into it, to the last bit, in whatever pieces they came.
template <class W, index_t N, index_t K, Packing packing>
void loaded_rows(Context<Cpu>& ctx) {
  std::vector<bf16> weights(static_cast<std::size_t>(N * K));
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i].bits = static_cast<std::uint16_t>(i * 40503u % 0x7f80u);
  const auto piece = [&](index_t first, std::span<const index_t> shape) {
    const bf16* const data = weights.data() + first * K;
    return RawTensor{.dtype = DType::bf16, .data = reinterpret_cast<const std::byte*>(data), .shape = shape};
  };
  const auto check = [&](const char* how, auto&& load) {
    CpuMatrix<W, N, K, packing> matrix;
    matrix.allocate();
    load(matrix);
    std::vector<float> row(static_cast<std::size_t>(K));
    for (index_t n = 0; n < N; ++n) {
      matrix.read_row(n, row.data());
      for (index_t k = 0; k < K; ++k)
        BOOST_REQUIRE_MESSAGE(
            row[static_cast<std::size_t>(k)] == static_cast<float>(weights[static_cast<std::size_t>(n * K + k)]),
            N << " x " << K << ", " << how << ", row " << n << ", column " << k);
    }
  };
  const auto in_pieces = [&](std::initializer_list<index_t> bounds) {
    return [&, bounds](auto& matrix) {
      for (const index_t* begin = bounds.begin(); begin + 1 != bounds.end(); ++begin) {
        const index_t shape[] = {begin[1] - begin[0], K};
        matrix.load_rows(ctx, begin[0], piece(begin[0], shape));
      }
    };
  };
  check("whole", in_pieces({0, N}));
  check("two halves", in_pieces({0, N / 2, N}));
  check("three odd pieces", in_pieces({0, 7, N - 5, N}));
  const index_t half[] = {N / 2, K};
  if constexpr (requires(CpuMatrix<W, N, K, packing> matrix) {
                  matrix.load_halves(ctx, piece(0, half), piece(0, half));
                })
    check("gates and ups", [&](auto& matrix) { matrix.load_halves(ctx, piece(0, half), piece(N / 2, half)); });
}
void all_loads() {
  with_threads([](Context<Cpu>& ctx) {
    loaded_rows<bf16, 128, 64, Packing::plain>(ctx);
    loaded_rows<bf16, 128, 64, Packing::gate_up>(ctx);
    loaded_rows<bf16, 174, 651, Packing::plain>(ctx);
    loaded_rows<bf16, 174, 651, Packing::gate_up>(ctx);
    loaded_rows<bf16, 40, 31, Packing::gate_up>(ctx);
    loaded_rows<bf16_dot, 174, 651, Packing::plain>(ctx);
    loaded_rows<bf16_dot, 174, 651, Packing::gate_up>(ctx);
  });
}
void all_rounded_rows() {
  for (const float outlier : {1.0f, 1000.0f}) {
    rounded_rows<q8, 512>(outlier);
    rounded_rows<q4, 300>(outlier);
    rounded_rows<q4, 1>(outlier);
  }
}

bool init() {
  auto& suite = boost::unit_test::framework::master_test_suite();
  suite.add(BOOST_TEST_CASE(all_linear));
  suite.add(BOOST_TEST_CASE(all_experts));
  suite.add(BOOST_TEST_CASE(all_blocks));
  suite.add(BOOST_TEST_CASE(all_stored));
  suite.add(BOOST_TEST_CASE(all_row_tiles));
  suite.add(BOOST_TEST_CASE(all_integers));
  suite.add(BOOST_TEST_CASE(all_rounded_rows));
  suite.add(BOOST_TEST_CASE(all_extremes));
  suite.add(BOOST_TEST_CASE(all_loads));
#ifndef QWEN3VL_PRODUCTS_ONLY
  suite.add(BOOST_TEST_CASE(all_attention));
  suite.add(BOOST_TEST_CASE(all_scores));
  suite.add(BOOST_TEST_CASE(all_caches));
  suite.add(BOOST_TEST_CASE(all_rows));
#endif
  suite.add(BOOST_TEST_CASE(all_functions));
  suite.add(BOOST_TEST_CASE(all_lanes));
  return true;
}

}  // namespace

int main(int argc, char** argv) { return run_where_it_fits(&init, argc, argv); }
