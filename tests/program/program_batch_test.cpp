// The program's batches: every expected answer in any combination, and bad lines that affect only themselves.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_batch
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "support/program_run.hpp"

using namespace qwen3vl::test;

namespace {

json ask(const std::string& words) { return json::array({{{"role", "user"}, {"content", words}}}); }
json ask(const std::string& words, const std::string& image) {
  return json::array(
      {{{"role", "user"}, {"content", {{{"type", "image"}, {"image", image}}, {{"type", "text"}, {"text", words}}}}}});
}

}  // namespace

// Images, pairs, videos and text in one file: batched by four, and by more than there are.
BOOST_AUTO_TEST_CASE(expected_token_ids_in_company) {
  for (const Checkpoint& checkpoint : checkpoints()) {
    std::vector<json> cases = expected_cases(checkpoint);
    std::erase_if(cases, [](const json& one) { return one.value("enable_thinking", false); });
    std::string lines;
    for (const json& one : cases) lines += one.at("messages").dump() + "\n";
    for (const char* size : {"", " --batch-size 1", " --batch-size 64"}) {
      const std::vector<json> answers =
          json_lines(run(checkpoint, std::string("--batch - --all-frames") + size, lines));
      BOOST_REQUIRE(answers.size() == cases.size());
      for (std::size_t i = 0; i < cases.size(); ++i) {
        BOOST_TEST(answers[i].at("line") == i + 1);
        check_answer(answers[i], cases[i]);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(bad_lines_give_errors_in_their_place) {
  const TemporaryFolder folder;
  fs::copy(assets / "expected" / "images" / "01.png", folder / "picture.png");
  const std::string good = ask("How many shapes are there?", "picture.png").dump();
  write(folder / "batch.jsonl", good + "\n" +                                     // 1
                                    "not json\n" +                                // 2
                                    "\n" +                                        // 3, asks nothing
                                    ask("x", "absent.png").dump() + "\n" +        // 4
                                    "{\"messages\": " + good + "}\r\n" +          // 5
                                    "[]\n" +                                      // 6
                                    "[{\"role\": \"user\", \"content\": 7}]\n" +  // 7
                                    std::string(200, '[') + "\n" +                // 8
                                    ask("Hello!").dump());                        // 9, without an end
  const std::string batch = "--batch '" + (folder / "batch.jsonl").string() + "'";
  const Result result = run(batch);
  BOOST_TEST(result.err == "3 answered, 5 could not be\n");
  const std::vector<json> answers = json_lines(result);
  BOOST_REQUIRE(answers.size() == 8u);
  const std::vector<int> numbers = {1, 2, 4, 5, 6, 7, 8, 9};
  for (std::size_t i = 0; i < 8; ++i) BOOST_TEST(answers[i].at("line") == numbers[i]);
  BOOST_TEST(answers[0].at("text") == "There are two shapes.");
  BOOST_TEST(answers[3].at("token_ids") == answers[0].at("token_ids"));
  BOOST_TEST(!answers[7].contains("error"));
  const auto error = [&](std::size_t i) { return answers[i].at("error").get<std::string>(); };
  BOOST_TEST(error(1).find("request is not valid JSON") == 0, error(1));
  BOOST_TEST(error(2).find("messages[0].content[0]: ") == 0, error(2));
  BOOST_TEST(error(2).find("absent.png") != std::string::npos, error(2));
  BOOST_TEST(error(4).find("conversation is empty") != std::string::npos, error(4));
  BOOST_TEST(error(5).find("messages[0].content") == 0, error(5));
  BOOST_TEST(!error(6).empty());
  check_error(run("--batch /nonexistent.jsonl"), "cannot open /nonexistent.jsonl");
  check_error(run("--batch '" + folder.path().string() + "'"), "cannot open");
  check_error(run("--batch - --prompt x"), "--batch");
  BOOST_TEST(json_lines(run("--batch -", "")).empty());
}

// With a seed, random choices are those of each conversation alone.
BOOST_AUTO_TEST_CASE(sampled_batches_equal_single_runs) {
  const std::string sampled = " --temperature 3 --top-k 40 --seed 5 --max-new-tokens 16 ";
  const std::string line = ask("What can you do?").dump();
  const std::vector<json> answers = json_lines(run(sampled + "--batch -", line + "\n" + line + "\n" + line));
  const json single = json_lines(run(sampled + "--json --messages -", line)).front();
  BOOST_REQUIRE(answers.size() == 3u);
  for (const json& answer : answers) BOOST_TEST(answer.at("token_ids") == single.at("token_ids"));
}

// A checkpoint's settings count as if they were given on the command line.
BOOST_AUTO_TEST_CASE(several_answers_that_the_checkpoint_asks_for) {
  const TemporaryFolder folder;
  copy_checkpoint(folder.path());
  json config = json::parse(read_file(folder / "generation_config.json"));
  config["num_beams"] = 2;
  config["num_return_sequences"] = 2;
  write(folder / "generation_config.json", config.dump());
  const std::string lines = ask("Hello!").dump() + "\n" + ask("What can you do?").dump() + "\n";
  const std::vector<json> together = json_lines(run("--batch -", lines, folder.path()));
  const std::vector<json> alone = json_lines(run("--batch - --batch-size 1", lines, folder.path()));
  BOOST_REQUIRE((together.size() == 2u && alone.size() == 2u));
  for (std::size_t i = 0; i < 2; ++i) {
    BOOST_TEST(together[i].at("token_ids") == alone[i].at("token_ids"));
    BOOST_TEST(together[i].at("answers").size() == 2u);
  }
  // A chat goes on with one.
  const std::vector<json> chat = json_lines(run("--json", "Hello!\n", folder.path()));
  BOOST_REQUIRE(chat.size() == 1u);
  BOOST_TEST(!chat[0].contains("answers"));
  check_error(run("--batch - --num-return-sequences 3 --num-beams 1", lines), "num_return_sequences is 3");
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written_is_an_error) {
  for (const char* options : {"--batch -", "--json --messages -", "--messages -"}) {
    const Result result = run(std::string(options) + " > /dev/full", ask("Hello!").dump());
    BOOST_TEST(result.code == 1, options);
    BOOST_TEST(result.err.find("cannot write to standard output") != std::string::npos, result.err);
  }
}
