// Random weights that are made on the device are those that the host makes.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_random
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "qwen3vl/backend/cuda.cuh"
#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

template <class V, class P>
void same_as_host() {
  Cuda cuda;
  auto loaded = random_model<V, P>(cuda, 5, 0.3f);
  ForConditionalGeneration<V, Cuda, P> made(cuda);
  Context<Cuda>& ctx = made.context();
  make_random_weights(ctx, made, 5, 0.3f);
  std::vector<std::vector<float>> expected;
  const auto values = [&](auto& parameter) {
    if constexpr (requires { parameter.scales(); }) {  // all its bytes: codes and scales
      std::vector<std::uint8_t> bytes(parameter.bytes());
      CudaMemory::copy(bytes.data(), parameter.data(), bytes.size());
      return std::vector<float>(bytes.begin(), bytes.end());
    } else {
      using T = std::remove_cvref_t<decltype(*parameter.data())>;
      return download_floats(
          ctx, View<const T, Cuda, dynamic>(parameter.data(), static_cast<index_t>(parameter.bytes() / sizeof(T))));
    }
  };
  loaded.parameters([&](auto& parameter, const Parts&) { expected.push_back(values(parameter)); });
  std::size_t next = 0;
  made.parameters([&](auto& parameter, const Parts& parts) {
    BOOST_TEST((values(parameter) == expected.at(next)), parts.front().name << " differs");
    ++next;
  });
  BOOST_TEST(next == expected.size());
}

}  // namespace

BOOST_AUTO_TEST_CASE(dense) {
  same_as_host<Dense, F32>();
  same_as_host<Dense, Bf16>();
  same_as_host<Dense, Fp8>();
}
BOOST_AUTO_TEST_CASE(mixture_of_experts) {
  same_as_host<Moe, F32>();
  same_as_host<Moe, Bf16>();
  same_as_host<Moe, Fp8>();
}

// Neither all alike nor out of bounds, and another seed or name gives others.
BOOST_AUTO_TEST_CASE(distribution) {
  constexpr int count = 20000;
  const RandomStream random(1, "a.weight", 0.5f), seed(2, "a.weight", 0.5f), name(1, "b.weight", 0.5f);
  double sum = 0.0, squares = 0.0;
  int alike = 0;
  for (int i = 0; i < count; ++i) {
    const double value = static_cast<double>(random(static_cast<std::uint64_t>(i)));
    sum += value;
    squares += value * value;
    if (random(static_cast<std::uint64_t>(i)) == seed(static_cast<std::uint64_t>(i)) ||
        random(static_cast<std::uint64_t>(i)) == name(static_cast<std::uint64_t>(i)))
      ++alike;
  }
  BOOST_TEST(std::abs(sum / count) < 0.02);  // five deviations of the mean are 0.018
  BOOST_TEST(std::abs(std::sqrt(squares / count) - 0.5) < 0.02);
  BOOST_TEST(alike < 10);
}
