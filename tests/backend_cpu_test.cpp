// Every operation of the backend contract on the CPU, for the instruction set that this file is compiled for and with
// one, two and three threads. The tables in tests/backend/ are written over the backend: another one is another file
// like this.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_NO_MAIN
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "backend/attention_cases.hpp"
#include "backend/cache_cases.hpp"
#include "backend/expert_cases.hpp"
#include "backend/linear_cases.hpp"
#include "backend/row_cases.hpp"
#include "qwen3vl/backend/cpu.hpp"

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

/// Whether this processor runs what the compiler was told to use.
bool processor_fits() {
  __builtin_cpu_init();
#if defined(__AVX512F__)
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
    return false;
#endif
#if defined(__AVX2__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return false;
#endif
  return true;
}

void all_linear() {
  with_threads([](Context<Cpu>& ctx) { operations::all_linear_cases(ctx); });
}
void all_attention() {
  with_threads([](Context<Cpu>& ctx) { operations::all_attention_cases(ctx); });
}
void all_caches() {
  with_threads([](Context<Cpu>& ctx) { operations::all_cache_cases(ctx); });
}
void all_experts() {
  with_threads([](Context<Cpu>& ctx) { operations::all_expert_cases(ctx); });
}
void all_rows() {
  with_threads([](Context<Cpu>& ctx) { operations::all_row_cases(ctx); });
}

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
                   [](double x) { return operations::activate(x, epilogue::GeluTanh{}); }, -5.0f, 5.0f, 1e-2) < 1e-6);
  BOOST_TEST(worst([](simd::Floats x) { return simd::exp_negative(x); }, [](double x) { return std::exp(x); }, -87.0f,
                   0.0f, 0.0) < 3e-7);
  for (const float x : {-87.5f, -1000.0f, -1e30f, -std::numeric_limits<float>::infinity()})
    BOOST_TEST(simd::exp_negative(simd::splat(x))[0] == 0.0f);
  BOOST_TEST(simd::exp_negative(simd::splat(0.0f))[0] == 1.0f);
  BOOST_TEST(std::isnan(simd::exp_negative(simd::splat(std::numeric_limits<float>::quiet_NaN()))[0]));
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

bool init() {
  auto& suite = boost::unit_test::framework::master_test_suite();
  suite.add(BOOST_TEST_CASE(all_linear));
  suite.add(BOOST_TEST_CASE(all_attention));
  suite.add(BOOST_TEST_CASE(all_caches));
  suite.add(BOOST_TEST_CASE(all_experts));
  suite.add(BOOST_TEST_CASE(all_rows));
  suite.add(BOOST_TEST_CASE(all_functions));
  suite.add(BOOST_TEST_CASE(all_lanes));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (!processor_fits()) {
    std::printf("SKIPPED: this processor lacks %s\n", simd::isa);
    return 77;
  }
  std::printf("instruction set: %s\n", simd::isa);
  return boost::unit_test::unit_test_main(&init, argc, argv);
}
