// Stop strings against a search in the whole text, and budgets of reasoning, with the official vocabulary.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_stopping
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/generation/logits/thinking_budget.hpp"
#include "qwen3vl/generation/stop_strings.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"

using namespace qwen3vl;
using Ids = std::vector<TokenId>;

namespace {

const Tokenizer& official() {
  static const Tokenizer tokenizer =
      Tokenizer::from_file(std::string(QWEN3VL_TEST_DATA) + "/assets/qwen3-tokenizer/tokenizer.json");
  return tokenizer;
}

/// How many tokens of `ids` are generated before the criterion ends them; one more than there are: never.
std::size_t ends_after(const StopStrings& stop, const Ids& ids) {
  for (std::size_t n = 1; n <= ids.size(); ++n)
    if (stop(0, std::span(ids).first(n))) return n;
  return ids.size() + 1;
}

std::string bytes_of(std::span<const TokenId> ids) {
  std::string text;
  for (const TokenId id : ids) text += official().bytes_or_nothing(id);
  return text;
}

/// The same by searching the whole text after each token.
std::size_t plain_ends_after(const std::vector<std::string>& strings, const Ids& ids) {
  for (std::size_t n = 1; n <= ids.size(); ++n)
    for (const std::string& string : strings)
      if (bytes_of(std::span(ids).first(n)).find(string) != std::string::npos) return n;
  return ids.size() + 1;
}

}  // namespace

// StopStringCriteria of transformers, which looks into the prompt as well.
BOOST_AUTO_TEST_CASE(golden_stop_strings) {
  const auto table = read_json_file(std::string(QWEN3VL_TEST_DATA) + "/golden/cases/tokenizer/stop_strings.json");
  int in_prompt = 0;
  for (const auto& row : table.at("cases")) {
    const auto ids = row.at("ids").get<Ids>();
    const auto prompt = row.at("prompt_tokens").get<std::size_t>();
    const StopStrings stop(official(), row.at("stop_strings").get<std::vector<std::string>>());
    std::size_t n = prompt + 1;
    while (n <= ids.size() && !stop.ends(std::span(ids).first(n))) ++n;
    const std::size_t expected =
        row.at("new_tokens").is_null() ? ids.size() - prompt + 1 : row.at("new_tokens").get<std::size_t>();
    BOOST_TEST(n - prompt == expected);
    const Ids answer(ids.begin() + static_cast<std::ptrdiff_t>(prompt), ids.end());
    in_prompt += ends_after(stop, answer) != expected;
  }
  BOOST_TEST(table.at("cases").size() == 60u);
  BOOST_TEST_MESSAGE(in_prompt << " begin in the prompt");
}

BOOST_AUTO_TEST_CASE(strings_anywhere_in_tokens) {
  const std::string text = "Hello, wonderful world!\n\nUser: 你好, naïve 🙂🙂 end.<|im_end|>\nObservation: 42";
  const Ids ids = official().encode(text);
  for (std::size_t begin = 0; begin < text.size(); ++begin)
    for (std::size_t length : {1u, 2u, 3u, 5u, 9u, 20u, 60u}) {
      const std::string string = text.substr(begin, length);
      BOOST_REQUIRE_EQUAL(ends_after(StopStrings(official(), {string}), ids), plain_ends_after({string}, ids));
    }
  const std::vector<std::string> several{"never", "world!\n", "User:", "nobody says this"};
  BOOST_TEST(ends_after(StopStrings(official(), several), ids) == plain_ends_after(several, ids));
  BOOST_TEST(ends_after(StopStrings(official(), {"nobody"}), ids) == ids.size() + 1);
  BOOST_TEST(ends_after(StopStrings(official(), {}), ids) == ids.size() + 1);
  BOOST_TEST(!StopStrings(official(), {"a"})(0, {}));
  BOOST_CHECK_THROW(StopStrings(official(), {"a", ""}), Error);
  BOOST_TEST(StopStrings(official(), {"User:", "world"}).cut("Hello world User: x") == "Hello ");
  BOOST_TEST(StopStrings(official(), {"User:"}).cut("Hello") == "Hello");
}

BOOST_AUTO_TEST_CASE(random_tokens) {
  std::mt19937 generator(1);
  for (int round = 0; round < 300; ++round) {
    Ids ids(60);
    // Few short tokens make many near misses; some ids have no token.
    for (TokenId& id : ids) id = generator() % 8 == 0 ? 151900 : static_cast<TokenId>(64 + generator() % 3);
    const std::string text = bytes_of(ids);
    const std::size_t begin = generator() % text.size();
    const std::vector<std::string> strings{text.substr(begin, 1 + generator() % 12), "aab", "abbbbbbbbbbbb"};
    BOOST_REQUIRE_EQUAL(ends_after(StopStrings(official(), strings), ids), plain_ends_after(strings, ids));
  }
}

BOOST_AUTO_TEST_CASE(long_answers_take_linear_time) {
  const Ids piece = official().encode("All work and no play makes Jack a dull boy. ");
  Ids ids;
  while (ids.size() < 100000) ids.insert(ids.end(), piece.begin(), piece.end());
  const StopStrings stop(official(), {"Jack a bright boy", "THE END"});
  const auto start = std::chrono::steady_clock::now();
  BOOST_TEST(ends_after(stop, ids) == ids.size() + 1);
  // Quadratic work would be 10^10 tokens.
  BOOST_TEST(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 5.0);
}

namespace {

constexpr TokenId think = 151667, end_think = 151668;

/// A model that always prefers the same token, under a budget. `wishes` come first.
Ids answer_of(const ThinkingBudget& budget, const Ids& prompt, Ids wishes, std::size_t count) {
  Ids ids = prompt;
  std::vector<float> scores;
  wishes.resize(count, 1000);
  for (std::size_t i = 0; i < count; ++i) {
    scores.assign(151936, 0.0f);
    scores[static_cast<std::size_t>(wishes[i])] = 1.0f;
    budget(ids, prompt.size(), scores);
    ids.push_back(static_cast<TokenId>(std::ranges::max_element(scores) - scores.begin()));
  }
  return {ids.begin() + static_cast<std::ptrdiff_t>(prompt.size()), ids.end()};
}

}  // namespace

BOOST_AUTO_TEST_CASE(thinking_budgets) {
  const ThinkingBudget budget = thinking_budget(official(), 3);
  BOOST_TEST(budget.begin_token == think);
  BOOST_TEST(budget.end_token == end_think);
  BOOST_TEST(official().decode(budget.closing) == "\n</think>\n\n");
  BOOST_REQUIRE(budget.closing.size() == 3u);
  const TokenId newline = budget.closing[0], newlines = budget.closing[2];
  const Ids open{1, 2, think, newline}, closed{1, think, end_think, 2}, plain{1, 2};
  BOOST_TEST(answer_of(budget, open, {}, 9) == (Ids{1000, 1000, 1000, newline, end_think, newlines, 1000, 1000, 1000}));
  // Reasoning that ends by itself is not changed, even at the last token of the budget.
  BOOST_TEST(answer_of(budget, open, {5, end_think, 6}, 7) == (Ids{5, end_think, 6, 1000, 1000, 1000, 1000}));
  BOOST_TEST(answer_of(budget, open, {5, 6, end_think}, 6) == (Ids{5, 6, end_think, 1000, 1000, 1000}));
  // No reasoning, reasoning that begins in the answer, and a second block.
  BOOST_TEST(answer_of(budget, plain, {}, 6) == Ids(6, 1000));
  BOOST_TEST(answer_of(budget, closed, {}, 6) == Ids(6, 1000));
  BOOST_TEST(answer_of(budget, plain, {7, think}, 9) ==
             (Ids{7, think, 1000, 1000, 1000, newline, end_think, newlines, 1000}));
  BOOST_TEST(answer_of(budget, open, {end_think, think}, 7) == (Ids{end_think, think, 1000, 1000, 1000, 1000, 1000}));
  BOOST_TEST(answer_of(thinking_budget(official(), 0), open, {}, 5) == (Ids{newline, end_think, newlines, 1000, 1000}));
  BOOST_TEST(answer_of(thinking_budget(official(), std::numeric_limits<std::int32_t>::max()), open, {}, 5) ==
             Ids(5, 1000));
  BOOST_CHECK_THROW(thinking_budget(official(), -1), Error);
  BOOST_CHECK_THROW((ThinkingBudget{.max_tokens = 1, .begin_token = 1, .end_token = 2, .closing = {3}}.validate()),
                    Error);
  ThinkingBudget foreign = budget;
  foreign.closing = {200000, end_think};
  BOOST_CHECK_THROW(answer_of(foreign, open, {}, 9), Error);
}
