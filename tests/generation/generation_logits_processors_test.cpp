// Logits processors against the reference's scores, and where those say nothing: ties, broken scores, full
// vocabularies.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE generation_logits_processors
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/generation/logits/logits_processors.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace {

using namespace qwen3vl;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
const std::string cases = std::string(QWEN3VL_TEST_DATA) + "/golden/cases/generation/processors";

// A matrix of a golden file.
template <class T>
struct Rows {
  std::vector<T> values;
  std::size_t width = 0;

  std::size_t count() const { return values.size() / width; }
  std::vector<T> row(std::size_t i) const {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(i * width);
    return {begin, begin + static_cast<std::ptrdiff_t>(width)};
  }
};

const StoredTensor& tensor(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* const found = file.find(name);
  if (found == nullptr || found->shape.size() != 2 || found->shape[1] == 0) fail("no matrix ", name, " in the case");
  return *found;
}

Rows<float> floats(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor& stored = tensor(file, name);
  Rows<float> rows;
  rows.width = static_cast<std::size_t>(stored.shape[1]);
  rows.values.resize(static_cast<std::size_t>(stored.shape[0]) * rows.width);
  read_floats(stored, rows.values);
  return rows;
}

Rows<TokenId> tokens(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor& stored = tensor(file, name);
  std::vector<std::int64_t> wide(static_cast<std::size_t>(stored.shape[0] * stored.shape[1]));
  read_int64s(stored, wide);
  Rows<TokenId> rows;
  rows.width = static_cast<std::size_t>(stored.shape[1]);
  for (const std::int64_t id : wide) rows.values.push_back(static_cast<TokenId>(id));
  return rows;
}

// Absent options are off, which is not every field's default.
GenerationConfig config_of(const nlohmann::json& options) {
  GenerationConfig config;
  config.do_sample = options.value("do_sample", false);
  config.temperature = options.value("temperature", 1.0f);
  config.top_k = options.value("top_k", index_t{0});
  config.top_p = options.value("top_p", 1.0f);
  config.min_p = options.value("min_p", 0.0f);
  config.repetition_penalty = options.value("repetition_penalty", 1.0f);
  config.no_repeat_ngram_size = options.value("no_repeat_ngram_size", index_t{0});
  return config;
}

template <class Processor>
std::vector<float> processed(const Processor& processor, std::vector<float> scores,
                             const std::vector<TokenId>& sequence = {}) {
  processor(sequence, scores);
  return scores;
}

std::vector<std::size_t> kept(const std::vector<float>& scores) {
  std::vector<std::size_t> tokens;
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (scores[i] != -infinity) tokens.push_back(i);
  return tokens;
}

// Top-p as transformers writes it: sort all, add up, cut.
std::vector<float> plain_top_p(std::vector<float> scores, double top_p) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] < scores[b]; });
  const float largest = scores[order.back()];
  double sum = 0.0, cumulative = 0.0;
  for (const auto i : order) sum += std::exp(scores[i] - largest);
  for (std::size_t i = 0; i + 1 < order.size(); ++i) {
    cumulative += std::exp(scores[order[i]] - largest);
    if (cumulative / sum <= 1.0 - top_p) scores[order[i]] = -infinity;
  }
  return scores;
}

std::vector<float> random_scores(std::size_t count, unsigned seed, bool coarse) {
  std::mt19937_64 generator(seed);
  std::vector<float> scores(count);
  for (float& score : scores) {
    score = static_cast<float>(generator() >> 40) * 0x1p-24f * 20.0f - 10.0f;
    if (coarse) score = std::floor(score);  // many ties
  }
  return scores;
}

BOOST_AUTO_TEST_CASE(the_references_scores) {
  const nlohmann::json description = read_json_file(cases + ".json");
  const SafetensorsFile file = SafetensorsFile::open(cases + ".safetensors");
  const Rows<TokenId> sequences = tokens(file, "in.input_ids");
  const double tolerance = description.at("tolerance").get<double>();
  BOOST_TEST(description.at("lists").size() >= 19u);
  for (const auto& [name, list] : description.at("lists").items()) {
    BOOST_TEST_CONTEXT("list " << name) {
      const LogitsProcessorList processors(config_of(list.at("options")));
      BOOST_TEST(processors.names() == list.at("order").get<std::vector<std::string>>(),
                 boost::test_tools::per_element());
      const Rows<float> scores = floats(file, list.value("scores", std::string("in.scores")));
      const Rows<float> expected = floats(file, "out." + name);
      BOOST_REQUIRE_EQUAL(scores.values.size(), expected.values.size());
      double largest = 0.0;
      for (const float value : expected.values)
        if (std::isfinite(value)) largest = std::max(largest, std::abs(static_cast<double>(value)));
      for (std::size_t r = 0; r < scores.count(); ++r) {
        const auto got = processed(processors, scores.row(r), sequences.row(std::min(r, sequences.count() - 1)));
        const auto want = expected.row(r);
        for (std::size_t i = 0; i < want.size(); ++i) {
          const bool equal =
              std::isinf(want[i]) ? got[i] == want[i] : std::abs(got[i] - want[i]) <= tolerance * largest;
          if (!equal) BOOST_ERROR("row " << r << ", token " << i << ": " << got[i] << " instead of " << want[i]);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(repetition_counts_each_token_once) {
  const RepetitionPenaltyLogitsProcessor processor(2.0f);
  BOOST_TEST(processed(processor, {4.0f, -4.0f, 0.0f, 4.0f, -infinity}, {0, 1, 0, 1, 1, 2, 4}) ==
                 (std::vector<float>{2.0f, -8.0f, 0.0f, 4.0f, -infinity}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(ngrams_of_one_and_of_more_than_there_are) {
  BOOST_TEST(kept(processed(NoRepeatNGramLogitsProcessor(1), {0, 0, 0, 0}, {2, 0})) ==
             (std::vector<std::size_t>{1, 3}));
  BOOST_TEST(kept(processed(NoRepeatNGramLogitsProcessor(3), {0, 0, 0, 0}, {2, 0})).size() == 4u);
  BOOST_TEST(kept(processed(NoRepeatNGramLogitsProcessor(2), {0, 0, 0, 0}, {})).size() == 4u);
  BOOST_TEST(kept(processed(NoRepeatNGramLogitsProcessor(std::numeric_limits<std::int32_t>::max()), {0, 0}, {1, 1, 1}))
                 .size() == 2u);
  // After 1 2 came 3 and came 0.
  BOOST_TEST(kept(processed(NoRepeatNGramLogitsProcessor(3), {0, 0, 0, 0}, {1, 2, 3, 1, 2, 0, 1, 2})) ==
             (std::vector<std::size_t>{1, 2}));
}

BOOST_AUTO_TEST_CASE(top_k_of_a_vocabulary) {
  for (const bool coarse : {false, true})
    for (const std::size_t k : {1u, 2u, 31u, 64u, 1000u, 19999u, 20000u, 30000u}) {
      const auto scores = random_scores(20000, static_cast<unsigned>(k), coarse);
      auto sorted = scores;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      const float kth = sorted[std::min(k, sorted.size()) - 1];
      const auto got = processed(TopKLogitsWarper(static_cast<index_t>(k)), scores);
      for (std::size_t i = 0; i < scores.size(); ++i)
        if (got[i] != (scores[i] < kth ? -infinity : scores[i]))
          BOOST_FAIL("k " << k << ", coarse " << coarse << ", token " << i << " is wrong");
    }
}

BOOST_AUTO_TEST_CASE(top_k_when_fewer_are_left) {
  const std::vector<float> scores{-infinity, 1.0f, -infinity, 2.0f, -infinity};
  BOOST_TEST(processed(TopKLogitsWarper(3), scores) == scores, boost::test_tools::per_element());
  BOOST_TEST(kept(processed(TopKLogitsWarper(1), scores)) == (std::vector<std::size_t>{3}));
}

BOOST_AUTO_TEST_CASE(top_p_of_a_vocabulary) {
  for (const bool coarse : {false, true})
    for (const std::size_t count : {1u, 2u, 3u, 17u, 151936u})
      for (const float top_p : {0.0f, 0.001f, 0.3f, 0.8f, 0.95f, 0.9999f, 1.0f}) {
        const auto scores = random_scores(count, static_cast<unsigned>(count), coarse);
        const auto got = kept(processed(TopPLogitsWarper(top_p), scores));
        const auto want = kept(plain_top_p(scores, top_p));
        BOOST_TEST(!got.empty());
        // The plain one rounds differently, which may decide about one token at the edge.
        const auto difference = got.size() > want.size() ? got.size() - want.size() : want.size() - got.size();
        if (difference > (count > 100 ? 1 : 0))
          BOOST_ERROR("count " << count << ", coarse " << coarse << ", top_p " << top_p << ": kept " << got.size()
                               << " instead of " << want.size());
      }
}

BOOST_AUTO_TEST_CASE(top_p_removes_the_lower_of_equals_first) {
  // Exactly at the border, a sum of 1 - top_p still goes.
  BOOST_TEST(kept(processed(TopPLogitsWarper(0.5f), {1.0f, 1.0f})) == (std::vector<std::size_t>{1}));
  BOOST_TEST(kept(processed(TopPLogitsWarper(0.3f), {1.0f, 1.0f, 1.0f, 1.0f})) == (std::vector<std::size_t>{2, 3}));
  BOOST_TEST(kept(processed(TopPLogitsWarper(0.0f), {1.0f, 1.0f, 0.0f, 1.0f})) == (std::vector<std::size_t>{3}));
}

BOOST_AUTO_TEST_CASE(min_p_is_relative_to_what_is_left) {
  const float half = std::log(0.5f);
  BOOST_TEST(kept(processed(MinPLogitsWarper(0.4f), {0.0f, half, 3 * half, -infinity})) ==
             (std::vector<std::size_t>{0, 1}));
  BOOST_TEST(kept(processed(MinPLogitsWarper(1.0f), {2.0f, 2.0f, 1.9f})) == (std::vector<std::size_t>{0, 1}));
  BOOST_TEST(kept(processed(MinPLogitsWarper(0.0f), {200.0f, -200.0f})).size() == 2u);
}

// A model that has overflowed must not crash a processor, and the sampler must still see it.
BOOST_AUTO_TEST_CASE(broken_scores_stay_broken) {
  for (const float bad : {nan, infinity})
    for (const std::size_t count : {1u, 3u, 40u, 5000u})
      for (const std::size_t every : {1u, 2u, 7u}) {
        auto scores = random_scores(count, 5, false);
        for (std::size_t i = 0; i < count; i += every) scores[i] = bad;
        const auto check = [&](const char* name, const std::vector<float>& got) {
          const bool still = std::any_of(got.begin(), got.end(), [](float score) { return !(score < infinity); });
          if (!still) BOOST_ERROR(name << " hid " << bad << " at every " << every << " of " << count);
        };
        // Softmax has no meaning here: these two change nothing (compared by text, as NaN is unlike itself).
        const auto text = [](const std::vector<float>& row) {
          std::string all;
          for (const float score : row) all += concat(score, ' ');
          return all;
        };
        BOOST_TEST((text(processed(TopPLogitsWarper(0.5f), scores)) == text(scores)));
        BOOST_TEST((text(processed(MinPLogitsWarper(0.5f), scores)) == text(scores)));
        check("top-k", processed(TopKLogitsWarper(20), scores));
        check("temperature", processed(TemperatureLogitsWarper(0.5f), scores));
        check("repetition", processed(RepetitionPenaltyLogitsProcessor(1.5f), scores, {0}));
      }
}

BOOST_AUTO_TEST_CASE(nothing_left_or_nothing_at_all) {
  for (const std::vector<float>& scores : {std::vector<float>{}, std::vector<float>(50, -infinity)}) {
    BOOST_TEST(processed(TopKLogitsWarper(5), scores) == scores);
    BOOST_TEST(processed(TopPLogitsWarper(0.5f), scores) == scores);
    BOOST_TEST(processed(MinPLogitsWarper(0.5f), scores) == scores);
    BOOST_TEST(processed(TemperatureLogitsWarper(0.5f), scores) == scores);
  }
}

BOOST_AUTO_TEST_CASE(tokens_outside_of_the_vocabulary_are_errors) {
  for (const TokenId bad : {-1, 3, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
    BOOST_CHECK_THROW(processed(RepetitionPenaltyLogitsProcessor(1.5f), {0, 0, 0}, {1, bad}), Error);
    BOOST_CHECK_THROW(processed(NoRepeatNGramLogitsProcessor(1), {0, 0, 0}, {1, bad}), Error);
  }
}

BOOST_AUTO_TEST_CASE(settings_out_of_range_are_errors) {
  for (const float bad : {0.0f, -1.0f, nan}) {
    BOOST_CHECK_THROW(RepetitionPenaltyLogitsProcessor{bad}, Error);
    BOOST_CHECK_THROW(TemperatureLogitsWarper{bad}, Error);
  }
  for (const float bad : {-0.1f, 1.1f, nan, infinity}) {
    BOOST_CHECK_THROW(TopPLogitsWarper{bad}, Error);
    BOOST_CHECK_THROW(MinPLogitsWarper{bad}, Error);
  }
  for (const index_t bad : {index_t{0}, index_t{-1}, std::numeric_limits<index_t>::min()}) {
    BOOST_CHECK_THROW(TopKLogitsWarper{bad}, Error);
    BOOST_CHECK_THROW(NoRepeatNGramLogitsProcessor{bad}, Error);
  }
}

BOOST_AUTO_TEST_CASE(penalties_of_the_answer) {
  const std::vector<TokenId> ids{0, 1, 1, 2, 3, 3, 3, 1};  // the first three are the prompt
  std::vector<float> scores{1.0f, 2.0f, 3.0f, -4.0f, 5.0f};
  const PresenceFrequencyPenaltyLogitsProcessor penalty(0.5f, 0.25f);
  penalty(ids, 3, scores);
  BOOST_TEST(scores == (std::vector<float>{1.0f, 2.0f - 0.75f, 3.0f - 0.75f, -4.0f - 1.25f, 5.0f}));
  scores = {1.0f, 2.0f, 3.0f, -4.0f, 5.0f};
  PresenceFrequencyPenaltyLogitsProcessor(-1.0f, 0.0f)(ids, 7, scores);
  BOOST_TEST(scores == (std::vector<float>{1.0f, 3.0f, 3.0f, -4.0f, 5.0f}));
  penalty(ids, 8, scores);  // no answer yet
  BOOST_TEST(scores == (std::vector<float>{1.0f, 3.0f, 3.0f, -4.0f, 5.0f}));
  BOOST_CHECK_THROW(penalty(std::vector<TokenId>{0, 5}, 1, scores), Error);
  BOOST_CHECK_THROW(penalty(std::vector<TokenId>{0, -1}, 1, scores), Error);
  BOOST_CHECK_THROW(PresenceFrequencyPenaltyLogitsProcessor(nan, 0.0f), Error);
  // Behind the repetition penalty, as in vLLM.
  GenerationConfig config{
      .repetition_penalty = 2.0f, .presence_penalty = 1.0f, .no_repeat_ngram_size = 3, .eos_token_id = {1}};
  config.min_length = 6;
  BOOST_TEST(LogitsProcessorList(config, 4).names() ==
             (std::vector<std::string>{"RepetitionPenaltyLogitsProcessor", "PresenceFrequencyPenaltyLogitsProcessor",
                                       "NoRepeatNGramLogitsProcessor", "MinNewTokensLengthLogitsProcessor"}));
  scores = {8.0f, 8.0f, 8.0f, 8.0f, 8.0f};
  LogitsProcessorList(config, 4)(std::vector<TokenId>{0, 4}, 1, scores);
  BOOST_TEST(scores == (std::vector<float>{4.0f, -infinity, 8.0f, 8.0f, 3.0f}));
  BOOST_TEST(LogitsProcessorList(config, 6).size() == 3u);
}

BOOST_AUTO_TEST_CASE(eos_waits_for_the_shortest_answer) {
  const MinNewTokensLengthLogitsProcessor minimum(2, {1, 3, 99, -5});
  for (const std::size_t prompt : {0u, 1u, 2u, 3u}) {
    std::vector<float> scores(5, 0.5f);
    minimum(std::vector<TokenId>{0, 0, 0}, prompt, scores);
    const float eos = 3 - prompt < 2 ? -infinity : 0.5f;
    BOOST_TEST(scores == (std::vector<float>{0.5f, eos, 0.5f, eos, 0.5f}));
  }
}

BOOST_AUTO_TEST_CASE(warpers_of_beams_keep_several) {
  const std::vector<float> sharp{0.0f, 30.0f, -5.0f, 10.0f, 20.0f, 20.0f};
  BOOST_TEST(kept(processed(TopKLogitsWarper(1, 2), sharp)) == (std::vector<std::size_t>{1, 4, 5}));  // a tie
  BOOST_TEST(kept(processed(TopKLogitsWarper(4, 2), sharp)) == (std::vector<std::size_t>{1, 3, 4, 5}));
  BOOST_TEST(kept(processed(TopPLogitsWarper(0.5f, 3), sharp)) == (std::vector<std::size_t>{1, 4, 5}));
  BOOST_TEST(kept(processed(TopPLogitsWarper(0.5f, 4), sharp)) == (std::vector<std::size_t>{1, 3, 4, 5}));
  BOOST_TEST(kept(processed(TopPLogitsWarper(0.5f, 9), sharp)).size() == 6u);
  BOOST_TEST(kept(processed(MinPLogitsWarper(0.5f, 4), sharp)) == (std::vector<std::size_t>{1, 3, 4, 5}));
  BOOST_TEST(kept(processed(MinPLogitsWarper(0.5f, 9), sharp)).size() == 6u);
  for (unsigned seed = 0; seed < 20; ++seed) {
    // Removing as without a minimum, less the best ones.
    const auto scores = random_scores(100, seed, false);
    std::vector<float> sorted = scores;
    std::ranges::sort(sorted, std::greater<>());
    for (const std::size_t keep : {2u, 5u, 40u}) {
      const auto check = [&](const std::vector<float>& plain, const std::vector<float>& several) {
        for (std::size_t i = 0; i < scores.size(); ++i)
          BOOST_REQUIRE((several[i] != -infinity) == (plain[i] != -infinity || scores[i] >= sorted[keep - 1]));
      };
      check(processed(TopPLogitsWarper(0.9f), scores), processed(TopPLogitsWarper(0.9f, keep), scores));
      check(processed(MinPLogitsWarper(0.1f), scores), processed(MinPLogitsWarper(0.1f, keep), scores));
    }
  }
  GenerationConfig config{.do_sample = true, .top_k = 1, .num_beams = 2, .eos_token_id = {1, 2, 3}};
  BOOST_TEST(kept(processed(LogitsProcessorList(config), sharp)).size() == 4u);
}

BOOST_AUTO_TEST_CASE(own_processors_come_last) {
  LogitsProcessorList list(GenerationConfig{.do_sample = true, .temperature = 0.5f, .top_k = 0});
  std::vector<TokenId> seen;
  list.push_back([&](std::span<const TokenId> sequence, std::span<float> scores) {
    seen.assign(sequence.begin(), sequence.end());
    for (float& score : scores) score += 1.0f;
  });
  BOOST_TEST(list.names() == (std::vector<std::string>{"TemperatureLogitsWarper", "custom"}));
  BOOST_TEST(list.size() == 2u);
  BOOST_TEST(processed(list, {1.0f, 2.0f}, {7, 8}) == (std::vector<float>{3.0f, 5.0f}));
  BOOST_TEST(seen == (std::vector<TokenId>{7, 8}));
  BOOST_CHECK_THROW(list.push_back(LogitsProcessor{}), Error);
  BOOST_TEST(LogitsProcessorList().size() == 0u);
  BOOST_TEST(LogitsProcessorList(GenerationConfig{}).size() == 0u);
}

}  // namespace
