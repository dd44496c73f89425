#include "program/batch.hpp"

#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "program/input/lines.hpp"
#include "program/input/question.hpp"
#include "program/output/report.hpp"
#include "program/output/signals.hpp"

namespace program {
namespace {

class Batch {
 public:
  Batch(Answerer& answerer, const Arguments& arguments)
      : answerer_(answerer), arguments_(arguments), folder_(media_folder(arguments.batch)) {}

  void run() {
    for_each_line(arguments_.batch, arguments_.limits,
                  [&](std::size_t number, std::string_view text, const std::string& error) {
                    Line line{number, std::nullopt, error};
                    try {
                      if (error.empty()) line.question = read_question(arguments_, answerer_.settings(), text);
                    } catch (const std::exception& wrong) {
                      line.error = wrong.what();
                    }
                    add(std::move(line));
                  });
    answer();
    if (arguments_.stats || failed_ > 0) std::fprintf(stderr, "%zu answered, %zu could not be\n", answered_, failed_);
  }

 private:
  struct Line {
    std::size_t number;
    std::optional<Question> question;
    std::string error;
  };

  void add(Line line) {
    if (line.question) {
      const Settings& settings = line.question->settings;
      if (waiting_ > 0 && settings.own != own_) answer();
      own_ = settings.own;
      const bool alone = !answerer_.independent_of_company(settings);
      if (waiting_ > 0 && alone) answer();
      size_ = alone ? 1 : static_cast<std::size_t>(arguments_.batch_size);
      ++waiting_;
    }
    lines_.push_back(std::move(line));
    // Errors are reported at once if no earlier line waits, and never accumulate.
    if (waiting_ == size_ || waiting_ == 0 || lines_.size() >= 1024) answer();
  }

  /// Answers the lines read so far, in order.
  void answer() {
    std::vector<Conversation> conversations;
    const Settings* settings = nullptr;  // alike in all of them
    for (const Line& line : lines_) {
      if (!line.question) continue;
      conversations.push_back(line.question->messages);
      settings = &line.question->settings;
    }
    std::vector<Result> results;
    bool together = conversations.size() > 1;
    if (together) {
      try {
        results = answerer_(conversations, *settings, folder_);
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
        if (!line.question) fail(line.error);
        const Question& question = *line.question;
        if (!question.id.is_null()) json["id"] = question.id;
        const Result result = together
                                  ? std::move(results[next++])
                                  : std::move(answerer_(std::span(&question.messages, 1), *settings, folder_).front());
        // An incomplete answer is not written: the line can be asked again.
        if (Interruptible::pressed()) throw Cancelled();
        json.update(result_to_json(result, answerer_.load_seconds()));
        if (question.label) json["label"] = *question.label;
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

  Answerer& answerer_;
  const Arguments& arguments_;
  std::filesystem::path folder_;
  std::vector<Line> lines_;
  std::string own_;  // what the requests of the waiting lines say beside their conversations
  std::size_t size_ = 1, waiting_ = 0, answered_ = 0, failed_ = 0;
};

}  // namespace

void run_batch(Answerer& answerer, const Arguments& arguments) { Batch(answerer, arguments).run(); }

}  // namespace program
