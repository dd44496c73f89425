// qwen3vl-<variant>: describes images and videos and chats, with the model specialised for one variant at compile
// time. The variant comes from the build (examples/CMakeLists.txt); everything else is the same for all. program/ has
// the parts: the command line, the model with its processor, the chat, batches, and how answers are printed.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "program/answerer.hpp"
#include "program/arguments.hpp"
#include "program/batch.hpp"
#include "program/chat.hpp"
#include "program/commit.hpp"
#include "program/inputs.hpp"
#include "program/lines.hpp"
#include "program/memory.hpp"
#include "program/question.hpp"
#include "program/report.hpp"
#include "program/retrieval.hpp"
#include "program/signals.hpp"
#include "program/trace_file.hpp"
#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/grounding/draw_grounding.hpp"
#include QWEN3VL_VARIANT_HEADER

#ifndef QWEN3VL_PRECISION
#define QWEN3VL_PRECISION Bf16
#endif

namespace program {
namespace {

using Model =
    ForConditionalGeneration<QWEN3VL_VARIANT_TYPE, ProgramBackend, ProgramPrecision<qwen3vl::QWEN3VL_PRECISION>>;
constexpr const char* program_name =
    on_device ? "qwen3vl-" QWEN3VL_VARIANT_NAME "-cuda" : "qwen3vl-" QWEN3VL_VARIANT_NAME;

void complain(const std::exception& error) {
  if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);  // the error may end a progress bar
  std::fprintf(stderr, "%s: error: %s\n", program_name, error.what());
}

/// The question of --prompt or --messages, and where its media are.
struct Asked {
  Question question;
  std::filesystem::path folder;
  std::vector<Image> images;
};

Asked only_question(const Arguments& arguments, const Settings& settings) {
  if (!arguments.prompt) {
    const std::size_t max_bytes = arguments.limits.messages.max_bytes;
    const bool piped = arguments.messages == "-";
    const std::string json = piped ? read_all(std::cin, max_bytes) : read_text_file(arguments.messages, max_bytes);
    return {read_question(arguments, settings, json), media_folder(arguments.messages), {}};
  }
  Asked asked{{.messages = with_system(arguments, {}), .settings = settings, .id = {}, .label = {}}, {}, {}};
  asked.images = load_images(arguments.images, arguments.limits.images);
  asked.question.messages.push_back(question(*arguments.prompt, asked.images.size(), arguments.videos, arguments));
  return asked;
}

/// --inputs: the exit code.
int print_inputs(const Arguments& arguments) {
  const Preparation prepare(arguments);
  const Settings settings = settings_of(arguments);
  if (arguments.batch.empty()) {
    const Asked asked = only_question(arguments, settings);
    print_json(inputs_to_json(prepare, asked.question, asked.folder, asked.images));
    return 0;
  }
  for_each_line(
      arguments.batch, arguments.limits, [&](std::size_t number, std::string_view text, const std::string& error) {
        nlohmann::ordered_json json;
        json["line"] = number;
        try {
          if (!error.empty()) fail(error);
          json.update(inputs_to_json(prepare, read_question(arguments, settings, text), media_folder(arguments.batch)));
        } catch (const std::exception& wrong) {
          json["error"] = wrong.what();
        }
        print_json(json);
      });
  return 0;
}

class Program {
 public:
  explicit Program(const Arguments& arguments) : arguments_(arguments), answerer_(arguments) {
    if (!arguments_.trace.empty()) begin_trace(answerer_.context(), trace_);
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
      Batch<Model>(answerer_, arguments_).run();
    } else if (!arguments_.is_chat()) {
      const Asked asked = only_question(arguments_, answerer_.settings());
      answer(asked.question, asked.folder, asked.images);
    } else {
      const std::size_t failed = Chat<Model>(answerer_, arguments_, with_system(arguments_, {}))
                                     .run([&] { return watcher(); }, [&](const Result& result) { finish(result); },
                                          [&](const Error& error, bool of_command) {
                                            // In place of the answer, so that a reader of --json sees one object for
                                            // each message.
                                            if (arguments_.json && !of_command) print_json({{"error", error.what()}});
                                            complain(error);
                                          });
      stopped_ = false;  // a stopped answer is part of the chat
      if (failed > 0 && isatty(STDIN_FILENO) == 0) code = 1;
    }
    if (!arguments_.trace.empty()) write_trace(arguments_.trace, trace_, program_name, answerer_.context().backend());
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
      return load_image(*part, folder, place, arguments_.limits.images, linked_readers());
    if (images.empty()) fail(place, ": names no file");
    return images.front();
  }

  /// Streams the answer, unless it is wanted as a whole.
  Answerer<Model>::Watcher watcher() {
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
    if (arguments_.stats) print_stats(result, answerer_.load_seconds(), answerer_.weight_types());
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

  const Arguments& arguments_;
  Answerer<Model> answerer_;
  Trace trace_;
  bool streamed_ = false;
  bool stopped_ = false;
};

}  // namespace
}  // namespace program

int main(int argc, char** argv) {
  using namespace program;
  prepare_signals(program_name);
  try {
    Arguments arguments;
    const std::string version = std::string(program_name) + " " QWEN3VL_VERSION ": variant " QWEN3VL_VARIANT_NAME ", " +
                                std::string(Model::PrecisionType::name) + " weights, " + backend_name + ", commit " +
                                build_commit();
    if (!parse(argc, argv, program_name, version, arguments)) {
      flush_output();
      return 0;
    }
    if (arguments.inputs) return print_inputs(arguments);
    if (arguments.is_retrieval()) {
      run_retrieval<Model>(program_name, arguments);
      return 0;
    }
    if (!arguments.memory_plan) return Program(arguments).run();
    print_memory_plan<Model>(program_name, arguments);
    return 0;
  } catch (const Cancelled& stopped) {
    ProgressBar::clear();
    std::fprintf(stderr, "%s\n", stopped.what());
    return stopped_exit_code;
  } catch (const std::exception& error) {
    complain(error);
    return 1;
  }
}
