#include "program/input/arguments.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <type_traits>
#include <utility>

#include "program/input/settings.hpp"
#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/option.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"

namespace program {
namespace {

/// Checks that a number is in a range and fits T, in the words of the library.
template <class T>
CLI::Validator in_range(Range range) {
  return CLI::Validator(
      [range](std::string& text) {
        constexpr Range of_type = within(static_cast<double>(std::numeric_limits<T>::lowest()),
                                         static_cast<double>(std::numeric_limits<T>::max()));
        double value = 0.0;
        if (!CLI::detail::lexical_cast(text, value)) return concat("'", text, "' is not a number");
        if (!range.has(value)) return concat(text, " is not ", range.text());
        if (!of_type.has(value)) return concat(text, " is more than ", std::numeric_limits<T>::max());
        return std::string();
      },
      range.text());
}

/// The options of generation but those that the checkpoint or another option says better.
void add_generation_options(CLI::App& app, GenerateOptions& generate, const std::string& group) {
  for_each_generation_option(
      [&]<class T>(const GenerationOption& option, std::optional<T>& value) {
        std::string flag = concat("--", option.name), help(option.help);
        std::replace(flag.begin(), flag.end(), '_', '-');
        if constexpr (std::is_same_v<T, bool>) {
          if (option.name == "remove_invalid_values" || option.name == "renormalize_logits")
            app.add_flag(flag, value, help)->group(group);
          return;  // do_sample follows from the others; results are the program's matter
        } else if constexpr (!std::is_arithmetic_v<T> && !std::is_same_v<T, EarlyStopping>) {
          return;  // lists are the checkpoint's; --stop has its own text
        } else {
          if (std::is_same_v<T, TokenId>) return;                                  // the tokens are the checkpoint's
          if (option.name == "max_length" || option.name == "min_length") return;  // of the padded prompt
          if (flag == "--prompt-lookup-num-tokens") flag = "--prompt-lookup";
          if (flag == "--max-new-tokens") help += " (else 1024)";
          CLI::Option* const added = app.add_option(flag, value, help)->group(group);
          if constexpr (std::is_same_v<T, EarlyStopping>) {
            const std::map<std::string, EarlyStopping> words{
                {"true", EarlyStopping::yes}, {"false", EarlyStopping::no}, {"never", EarlyStopping::never}};
            added->transform(CLI::CheckedTransformer(words, CLI::ignore_case))->type_name("true|false|never");
          } else if (option.range.text() != "finite") {
            added->check(in_range<T>(option.range));
          }
        }
      },
      generate);
}

/// The options of --embed and --rerank.
void add_retrieval_options(CLI::App& app, Arguments& arguments) {
  const std::string group = "Embeddings and scores (Qwen3-VL-Embedding, Qwen3-VL-Reranker)";
  auto* const embed =
      app.add_option("--embed", arguments.embed,
                     "One input per line, a text or an object with text, image, video, instruction, fps, max_frames; "
                     "writes one JSON object per line with its embedding; paths are relative to the file; - is "
                     "standard input")
          ->type_name("FILE.jsonl")
          ->group(group);
  auto* const rerank =
      app.add_option("--rerank", arguments.rerank,
                     "One object per line with query, documents, instruction; writes one with the documents' scores")
          ->type_name("FILE.jsonl")
          ->excludes(embed)
          ->group(group);
  app.add_option("--embed-out", arguments.embed_out, "Write the embeddings as a float32 matrix instead, for numpy.load")
      ->type_name("OUT.npy")
      ->needs(embed)
      ->group(group);
  app.add_option("--dimensions", arguments.dimensions, "The first N of an embedding only (default: all)")
      ->check(in_range<index_t>(within(1, 1e6)))
      ->needs(embed)
      ->group(group);
  CLI::Option* const both[] = {
      app.add_option("--instruction", arguments.retrieval.default_instruction,
                     "Instruction of the lines that have none (default: the published one)")
          ->type_name("TEXT"),
      app.add_option("--max-length", arguments.max_length,
                     "Tokens of a prompt, of which longer ones lose their end (default: 8192; --rerank: 10240)")
          ->check(in_range<index_t>(within(1, 0x1p24))),
      app.add_option("--max-frames", arguments.retrieval.max_frames, "Most frames that --fps takes of a video")
          ->check(in_range<std::int64_t>(within(1, 1e6)))
          ->capture_default_str()};
  for (CLI::Option* const option : both) option->group(group);
  app.final_callback([&app, embed, rerank, both] {
    const bool asked = embed->count() + rerank->count() > 0;
    for (const CLI::Option* const option : both)
      if (!asked && option->count() > 0) fail(option->get_name(), " is for --embed and --rerank; see --help");
    // Whatever is not used is an error; the options of the first group are about the checkpoint and where it runs.
    const std::vector<std::string> used = {
        "--batch-size", "--ignore-unknown", "--min-pixels", "--max-pixels", "--max-video-pixels",
        "--fps",        "--video-prompt",   "--stats",      "--trace",      "--threads",
        "--limit"};
    for (const CLI::Option* const option : app.get_options())
      if (asked && option->count() > 0 && option->get_group() != "Options" &&
          option->get_group() != embed->get_group() &&
          std::find(used.begin(), used.end(), option->get_name()) == used.end())
        fail(option->get_name(), " has no effect with ", (embed->count() > 0 ? embed : rerank)->get_name(),
             "; see --help");
  });
}

/// Throws Error that says how to call it if `model` is an adapter.
void require_no_adapter(const std::filesystem::path& model) {
  std::error_code ignored;
  if (!std::filesystem::exists(model / "adapter_config.json", ignored) ||
      std::filesystem::exists(model / "config.json", ignored))
    return;
  const std::filesystem::path config = model / "adapter_config.json";
  const nlohmann::json json = read_json_file(config);
  std::string base = "BASE";
  JsonFields(json, config.string()).read("base_model_name_or_path", base);
  fail(model.string(), " holds an adapter (LoRA), not a whole model: call --model ", detail::shown(base), " --lora ",
       model.string());
}

}  // namespace

CheckpointFiles Arguments::files() const { return CheckpointFiles(model, mmproj, print_warning, limits.gguf); }

bool parse(int argc, char** argv, const Build& build, const std::string& version, Arguments& arguments) {
  CLI::App app("Runs a Qwen3-VL checkpoint. Without --prompt, --messages, --batch, --embed and --rerank it is a chat.",
               build.program_name());
  app.set_version_flag("--version", version);
  app.add_option(
         "--model", arguments.model,
         "Checkpoint: a folder in the layout of the Hub, its name[@revision] in the Hub's cache, or a GGUF file")
      ->type_name("DIR|FILE");
  app.add_option("--mmproj", arguments.mmproj, "Vision tower of a GGUF model (default: the mmproj-*.gguf beside it)")
      ->type_name("FILE");
  if (build.on_device) {
    app.add_option("--device", arguments.device, "Number of the GPU, as nvidia-smi counts them (default: 0)")
        ->check(in_range<int>(at_least(0)));
  } else {
    app.add_option(
           "--packed-cache", arguments.packed_cache,
           "Folder for packed weights: the first start writes a file as large as the weights, later ones are faster")
        ->type_name("DIR");
  }

  auto* const lora =
      app.add_option("--lora", arguments.lora,
                     "LoRA as PEFT saves it, merged while loading, SCALE times as strong; may be repeated")
          ->type_name("DIR[=SCALE]")
          ->allow_extra_args(false);

  const std::string input = "What to answer";
  auto* const image = app.add_option("--image", arguments.images, "Image (PNG, JPEG, WebP, GIF, BMP); may be repeated")
                          ->type_name("FILE")
                          ->allow_extra_args(false)
                          ->group(input);
  auto* const video =
      app.add_option("--video", arguments.videos,
                     "Video: a video file, an animated GIF, or a folder of numbered images; may be repeated")
          ->type_name("FILE|DIR")
          ->allow_extra_args(false)
          ->group(input);
  auto* const prompt = app.add_option("--prompt", arguments.prompt, "Question; images and videos come before it")
                           ->type_name("TEXT")
                           ->group(input);
  auto* const messages =
      app.add_option("--messages", arguments.messages,
                     "Conversation in the layout of transformers, or a request of OpenAI's clients, or a row of a "
                     "training set; media paths are relative to the file; - is standard input")
          ->type_name("FILE.json")
          ->group(input);
  auto* const batch =
      app.add_option("--batch", arguments.batch,
                     "One conversation or request per line; writes one JSON object per line, in order. A bad line "
                     "gives an object with \"error\", and the next ones are still answered. Of lines that "
                     "are computed together, the first has the timings of all")
          ->type_name("FILE.jsonl")
          ->group(input);
  auto* const batch_size =
      app.add_option("--batch-size", arguments.batch_size,
                     "Conversations of --batch, inputs of --embed or documents of --rerank that are computed together")
          ->check(in_range<index_t>(within(1, 1024)))
          ->capture_default_str()
          ->group(input);
  app.add_flag("--ignore-unknown", arguments.ignore_unknown,
               "Pass over keys and parts of --messages and --batch that mean nothing here, and messages and tools that "
               "the chat template drops (else they are errors)")
      ->group(input);
  messages->excludes(prompt)->excludes(image)->excludes(video);
  batch->excludes(prompt)->excludes(image)->excludes(video)->excludes(messages);
  add_retrieval_options(app, arguments);
  app.add_option("--system", arguments.system, "System message")->type_name("TEXT")->group(input);
  app.add_option("--tools", arguments.tools, "Functions that the model may call, as JSON schemas")
      ->type_name("FILE.json")
      ->group(input);

  const std::string about_pixels = "How large images and videos are resized (keys of a message's part go first)";
  const auto add_pixels = [&](const char* flag, std::optional<std::int64_t>& value, const char* help) {
    app.add_option(flag, value, help)
        ->check(in_range<std::int64_t>(within(1, 0x1p31)))
        ->type_name("N")
        ->group(about_pixels);
  };
  add_pixels("--min-pixels", arguments.min_pixels, "Fewest pixels of an image (default: the checkpoint's)");
  add_pixels("--max-pixels", arguments.max_pixels, "Most pixels of an image; 1024 of them are a token");
  add_pixels("--max-video-pixels", arguments.max_video_pixels, "Most pixels of all frames of a video together");

  const std::string about_videos = "How videos are read";
  const CLI::Validator rate = in_range<double>({.lowest = above_zero.lowest, .highest = 1e6});
  auto* const fps = app.add_option("--fps", arguments.fps, "Frames taken per second (default: the checkpoint's)")
                        ->check(rate)
                        ->group(about_videos);
  auto* const frames = app.add_option("--num-frames", arguments.num_frames, "Frames taken in all, instead")
                           ->check(in_range<index_t>(within(1, 0x1p31 - 1)))
                           ->group(about_videos);
  auto* const all = app.add_flag("--all-frames", arguments.all_frames, "Take every frame")->group(about_videos);
  fps->excludes(frames)->excludes(all);
  frames->excludes(all);
  auto* const source = app.add_option("--source-fps", arguments.source_fps,
                                      "Frame rate of --video where it does not say (a folder of images) or is wrong")
                           ->check(rate)
                           ->group(about_videos);
  source->excludes(messages)->excludes(batch);  // there, each video says its own
  app.add_option("--video-prompt", arguments.video_prompt,
                 "How a video stands in the prompt: as in transformers 5 (keep), or 4.57 (without)")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, VideoPrompt>{{"keep", VideoPrompt::keep_outer_pair},
                                                                     {"without", VideoPrompt::without_outer_pair}},
                                  CLI::ignore_case))
      ->type_name("keep|without")
      ->group(about_videos);

  const std::string decoding = "How tokens are chosen (defaults: the checkpoint's generation_config.json)";
  GenerateOptions& generate = arguments.generate;
  add_generation_options(app, generate, decoding);
  app.add_option("--stop", arguments.stop, "Ends the answer where it writes this; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(decoding);

  const std::string thinking = "Thinking models";
  app.add_flag("--thinking", arguments.thinking,
               "Sets enable_thinking for the chat template: the answer opens with <think>")
      ->group(thinking);
  app.add_option("--thinking-budget", arguments.thinking_budget, "Ends the reasoning after N tokens")
      ->check(in_range<index_t>(within(0, 0x1p31 - 1)))
      ->group(thinking);
  app.add_flag("--hide-thinking", arguments.hide_thinking,
               "Print the text without the reasoning (--json has both, apart)")
      ->group(thinking);

  const std::string output = "Output";
  app.add_option("--draw", arguments.draw, "Draw the boxes and points that the answer names into the image")
      ->type_name("OUT.png")
      ->group(output);
  app.add_flag("--json", arguments.json, "Print one JSON object instead of the text")->group(output);
  app.add_flag(
         "--inputs", arguments.inputs,
         "Print what would go into the model, as one JSON object (with --batch, one per line), and compute nothing")
      ->group(output);
  app.add_flag("--stats", arguments.stats, "Print token counts, speed and memory to standard error")->group(output);
  app.add_option("--trace", arguments.trace,
                 "At the end, write every operation with its sizes, time and share of what this machine can do into "
                 "FILE, for chrome://tracing or ui.perfetto.dev")
      ->type_name("FILE.json")
      ->group(output);
  app.add_option("--threads", arguments.threads, "Threads (default: all processors)")
      ->check(in_range<int>(within(1, 1024)))
      ->group(output);

  auto* const save =
      app.add_option(
             "--save", arguments.save,
             "Write what was loaded (adapters merged, weights rounded) as a checkpoint that transformers loads, "
             "and answer nothing")
          ->type_name("DIR")
          ->excludes(prompt)
          ->excludes(messages)
          ->excludes(batch)
          ->group(output);

  std::vector<std::string> limits;
  app.add_option("--limit", limits,
                 "Accept more or less from outside: a limit by the name that its error and docs/limits.md give; may be "
                 "repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->group(output);

  const std::string planning = "How much memory (nothing is loaded or computed; --model is not needed)";
  auto* const plan = app.add_flag("--memory-plan", arguments.memory_plan,
                                  "Print what a run would take; --max-new-tokens, --batch-size, --num-beams and "
                                  "--image and --video count, too")
                         ->group(planning);
  app.add_option("--prompt-tokens", arguments.prompt_tokens, "Tokens of the prompt, besides those of images")
      ->check(in_range<index_t>(within(1, 0x1p24)))
      ->capture_default_str()
      ->needs(plan)
      ->group(planning);
  app.add_option("--image-size", arguments.image_sizes, "An image of this many pixels; may be repeated")
      ->type_name("WIDTHxHEIGHT")
      ->allow_extra_args(false)
      ->needs(plan)
      ->group(planning);
  plan->excludes(prompt)->excludes(messages)->excludes(batch)->excludes(lora)->excludes(save);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);  // --help, --version
      return false;
    }
    fail(error.what(), "; see --help");
  }
  for (const std::string& limit : limits) arguments.limits.set(limit);
  if (arguments.model.empty() && !arguments.memory_plan) fail("--model is required; see --help");
  if (arguments.model.empty() && !arguments.mmproj.empty()) fail("--mmproj is for a --model; see --help");
  require_no_adapter(arguments.model);
  if (batch_size->count() > 0) arguments.plan_batch_size = arguments.batch_size;
  for (const auto* files : {&arguments.images, &arguments.videos})
    for (const std::string& file : *files)
      if (file.empty()) fail("--image and --video need the name of a file");
  if (arguments.several_answers() && arguments.is_chat())
    fail("--num-return-sequences is not for a chat, which goes on with one answer; see --help");
  if (arguments.inputs && arguments.is_chat()) fail("--inputs is for --prompt, --messages and --batch; see --help");
  if (!arguments.draw.empty()) {
    if (!arguments.prompt && arguments.messages.empty())
      fail("--draw is for the answer to --prompt or --messages; see --help");
    check_image_name(arguments.draw);  // before anything is computed
  }
  for (const auto& [option, file] : {std::pair("--draw", arguments.draw), std::pair("--trace", arguments.trace),
                                     std::pair("--embed-out", arguments.embed_out)}) {
    const std::filesystem::path folder = std::filesystem::path(file).parent_path();
    std::error_code ignored;
    if (!folder.empty() && !std::filesystem::is_directory(folder, ignored))
      fail(option, ": there is no folder ", folder.string());
  }
  choose_sampling(generate);
  return true;
}

}  // namespace program
