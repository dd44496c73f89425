/// sample() on the device, against the processors and the sampler of generation/, in double.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "backend/check.hpp"
#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/backend/cuda/decoding/sampling.cuh"
#include "qwen3vl/backend/cuda/handle.cuh"
#include "qwen3vl/backend/cuda/operations/copies.cuh"
#include "qwen3vl/generation/logits/logits_warpers.hpp"

namespace operations {

/// The probability of each token after the processors; 0 if it is removed.
inline std::vector<double> probabilities(std::vector<float> scores, const SamplingSettings& settings) {
  const std::vector<TokenId> ids;
  TemperatureLogitsWarper(settings.temperature)(ids, scores);
  if (settings.top_k > 0) TopKLogitsWarper(settings.top_k)(ids, scores);
  if (settings.top_p < 1.0f) TopPLogitsWarper(settings.top_p)(ids, scores);
  if (settings.min_p > 0.0f) MinPLogitsWarper(settings.min_p)(ids, scores);
  const double highest = static_cast<double>(*std::ranges::max_element(scores));
  std::vector<double> weights;
  double sum = 0.0;
  for (const float score : scores) sum += weights.emplace_back(std::exp(static_cast<double>(score) - highest));
  for (double& weight : weights) weight /= sum;
  return weights;
}

/// One row of logits, and tokens that are asked for by the number in the middle of their share. Tokens are the
/// likeliest ones and some spread over the vocabulary, so that one token too many or too few among the kept shifts all
/// others.
inline void sample_case(Context<Cuda>& ctx, const std::vector<float>& logits, const SamplingSettings& settings,
                        const std::string& what) {
  const std::vector<double> shares = probabilities(logits, settings);
  const auto vocab = static_cast<index_t>(logits.size());
  std::vector<std::size_t> asked;
  for (std::size_t i = 0; i < shares.size(); ++i)
    if (shares[i] > 1e-5) asked.push_back(i);  // far above the error of a float's exponential
  std::ranges::stable_sort(asked, [&](std::size_t a, std::size_t b) { return shares[a] > shares[b]; });
  if (asked.size() > 4) {
    const std::array some{asked[0], asked[asked.size() / 3], asked[asked.size() - 2], asked.back()};
    asked.assign(some.begin(), some.end());
  }
  BOOST_REQUIRE(!asked.empty());
  std::vector<double> uniforms;
  for (const std::size_t token : asked) {
    double below = 0.0;
    for (std::size_t i = 0; i < token; ++i) below += shares[i];
    uniforms.push_back(below + shares[token] / 2.0);
  }
  const auto rows = static_cast<index_t>(asked.size());
  std::vector<float> all;
  for (index_t row = 0; row < rows; ++row) all.insert(all.end(), logits.begin(), logits.end());
  Guarded<Cuda> scores(ctx, all);
  Guarded<Cuda, std::int32_t> ids(rows);
  const auto set = upload<SamplingSettings>(ctx, std::vector<SamplingSettings>(asked.size(), settings));
  const auto numbers = upload<double>(ctx, uniforms);
  sample(ctx, scores.view<dynamic, dynamic>(rows, vocab), set, numbers, ids.view<dynamic>(rows));
  BOOST_TEST(ids.intact(), what << ": wrote beside the ids");
  const std::vector<std::int32_t> chosen = ids.values(ctx);
  for (std::size_t i = 0; i < asked.size(); ++i)
    BOOST_TEST(chosen[i] == static_cast<std::int32_t>(asked[i]), what << ": at " << uniforms[i] << " of the whole");
}

/// Rows that are not numbers, or with nothing to choose from, beside one that is right; greedy and not.
inline void sample_broken_cases(Context<Cuda>& ctx) {
  constexpr index_t vocab = 1500;
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> logits(4 * vocab, -infinity);
  logits[1234] = std::numeric_limits<float>::quiet_NaN();
  logits[vocab] = infinity;
  logits[3 * vocab + 77] = -3.0f;
  for (const int do_sample : {0, 1}) {
    SamplingSettings settings{.do_sample = do_sample, .top_k = 0};
    Guarded<Cuda> scores(ctx, logits);
    Guarded<Cuda, std::int32_t> ids(4);
    const auto set = upload<SamplingSettings>(ctx, std::vector<SamplingSettings>(4, settings));
    const auto numbers = upload<double>(ctx, std::vector<double>(4, 0.999));
    sample(ctx, scores.view<dynamic, dynamic>(4, vocab), set, numbers, ids.view<dynamic>(4));
    const std::vector<std::int32_t> expected{broken_scores, broken_scores, no_token_left, 77};
    BOOST_TEST(ids.values(ctx) == expected, boost::test_tools::per_element());
  }
}

inline void all_sampling_cases(Context<Cuda>& ctx) {
  sample_broken_cases(ctx);
  const auto row = [](index_t vocab, float scale) {
    std::vector<float> logits = Numbers(static_cast<std::uint32_t>(vocab)).many(vocab);
    for (float& logit : logits) logit *= scale;
    return logits;
  };
  const auto run = [&](const std::vector<float>& logits, SamplingSettings settings, const std::string& name) {
    settings.do_sample = 1;
    sample_case(ctx, logits, settings,
                concat("sample ", name, " of ", logits.size(), ", temperature ", settings.temperature, ", top_k ",
                       settings.top_k, ", top_p ", settings.top_p, ", min_p ", settings.min_p));
  };
  const SamplingSettings released{
      .top_k = 20, .temperature = 0.7f, .top_p = 0.8f};  // generation_config.json of the releases
  for (const index_t vocab : {1, 2, 21, 999, 7000}) {
    run(row(vocab, 12.0f), released, "as released");
    run(row(vocab, 1.0f), released, "as released, flat,");
    run(row(vocab, 3.0f), {.top_k = 0}, "by probability");
  }
  run(row(151936, 16.0f), released, "as released, the whole vocabulary,");
  const std::vector<float> peaked = row(7000, 400.0f), usual = row(7000, 12.0f), flat = row(7000, 0.5f);
  run(usual, {.top_k = 1}, "best");
  run(usual, {.top_k = 1024}, "as many as threads");
  run(usual, {.top_k = 1500}, "more than threads");
  run(usual, {.top_k = 0, .top_p = 0.9f}, "nucleus");
  run(usual, {.top_k = 0, .temperature = 3.0f, .top_p = 0.0f}, "the likeliest");
  run(peaked, {.top_k = 0, .top_p = 0.999f}, "nucleus of a peak");
  run(flat, {.top_k = 0, .temperature = 1.5f, .top_p = 0.9f}, "nucleus beyond the list");
  run(flat, {.top_k = 3000, .top_p = 0.5f}, "nucleus of many");
  run(usual, {.top_k = 0, .temperature = 2.0f, .min_p = 0.3f}, "min-p");
  run(usual, {.top_k = 50, .temperature = 2.0f, .top_p = 0.9f, .min_p = 0.5f}, "all");
  // Equal scores: all that tie with the k-th stay; top-p keeps the higher ids, also where the list is too short.
  std::vector<float> ties = row(7000, 1.0f);
  for (std::size_t i = 0; i < ties.size(); ++i)
    if (i % 3 != 0) ties[i] = i % 700 == 100 ? 5.0f : 4.0f;
  run(ties, {.top_k = 30}, "ties beyond the list");
  run(ties, {.top_k = 30, .top_p = 0.6f}, "nucleus in ties beyond the list");
  run(ties, {.top_k = 5, .top_p = 0.3f}, "nucleus in ties");
  std::vector<float> masked(7000, -std::numeric_limits<float>::infinity());
  masked[6999] = 1.0f;
  masked[0] = masked[3] = -0.0f;
  masked[4] = 0.0f;
  run(masked, {.top_k = 50, .top_p = 0.95f}, "few left");
  // Neighbouring floats: the border is exact.
  std::vector<float> close;
  for (int i = 0; i < 500; ++i) close.push_back(1.0f + static_cast<float>(i * 7 % 500) * 0x1p-23f);
  run(close, {.top_k = 5}, "neighbours");
  // Greedy: the lowest id among equals, and none of the rest counts.
  Guarded<Cuda> scores(ctx, ties);
  Guarded<Cuda, std::int32_t> id(1);
  const auto set =
      upload<SamplingSettings>(ctx, std::vector<SamplingSettings>{{.do_sample = 0, .top_k = 7, .temperature = 9.0f}});
  const auto number = upload<double>(ctx, std::vector<double>{0.9});
  sample(ctx, scores.view<dynamic, dynamic>(1, 7000), set, number, id.view<dynamic>(1));
  BOOST_TEST(id.values(ctx)[0] == std::ranges::max_element(ties) - ties.begin());
}

}  // namespace operations
