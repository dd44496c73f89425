/// --batch: conversations from a file, one per line, to answers, one JSON object per line.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "answerer.hpp"
#include "lines.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "report.hpp"

namespace program {

/// Answers the lines of a file in order, several at a time. A line that fails does not affect the others.
template <class Model>
class Batch {
 public:
  Batch(Answerer<Model>& answerer, const Arguments& arguments) : answerer_(answerer), arguments_(arguments) {
    size_ = answerer.independent_of_company() ? static_cast<std::size_t>(arguments.batch_size) : 1;
  }

  /// After a Ctrl-C, throws Cancelled once the earlier lines are answered.
  void run() {
    if (arguments_.batch == "-") return run(std::cin);
    std::error_code ignored;
    if (std::filesystem::is_directory(arguments_.batch, ignored))
      fail("cannot open ", arguments_.batch, ": it is a folder");
    errno = 0;
    std::ifstream file(arguments_.batch);
    if (!file) detail::fail_on_file("open", arguments_.batch);
    folder_ = std::filesystem::path(arguments_.batch).parent_path();
    run(file);
  }

 private:
  struct Line {
    std::size_t number;
    std::optional<Conversation> messages;
    std::string error;
  };

  void run(std::istream& stream) {
    const std::size_t max_bytes = arguments_.limits.messages.max_bytes;
    LineReader reader(stream, max_bytes);
    std::string text;
    bool too_long = false;
    for (std::size_t number = 1; reader.next(text, too_long); ++number) {
      if (!too_long && text.find_first_not_of(" \t") == std::string::npos) continue;  // skip empty lines
      lines_.push_back({number, std::nullopt, ""});
      try {
        if (too_long) fail("the line is longer than ", max_bytes, " bytes (MessageLimits::max_bytes)");
        lines_.back().messages = with_system(arguments_, messages_from_json(text, arguments_.limits.messages));
        ++waiting_;
      } catch (const std::exception& error) {
        lines_.back().error = error.what();
      }
      // Errors are reported at once if no earlier line waits, and never accumulate.
      if (waiting_ == size_ || waiting_ == 0 || lines_.size() >= 1024) answer();
    }
    answer();
    if (arguments_.stats || failed_ > 0) std::fprintf(stderr, "%zu answered, %zu could not be\n", answered_, failed_);
  }

  /// Answers the lines read so far, in order.
  void answer() {
    std::vector<Conversation> conversations;
    for (const Line& line : lines_)
      if (line.messages) conversations.push_back(*line.messages);
    std::vector<Result> results;
    bool together = conversations.size() > 1;
    if (together) {
      try {
        results = answerer_(conversations, folder_);
      } catch (const Cancelled&) {
        return stop();
      } catch (const std::exception&) {
        together = false;  // one of them is the cause; answering each alone shows which
      }
    }
    std::size_t next = 0;
    for (Line& line : lines_) {
      nlohmann::ordered_json json;
      json["line"] = line.number;
      try {
        if (!line.messages) fail(line.error);
        const Result result = together ? std::move(results[next++])
                                       : std::move(answerer_(std::span(&*line.messages, 1), folder_).front());
        // An incomplete answer is not written: the line can be asked again.
        if (Interruptible::pressed()) throw Cancelled();
        json.update(result_to_json(result, answerer_.load_seconds()));
        if (together && next > 1) json.erase("timings");  // the first of them has those of all
        if (together && next == 1) json["timings"]["conversations"] = results.size();
        ++answered_;
      } catch (const Cancelled&) {
        return stop();
      } catch (const std::exception& error) {
        json["error"] = error.what();
        ++failed_;
      }
      print_json(json);
    }
    lines_.clear();
    waiting_ = 0;
  }

  [[noreturn]] void stop() const {
    std::fprintf(stderr, "%zu answered, %zu could not be\n", answered_, failed_);
    throw Cancelled();
  }

  Answerer<Model>& answerer_;
  const Arguments& arguments_;
  std::filesystem::path folder_;
  std::vector<Line> lines_;
  std::size_t size_ = 1, waiting_ = 0, answered_ = 0, failed_ = 0;
};

}  // namespace program
