/// Running the program of a bundled checkpoint as a user does.
#pragma once

#include <sys/wait.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "support/test_files.hpp"

namespace qwen3vl::test {

using nlohmann::json;
namespace fs = std::filesystem;

/// A program and the checkpoint that it was built for.
struct Checkpoint {
  std::string program;
  fs::path folder;
};
inline const Checkpoint dense{QWEN3VL_PROGRAM, fs::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes"};
inline const Checkpoint moe{QWEN3VL_MOE_PROGRAM, fs::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes-moe"};
/// Those that were built: the sanitized build has the first one only.
inline std::vector<Checkpoint> checkpoints() {
  return moe.program.empty() ? std::vector{dense} : std::vector{dense, moe};
}
inline const fs::path assets = dense.folder;
inline const std::string greedy = " --temperature 0";

inline void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

struct Result {
  int code = -1;
  std::string out, err;
};

/// Runs a program with a shell's words on `model`; `input` is its standard input.
inline Result run(const Checkpoint& checkpoint, const std::string& arguments, const std::string& input = "") {
  const TemporaryFolder folder;
  write(folder / "in", input);
  const std::string in_folder = "'" + folder.path().string() + "/";
  // First, so that `arguments` may send the output elsewhere.
  const std::string files = " < " + in_folder + "in' > " + in_folder + "out' 2> " + in_folder + "err' ";
  const std::string command =
      files + "'" + checkpoint.program + "' --model '" + checkpoint.folder.string() + "' " + arguments;
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder / "out"), read_file(folder / "err")};
}
/// The dense program, on its own checkpoint or another folder.
inline Result run(const std::string& arguments, const std::string& input = "", const fs::path& model = assets) {
  return run(Checkpoint{dense.program, model}, arguments, input);
}

/// Each line of the output as JSON; the run must have succeeded.
inline std::vector<json> json_lines(const Result& result) {
  BOOST_TEST(result.code == 0, result.err);
  std::vector<json> lines;
  std::istringstream stream(result.out);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

/// One clear line on standard error, exit code 1, nothing on standard output.
inline void check_error(const Result& result, const std::string& wanted) {
  BOOST_TEST(result.code == 1, "exit code " << result.code << ": " << result.err);
  BOOST_TEST(result.err.find(wanted) != std::string::npos, "'" << result.err << "' does not say '" << wanted << "'");
  BOOST_TEST(std::count(result.err.begin(), result.err.end(), '\n') == 1, result.err);
  BOOST_TEST(result.out.empty(), result.out);
}

inline std::string image(const std::string& name) {
  return " --image '" + (assets / "expected" / "images" / name).string() + "'";
}
inline std::string video(const std::string& name) {
  return " --video '" + (assets / "expected" / "clips" / name).string() + "'";
}

/// A copy of the dense checkpoint, to be damaged.
inline void copy_checkpoint(const fs::path& to) {
  for (const auto& entry : fs::directory_iterator(assets))
    if (entry.is_regular_file()) fs::copy(entry.path(), to / entry.path().filename());
}

/// The cases of a checkpoint, with media paths made absolute.
inline std::vector<json> expected_cases(const Checkpoint& checkpoint) {
  // Both share their images and videos, which are stored once.
  const fs::path folder = assets / "expected";
  std::vector<json> cases = json::parse(read_file(checkpoint.folder / "expected" / "cases.json")).at("cases");
  for (json& one : cases)
    for (json& message : one.at("messages"))
      if (message.at("content").is_array())
        for (json& part : message["content"])
          for (const char* key : {"image", "video"})
            if (part.contains(key)) part[key] = (folder / part[key].get<std::string>()).string();
  return cases;
}

/// The program's output for a case against the expected one.
inline void check_answer(const json& answer, const json& expected) {
  const auto name = expected.at("name").get<std::string>();
  BOOST_REQUIRE_MESSAGE(!answer.contains("error"), name << ": " << answer);
  BOOST_TEST(answer.at("token_ids") == expected.at("ids"), name << ": " << answer.at("text"));
  BOOST_TEST(answer.at("prompt_tokens") == expected.at("prompt_ids").size(), name);
  BOOST_TEST(answer.at("finish_reason") == "stop", name);
  const std::string text = expected.at("text");
  if (!expected.value("enable_thinking", false)) {
    BOOST_TEST(answer.at("text") == text, name);
    BOOST_TEST(!answer.contains("reasoning"), name);
    return;
  }
  const auto end = text.find("\n</think>\n\n");
  BOOST_REQUIRE(end != std::string::npos);
  BOOST_TEST(answer.at("reasoning") == text.substr(0, end), name);
  BOOST_TEST(answer.at("text") == text.substr(end + 11), name);
}

}  // namespace qwen3vl::test
