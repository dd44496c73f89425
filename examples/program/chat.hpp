/// The chat: one line in, one answer out.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "answerer.hpp"
#include "line_editor.hpp"
#include "lines.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "report.hpp"

namespace program {

/// A question preceded by `images` images, which are passed separately, and videos.
inline Message question(const std::string& words, std::size_t images, const std::vector<std::string>& videos,
                        const Arguments& arguments) {
  std::vector<ContentPart> parts(images, image());
  for (const std::string& file : videos) {
    ContentPart part = video(std::filesystem::absolute(file).string());
    part.source_fps = arguments.source_fps;
    parts.push_back(std::move(part));
  }
  parts.push_back(text(words));
  return user(std::move(parts));
}

inline std::vector<Image> load_images(const std::vector<std::string>& files, const ImageLimits& limits) {
  std::vector<Image> images;
  images.reserve(files.size());
  for (const std::string& file : files) images.push_back(load_image(file, limits, linked_readers()));
  return images;
}

/// Keys and values are kept between turns, so only new tokens are computed.
template <class Model>
class Chat {
 public:
  using Watcher = typename Answerer<Model>::Watcher;
  /// Called with each complete answer.
  using Finish = std::function<void(const Result&)>;
  /// Called with an error, and whether it is of a command rather than of a message.
  using Complain = std::function<void(const Error&, bool of_command)>;

  Chat(Answerer<Model>& answerer, const Arguments& arguments, Conversation opening)
      : answerer_(answerer),
        arguments_(arguments),
        messages_(std::move(opening)),
        opening_(messages_.size()),
        images_(load_images(arguments.images, arguments.limits.images)),
        waiting_(images_.size()),
        videos_(arguments.videos) {}

  /// Runs until the input ends, and returns how many lines failed. An error discards only its own turn; where nobody is
  /// there to repair it, the message behind a command that failed is not asked: it would be about something else.
  /// Ctrl-C ends an answer, or discards a turn whose answer has not begun, and the chat continues.
  std::size_t run(const std::function<Watcher()>& watch, const Finish& finish, const Complain& complain) {
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

 private:
  static constexpr const char* help =
      "/image FILE   add an image to the next message\n"
      "/video FILE   add a video to the next message\n"
      "/clear        begin a new conversation\n"
      "/help         this list\n"
      "/exit         end; so does the end of the input (Ctrl-D)\n"
      "A message that begins with / is written with two: //etc is a folder.\n"
      "Ctrl-C ends an answer.\n";

  /// Does what a line says that begins with /; false if the chat is to end.
  bool command(const std::string& line) {
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

  void add_image(const std::string& file) {
    images_.push_back(load_image(file, arguments_.limits.images, linked_readers()));
    ++waiting_;
  }
  void add_video(const std::string& file) {
    open_video(file,  // report non-videos now
               {.fps = arguments_.source_fps, .limits = arguments_.limits.images, .readers = linked_readers()});
    videos_.push_back(file);
  }
  /// Of the next message.
  void forget_media() {
    images_.resize(images_.size() - std::exchange(waiting_, 0));
    videos_.clear();
  }

  /// A failed turn is discarded with its images and videos: one of them may be the cause.
  Result turn(const std::string& line, const Watcher& watcher) {
    messages_.push_back(question(line, waiting_, std::exchange(videos_, {}), arguments_));
    const std::size_t images = std::exchange(waiting_, 0);
    try {
      Result result =
          std::move(answerer_(std::span(&messages_, 1), answerer_.settings(), {}, images_, watcher, &cache_).front());
      messages_.push_back(result.answers.front().parsed.message());
      return result;
    } catch (const std::exception&) {
      messages_.pop_back();
      images_.resize(images_.size() - images);
      throw;
    }
  }

  Answerer<Model>& answerer_;
  const Arguments& arguments_;
  Conversation messages_;
  std::size_t opening_;        // messages before the first turn
  std::vector<Image> images_;  // of all turns
  std::size_t waiting_;        // of them for the next message
  std::vector<std::string> videos_;
  PromptCache<Model> cache_;
};

}  // namespace program
