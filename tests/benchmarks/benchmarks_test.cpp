// The programs of benchmarks/ on the tiny variant: they run, print what docs/performance/method.md says, and reject bad
// input in one line. Speed depends on the machine and is not checked.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE benchmarks
#include <sys/wait.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "support/test_files.hpp"
#include "support/trace_file.hpp"

using nlohmann::json;
using qwen3vl::test::read_file;
using qwen3vl::test::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

const fs::path assets = fs::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes";

struct Result {
  int code = -1;
  std::string out, err;
};

Result run(const std::string& program, const std::string& arguments) {
  const TemporaryFolder folder;
  const std::string to = "'" + folder.path().string() + "/";
  const std::string command = "'" + program + "' " + arguments + " > " + to + "out' 2> " + to + "err'";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder / "out"), read_file(folder / "err")};
}

json run_json(const std::string& program, const std::string& arguments) {
  const Result result = run(program, arguments + " --json");
  BOOST_REQUIRE_MESSAGE(result.code == 0, arguments << ": " << result.err);
  return json::parse(result.out);
}

/// A number above zero.
void check_positive(const json& object, const std::string& key) {
  BOOST_REQUIRE_MESSAGE(object.contains(key), "no field " << key);
  const double value = object.at(key).get<double>();
  BOOST_TEST((std::isfinite(value) && value > 0.0), key << " is " << value);
}

void check_error(const std::string& program, const std::string& arguments, const std::string& wanted) {
  const Result result = run(program, arguments);
  BOOST_TEST(result.code == 1, arguments << ": exit code " << result.code);
  BOOST_TEST(result.err.find(wanted) != std::string::npos, "'" << result.err << "' does not say '" << wanted << "'");
  BOOST_TEST(result.out.empty(), result.out);
}

}  // namespace

BOOST_AUTO_TEST_CASE(layers) {
  const TemporaryFolder folder;
  const fs::path svg = folder / "roofline.svg";
  const json report = run_json(
      QWEN3VL_BENCH_LAYERS,
      "--quick --weights bf16 --prompt-tokens 8 --context 16,32 --image 64x64,96x64 --svg '" + svg.string() + "'");
  for (const char* key : {"roof_fma_gflops", "roof_fma_gflops_one_thread", "roof_read_gbytes_per_second"})
    BOOST_TEST(std::stod(report.at("context").at(key).get<std::string>()) > 0.0, key);
  std::set<std::string> names;
  for (const json& one : report.at("benchmarks")) {
    for (const char* key : {"real_time", "GFLOP/s", "GB/s", "roof%"}) check_positive(one, key);
    names.insert(one.at("name").get<std::string>());
  }
  std::set<std::string> wanted{"bf16/text/norm/tokens:8",
                               "bf16/text/qkv/tokens:1",
                               "bf16/text/qkv/tokens:8",
                               "bf16/text/qk_norm_rope/tokens:8",
                               "bf16/text/o_proj/tokens:1",
                               "bf16/text/o_proj/tokens:8",
                               "bf16/text/mlp/tokens:1",
                               "bf16/text/mlp/tokens:8",
                               "bf16/head/tokens:1",
                               "bf16/text/attention/tokens:8/context:0",
                               "bf16/text/attention/tokens:1/context:16",
                               "bf16/text/attention/tokens:1/context:32",
                               "bf16/text/decoder_layer/tokens:8/context:0",
                               "bf16/text/decoder_layer/tokens:1/context:16",
                               "bf16/text/decoder_layer/tokens:1/context:32"};
  for (const char* layer : {"patch_embed", "norm", "attention", "mlp", "block", "merger", "deepstack_merger"})
    for (const char* patches : {"16", "24"}) wanted.insert(std::string("bf16/vision/") + layer + "/patches:" + patches);
  BOOST_CHECK_EQUAL_COLLECTIONS(names.begin(), names.end(), wanted.begin(), wanted.end());

  // One point for each layer, and the roof.
  const std::string plot = read_file(svg);
  BOOST_TEST(plot.starts_with("<svg "));
  BOOST_TEST(plot.ends_with("</svg>\n"));
  std::size_t circles = 0;
  for (std::size_t at = plot.find("<circle"); at != std::string::npos; at = plot.find("<circle", at + 1)) ++circles;
  BOOST_TEST(circles == wanted.size());
  BOOST_TEST(plot.find("memory reads") != std::string::npos);
  BOOST_TEST(plot.find("nan") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(layers_table_filter_and_roof) {
  const Result table = run(QWEN3VL_BENCH_LAYERS, "--quick --benchmark_filter='^bf16/text/qkv'");
  BOOST_TEST(table.code == 0, table.err);
  for (const char* words : {"Roof of this machine", "memory reads", "bf16/text/qkv/tokens:1 ", "roof%", "GB/s"})
    BOOST_TEST(table.out.find(words) != std::string::npos, words);
  BOOST_TEST(table.out.find("text/mlp") == std::string::npos);
  BOOST_TEST(table.out.find('\033') == std::string::npos, "colours where there is no terminal");
  const json roof = run_json(QWEN3VL_BENCH_LAYERS, "--quick --roof-only --threads 1");
  BOOST_TEST(roof.at("threads") == 1);
  for (const char* key : {"fma_gflops", "read_gbytes_per_second", "read_buffer_bytes"}) check_positive(roof, key);
}

BOOST_AUTO_TEST_CASE(layers_repetitions_counters_and_csv) {
  const std::string some = "--quick --threads 2 --weights bf16 --prompt-tokens 8 --benchmark_filter='text/(qkv|norm)'";
  const Result result = run(QWEN3VL_BENCH_LAYERS, some + " --repetitions 3 --json");
  BOOST_REQUIRE_MESSAGE(result.code == 0, result.err);
  std::map<std::string, int> repetitions;
  bool counted = false;
  const json report = json::parse(result.out);
  for (const json& one : report.at("benchmarks")) {
    if (one.at("run_type") != "iteration") continue;
    ++repetitions[one.at("run_name").get<std::string>()];
    for (const char* name : {"cycles", "instructions", "cache-misses", "page-faults"}) {
      if (one.contains(name)) {
        counted = true;
        BOOST_TEST(one.at(name).get<double>() >= 0.0);
      } else {  // then it must say why
        BOOST_TEST(result.err.find(name) != std::string::npos, name << " is missing: " << result.err);
      }
    }
    if (one.contains("instructions")) BOOST_TEST(one.at("instructions").get<double>() > 100.0);
  }
  if (!counted) BOOST_TEST_MESSAGE("SKIPPED: no counters on this machine");
  BOOST_TEST(repetitions.size() == 3u);
  for (const auto& [name, count] : repetitions) BOOST_TEST(count == 3, name);

  const Result csv = run(QWEN3VL_BENCH_LAYERS, some + " --csv");
  BOOST_TEST(csv.code == 0, csv.err);
  BOOST_TEST(csv.out.starts_with("name,iterations,real_time,"), csv.out);
  BOOST_TEST(std::count(csv.out.begin(), csv.out.end(), '\n') == 4, csv.out);
  BOOST_TEST(csv.out.find("\"bf16/text/qkv/tokens:8\"") != std::string::npos, csv.out);
  check_error(QWEN3VL_BENCH_LAYERS, "--csv --json", "--csv");
}

BOOST_AUTO_TEST_CASE(layers_bad_input) {
  check_error(QWEN3VL_BENCH_LAYERS, "--weights q9", "weights q9");
  check_error(QWEN3VL_BENCH_LAYERS, "--image 50x50", "multiples of");
  check_error(QWEN3VL_BENCH_LAYERS, "--image large", "not a size");
  check_error(QWEN3VL_BENCH_LAYERS, "--nonsense", "--nonsense is not an option");
  check_error(QWEN3VL_BENCH_LAYERS, "--threads 0", "--threads");
  check_error(QWEN3VL_BENCH_LAYERS, "--quick --benchmark_filter=nothing --json", "no benchmark");
}

BOOST_AUTO_TEST_CASE(model_with_a_checkpoint) {
  const json run = run_json(QWEN3VL_BENCH_MODEL, "--model '" + assets.string() + "' --image '" +
                                                     (assets / "expected/images/01.png").string() +
                                                     "' --prompt-tokens 20 --decode-tokens 3 --context 70 --runs 2 "
                                                     "--threads 1 --weights bf16 --roof --quick");
  BOOST_TEST(run.at("variant") == "tiny-shapes");
  BOOST_TEST(run.at("weights") == "bf16");
  BOOST_TEST(run.at("random") == false);
  BOOST_TEST(run.at("threads") == 1);
  BOOST_TEST(run.at("image_tokens") == 25);
  BOOST_TEST(run.at("prompt_tokens") == 20 + 25 + 2);
  BOOST_TEST(run.at("context") == 70);
  BOOST_TEST(run.at("decode_tokens") == 3);
  for (const char* key : {"vision_seconds", "prefill_seconds", "decode_seconds"})
    BOOST_TEST(run.at("runs").at(key).size() == 2u, key);
  for (const char* key : {"parameters",
                          "weight_bytes",
                          "load_seconds",
                          "processing_seconds",
                          "vision_seconds",
                          "vision_gflops",
                          "prefill_seconds",
                          "prefill_tokens_per_second",
                          "prefill_gflops",
                          "time_to_first_token_seconds",
                          "decode_seconds",
                          "decode_tokens_per_second",
                          "decode_gbytes_per_second",
                          "decode_gflops",
                          "cache_bytes",
                          "peak_memory_bytes",
                          "prefill_percent_of_fma_peak",
                          "vision_percent_of_fma_peak",
                          "decode_percent_of_read_bandwidth",
                          "read_gbytes_per_second_between_steps"})
    check_positive(run, key);
  check_positive(run.at("roof"), "fma_gflops");
}

BOOST_AUTO_TEST_CASE(model_with_random_weights) {
  const json text = run_json(QWEN3VL_BENCH_MODEL, "--random --prompt-tokens 10 --decode-tokens 0");
  BOOST_TEST(text.at("random") == true);
  BOOST_TEST(text.at("prompt_tokens") == 10);
  BOOST_TEST(text.at("image_tokens") == 0);
  BOOST_TEST(text.at("vision_seconds") == 0.0);
  BOOST_TEST(text.at("decode_seconds") == 0.0);
  BOOST_TEST(!text.contains("roof"));
  const json both = run_json(QWEN3VL_BENCH_MODEL, "--image 64x96 --prompt-tokens 0 --decode-tokens 2");
  BOOST_TEST(both.at("prompt_tokens") == both.at("image_tokens").get<int>() + 2);
  BOOST_TEST(both.at("context") == both.at("prompt_tokens"));
  const json decode = run_json(QWEN3VL_BENCH_MODEL, "--prompt-tokens 0 --decode-tokens 2 --context 600");
  BOOST_TEST(decode.at("prompt_tokens") == 0);
  BOOST_TEST(decode.at("context") == 600);
  check_positive(decode, "decode_tokens_per_second");
  const Result csv = run(QWEN3VL_BENCH_MODEL, "--prompt-tokens 4 --decode-tokens 1 --roof --quick --csv");
  BOOST_TEST(csv.code == 0, csv.err);
  BOOST_TEST(csv.out.starts_with("variant,weights,random,isa,threads,"), csv.out);
  BOOST_TEST(std::count(csv.out.begin(), csv.out.end(), '\n') == 2, csv.out);
  const std::size_t line = csv.out.find('\n');
  BOOST_TEST(std::count(csv.out.begin(), csv.out.begin() + static_cast<std::ptrdiff_t>(line), ',') ==
             std::count(csv.out.begin() + static_cast<std::ptrdiff_t>(line), csv.out.end(), ','));
  const Result words = run(QWEN3VL_BENCH_MODEL, "--image 64x64 --prompt-tokens 4 --decode-tokens 1 --roof --quick");
  for (const char* line :
       {"loading", "vision tower", "prefill", "time to first token", "decode", "peak memory", "% of the roof"})
    BOOST_TEST(words.out.find(line) != std::string::npos, line);
}

BOOST_AUTO_TEST_CASE(model_trace) {
  const TemporaryFolder folder;
  const fs::path file = folder / "trace.json";
  const json run = run_json(QWEN3VL_BENCH_MODEL,
                            "--weights bf16 --image 64x96 --prompt-tokens 4 --decode-tokens 2 "
                            "--context 40 --quick --trace '" +
                                file.string() + "'");
  BOOST_TEST(!run.contains("roof"));
  const int rows = run.at("prompt_tokens");
  auto events = qwen3vl::test::read_trace(file);
  // The tiny variant: 4 blocks, 2 DeepStack features, 4 decoder layers; one prefill and two steps.
  const std::map<std::string, std::size_t> wanted{
      {"prefill", 1},        {"decode step", 2}, {"vision_model", 1},      {"vision_block", 4}, {"text_model", 3},
      {"decoder_layer", 12}, {"head", 3},        {"causal_attention", 12}, {"attention", 4},    {"qk_norm_rope", 12},
      {"rotate_qk", 4},      {"add_rows", 2},    {"embedding", 3},         {"rope_tables", 3},  {"interpolate_add", 1},
      {"scatter_rows", 1},   {"layer_norm", 11}, {"rms_norm", 27}};
  for (const auto& [name, count] : wanted) BOOST_TEST(events[name].size() == count, name);
  // Patches, four of each block, two of each of the three mergers; four of each layer and the head.
  BOOST_TEST(events["linear"].size() == 1u + 4 * 4 + 3 * 2 + 3 * (4 * 4 + 1));
  BOOST_TEST(events["argmax"].size() >= 2u);
  // The prompt's products of queries, keys and values, one of each layer.
  std::size_t qkv = 0;
  for (const json& event : events["linear"]) {
    const json& arguments = event.at("args");
    if (arguments.at("rows") != rows || arguments.at("outputs") != 256 || arguments.at("inputs") != 192) continue;
    ++qkv;
    BOOST_TEST(arguments.at("weights") == "bf16");
    BOOST_TEST(arguments.at("FLOP") == 2.0 * rows * 256 * 192);
    BOOST_TEST(arguments.at("bytes") == 256.0 * 192 * 2 + rows * (192.0 + 256.0) * 4);
  }
  BOOST_TEST(qkv == 4u);
  const json step = events["decode step"].back().at("args"), keys = events["causal_attention"].back().at("args");
  BOOST_TEST(step.at("context") == 41);
  BOOST_TEST(keys.at("keys") == 42);
  BOOST_TEST(keys.at("FLOP") == 4.0 * 42 * 4 * 32);
  check_error(QWEN3VL_BENCH_MODEL, "--prompt-tokens 2 --decode-tokens 0 --quick --trace /nonexistent/t.json",
              "cannot write /nonexistent/t.json");
}

BOOST_AUTO_TEST_CASE(model_bad_input) {
  check_error(QWEN3VL_BENCH_MODEL, "--weights q9", "q9 is not in this program");
  check_error(QWEN3VL_BENCH_MODEL, "--image nowhere.png", "neither a file nor a size");
  check_error(QWEN3VL_BENCH_MODEL, "--image 100000x100000", "neither a file nor a size");
  check_error(QWEN3VL_BENCH_MODEL, "--model /nowhere", "/nowhere");
  check_error(QWEN3VL_BENCH_MODEL, "--model /nowhere --random", "--random");
  check_error(QWEN3VL_BENCH_MODEL, "--decode-tokens -1", "--decode-tokens");
}

BOOST_AUTO_TEST_CASE(processing) {
  const json both = run_json(QWEN3VL_BENCH_PROCESSING, "--tokenizer '" + (assets / "tokenizer.json").string() +
                                                           "' --bytes 20000 --image '" +
                                                           (assets / "expected/images/04.jpg").string() + "' --runs 1");
  BOOST_TEST(both.at("image_width") == 256);
  for (const char* key : {"tokens", "tokenizer_mbytes_per_second", "tokenizer_short_mbytes_per_second", "patches",
                          "image_decode_seconds", "image_process_seconds"})
    check_positive(both, key);
  check_error(QWEN3VL_BENCH_PROCESSING, "", "nothing to do");
  check_error(QWEN3VL_BENCH_PROCESSING, "--image /nowhere.jpg", "/nowhere.jpg");
}

BOOST_AUTO_TEST_CASE(comparison_without_peers) {
  if (run(QWEN3VL_BENCH_MODEL, "--help").out.find("q8|q4") == std::string::npos) {
    BOOST_TEST_MESSAGE("SKIPPED comparison_without_peers: the benchmarks were built without q8 and q4");
    return;
  }
  if (run("python3", "--version").code != 0) {
    BOOST_TEST_MESSAGE("SKIPPED comparison_without_peers: there is no python3");
    return;
  }
  const TemporaryFolder folder;
  const auto quoted = [](const fs::path& path) { return " '" + path.string() + "'"; };
  const fs::path images = assets / "expected/images";
  const std::string arguments =
      quoted(fs::path(QWEN3VL_BENCHMARKS) / "compare_peers.py") + " --programs" +
      quoted(fs::path(QWEN3VL_BENCH_MODEL).parent_path()) + " --variant tiny-shapes --checkpoint" + quoted(assets) +
      " --images" + quoted(images / "01.png") + quoted(images / "02.png") + " --photo" + quoted(images / "04.jpg") +
      " --text" + quoted(fs::path(QWEN3VL_BENCHMARKS) / "compare_peers.sh") +
      " --bytes 20000 --runs 2 --threads 1 --prompt 16 --decode 2 --contexts 20 30 40 --quick --note 'A note.' "
      "--samples" +
      quoted(folder / "samples.json");
  const Result page = run("python3", arguments);
  BOOST_TEST(page.code == 0, page.err);
  for (const char* row : {"# Qwen3-VL tiny-shapes",
                          "A note.",
                          "Roof, the best of all runs: ",
                          "| prefill 16 tokens, bf16 | ",
                          "| prefill 16 tokens, 8-bit | ",
                          "| prefill 16 tokens, 4-bit | ",
                          "| decode at 20 tokens, bf16 | ",
                          "| decode at 20 tokens, 8-bit | ",
                          "| decode at 20 tokens, 4-bit | ",
                          "| decode at 30 tokens, 8-bit | ",
                          "| decode at 40 tokens, 8-bit | ",
                          "| vision tower, 512x512, bf16 | ",
                          "| vision tower, 1024x768, bf16 | ",
                          "| time to first token, 512x512 and a question, 8-bit | ",
                          "| map and pack the checkpoint, bf16 | ",
                          "| the same, the first of each two runs | ",
                          "| load from a packed cache file, bf16 | ",
                          "| peak memory, 512x512 and a question, 8-bit | ",
                          "| tokenizer, one text, one thread | ",
                          "| image processor, 12 megapixels, one thread | ",
                          "| prefill, bf16: of the multiply-adds | ",
                          "| transformers f32 | not available |",
                          "| llama.cpp Q8_0 | not available |"})
    BOOST_TEST(page.out.find(row) != std::string::npos, row);
  // Two rounds of each are kept, and another call measures nothing again.
  const json samples = json::parse(read_file(folder / "samples.json")).at("samples");
  BOOST_TEST(samples.at("ours bf16/prefill_tokens_per_second").size() == 2u);
  const Result again = run("python3", arguments);
  BOOST_TEST(again.code == 0, again.err);
  BOOST_TEST(again.err.find("ours bf16, round") == std::string::npos, again.err);
  BOOST_TEST(json::parse(read_file(folder / "samples.json")).at("samples") == samples);
}
