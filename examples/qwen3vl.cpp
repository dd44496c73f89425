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
#include "program/lines.hpp"
#include "program/memory.hpp"
#include "program/report.hpp"
#include "program/signals.hpp"
#include "program/trace_file.hpp"
#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
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

class Program {
 public:
  explicit Program(const Arguments& arguments) : arguments_(arguments), answerer_(arguments) {
    if (!arguments_.trace.empty()) begin_trace(answerer_.context(), trace_);
  }

  /// The exit code.
  int run() {
    int code = 0;
    Conversation opening = with_system(arguments_, {});
    if (!arguments_.batch.empty()) {
      Batch<Model>(answerer_, arguments_).run();
    } else if (!arguments_.messages.empty()) {
      answer_messages();
    } else if (arguments_.prompt) {
      const std::vector<Image> images = load_images(arguments_.images, arguments_.limits.images);
      opening.push_back(question(*arguments_.prompt, images.size(), arguments_.videos, arguments_));
      answer(opening, {}, images);
    } else {
      const std::size_t failed = Chat<Model>(answerer_, arguments_, std::move(opening))
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
  void answer_messages() {
    const MessageLimits& limits = arguments_.limits.messages;
    std::string json;
    std::filesystem::path folder;
    if (arguments_.messages == "-") {
      json = read_all(std::cin, limits.max_bytes);
    } else {
      json = read_text_file(arguments_.messages, limits.max_bytes);
      folder = std::filesystem::path(arguments_.messages).parent_path();
    }
    answer(with_system(arguments_, messages_from_json(std::string_view(json), limits)), folder, {});
  }

  void answer(const Conversation& messages, const std::filesystem::path& folder, std::span<const Image> images) {
    // Checked before anything is computed.
    std::optional<Image> canvas;
    if (!arguments_.draw.empty()) canvas = only_image(messages, folder, images);
    const Result result = std::move(answerer_(std::span(&messages, 1), folder, images, watcher()).front());
    if (!canvas) return finish(result);
    // The answer first: it must not be lost if the image cannot be written.
    const auto objects = parse_grounding(result.answers.front().parsed.text, canvas->height, canvas->width);
    finish(result, {{"grounding", grounding_to_json(objects)}});
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
    if (arguments_.stats) print_stats(result, answerer_.load_seconds());
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
