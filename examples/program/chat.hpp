/// The chat: one line in, one answer out.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "answerer.hpp"
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
  for (const std::string& file : files) images.push_back(load_image(file, limits, linked_readers().jpeg));
  return images;
}

/// Keys and values are kept between turns, so only new tokens are computed.
template <class Model>
class Chat {
 public:
  using Watcher = typename Answerer<Model>::Watcher;
  /// Called with each complete answer.
  using Finish = std::function<void(const Result&)>;

  Chat(Answerer<Model>& answerer, const Arguments& arguments, Conversation opening)
      : answerer_(answerer),
        arguments_(arguments),
        messages_(std::move(opening)),
        images_(load_images(arguments.images, arguments.limits.images)),
        waiting_(images_.size()),
        videos_(arguments.videos) {}

  /// Runs until the input ends. On a terminal an error discards only its own turn; elsewhere it is thrown. Ctrl-C ends
  /// an answer, or discards a turn whose answer has not begun, and the chat continues.
  void run(const std::function<Watcher()>& watch, const Finish& finish,
           const std::function<void(const Error&)>& complain) {
    const bool terminal = isatty(STDIN_FILENO) != 0;
    if (terminal) std::fputs("Type a message. /image FILE and /video FILE add to the next one, /exit ends.\n", stderr);
    const std::size_t max_bytes = arguments_.limits.messages.max_bytes;
    LineReader reader(std::cin, max_bytes);
    std::string line;
    bool too_long = false;
    while (true) {
      if (terminal) std::fputs("> ", stderr);
      if (!reader.next(line, too_long) || line == "/exit") break;
      if (line.empty()) continue;
      try {
        if (too_long) fail("the line is longer than ", max_bytes, " bytes (MessageLimits::max_bytes)");
        if (!is_command(line)) finish(turn(line, watch()));
      } catch (const Cancelled&) {
        ProgressBar::clear();
        std::fputs("stopped; the message was taken back\n", stderr);
      } catch (const OutputError&) {
        throw;
      } catch (const Error& error) {
        if (!terminal) throw;
        complain(error);
      }
    }
  }

 private:
  bool is_command(const std::string& line) {
    if (line.starts_with("/image ")) {
      images_.push_back(load_image(line.substr(7), arguments_.limits.images, linked_readers().jpeg));
      ++waiting_;
      return true;
    }
    if (!line.starts_with("/video ")) return false;
    const std::string file = line.substr(7);
    open_video(file,  // report non-videos now
               {.fps = arguments_.source_fps, .limits = arguments_.limits.images, .readers = linked_readers()});
    videos_.push_back(file);
    return true;
  }

  /// A failed turn is discarded with its images and videos: one of them may be the cause.
  Result turn(const std::string& line, const Watcher& watcher) {
    messages_.push_back(question(line, waiting_, std::exchange(videos_, {}), arguments_));
    const std::size_t images = std::exchange(waiting_, 0);
    try {
      Result result =
          std::move(answerer_(std::span(&messages_, 1), std::filesystem::path(), images_, watcher, &cache_).front());
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
  std::vector<Image> images_;  // of all turns
  std::size_t waiting_;        // of them for the next message
  std::vector<std::string> videos_;
  PromptCache<Model> cache_;
};

}  // namespace program
