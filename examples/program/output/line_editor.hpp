/// Lines typed at a terminal, with editing and a history by libedit where the program is built with it.
#pragma once

#if QWEN3VL_HAVE_LIBEDIT
#include <histedit.h>

#include <clocale>
#endif

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "program/input/lines.hpp"

namespace program {

/// Asks with "> " on standard error, so that standard output has answers only.
class LineEditor {
 public:
  explicit LineEditor(std::size_t max_bytes) : max_bytes_(max_bytes) {
#if QWEN3VL_HAVE_LIBEDIT
    const char* const terminal = std::getenv("TERM");
    if (terminal == nullptr || std::string_view(terminal) == "dumb") return;  // it cannot redraw a line
    std::setlocale(LC_CTYPE, "");  // what a character is; numbers stay as they are
    editor_.reset(el_init("qwen3vl", stdin, stderr, stderr));
    history_.reset(history_init());
    if (editor_ == nullptr || history_ == nullptr) {
      editor_.reset();
      return;
    }
    HistEvent event;
    history(history_.get(), &event, H_SETSIZE, 1000);
    history(history_.get(), &event, H_SETUNIQUE, 1);
    el_set(
        editor_.get(), EL_PROMPT, +[](EditLine*) {
          static char prompt[] = "> ";
          return prompt;
        });
    el_set(editor_.get(), EL_EDITOR, "emacs");
    el_set(editor_.get(), EL_SIGNAL, 1);  // Ctrl-C ends the program with the terminal as it was
    el_set(editor_.get(), EL_HIST, history, history_.get());
    el_source(editor_.get(), nullptr);  // ~/.editrc
#endif
  }

  /// As LineReader::next.
  bool next(std::string& line, bool& too_long) {
#if QWEN3VL_HAVE_LIBEDIT
    if (editor_ != nullptr) {
      int count = 0;
      const char* const typed = el_gets(editor_.get(), &count);
      if (typed == nullptr || count <= 0) return false;
      line.assign(typed, static_cast<std::size_t>(count));
      while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
      too_long = line.size() > max_bytes_;
      HistEvent event;
      if (!line.empty() && !too_long) history(history_.get(), &event, H_ENTER, line.c_str());
      return true;
    }
#endif
    std::fputs("> ", stderr);
    return LineReader(std::cin, max_bytes_).next(line, too_long);
  }

 private:
  std::size_t max_bytes_;
#if QWEN3VL_HAVE_LIBEDIT
  struct End {
    void operator()(EditLine* editor) const { el_end(editor); }
    void operator()(History* lines) const { history_end(lines); }
  };
  std::unique_ptr<History, End> history_;
  std::unique_ptr<EditLine, End> editor_;  // ends first: it uses the history
#endif
};

}  // namespace program
