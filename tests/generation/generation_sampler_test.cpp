// Choosing tokens: greedy ties, frequencies, seeds, and scores that cannot be chosen from.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE generation_sampler
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/generation/sampler.hpp"

namespace {

using namespace qwen3vl;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

std::vector<TokenId> draws(const std::vector<float>& scores, std::uint64_t seed, std::uint64_t row, int count) {
  Sampler sampler(GenerationConfig{.do_sample = true, .seed = seed}, row);
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(sampler(scores));
  return tokens;
}

// Pearson's statistic of draws from softmax(scores).
double chi_square(const std::vector<float>& scores, const std::vector<TokenId>& tokens) {
  double sum = 0.0, statistic = 0.0;
  for (const float score : scores) sum += std::exp(static_cast<double>(score));
  std::vector<double> counts(scores.size(), 0.0);
  for (const TokenId token : tokens) counts.at(static_cast<std::size_t>(token)) += 1.0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double expected = std::exp(static_cast<double>(scores[i])) / sum * static_cast<double>(tokens.size());
    if (expected == 0.0) {
      BOOST_TEST(counts[i] == 0.0, "token " << i << " was removed and drawn");
    } else {
      statistic += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
  }
  return statistic;
}

BOOST_AUTO_TEST_CASE(greedy_takes_the_first_of_the_best) {
  Sampler sampler{GenerationConfig{}};
  BOOST_TEST(sampler(std::vector<float>{1.0f, 3.0f, 3.0f, -infinity}) == 1);
  BOOST_TEST(sampler(std::vector<float>{-infinity, -5.0f}) == 1);
  BOOST_TEST(sampler(std::vector<float>{0.0f, -0.0f}) == 0);
  BOOST_TEST(sampler(std::vector<float>{-0.0f, 0.0f}) == 0);
  BOOST_TEST(sampler(std::vector<float>{-std::numeric_limits<float>::max()}) == 0);
}

BOOST_AUTO_TEST_CASE(scores_without_a_choice_are_errors) {
  for (const bool do_sample : {false, true}) {
    Sampler sampler(GenerationConfig{.do_sample = do_sample, .seed = 1});
    for (const auto& scores :
         {std::vector<float>{}, std::vector<float>{-infinity, -infinity}, std::vector<float>{nan, 1.0f},
          std::vector<float>{1.0f, nan}, std::vector<float>{1.0f, infinity}, std::vector<float>{-infinity, nan}}) {
      BOOST_CHECK_THROW(sampler(scores), Error);
    }
    try {
      sampler(std::vector<float>{1.0f, 2.0f, nan});
      BOOST_ERROR("NaN was accepted");
    } catch (const Error& error) {
      BOOST_TEST(std::string(error.what()).find("token 2") != std::string::npos, error.what());
    }
  }
}

// With 5 degrees of freedom, 99.99 % of all seeds stay below 25.7; the seeds are fixed.
BOOST_AUTO_TEST_CASE(frequencies_follow_the_probabilities) {
  const std::vector<float> scores{0.0f, 1.0f, -infinity, 2.0f, -1.0f, 0.5f, -3.0f};
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const double statistic = chi_square(scores, draws(scores, seed, 0, 20000));
    BOOST_TEST(statistic < 25.7, "seed " << seed << ": " << statistic);
  }
  // First draws of many rows are independent as well: they are what a large batch of one prompt shows.
  std::vector<TokenId> firsts;
  for (std::uint64_t row = 0; row < 20000; ++row) firsts.push_back(draws(scores, 7, row, 1)[0]);
  BOOST_TEST(chi_square(scores, firsts) < 25.7);
}

// Sets of two without replacement: P({i, j}) = p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j).
BOOST_AUTO_TEST_CASE(different_draws) {
  const std::vector<float> scores{0.0f, 1.0f, -infinity, 2.0f, 0.5f};
  double sum = 0.0;
  for (const float score : scores) sum += std::exp(static_cast<double>(score));
  const auto p = [&](std::size_t i) { return std::exp(static_cast<double>(scores[i])) / sum; };
  Sampler sampler(GenerationConfig{.do_sample = true, .seed = 11});
  constexpr int count = 30000;
  double counts[5][5] = {};
  for (int i = 0; i < count; ++i) {
    const auto drawn = sampler.draw_different(scores, 2);
    BOOST_REQUIRE(drawn.size() == 2u);
    BOOST_REQUIRE(scores[drawn[0]] > scores[drawn[1]]);  // best first
    ++counts[drawn[0]][drawn[1]];
  }
  double statistic = 0.0;
  for (const std::size_t i : {0u, 1u, 3u, 4u})
    for (const std::size_t j : {0u, 1u, 3u, 4u}) {
      if (!(scores[i] > scores[j])) continue;
      const double expected = count * (p(i) * p(j) / (1.0 - p(i)) + p(i) * p(j) / (1.0 - p(j)));
      statistic += (counts[i][j] - expected) * (counts[i][j] - expected) / expected;
    }
  BOOST_TEST(statistic < 25.7, statistic);  // 5 degrees of freedom
  // Where too few can be drawn, the best of the others follow; never more than there are.
  using Places = std::vector<std::size_t>;
  BOOST_TEST(sampler.draw_different(std::vector<float>{-1e9f, 0.0f, -infinity, -1e8f, -infinity}, 4) ==
             (Places{1, 3, 0, 2}));
  BOOST_TEST(sampler.draw_different(std::vector<float>{0.0f, 0.0f}, 5) == (Places{0, 1}));
  BOOST_CHECK_THROW(sampler.draw_different(std::vector<float>{-infinity, -infinity}, 1), Error);
  BOOST_CHECK_THROW(sampler.draw_different(std::vector<float>{0.0f, nan}, 1), Error);
}

BOOST_AUTO_TEST_CASE(scores_far_from_zero) {
  for (const float shift : {1e4f, -1e4f}) {
    std::vector<float> scores{0.0f, 1.0f, 0.5f};
    const double low = chi_square(scores, draws(scores, 3, 0, 5000));
    auto moved = scores;
    for (float& score : moved) score += shift;
    BOOST_TEST(draws(moved, 3, 0, 5000) == draws(scores, 3, 0, 5000));
    BOOST_TEST(low < 18.4);  // 2 degrees of freedom, 99.99 %
  }
  const float most = std::numeric_limits<float>::max();
  BOOST_TEST(draws({-most, most, -most}, 1, 0, 3) == (std::vector<TokenId>{1, 1, 1}));
}

BOOST_AUTO_TEST_CASE(seeds_and_rows) {
  const std::vector<float> scores(100, 0.0f);
  const auto first = draws(scores, 42, 0, 50);
  BOOST_TEST(draws(scores, 42, 0, 50) == first);
  BOOST_TEST(draws(scores, 43, 0, 50) != first);
  BOOST_TEST(draws(scores, 42 + (std::uint64_t{1} << 32), 0, 50) != first);  // the upper half of a seed counts
  BOOST_TEST(draws(scores, 42, 1, 50) != first);
  Sampler a(GenerationConfig{.do_sample = true}), b(GenerationConfig{.do_sample = true});
  std::vector<TokenId> of_a, of_b;
  for (int i = 0; i < 50; ++i) {
    of_a.push_back(a(scores));
    of_b.push_back(b(scores));
  }
  BOOST_TEST(of_a != of_b);  // equal once in 10^100 runs
}

// The promise that a seed gives the same answer on every machine and in every version.
BOOST_AUTO_TEST_CASE(known_draws) {
  BOOST_TEST(draws(std::vector<float>(1000, 0.0f), 0, 0, 6) == (std::vector<TokenId>{532, 544, 484, 34, 80, 828}),
             boost::test_tools::per_element());
  BOOST_TEST(draws(std::vector<float>(1000, 0.0f), 123456789012345ull, 3, 6) ==
                 (std::vector<TokenId>{676, 794, 761, 306, 153, 49}),
             boost::test_tools::per_element());
}

}  // namespace
