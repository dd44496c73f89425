/// Progress bars on a terminal; nothing elsewhere.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

#include "qwen3vl/base/warning.hpp"

namespace program {

/// A function (done, total) that draws a bar on standard error and removes it at the end.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what) : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) != 0) {}

  void operator()(std::size_t done, std::size_t total) {
    if (!terminal_) return;
    const int percent = total == 0 ? 100 : static_cast<int>(done * 100 / total);
    if (percent == shown_) return;
    shown_ = percent;
    const std::string bar(static_cast<std::size_t>(percent) * 3 / 10, '#');
    std::fprintf(stderr, "\r\033[K%s [%-30s] %3d %%", what_.c_str(), bar.c_str(), percent);
    if (percent == 100) clear();
    std::fflush(stderr);
  }

  /// Shows the current activity if the remaining work is unknown.
  void note() const {
    if (terminal_) std::fprintf(stderr, "\r\033[K%s ...", what_.c_str());
  }
  static void clear() {
    if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);
  }

 private:
  std::string what_;
  bool terminal_;
  int shown_ = -1;
};

/// A warning on standard error, which may hold a progress bar.
inline void warn(const std::string& text) {
  ProgressBar::clear();
  qwen3vl::print_warning(text);
}

}  // namespace program
