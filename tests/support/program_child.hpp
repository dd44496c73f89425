/// A program that a test talks to while it runs: on a terminal of its own, or with its output in a pipe.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace qwen3vl::test {

class Child {
 public:
  enum class Output {
    terminal,     ///< standard input, output and error are a terminal; what is typed is echoed
    pipe,         ///< output and error together in a pipe, no input
    closed_pipe,  ///< error in the pipe; the reader of the output is gone
  };

  /// Starts `program` with `arguments`. `prepare` runs in the new process before the program does.
  Child(const std::string& program, std::vector<std::string> arguments, Output output,
        const std::function<void()>& prepare = {}) {
    arguments.insert(arguments.begin(), program);
    std::vector<char*> words;
    for (std::string& word : arguments) words.push_back(word.data());
    words.push_back(nullptr);
    int ends[2] = {-1, -1};
    if (output == Output::terminal) {
      pid_ = forkpty(&from_, nullptr, nullptr, nullptr);
    } else {
      BOOST_REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
      pid_ = fork();
      from_ = ends[0];
    }
    BOOST_REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      if (output != Output::terminal) {
        int broken[2] = {-1, -1};
        if (output == Output::closed_pipe && ::pipe2(broken, O_CLOEXEC) != 0) _exit(126);
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(ends[1], STDERR_FILENO);
        dup2(output == Output::closed_pipe ? broken[1] : ends[1], STDOUT_FILENO);
        if (broken[0] >= 0) close(broken[0]);
      }
      signal(SIGINT, SIG_DFL);  // the parent process may have ignored it
      signal(SIGPIPE, SIG_DFL);
      setenv("TERM", "dumb", 1);  // nothing redraws lines, unless `prepare` names a better terminal
      if (prepare) prepare();
      execv(program.c_str(), words.data());
      _exit(127);
    }
    if (ends[1] >= 0) close(ends[1]);
  }
  ~Child() {
    if (!ended_) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(from_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Types on the child's terminal; "\x03" is Ctrl-C.
  void type(const std::string& keys) const {
    BOOST_REQUIRE(write(from_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
  }
  void send(int signal_number) const { kill(pid_, signal_number); }

  /// Reads until what was written behind the place of the last wait_for contains `text`; false if it never does.
  bool wait_for(const std::string& text) {
    while (true) {
      const auto found = seen_.find(text, mark_);
      if (found != std::string::npos) {
        mark_ = found + text.size();
        return true;
      }
      if (!more()) return false;
    }
  }

  /// Reads to the end. The exit code, or minus the signal that ended it.
  int wait() {
    while (more()) {
    }
    int status = 0;
    BOOST_REQUIRE(waitpid(pid_, &status, 0) == pid_);
    ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  /// All that was written so far.
  const std::string& seen() const { return seen_; }

 private:
  /// Reads what there is; false at the end, or if nothing comes for long.
  bool more() {
    pollfd waiting{from_, POLLIN, 0};
    if (poll(&waiting, 1, 60000) <= 0) {
      kill(pid_, SIGKILL);
      return false;
    }
    char block[4096];
    const ssize_t got = read(from_, block, sizeof block);
    if (got <= 0) return false;  // a terminal whose program has ended says EIO
    seen_.append(block, static_cast<std::size_t>(got));
    return true;
  }

  pid_t pid_ = -1;
  int from_ = -1;
  bool ended_ = false;
  std::string seen_;
  std::size_t mark_ = 0;
};

}  // namespace qwen3vl::test
