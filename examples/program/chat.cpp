#include "program/chat.hpp"

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <iostream>
#include <optional>
#include <span>

#include "program/input/lines.hpp"
#include "program/input/question.hpp"
#include "program/input/reading.hpp"
#include "program/output/line_editor.hpp"
#include "program/output/progress.hpp"

namespace program {
namespace {

constexpr const char* help =
    "/image FILE   add an image to the next message\n"
    "/video FILE   add a video to the next message\n"
    "/clear        begin a new conversation\n"
    "/help         this list\n"
    "/exit         end; so does the end of the input (Ctrl-D)\n"
    "A message that begins with / is written with two: //etc is a folder.\n"
    "Ctrl-C ends an answer.\n";

}  // namespace

Chat::Chat(Answerer& answerer, const Arguments& arguments, Conversation opening)
    : answerer_(answerer),
      arguments_(arguments),
      messages_(std::move(opening)),
      opening_(messages_.size()),
      images_(read_images(arguments.images, arguments.limits.images)),
      waiting_(images_.size()),
      videos_(arguments.videos),
      cache_(answerer.model().new_cache()) {}

std::size_t Chat::run(const std::function<Watcher()>& watch, const Finish& finish, const Complain& complain) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) std::fputs("Type a message; /help lists the commands.\n", stderr);
  const std::size_t max_bytes = arguments_.limits.messages.max_bytes;
  LineReader reader(std::cin, max_bytes);
  std::optional<LineEditor> editor;
  if (terminal) editor.emplace(max_bytes);
  std::size_t failed = 0;
  bool incomplete = false;  // a command for the next message failed
  std::string line;
  bool too_long = false;
  while (editor ? editor->next(line, too_long) : reader.next(line, too_long)) {
    if (line.empty() && !too_long) continue;
    const bool is_command = line.starts_with('/') && !line.starts_with("//");
    try {
      if (too_long) fail("the line is longer than ", max_bytes, " bytes (MessageLimits::max_bytes)");
      if (is_command) {
        if (!command(line)) break;
        continue;
      }
      if (std::exchange(incomplete, false)) {
        forget_media();
        fail("not asked, because a command before it failed: ", detail::shown(line, 60));
      }
      finish(turn(line.substr(line.starts_with("//") ? 1 : 0), watch()));
    } catch (const Cancelled&) {
      ProgressBar::clear();
      std::fputs("stopped; the message was taken back\n", stderr);
    } catch (const OutputError&) {
      throw;
    } catch (const Error& error) {
      incomplete = is_command && !terminal;
      ++failed;
      complain(error, is_command);
    }
  }
  return failed;
}

bool Chat::command(const std::string& line) {
  const std::size_t space = line.find_first_of(" \t");
  const std::string name = line.substr(0, space);
  const std::size_t begin = line.find_first_not_of(" \t", space);
  const std::string file =
      begin == std::string::npos ? "" : line.substr(begin, line.find_last_not_of(" \t") + 1 - begin);
  if (name == "/image" || name == "/video") {
    if (file.empty()) fail(name, " needs the name of a file");
    name == "/image" ? add_image(file) : add_video(file);
    return true;
  }
  if (name != "/exit" && name != "/help" && name != "/clear") {
    fail("there is no command ", detail::shown(name, 40),
         "; /help lists them, and a message that begins with / is written with two");
  }
  if (!file.empty()) fail(name, " takes no \"", detail::shown(file, 40), "\"");
  if (name == "/help") std::fputs(help, stderr);
  if (name == "/clear") {
    messages_.resize(opening_);
    forget_media();
    images_.clear();
  }
  return name != "/exit";
}

void Chat::add_image(const std::string& file) {
  images_.push_back(read_image(file, arguments_.limits.images));
  ++waiting_;
}

void Chat::add_video(const std::string& file) {
  require_video(file, arguments_);
  videos_.push_back(file);
}

Result Chat::turn(const std::string& line, const Watcher& watcher) {
  messages_.push_back(question(line, waiting_, std::exchange(videos_, {}), arguments_));
  const std::size_t images = std::exchange(waiting_, 0);
  try {
    Result result = std::move(
        answerer_(std::span(&messages_, 1), answerer_.settings(), {}, images_, watcher, cache_.get()).front());
    messages_.push_back(result.answers.front().parsed.message());
    return result;
  } catch (const std::exception&) {
    messages_.pop_back();
    images_.resize(images_.size() - images);
    throw;
  }
}

}  // namespace program
