// qwen3vl-<variant>: describes pictures and chats, with the model specialised for one variant at compile time.
// The variant comes from the build (examples/CMakeLists.txt); everything else is the same for all.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/model/pretrained.hpp"
#include "qwen3vl/processing/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/token_stream.hpp"
#include QWEN3VL_VARIANT_HEADER

#ifndef QWEN3VL_PRECISION
#define QWEN3VL_PRECISION Bf16
#endif

namespace {

using namespace qwen3vl;
using Model = ForConditionalGeneration<QWEN3VL_VARIANT_TYPE, Cpu, qwen3vl::QWEN3VL_PRECISION>;
constexpr const char* program_name = "qwen3vl-" QWEN3VL_VARIANT_NAME;

// An answer without a limit in the checkpoint's generation_config.json ends here.
constexpr index_t default_max_new_tokens = 1024;

struct Arguments {
  std::string model;
  std::vector<std::string> images;
  std::optional<std::string> prompt;
  std::string messages;
  std::string system;
  GenerateOptions generate;
  bool thinking = false;
  int threads = 0;
  bool json = false;
  bool stats = false;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A bar on a terminal while weights load; nothing elsewhere.
LoadProgress progress_bar() {
  if (isatty(STDERR_FILENO) == 0) return {};
  return [shown = -1](std::size_t done, std::size_t total) mutable {
    const int percent = total == 0 ? 100 : static_cast<int>(done * 100 / total);
    if (percent == shown) return;
    shown = percent;
    const std::string bar(static_cast<std::size_t>(percent) * 3 / 10, '#');
    std::fprintf(stderr, "\rloading [%-30s] %3d %%%s", bar.c_str(), percent, percent == 100 ? "\r\033[K" : "");
    std::fflush(stderr);
  };
}

struct Answer {
  std::string text;
  std::vector<TokenId> token_ids;
  FinishReason finish_reason = FinishReason::length;
  index_t image_tokens = 0;
  GenerationTimings timings;
  double processing_seconds = 0.0;
};

class Program {
 public:
  explicit Program(Arguments arguments)
      : arguments_(std::move(arguments)), cpu_(arguments_.threads), processor_(load_processor()), model_(load_model()) {
    if (arguments_.threads > 0) omp_set_num_threads(arguments_.threads);  // resizing has no backend handle
  }

  void run() {
    if (!arguments_.messages.empty()) {
      answer_messages();
    } else if (arguments_.prompt) {
      Conversation messages = opening();
      messages.push_back(question(*arguments_.prompt, arguments_.images.size()));
      finish(answer(messages, load_images(arguments_.images), {}, nullptr));
    } else {
      chat();
    }
  }

 private:
  Processor load_processor() const {
    std::optional<ChatFormat> format;
    if (arguments_.thinking) {
      // A checkpoint whose template has a switch keeps its own format; any other gets the Thinking one.
      try {
        const ChatFormat own = chat_format_from_pretrained(arguments_.model);
        if (!own.has_thinking_switch) format = ChatFormat{.kind = ChatFormat::Kind::thinking};
      } catch (const Error&) {
        format = ChatFormat{.kind = ChatFormat::Kind::thinking};
      }
    }
    return Processor::from_pretrained(arguments_.model, format);
  }

  Model load_model() {
    const auto start = std::chrono::steady_clock::now();
    Model model = Model::from_pretrained(arguments_.model, cpu_, {.progress = progress_bar()});
    load_seconds_ = seconds_since(start);
    if (!model.generation_config().max_new_tokens && !arguments_.generate.max_new_tokens)
      arguments_.generate.max_new_tokens = default_max_new_tokens;
    return model;
  }

  Conversation opening() const {
    Conversation messages;
    if (!arguments_.system.empty()) messages.push_back(system_prompt(arguments_.system));
    return messages;
  }

  static Message question(const std::string& words, std::size_t pictures) {
    std::vector<ContentPart> parts(pictures, image());
    parts.push_back(text(words));
    return user(std::move(parts));
  }

  static std::vector<Image> load_images(const std::vector<std::string>& files) {
    std::vector<Image> images;
    images.reserve(files.size());
    for (const std::string& file : files) images.push_back(load_image(file));
    return images;
  }

  /// Generates; the text is streamed to standard output unless --json is on.
  Answer answer(const Conversation& messages, const std::vector<Image>& images, const ProcessorOptions& processing,
                PromptCache<Model>* cache) {
    const auto start = std::chrono::steady_clock::now();
    const ModelInputs inputs = processor_.apply_chat_template(
        messages, {.add_generation_prompt = true, .enable_thinking = arguments_.thinking}, processing, images);
    Answer result;
    result.processing_seconds = seconds_since(start);

    TokenStream stream(processor_.tokenizer(), /*skip_special_tokens=*/true);
    const auto emit = [&](const std::string& piece) {
      result.text += piece;
      if (arguments_.json || piece.empty()) return;
      std::fputs(piece.c_str(), stdout);
      std::fflush(stdout);
    };
    GenerateOptions options = arguments_.generate;
    options.streamer = [&](index_t, TokenId token) {
      emit(stream.push(token));
      return true;
    };
    const GenerateOutput output = model_.generate(inputs, options, cache);
    emit(stream.flush());
    if (!arguments_.json) {
      std::puts("");
      std::fflush(stdout);
    }
    result.token_ids = output.new_tokens.front();
    result.finish_reason = output.finish_reasons.front();
    result.timings = output.timings;
    for (const GridThw& grid : inputs.image_grid_thw) result.image_tokens += grid.tokens(merge);
    return result;
  }

  void answer_messages() {
    std::string json;
    ProcessorOptions processing;
    if (arguments_.messages == "-") {
      json.assign(std::istreambuf_iterator<char>(std::cin), {});
    } else {
      json = read_text_file(arguments_.messages);
      processing.media_directory = std::filesystem::path(arguments_.messages).parent_path();
    }
    Conversation messages = messages_from_json(std::string_view(json));
    if (!arguments_.system.empty()) messages.insert(messages.begin(), system_prompt(arguments_.system));
    finish(answer(messages, {}, processing, nullptr));
  }

  /// One line in, one answer out. Keys and values are kept, so that only new tokens are computed.
  void chat() {
    const bool terminal = isatty(STDIN_FILENO) != 0;
    if (terminal) std::fputs("Type a message. /image FILE adds a picture to the next one, /exit ends.\n", stderr);
    PromptCache<Model> cache;
    Conversation messages = opening();
    std::vector<Image> images = load_images(arguments_.images);
    std::size_t waiting = images.size();  // pictures for the next message
    std::string line;
    while (true) {
      if (terminal) std::fputs("> ", stderr);
      if (!std::getline(std::cin, line) || line == "/exit") break;
      if (line.empty()) continue;
      try {
        if (line.starts_with("/image ")) {
          images.push_back(load_image(line.substr(7)));
          ++waiting;
          continue;
        }
      } catch (const Error& error) {
        if (!terminal) throw;
        complain(error);
        continue;
      }
      messages.push_back(question(line, waiting));
      try {
        const Answer result = answer(messages, images, {}, &cache);
        messages.push_back(assistant(result.text));
        finish(result);
      } catch (const Error& error) {
        if (!terminal) throw;
        complain(error);
        // The turn is taken back, with its pictures: one of them may be the reason.
        messages.pop_back();
        images.resize(images.size() - waiting);
      }
      waiting = 0;
    }
  }

  static void complain(const Error& error) { std::fprintf(stderr, "%s: error: %s\n", program_name, error.what()); }

  void finish(const Answer& result) const {
    const GenerationTimings& t = result.timings;
    const double prefill_rate =
        t.prefill_seconds > 0 ? static_cast<double>(t.computed_tokens) / t.prefill_seconds : 0.0;
    const double decode_rate = t.decode_seconds > 0 ? static_cast<double>(t.new_tokens - 1) / t.decode_seconds : 0.0;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    if (arguments_.json) {
      const nlohmann::ordered_json json = {
          {"text", result.text},
          {"token_ids", result.token_ids},
          {"finish_reason", name_of(result.finish_reason)},
          {"prompt_tokens", t.prompt_tokens},
          {"image_tokens", result.image_tokens},
          {"timings",
           {{"load_seconds", load_seconds_},
            {"processing_seconds", result.processing_seconds},
            {"vision_seconds", t.vision_seconds},
            {"prefill_seconds", t.prefill_seconds},
            {"decode_seconds", t.decode_seconds},
            {"computed_prompt_tokens", t.computed_tokens},
            {"prefill_tokens_per_second", prefill_rate},
            {"decode_tokens_per_second", decode_rate},
            {"peak_memory_bytes", static_cast<std::int64_t>(usage.ru_maxrss) * 1024}}}};
      // Tokens may end inside a character; what is not UTF-8 becomes U+FFFD.
      std::puts(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
      std::fflush(stdout);
    }
    if (arguments_.stats)
      std::fprintf(
          stderr,
          "[%lld prompt tokens (%lld of pictures, %lld computed), %lld new | load %.2f s, vision %.3f s, prefill "
          "%.0f tokens/s, decode %.0f tokens/s | peak memory %.0f MB]\n",
          static_cast<long long>(t.prompt_tokens), static_cast<long long>(result.image_tokens),
          static_cast<long long>(t.computed_tokens), static_cast<long long>(t.new_tokens), load_seconds_,
          t.vision_seconds, prefill_rate, decode_rate, static_cast<double>(usage.ru_maxrss) * 1024e-6);
  }

  static constexpr index_t merge = QWEN3VL_VARIANT_TYPE::config.vision.spatial_merge_size;

  Arguments arguments_;
  Cpu cpu_;
  double load_seconds_ = 0.0;
  Processor processor_;
  Model model_;
};

/// Reads the command line. Returns false if the program is done (--help).
bool parse(int argc, char** argv, Arguments& arguments) {
  CLI::App app("Runs a Qwen3-VL " QWEN3VL_VARIANT_NAME " checkpoint. Without --prompt and --messages it is a chat.",
               program_name);
  app.set_version_flag("--version", std::string(program_name) + " " QWEN3VL_VERSION ", " +
                                        std::string(Model::PrecisionType::name) + " weights, " + simd::isa);
  app.add_option("--model", arguments.model, "Checkpoint folder in the layout of the Hub")
      ->required()
      ->type_name("DIR");
  auto* const image = app.add_option("--image", arguments.images, "Picture (PNG, JPEG); may be repeated")
                          ->type_name("FILE")
                          ->allow_extra_args(false);
  auto* const prompt =
      app.add_option("--prompt", arguments.prompt, "Question; pictures come before it")->type_name("TEXT");
  auto* const messages =
      app.add_option("--messages", arguments.messages,
                     "Conversation in the layout of transformers; media paths are relative to the file; "
                     "- is standard input")
          ->type_name("FILE.json");
  messages->excludes(prompt)->excludes(image);
  app.add_option("--system", arguments.system, "System message")->type_name("TEXT");
  GenerateOptions& generate = arguments.generate;
  app.add_option("--max-new-tokens", generate.max_new_tokens,
                 "Length limit of an answer (default: the checkpoint's, else 1024)")
      ->check(CLI::PositiveNumber);
  app.add_option("--temperature", generate.temperature, "0 is greedy; above, sampling (default: the checkpoint's)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--top-k", generate.top_k, "Sample among the K best (0: all)")->check(CLI::NonNegativeNumber);
  app.add_option("--top-p", generate.top_p, "Sample among the likeliest that make up P")->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", generate.seed, "Makes sampling repeatable");
  app.add_flag("--thinking", arguments.thinking, "Use the Thinking chat format: the answer opens with <think>");
  app.add_option("--threads", arguments.threads, "Threads (default: all processors)")->check(CLI::PositiveNumber);
  app.add_flag("--json", arguments.json, "Print one JSON object instead of the text");
  app.add_flag("--stats", arguments.stats, "Print token counts, speed and memory to standard error");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);  // --help, --version
      return false;
    }
    fail(error.what(), "; see --help");
  }
  if (generate.temperature && *generate.temperature == 0.0f) {
    generate.do_sample = false;
    generate.temperature.reset();
  } else if (generate.temperature || generate.top_k || generate.top_p) {
    generate.do_sample = true;  // who sets a sampling option wants to sample
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Arguments arguments;
    if (parse(argc, argv, arguments)) Program(std::move(arguments)).run();
    return 0;
  } catch (const std::exception& error) {
    if (isatty(STDERR_FILENO) != 0) std::fputs("\r\033[K", stderr);  // the error may end a progress bar
    std::fprintf(stderr, "%s: error: %s\n", program_name, error.what());
    return 1;
  }
}
