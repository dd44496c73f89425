// The program's batches: every expected answer in any combination, and bad lines that affect only themselves.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_batch
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/npy.hpp"
#include "support/program_run.hpp"
#include "support/reranker_tokenizer.hpp"

using namespace qwen3vl::test;

namespace {

json ask(const std::string& words) { return json::array({{{"role", "user"}, {"content", words}}}); }
json ask(const std::string& words, const std::string& image) {
  return json::array(
      {{{"role", "user"}, {"content", {{{"type", "image"}, {"image", image}}, {{"type", "text"}, {"text", words}}}}}});
}

/// The inputs and results of the code published with Qwen3-VL-Embedding; files are named from the folder of the inputs.
json published(const std::string& name) {
  return json::parse(read_file(fs::path(QWEN3VL_TEST_DATA) / "golden/cases/retrieval" / (name + ".json"))).at("cases");
}

/// A copy of the checkpoint that is a reranker, with the media of the published cases.
struct RetrievalFolder : TemporaryFolder {
  RetrievalFolder() {
    copy_checkpoint(path());
    qwen3vl::test::add_yes_and_no(path());
    for (const char* media : {"images", "clips"}) fs::create_symlink(assets / "expected" / media, path() / media);
  }
  std::string file(const std::string& option, const std::string& lines) const {
    return "--" + option + " '" + write("in.jsonl", lines).string() + "' ";
  }
};

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

BOOST_AUTO_TEST_CASE(embeddings_as_published) {
  const RetrievalFolder folder;
  std::string lines;
  std::vector<json> wanted;
  for (const json& one : published("embedding")) {
    if (one.contains("max_length")) continue;
    for (std::size_t i = 0; i < one["inputs"].size(); ++i) {
      lines += one["inputs"][i].dump() + "\n";
      wanted.push_back(one["embeddings_8"][i]);
    }
  }
  const fs::path out = folder / "out.npy";
  const std::string embed = folder.file("embed", lines) + "--dimensions 8 ";
  const std::vector<json> made = json_lines(run(embed + "--batch-size 5", "", folder.path()));
  const Result result = run(embed + "--stats --embed-out '" + out.string() + "'", "", folder.path());
  BOOST_TEST(result.out.empty());
  BOOST_TEST(result.err.find(std::to_string(wanted.size()) + " prompts of ") != std::string::npos, result.err);
  const auto matrix = qwen3vl::read_npy<float, qwen3vl::dynamic, 8>(out);
  BOOST_REQUIRE((made.size() == wanted.size() && matrix.rows() == static_cast<qwen3vl::index_t>(wanted.size())));
  for (std::size_t i = 0; i < made.size(); ++i) {
    BOOST_TEST(made[i].at("line") == i + 1);
    for (std::size_t d = 0; d < 8; ++d) {
      const double value = made[i].at("embedding").at(d), from_file = matrix.data()[8 * i + d];
      BOOST_TEST(std::abs(value - wanted[i][d].get<double>()) < 1e-4);
      BOOST_TEST(std::abs(value - from_file) < 1e-6);
    }
  }
}

BOOST_AUTO_TEST_CASE(scores_as_published) {
  const RetrievalFolder folder;
  std::string lines;
  json wanted;
  for (const json& one : published("reranker")) {
    if (one.contains("max_length")) continue;
    lines += one["row"].dump() + "\n";
    wanted.push_back(one["scores"]);
  }
  const std::vector<json> made = json_lines(run(folder.file("rerank", lines) + "--batch-size 3", "", folder.path()));
  BOOST_REQUIRE(made.size() == wanted.size());
  for (std::size_t i = 0; i < made.size(); ++i) {
    BOOST_REQUIRE(made[i].at("scores").size() == wanted[i].size());
    for (std::size_t j = 0; j < wanted[i].size(); ++j)
      BOOST_TEST(std::abs(made[i]["scores"][j].get<double>() - wanted[i][j].get<double>()) < 1e-5);
  }
}

BOOST_AUTO_TEST_CASE(what_cannot_be_embedded_or_scored) {
  const RetrievalFolder folder;
  const std::string lines = "\"a\"\n\n{\"image\": \"absent.png\", \"id\": 3}\n{\"txt\": \"a\"}\n\"b\"\n";
  const std::string embed = folder.file("embed", lines) + "--dimensions 2";
  const Result result = run(embed, "", folder.path());
  BOOST_TEST(result.err == "2 lines could not be computed\n");
  const std::vector<json> made = json_lines(result);
  BOOST_REQUIRE(made.size() == 4u);
  BOOST_TEST(
      (made[0].at("line") == 1 && made[1].at("line") == 3 && made[2].at("line") == 4 && made[3].at("line") == 5));
  BOOST_TEST(made[3].at("embedding").size() == 2u);
  BOOST_TEST(made[1].at("error").get<std::string>().find("image: cannot open") == 0u, made[1]);
  BOOST_TEST(made[1].at("id") == 3);
  BOOST_TEST(made[2].at("error").get<std::string>().find("means nothing here: txt") != std::string::npos, made[2]);
  BOOST_TEST(json_lines(run("--ignore-unknown " + embed, "", folder.path()))[2].contains("embedding"));
  check_error(run(embed + " --embed-out '" + (folder / "x.npy").string() + "'", "", folder.path()), "line 3: image: ");
  BOOST_TEST(!fs::exists(folder / "x.npy"));

  const std::vector<json> scores =
      json_lines(run(folder.file("rerank", R"({"query": "a", "documents": ["b", {"image": "absent.png"}], "id": "x"})"
                                           "\n{\"query\": \"a\", \"documents\": []}\n"),
                     "", folder.path()));
  BOOST_REQUIRE(scores.size() == 2u);
  BOOST_TEST(scores[0].at("error").get<std::string>().find("documents[1].image: cannot open") == 0u, scores[0]);
  BOOST_TEST(scores[1].at("scores") == json::array());

  check_error(run("--rerank -", "{}"), "has no token \"yes\"");  // tiny-shapes itself
  check_error(run("--embed /nonexistent.jsonl"), "cannot open /nonexistent.jsonl");
  check_error(run("--embed - --dimensions 193"), "--dimensions is 193; this model has embeddings of 192");
  check_error(run("--embed - --temperature 1"), "--temperature has no effect with --embed");
  check_error(run("--rerank - --image x.png"), "--image has no effect with --rerank");
  check_error(run("--embed - --inputs"), "--inputs has no effect with --embed");
  check_error(run("--rerank - --dimensions 8"), "--embed");
  check_error(run("--prompt x --instruction y"), "--instruction is for --embed and --rerank");
  check_error(run("--embed - --embed-out /nonexistent/x.npy"), "--embed-out: there is no folder /nonexistent");
}
