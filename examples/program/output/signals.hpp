/// Signals while the program works: Ctrl-C, a closed reader, a full disk, a file that shrinks.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>

#include "qwen3vl/base/error.hpp"

namespace program {

/// Exit code after Ctrl-C, as in shells; 0 is an answer, 1 an error.
inline constexpr int stopped_exit_code = 130;

/// During its lifetime the first Ctrl-C asks the computation to stop, and the second ends the program at once;
/// otherwise the first one ends it. A program started with SIGINT ignored (nohup, a shell's background) keeps ignoring
/// it.
class Interruptible {
 public:
  Interruptible() {
    pressed_ = false;
    if (sigaction(SIGINT, nullptr, &before_) != 0 || before_.sa_handler != SIG_DFL) return;
    struct sigaction action {};
    action.sa_handler = [](int) { pressed_ = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;  // the second one has the default action
    installed_ = sigaction(SIGINT, &action, nullptr) == 0;
  }
  ~Interruptible() {
    if (installed_) sigaction(SIGINT, &before_, nullptr);
  }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

  static bool pressed() { return pressed_; }
  /// Throws Cancelled if Ctrl-C was pressed.
  static void check() {
    if (pressed()) throw qwen3vl::Cancelled();
  }

 private:
  static inline std::atomic<bool> pressed_{false};
  static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

  struct sigaction before_ {};
  bool installed_ = false;
};

/// Makes errors of what else would end the program without a word. `name` is the program's.
inline void prepare_signals(const std::string& name) {
  signal(SIGPIPE, SIG_IGN);  // writing says EPIPE instead
  signal(SIGXFSZ, SIG_IGN);  // and EFBIG
  // A mapped file that was cut short has no bytes to give: nothing can go on, but it can be said what happened.
  static char message[512];
  const std::string text = "\n" + name +
                           ": error: a file could not be read any more while it was in use. Was it replaced or cut "
                           "short (a checkpoint still being copied)? Start again when it is whole\n";
  std::strncpy(message, text.c_str(), sizeof message - 1);
  signal(SIGBUS, [](int) {
    static_cast<void>(!write(STDERR_FILENO, message, std::strlen(message)));
    _exit(1);
  });
}

}  // namespace program
