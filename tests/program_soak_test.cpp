// One program that answers many requests: pictures, clips and bad lines, again and again. Every pass gives what the
// first one gave, and memory stays where it was after the first ones. A short run here;
// QWEN3VL_SOAK_REQUESTS=2000 tests/program_soak_test makes it a long one.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_soak
#include <spawn.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "program_run.hpp"

using namespace qwen3vl::test;

extern char** environ;  // NOLINT(readability-redundant-declaration): not in all C libraries' headers

namespace {

/// The program with --batch -, which answers while it is being asked.
class BatchProgram {
 public:
  BatchProgram() {
    std::array<int, 2> in{}, out{};
    BOOST_REQUIRE(pipe(in.data()) == 0 && pipe(out.data()) == 0);
    std::vector<std::string> words = {
        dense.program,   "--model", dense.folder.string(), "--batch", "-", "--batch-size", "4",
        "--temperature", "0",       "--max-new-tokens",    "12"};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    for (const int descriptor : {in[0], in[1], out[0], out[1]}) posix_spawn_file_actions_addclose(&files, descriptor);
    BOOST_REQUIRE(posix_spawn(&pid_, dense.program.c_str(), &files, nullptr, arguments.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&files);
    close(in[0]);
    close(out[1]);
    to_ = fdopen(in[1], "w");
    from_ = fdopen(out[0], "r");
  }
  BatchProgram(const BatchProgram&) = delete;
  BatchProgram& operator=(const BatchProgram&) = delete;
  ~BatchProgram() { finish(); }

  /// Answers to lines; all of them together must fit a pipe, and end with as many good ones as are answered together.
  std::vector<json> ask(const std::string& lines, std::size_t count) {
    std::fputs(lines.c_str(), to_);
    std::fflush(to_);
    std::vector<json> answers;
    std::string line;
    for (int c = 0; answers.size() < count && (c = std::getc(from_)) != EOF;) {
      if (c != '\n') {
        line += static_cast<char>(c);
        continue;
      }
      json answer = json::parse(std::exchange(line, {}));
      answer.erase("timings");
      answer.erase("line");
      answers.push_back(std::move(answer));
    }
    return answers;
  }

  double resident_megabytes() const {
    long pages = 0, resident = 0;
    std::istringstream(read_file("/proc/" + std::to_string(pid_) + "/statm")) >> pages >> resident;
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) * 1e-6;
  }

  int finish() {
    if (pid_ < 0) return status_;
    std::fclose(to_);
    std::fclose(from_);
    waitpid(std::exchange(pid_, -1), &status_, 0);
    return status_;
  }

 private:
  pid_t pid_ = -1;
  int status_ = -1;
  std::FILE *to_ = nullptr, *from_ = nullptr;
};

/// One pass: every case of the checkpoint, GIFs, and lines that cannot be answered between them.
std::vector<std::string> requests() {
  const std::string gif = std::string(QWEN3VL_TEST_DATA) + "/assets/gif/";
  const auto with = [](const std::string& part) {
    return R"([{"role": "user", "content": [)" + part + R"(, {"type": "text", "text": "What is this?"}]}])";
  };
  std::vector<std::string> good,
      bad = {"{",
             "[]",
             "nonsense",
             R"({"messages": 3})",
             R"([{"role": 5}])",
             std::string(400, '['),
             "[\"\xff\xfe\"]",
             with(R"({"type": "image", "image": "/absent.png"})"),
             with(R"({"type": "image", "image": "/dev/null"})"),
             with(R"({"type": "video", "video": ")" + gif + R"(one_frame.gif"})"),
             with(R"({"type": "video", "video": ")" + gif + R"(README.md"})"),
             with(R"({"type": "video", "video": ")" + gif + R"(plain.gif", "num_frames": 1000000})"),
             R"([{"role": "user", "content": "<|image_pad|>"}])"};
  for (const json& one : expected_cases(dense))
    if (!one.value("enable_thinking", false)) good.push_back(one.at("messages").dump());
  for (const char* const name : {"plain.gif", "full_table_smooth.gif", "pillow_alpha.gif", "disposal_3_opaque.gif"})
    good.push_back(with(R"({"type": "video", "video": ")" + gif + name + "\"}"));
  good.resize(good.size() / 4 * 4);  // the program answers four at a time, and waits for them
  std::vector<std::string> all;
  for (std::size_t i = 0; i < good.size(); ++i) {
    if (i < bad.size()) all.push_back(bad[i]);
    all.push_back(good[i]);
  }
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(many_requests_leave_memory_and_answers_as_they_were) {
  const char* const wanted = std::getenv("QWEN3VL_SOAK_REQUESTS");
  const std::size_t total = wanted != nullptr ? std::stoul(wanted) : 60;
  const std::vector<std::string> lines = requests();
  std::string pass;
  for (const std::string& line : lines) pass += line + "\n";
  BOOST_REQUIRE(pass.size() < 60'000);

  BatchProgram program;
  const std::vector<json> first = program.ask(pass, lines.size());
  BOOST_REQUIRE(first.size() == lines.size());
  std::size_t errors = 0;
  for (const json& answer : first) errors += answer.contains("error") ? 1u : 0u;
  BOOST_TEST(errors == 13u);
  const std::size_t passes = std::max<std::size_t>((total + lines.size() - 1) / lines.size(), 2);
  const std::size_t warm = std::max<std::size_t>(passes / 10, 1);
  double after_warming_up = 0.0, most = 0.0;
  for (std::size_t i = 1; i < passes; ++i) {
    if (i == warm) after_warming_up = program.resident_megabytes();
    const std::vector<json> again = program.ask(pass, lines.size());
    BOOST_REQUIRE(again.size() == lines.size());
    for (std::size_t k = 0; k < lines.size(); ++k)
      BOOST_TEST(again[k] == first[k], "pass " << i << ": " << lines[k].substr(0, 200));
    most = std::max(most, program.resident_megabytes());
  }
  const double at_the_end = program.resident_megabytes();
  BOOST_TEST(program.finish() == 0);
  std::printf(
      "%zu requests in %zu passes, %zu of each pass bad; resident: %.1f MB after %zu passes, %.1f at the end, %.1f at "
      "most\n",
      passes * lines.size(), passes, errors, after_warming_up, warm, at_the_end, most);
  // Freed memory is not all given back at once: a few megabytes are no leak, which 2000 requests would make visible.
  BOOST_TEST(at_the_end <= after_warming_up + 8.0);
}
