/// The chat: one line in, one answer out.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "program/answerer.hpp"
#include "program/input/arguments.hpp"
#include "program/model.hpp"
#include "program/output/report.hpp"

namespace program {

/// Keys and values are kept between turns, so only new tokens are computed.
class Chat {
 public:
  using Watcher = Answerer::Watcher;
  /// Called with each complete answer.
  using Finish = std::function<void(const Result&)>;
  /// Called with an error, and whether it is of a command rather than of a message.
  using Complain = std::function<void(const Error&, bool of_command)>;

  Chat(Answerer& answerer, const Arguments& arguments, Conversation opening);

  /// Runs until the input ends, and returns how many lines failed. An error discards only its own turn; where nobody is
  /// there to repair it, the message behind a command that failed is not asked: it would be about something else.
  /// Ctrl-C ends an answer, or discards a turn whose answer has not begun, and the chat continues.
  std::size_t run(const std::function<Watcher()>& watch, const Finish& finish, const Complain& complain);

 private:
  /// Does what a line says that begins with /; false if the chat is to end.
  bool command(const std::string& line);
  void add_image(const std::string& file);
  void add_video(const std::string& file);
  /// Of the next message.
  void forget_media() {
    images_.resize(images_.size() - std::exchange(waiting_, 0));
    videos_.clear();
  }
  /// A failed turn is discarded with its images and videos: one of them may be the cause.
  Result turn(const std::string& line, const Watcher& watcher);

  Answerer& answerer_;
  const Arguments& arguments_;
  Conversation messages_;
  std::size_t opening_;        // messages before the first turn
  std::vector<Image> images_;  // of all turns
  std::size_t waiting_;        // of them for the next message
  std::vector<std::string> videos_;
  std::unique_ptr<AnyModel::Cache> cache_;
};

}  // namespace program
