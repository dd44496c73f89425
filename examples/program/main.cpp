// The program of a variant: its command line, one answer, and what it prints. ../qwen3vl.cpp has its model.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "program/answerer.hpp"
#include "program/batch.hpp"
#include "program/chat.hpp"
#include "program/commit.hpp"
#include "program/input/arguments.hpp"
#include "program/input/question.hpp"
#include "program/input/reading.hpp"
#include "program/inputs.hpp"
#include "program/memory.hpp"
#include "program/model.hpp"
#include "program/output/progress.hpp"
#include "program/output/report.hpp"
#include "program/output/signals.hpp"
#include "program/output/trace_file.hpp"
#include "program/retrieval.hpp"
#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/processing/grounding/draw_grounding.hpp"
#include "qwen3vl/processing/media.hpp"

namespace program {
namespace {

void complain(const std::string& name, const std::exception& error) {
  if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);  // the error may end a progress bar
  std::fprintf(stderr, "%s: error: %s\n", name.c_str(), error.what());
}

class Program {
 public:
  Program(const std::string& name, const Arguments& arguments)
      : name_(name), arguments_(arguments), answerer_(arguments) {
    if (!arguments_.trace.empty()) answerer_.model().set_trace(&trace_);
  }

  /// The exit code.
  int run() {
    int code = 0;
    if (arguments_.stats)
      for (const std::string& note : answerer_.load_notes()) std::fprintf(stderr, "[%s]\n", note.c_str());
    if (!arguments_.save.empty()) {
      answerer_.save(arguments_.save);
      std::fprintf(stderr, "saved to %s\n", arguments_.save.c_str());
    } else if (!arguments_.batch.empty()) {
      run_batch(answerer_, arguments_);
    } else if (!arguments_.is_chat()) {
      const Asked asked = only_question(arguments_, answerer_.settings());
      answer(asked.question, asked.folder, asked.images);
    } else {
      const std::size_t failed = Chat(answerer_, arguments_, with_system(arguments_, {}))
                                     .run([&] { return watcher(); }, [&](const Result& result) { finish(result); },
                                          [&](const Error& error, bool of_command) {
                                            // In place of the answer, so that a reader of --json sees one object for
                                            // each message.
                                            if (arguments_.json && !of_command) print_json({{"error", error.what()}});
                                            complain(name_, error);
                                          });
      stopped_ = false;  // a stopped answer is part of the chat
      if (failed > 0 && isatty(STDIN_FILENO) == 0) code = 1;
    }
    if (!arguments_.trace.empty()) write_trace(arguments_.trace, trace_, name_, answerer_.model().threads());
    return stopped_ ? stopped_exit_code : code;
  }

 private:
  void answer(const Question& question, const std::filesystem::path& folder, std::span<const Image> images) {
    // Checked before anything is computed.
    std::optional<Image> canvas;
    if (!arguments_.draw.empty()) canvas = only_image(question.messages, folder, images);
    const Result result =
        std::move(answerer_(std::span(&question.messages, 1), question.settings, folder, images, watcher()).front());
    nlohmann::ordered_json more = nlohmann::ordered_json::object();
    if (!question.id.is_null()) more["id"] = question.id;
    if (question.label) more["label"] = *question.label;
    if (!canvas) return finish(result, more);
    // The answer first: it must not be lost if the image cannot be written.
    const auto objects = parse_grounding(result.answers.front().parsed.text, canvas->height, canvas->width);
    more["grounding"] = grounding_to_json(objects);
    finish(result, more);
    write_image(arguments_.draw, draw_grounding(*canvas, objects));
    if (!arguments_.json)
      std::fprintf(stderr, "%s: %zu boxes and points drawn\n", arguments_.draw.c_str(), objects.size());
  }

  /// The image that --draw draws into.
  Image only_image(const Conversation& messages, const std::filesystem::path& folder,
                   std::span<const Image> images) const {
    const auto parts = find_media(messages, ContentPart::Kind::image);
    if (parts.size() != 1) fail("--draw needs one image; the conversation has ", parts.size());
    const auto& [part, place] = parts.front();
    if (!part->source.empty() || !part->bytes.empty())
      return read_image(*part, folder, place, arguments_.limits.images);
    if (images.empty()) fail(place, ": names no file");
    return images.front();
  }

  /// Streams the answer, unless it is wanted as a whole.
  Answerer::Watcher watcher() {
    streamed_ = false;
    if (arguments_.json || arguments_.hide_thinking) return {};
    return [this](std::string_view piece) {
      streamed_ = true;
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      flush_output();
    };
  }

  void finish(const Result& result, const nlohmann::ordered_json& more = {}) {
    if (arguments_.json) {
      nlohmann::ordered_json json = result_to_json(result, answerer_.load_seconds());
      if (more.is_object()) json.update(more);
      print_json(json);
    } else if (streamed_) {
      std::puts("");
    } else {
      for (const Answer& answer : result.answers) print(answer, result.answers.size() > 1);
    }
    flush_output();
    const FinishReason reason = result.answers.front().finish_reason;
    if (reason == FinishReason::length && !arguments_.json)
      std::fprintf(stderr, "[cut off after %zu tokens; --max-new-tokens sets the limit]\n",
                   result.answers.front().token_ids.size());
    stopped_ = reason == FinishReason::cancelled;
    if (stopped_) std::fputs("stopped\n", stderr);
    if (arguments_.stats) print_stats(result, answerer_.load_seconds(), answerer_.model().weight_types());
  }

  void print(const Answer& answer, bool numbered) const {
    if (numbered && answer.score) std::printf("[%.4f] ", static_cast<double>(*answer.score));
    if (!arguments_.hide_thinking) {
      std::fwrite(answer.raw.data(), 1, answer.raw.size(), stdout);
      std::puts("");
      return;
    }
    if (!answer.parsed.text.empty() || answer.parsed.tool_calls.empty()) std::puts(answer.parsed.text.c_str());
    for (const ToolCall& call : answer.parsed.tool_calls) std::puts(tool_calls_to_json({&call, 1})[0].dump().c_str());
  }

  const std::string& name_;
  const Arguments& arguments_;
  Answerer answerer_;
  Trace trace_;
  bool streamed_ = false;
  bool stopped_ = false;
};

}  // namespace
}  // namespace program

int main(int argc, char** argv) {
  using namespace program;
  const Build build = program::build();
  const std::string name = build.program_name();
  prepare_signals(name);
  try {
    Arguments arguments;
    const std::string version = concat(name, " " QWEN3VL_VERSION ": variant ", build.variant, ", ", build.precision,
                                       " weights, ", build.backend, ", commit ", build_commit());
    if (!parse(argc, argv, build, version, arguments)) {
      flush_output();
      return 0;
    }
    if (arguments.inputs) {
      print_inputs(arguments);
    } else if (arguments.is_retrieval()) {
      run_retrieval(build, arguments);
    } else if (arguments.memory_plan) {
      print_memory_plan(build, arguments);
    } else {
      return Program(name, arguments).run();
    }
    return 0;
  } catch (const Cancelled& stopped) {
    ProgressBar::clear();
    std::fprintf(stderr, "%s\n", stopped.what());
    return stopped_exit_code;
  } catch (const std::exception& error) {
    complain(name, error);
    return 1;
  }
}
