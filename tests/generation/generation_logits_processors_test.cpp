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
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/generation/logits/logits_processors.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace {

using namespace qwen3vl;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
const std::string cases = std::string(QWEN3VL_TEST_DATA) + "/golden/cases/generation/";

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
GenerationConfig config_of(nlohmann::json options) {
  if (!options.contains("top_k")) options["top_k"] = 0;
  return generation_config_from_json(options, "the case");
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

SynthIDTextWatermarkingConfig synthid_of(const nlohmann::json& given) {
  SynthIDTextWatermarkingConfig config;
  config.keys = given.at("keys").get<std::vector<std::int64_t>>();
  config.ngram_len = given.at("ngram_len").get<index_t>();
  config.context_history_size = given.value("context_history_size", config.context_history_size);
  config.sampling_table_seed = given.value("sampling_table_seed", config.sampling_table_seed);
  config.sampling_table_size = given.value("sampling_table_size", config.sampling_table_size);
  config.skip_first_ngram_calls = given.value("skip_first_ngram_calls", false);
  config.debug_mode = given.value("debug_mode", false);
  return config;
}

// The lists of a golden case. Rows of one prompt (beams) go together; `prompt_length`, where the case has one, is that
// of the padded prompts.
void check_lists(const std::string& path, std::size_t least) {
  const nlohmann::json description = read_json_file(path + ".json");
  const SafetensorsFile file = SafetensorsFile::open(path + ".safetensors");
  const Rows<TokenId> sequences = tokens(file, "in.input_ids");
  const double tolerance = description.at("tolerance").get<double>();
  const auto prompt_length = description.value("prompt_length", sequences.width);
  const TokenId pad = description.value("pad_token_id", -1);
  BOOST_TEST(description.at("lists").size() >= least);
  for (const auto& item : description.at("lists").items()) {
    const auto& name = item.key();
    const auto& list = item.value();
    BOOST_TEST_CONTEXT("list " << name) {
      GenerationConfig config = config_of(list.at("options"));
      config.pad_token_id = pad;
      if (list.contains("synthid")) config.watermarking_config = synthid_of(list.at("synthid"));
      OwnProcessors own;
      std::size_t asked = 0;
      if (list.contains("allowed"))
        own.prefix_allowed_tokens_fn = [&](index_t, std::span<const TokenId>) {
          return list.at("allowed").at(asked++).get<std::vector<TokenId>>();
        };
      const LogitsProcessorList processors(config, static_cast<index_t>(prompt_length), own);
      BOOST_TEST(processors.names() == list.at("order").get<std::vector<std::string>>(),
                 boost::test_tools::per_element());
      const Rows<float> scores = floats(file, list.value("scores", std::string("in.scores")));
      const Rows<float> expected = floats(file, "out." + name);
      BOOST_REQUIRE_EQUAL(scores.values.size(), expected.values.size());
      double largest = 0.0;
      for (const float value : expected.values)
        if (std::isfinite(value) && std::abs(value) < 1e38f)
          largest = std::max(largest, std::abs(static_cast<double>(value)));
      const auto together = static_cast<std::size_t>(list.contains("allowed") ? config.num_beams : 1);
      for (std::size_t first = 0; first < scores.count(); first += together) {
        std::vector<std::vector<TokenId>> ids(together);
        std::vector<std::vector<float>> got(together);
        std::vector<LogitsRow> rows;
        for (std::size_t j = 0; j < together; ++j) {
          const auto whole = sequences.row(std::min(first + j, sequences.count() - 1));
          const auto begin = std::ranges::find_if(whole, [&](TokenId id) { return id != pad; });
          const std::size_t length = list.value("at_begin", false) ? prompt_length : sequences.width;
          ids[j].assign(begin, whole.begin() + static_cast<std::ptrdiff_t>(length));
          got[j] = scores.row(first + j);
          rows.push_back({.ids = ids[j],
                          .prompt_tokens = prompt_length - static_cast<std::size_t>(begin - whole.begin()),
                          .scores = got[j]});
        }
        processors(rows);
        for (std::size_t j = 0; j < together; ++j) {
          const auto want = expected.row(first + j);
          for (std::size_t i = 0; i < want.size(); ++i) {
            const bool equal = std::isinf(want[i]) || std::abs(want[i]) > 1e38f
                                   ? got[j][i] == want[i]
                                   : std::abs(got[j][i] - want[i]) <= tolerance * largest;
            if (!equal)
              BOOST_ERROR("row " << first + j << ", token " << i << ": " << got[j][i] << " instead of " << want[i]);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_references_scores) {
  check_lists(cases + "processors", 19);
  check_lists(cases + "processors_5", 40);
}

BOOST_AUTO_TEST_CASE(the_references_detectors) {
  const nlohmann::json description = read_json_file(cases + "processors_5.json");
  BOOST_TEST(description.at("detectors").size() == 18u);
  int found = 0;
  for (const auto& row : description.at("detectors")) {
    const auto config = config_of({{"watermarking_config", row.at("config")}});
    const WatermarkDetector detector(64, std::get<WatermarkingConfig>(*config.watermarking_config), TokenId{3},
                                     row.at("ignore_repeated_ngrams").get<bool>());
    const auto output = detector(row.at("ids").get<std::vector<TokenId>>(), 0.5);
    BOOST_TEST(output.num_tokens_scored == row.at("num_tokens_scored").get<index_t>());
    BOOST_TEST(output.num_green_tokens == row.at("num_green_tokens").get<index_t>());
    BOOST_TEST(std::abs(output.z_score - row.at("z_score").get<double>()) < 1e-9);
    BOOST_TEST(std::abs(output.p_value - row.at("p_value").get<double>()) < 1e-9);
    BOOST_TEST(output.prediction == row.at("prediction").get<bool>());
    found += output.prediction;
  }
  BOOST_TEST(found > 0);
  const auto& g_values = description.at("g_values");
  const SynthIDTextWatermarkLogitsProcessor synthid(synthid_of(g_values.at("config")));
  const auto sequences = g_values.at("ids").get<std::vector<std::vector<TokenId>>>();
  for (std::size_t r = 0; r < sequences.size(); ++r)
    BOOST_TEST((synthid.compute_g_values(sequences[r]) ==
                g_values.at("values").at(r).get<std::vector<std::vector<std::uint8_t>>>()));
  BOOST_CHECK_THROW(WatermarkDetector(64, {})(std::vector<TokenId>{1}), Error);
}

// A text that was written with a watermark has one; every other text does not.
BOOST_AUTO_TEST_CASE(watermarks_are_found) {
  for (const SeedingScheme scheme : {SeedingScheme::lefthash, SeedingScheme::selfhash}) {
    const WatermarkingConfig config{.bias = 20.0f, .seeding_scheme = scheme, .context_width = 2};
    const LogitsProcessorList list(GenerationConfig{.watermarking_config = config});
    std::vector<TokenId> marked{1, 2}, plain{1, 2};
    for (unsigned i = 0; i < 60; ++i) {
      const auto scores = random_scores(300, i, false);
      const auto green = processed(list, scores, marked);
      marked.push_back(static_cast<TokenId>(std::ranges::max_element(green) - green.begin()));
      plain.push_back(static_cast<TokenId>(std::ranges::max_element(scores) - scores.begin()));
    }
    BOOST_TEST(WatermarkDetector(300, config)(marked).prediction);
    BOOST_TEST(!WatermarkDetector(300, config)(plain).prediction);
    WatermarkingConfig other = config;
    other.hashing_key = 12345;
    BOOST_TEST(!WatermarkDetector(300, other)(marked).prediction);
    BOOST_CHECK_THROW(WatermarkDetector(300, {.greenlist_ratio = 1.0}), Error);
  }
}

// torch.randperm(12, generator=torch.Generator().manual_seed(s)), and of a seed of more than 32 bits.
BOOST_AUTO_TEST_CASE(permutations_of_torch) {
  const auto permutation = [](std::uint64_t seed) {
    auto generator = detail::torch_generator(seed);
    return detail::torch_randperm(12, 12, generator);
  };
  BOOST_TEST(permutation(0) == (std::vector<std::int32_t>{8, 0, 5, 9, 7, 4, 2, 10, 3, 1, 11, 6}),
             boost::test_tools::per_element());
  BOOST_TEST(
      permutation((std::uint64_t{5} << 32) + 9) == (std::vector<std::int32_t>{10, 9, 6, 8, 0, 3, 7, 4, 1, 11, 2, 5}),
      boost::test_tools::per_element());
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
        for (const auto& list :
             {GenerationConfig{.do_sample = true, .top_h = 0.5f, .top_k = 0},
              GenerationConfig{.do_sample = true, .top_k = 0, .typical_p = 0.5f},
              GenerationConfig{.do_sample = true, .top_k = 0, .epsilon_cutoff = 0.1f, .eta_cutoff = 0.1f},
              GenerationConfig{.renormalize_logits = true},
              GenerationConfig{.watermarking_config = SynthIDTextWatermarkingConfig{.keys = {1, 2}}}})
          BOOST_TEST((text(processed(LogitsProcessorList(list), scores)) == text(scores)));
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
    BOOST_TEST(processed(TopHLogitsWarper(0.5f), scores) == scores);
    BOOST_TEST(processed(TypicalLogitsWarper(0.5f), scores) == scores);
    BOOST_TEST(processed(EpsilonLogitsWarper(0.5f), scores) == scores);
    BOOST_TEST(processed(EtaLogitsWarper(0.5f), scores) == scores);
    BOOST_TEST(processed(LogitNormalization(), scores) == scores);
  }
}

BOOST_AUTO_TEST_CASE(bad_words_that_are_eos_tokens_are_ignored) {
  const std::vector<float> scores = {1.0f, 2.0f, 3.0f};
  const auto without = [&](const std::vector<std::vector<TokenId>>& bad_words) {
    return processed(LogitsProcessorList(GenerationConfig{.eos_token_id = {0, 2}, .bad_words_ids = bad_words}), scores,
                     {1});
  };
  BOOST_TEST(without({{2}}) == scores);
  BOOST_TEST(without({{2}, {0}}) == scores);
  BOOST_TEST((without({{2}, {1}})[1] == removed_score));
  BOOST_CHECK_THROW(NoBadWordsLogitsProcessor({}, std::vector<TokenId>{}), Error);
}

BOOST_AUTO_TEST_CASE(tokens_outside_of_the_vocabulary_are_errors) {
  for (const TokenId bad : {-1, 3, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
    BOOST_CHECK_THROW(processed(RepetitionPenaltyLogitsProcessor(1.5f), {0, 0, 0}, {1, bad}), Error);
    BOOST_CHECK_THROW(processed(NoRepeatNGramLogitsProcessor(1), {0, 0, 0}, {1, bad}), Error);
    BOOST_CHECK_THROW(
        processed(LogitsProcessorList(GenerationConfig{.sequence_bias = {{{bad}, 1.0f}}}), {0, 0, 0}, {1}), Error);
    BOOST_CHECK_THROW(processed(LogitsProcessorList(GenerationConfig{.bad_words_ids = {{1, bad}}}), {0, 0, 0}, {1}),
                      Error);
    BOOST_CHECK_THROW(
        processed(
            LogitsProcessorList(GenerationConfig{}, 0,
                                {.prefix_allowed_tokens_fn = [&](auto, auto) { return std::vector<TokenId>{bad}; }}),
            {0, 0, 0}, {1}),
        Error);
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
    BOOST_CHECK_THROW(EncoderNoRepeatNGramLogitsProcessor{bad}, Error);
  }
  for (const float bad : {0.0f, -1.0f, nan}) BOOST_CHECK_THROW(EncoderRepetitionPenaltyLogitsProcessor{bad}, Error);
  for (const float bad : {0.0f, 1.1f, nan, infinity}) {
    BOOST_CHECK_THROW(TopHLogitsWarper{bad}, Error);
    BOOST_CHECK_THROW(TypicalLogitsWarper{bad}, Error);
    BOOST_CHECK_THROW(EpsilonLogitsWarper{bad}, Error);
    BOOST_CHECK_THROW(EtaLogitsWarper{bad}, Error);
  }
  BOOST_CHECK_THROW(SequenceBiasLogitsProcessor({{{}, 1.0f}}), Error);
  BOOST_CHECK_THROW(SequenceBiasLogitsProcessor({{{1}, nan}}), Error);
  BOOST_CHECK_THROW(NoBadWordsLogitsProcessor({{}}, {}), Error);
  BOOST_CHECK_THROW(PrefixConstrainedLogitsProcessor({}), Error);
  const OwnProcessors nothing{.prefix_allowed_tokens_fn = [](auto, auto) { return std::vector<TokenId>(); }};
  BOOST_CHECK_THROW(processed(LogitsProcessorList(GenerationConfig{}, 0, nothing), {1.0f}, {0}), Error);
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

BOOST_AUTO_TEST_CASE(own_processors_come_before_the_warpers) {
  std::vector<TokenId> seen;
  const std::vector<LogitsProcessor> before{[&](std::span<const TokenId> sequence, std::span<float> scores) {
    seen.assign(sequence.begin(), sequence.end());
    for (std::size_t i = 0; i + 2 < scores.size(); ++i) scores[i] = -infinity;  // an allow-list of the last two
  }};
  const std::vector<LogitsProcessor> after{[](std::span<const TokenId>, std::span<float> scores) {
    for (float& score : scores) score += 1.0f;
  }};
  const GenerationConfig config{.do_sample = true, .temperature = 0.5f, .top_k = 2, .renormalize_logits = true};
  LogitsProcessorList list(config, 0, {.before_warpers = before, .after_warpers = after});
  BOOST_TEST(list.names() == (std::vector<std::string>{"custom", "TemperatureLogitsWarper", "TopKLogitsWarper",
                                                       "custom", "LogitNormalization"}));
  BOOST_TEST(list.size() == 5u);
  BOOST_TEST(kept(processed(list, {9.0f, 8.0f, 7.0f, 2.0f, 1.0f}, {7, 8})) == (std::vector<std::size_t>{3, 4}));
  BOOST_TEST(seen == (std::vector<TokenId>{7, 8}));
  const LogitsProcessorList plain(GenerationConfig{.do_sample = true, .temperature = 0.5f, .top_k = 0}, 0,
                                  {.after_warpers = after});
  BOOST_TEST(processed(plain, {1.0f, 2.0f}) == (std::vector<float>{3.0f, 5.0f}));
  BOOST_CHECK_THROW(list.push_back(LogitsProcessor{}), Error);
  BOOST_TEST(LogitsProcessorList().size() == 0u);
  BOOST_TEST(LogitsProcessorList(GenerationConfig{}).size() == 0u);
}

}  // namespace
