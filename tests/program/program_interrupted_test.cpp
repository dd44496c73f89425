// Interruptions of the program: Ctrl-C, readers that disconnect, full disks, files that shrink. Also its messages while
// it works and before it begins.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_interrupted
#include <sys/mman.h>
#include <sys/resource.h>

#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "../../examples/program/output/signals.hpp"
#include "qwen3vl/base/mapped_file.hpp"
#include "support/program_child.hpp"
#include "support/program_run.hpp"

using namespace qwen3vl::test;

namespace {

// More than anybody waits for.
const std::vector<std::string> endless = {"--min-new-tokens", "100000000", "--max-new-tokens", "100000000"};

std::vector<std::string> words(std::vector<std::string> more, const std::vector<std::string>& and_more = {}) {
  std::vector<std::string> all = {"--model", assets.string(), "--threads", "1"};
  all.insert(all.end(), more.begin(), more.end());
  all.insert(all.end(), and_more.begin(), and_more.end());
  return all;
}
std::string image_file(const std::string& name) { return (assets / "expected" / "images" / name).string(); }

}  // namespace

BOOST_AUTO_TEST_CASE(ctrl_c_stops_an_answer_and_keeps_the_chat) {
  Child chat(dense.program, words(endless), Child::Output::terminal);
  BOOST_REQUIRE(chat.wait_for("> "));
  chat.type("/image " + image_file("03.png") + "\nDescribe this image.\n");
  BOOST_REQUIRE(chat.wait_for("Describe this image.\r\n"));  // the echo
  BOOST_REQUIRE(chat.wait_for("yellow"));
  chat.type("\x03");
  BOOST_TEST(chat.wait_for("stopped"), chat.seen());
  BOOST_TEST(chat.wait_for("> "), chat.seen());
  // The chat continues, with the image of the previous turn.
  chat.type("How many shapes are there?\n");
  BOOST_TEST(chat.wait_for("there?\r\n"), chat.seen());
  BOOST_TEST(chat.wait_for("e"), chat.seen());  // of the answer, or of what is being done
  chat.type("\x03");
  BOOST_TEST(chat.wait_for("stopped"), chat.seen());
  BOOST_TEST(chat.wait_for("> "), chat.seen());
  chat.type("/exit\n");
  BOOST_TEST(chat.wait() == 0, chat.seen());
}

BOOST_AUTO_TEST_CASE(typing_is_edited_and_remembered) {
  Child chat(dense.program, words({}), Child::Output::terminal, [] { setenv("TERM", "xterm", 1); });
  BOOST_REQUIRE(chat.wait_for("> "));
  chat.type("/hemp\x7f\x7flp\n");  // two backspaces
  BOOST_TEST(chat.wait_for("end; so does the end of the input"), chat.seen());
#if QWEN3VL_HAVE_LIBEDIT
  BOOST_REQUIRE(chat.wait_for("> "));
  chat.type("\x1b[A\n");  // up
  BOOST_TEST(chat.wait_for("end; so does the end of the input"), chat.seen());
  BOOST_REQUIRE(chat.wait_for("> "));
  chat.type("it\x01/ex\n");  // Ctrl-A: to the beginning
#else
  BOOST_REQUIRE(chat.wait_for("> "));
  chat.type("/exit\n");
#endif
  BOOST_TEST(chat.wait() == 0, chat.seen());
}

BOOST_AUTO_TEST_CASE(ctrl_c_at_the_prompt_ends_the_chat) {
  Child chat(dense.program, words({}), Child::Output::terminal);
  BOOST_REQUIRE(chat.wait_for("> "));
  chat.type("\x03");
  BOOST_TEST(chat.wait() == -SIGINT, chat.seen());
}

BOOST_AUTO_TEST_CASE(ctrl_c_ends_a_single_answer_with_what_there_is) {
  Child single(dense.program, words({"--prompt", "Describe this image.", "--image", image_file("01.png")}, endless),
               Child::Output::pipe);
  BOOST_REQUIRE(single.wait_for("A large green star"));
  single.send(SIGINT);
  BOOST_TEST(single.wait() == 130, single.seen());
  BOOST_TEST(single.seen().ends_with("stopped\n"), single.seen());
}

BOOST_AUTO_TEST_CASE(ctrl_c_ends_a_batch_at_a_whole_line) {
  const TemporaryFolder folder;
  const auto ask = [](const std::string& words) {
    return json::array({{{"role", "user"}, {"content", words}}}).dump() + "\n";
  };
  // Lines that never end behind one that cannot be answered.
  write(folder / "batch.jsonl", "no json\n" + ask("Hello!") + ask("Hello!"));
  Child batch(dense.program, words({"--batch", (folder / "batch.jsonl").string(), "--batch-size", "1"}, endless),
              Child::Output::pipe);
  BOOST_REQUIRE(batch.wait_for("\"line\":1"));
  BOOST_REQUIRE(batch.wait_for("\n"));
  usleep(200000);  // the second line is being answered; a signal before that would end the program by itself
  batch.send(SIGINT);
  BOOST_TEST(batch.wait() == 130, batch.seen());
  BOOST_TEST(batch.seen().ends_with("0 answered, 1 could not be\nstopped\n"), batch.seen());
  BOOST_TEST(batch.seen().find("\"line\":2") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_reader_that_goes) {
  for (const char* option : {"--json", "--stats"}) {
    Child child(dense.program, words({"--prompt", "Hello!", option}), Child::Output::closed_pipe);
    BOOST_TEST(child.wait() == 1, child.seen());
    BOOST_TEST(child.seen().find("cannot write to standard output: Broken pipe; who was to read it has gone\n") !=
                   std::string::npos,
               child.seen());
  }
  Child version(dense.program, {"--version"}, Child::Output::closed_pipe);
  BOOST_TEST(version.wait() == 1, version.seen());
  for (const char* option : {"--version", "--help"}) {
    const Result full = run(std::string(option) + " > /dev/full");
    BOOST_TEST(full.code == 1, option);
    BOOST_TEST(full.err.find("cannot write to standard output") != std::string::npos, full.err);
  }
}

// A file that cannot grow further, as on a full disk.
BOOST_AUTO_TEST_CASE(no_room_for_packed_weights_or_a_drawing) {
  const TemporaryFolder folder;
  const auto describe = [&](const std::vector<std::string>& options) {
    return words({"--prompt", "Describe this image.", "--image", image_file("01.png")}, options);
  };
  const auto limit = [] {
    const rlimit most{100000, 100000};
    setrlimit(RLIMIT_FSIZE, &most);
  };
  Child packed(dense.program, describe({"--packed-cache", (folder / "cache").string()}), Child::Output::pipe, limit);
  BOOST_TEST(packed.wait() == 0, packed.seen());
  BOOST_TEST(packed.seen().find("warning: cannot write ") == 0u, packed.seen());
  BOOST_TEST(packed.seen().find("File too large") != std::string::npos, packed.seen());
  BOOST_TEST(packed.seen().ends_with("A large green star on the right and a small purple heart at the bottom.\n"));
  BOOST_TEST(fs::is_empty(folder / "cache"));  // nothing half-written
  const auto none = [] {
    const rlimit most{10, 10};
    setrlimit(RLIMIT_FSIZE, &most);
  };
  Child drawn(dense.program, describe({"--draw", (folder / "out.png").string()}), Child::Output::pipe, none);
  BOOST_TEST(drawn.wait() == 1, drawn.seen());
  BOOST_TEST(drawn.seen().find("out.png") != std::string::npos, drawn.seen());
  // The answer is there all the same.
  BOOST_TEST(drawn.seen().find("A large green star on the right") == 0u, drawn.seen());
}

// The program's handler for a mapped file that is truncated: no crash, one line, exit code 1.
BOOST_AUTO_TEST_CASE(a_file_that_shrinks) {
  const TemporaryFolder folder;
  write(folder / "file", std::string(100000, 'x'));
  int ends[2];
  BOOST_REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    program::prepare_signals("qwen3vl-test");
    const auto file = qwen3vl::MappedFile::open(folder / "file");
    if (file.changed() || truncate((folder / "file").c_str(), 10) != 0 || !file.changed()) _exit(2);
    const volatile std::byte* const bytes = file.bytes().data();
    _exit(bytes[50000] == std::byte{'x'} ? 3 : 4);
  }
  close(ends[1]);
  std::string said;
  char block[1024];
  for (ssize_t got = 0; (got = read(ends[0], block, sizeof block)) > 0;)
    said.append(block, static_cast<std::size_t>(got));
  close(ends[0]);
  int status = 0;
  BOOST_REQUIRE(waitpid(child, &status, 0) == child);
  BOOST_TEST(WIFEXITED(status));
  BOOST_TEST(WEXITSTATUS(status) == 1);
  BOOST_TEST(said.find("qwen3vl-test: error: a file could not be read any more while it was in use") == 1u, said);
}

BOOST_AUTO_TEST_CASE(long_work_shows_progress_on_a_terminal_only) {
  std::string prompt;
  for (int i = 0; i < 400; ++i) prompt += "Describe this image. ";
  const std::string video_file = (assets / "expected" / "clips" / "01").string();
  const auto options = words({"--prompt", prompt, "--video", video_file, "--max-new-tokens", "1"});
  Child terminal(dense.program, options, Child::Output::terminal);
  BOOST_TEST(terminal.wait() == 0, terminal.seen());
  for (const char* bar :
       {"loading [##", "reading the video [###", "looking at the images ...", "reading the prompt [###"})
    BOOST_TEST(terminal.seen().find(bar) != std::string::npos, bar << " in " << terminal.seen());
  Child quiet(dense.program, options, Child::Output::pipe);
  BOOST_TEST(quiet.wait() == 0);
  for (const char* bar : {"\r", "[#", "loading", "reading"})
    BOOST_TEST(quiet.seen().find(bar) == std::string::npos, quiet.seen());
}

BOOST_AUTO_TEST_CASE(memory_plan) {
  const auto plan_of = [](const std::string& options) {
    return json_lines(run("--memory-plan --json " + options)).front();
  };
  const json small = plan_of("--prompt-tokens 100 --max-new-tokens 10");
  // About the size of the file: only vectors, which are kept in f32, and the header differ.
  const auto file = static_cast<double>(fs::file_size(assets / "model.safetensors"));
  BOOST_TEST(small.at("weights_bytes").get<double>() > 0.9 * file);
  BOOST_TEST(small.at("weights_bytes").get<double>() < 1.2 * file);
  BOOST_TEST(small.at("prompt_tokens") == 100);
  BOOST_TEST(small.at("pixels_bytes") == 0);
  const json longer = plan_of("--prompt-tokens 20000 --max-new-tokens 10 --batch-size 2");
  BOOST_TEST(longer.at("kv_cache_bytes").get<double>() > 300 * small.at("kv_cache_bytes").get<double>());
  BOOST_TEST(longer.at("weights_bytes") == small.at("weights_bytes"));
  // An image given by its size counts as many tokens as one given by its file, and as many as when it is answered.
  const json by_file = plan_of("--prompt-tokens 5" + image("01.png"));
  BOOST_TEST(by_file.at("image_tokens") == 27);  // 25, and the begin and the end
  BOOST_TEST(by_file.at("pixels_bytes").get<int>() > 0);
  // A video counts as many tokens as when it is answered: the difference from the same prompt without it.
  const std::string video = " --video '" + (assets / "expected" / "clips" / "01").string() + "'";
  const json with_video = plan_of("--prompt-tokens 5 --all-frames" + video);
  const json answered = json_lines(run("--all-frames --json --prompt x" + video)).front();
  const json alone = json_lines(run("--json --prompt x")).front();
  BOOST_TEST(with_video.at("video_tokens").get<int>() ==
             answered.at("prompt_tokens").get<int>() - alone.at("prompt_tokens").get<int>());
  BOOST_TEST(plan_of("--num-frames 4" + video).at("pixels_bytes").get<int>() <
             with_video.at("pixels_bytes").get<int>());
  // No checkpoint is needed, and nothing is computed.
  Child without(dense.program, {"--memory-plan", "--image-size", "640x480"}, Child::Output::pipe);
  BOOST_TEST(without.wait() == 0, without.seen());
  BOOST_TEST(without.seen().find("at most at one time") != std::string::npos, without.seen());
  check_error(run("--memory-plan --image-size 640"), "is no size such as 1024x768");
  check_error(run("--memory-plan --image-size 0x5"), "is no size such as 1024x768");
  check_error(run("--memory-plan --prompt x"), "--memory-plan");
  check_error(run("--prompt x --prompt-tokens 5"), "--prompt-tokens");
  Child none(dense.program, {"--prompt", "x"}, Child::Output::pipe);
  BOOST_TEST(none.wait() == 1);
  BOOST_TEST(none.seen().find("--model is required") != std::string::npos, none.seen());
}
