/// The model with its processor: conversations in, answers out.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "preparation.hpp"
#include "progress.hpp"
#include "question.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/loading/save_pretrained.hpp"
#include "qwen3vl/processing/chat/answer.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/tokenizer/token_stream.hpp"
#include "signals.hpp"

namespace program {

/// One of the answers to a prompt.
struct Answer {
  std::string raw;      // as the model wrote it
  ParsedAnswer parsed;  // parsed
  std::vector<TokenId> token_ids;
  FinishReason finish_reason = FinishReason::length;
  std::optional<float> score;  // if there are several
};

/// The result of one conversation.
struct Result {
  std::vector<Answer> answers;  // the best first
  index_t prompt_tokens = 0;
  index_t image_tokens = 0;
  index_t video_tokens = 0;
  std::vector<ImageSource> images;
  std::vector<VideoSource> videos;
  // Of all conversations computed together.
  GenerationTimings timings;
  double processing_seconds = 0.0;
};

/// The limit of an answer if the checkpoint's generation_config.json has none.
inline constexpr index_t default_max_new_tokens = 1024;

/// The backend chosen on the command line.
template <class B>
B make_backend(const Arguments& arguments) {
  if constexpr (B::is_host) {
    return B(arguments.threads);
  } else {
    return B(arguments.device);
  }
}

/// How the command line's checkpoint is loaded; `notes`, which must outlive the loading, receives what --stats says of
/// it.
inline PretrainedOptions pretrained_options(const Arguments& arguments, std::vector<std::string>& notes) {
  std::vector<AdapterFolder> adapters;
  for (const std::string& adapter : arguments.lora) adapters.push_back(adapter_of(adapter));
  return {.mmproj = arguments.mmproj,
          .progress = ProgressBar("loading"),
          .adapters = std::move(adapters),
          .packed_cache = arguments.packed_cache,
          .limits = arguments.limits.checkpoint,
          .gguf_limits = arguments.limits.gguf,
          .warn = warn,
          .note = [&notes](const std::string& text) { notes.push_back(text); }};
}

template <class Model>
class Answerer {
 public:
  using Backend = typename Model::BackendType;
  /// Called with the text that a token completes, if somebody is watching.
  using Watcher = std::function<void(std::string_view piece)>;

  explicit Answerer(const Arguments& arguments)
      : arguments_(arguments),
        backend_(make_backend<Backend>(arguments)),
        prepare_(arguments),
        settings_(settings_of(arguments)),
        model_(load_model()) {
    if (arguments_.threads > 0) omp_set_num_threads(arguments_.threads);  // resizing has no backend handle
  }

  /// Those of the command line.
  const Settings& settings() const { return settings_; }
  double load_seconds() const { return load_seconds_; }
  const std::string& weight_types() const { return model_.weight_types(); }
  /// What loading did, for --stats.
  const std::vector<std::string>& load_notes() const { return load_notes_; }
  /// Writes the model as it was loaded, with its processor, as a checkpoint.
  void save(const std::filesystem::path& folder) {
    std::error_code ignored;
    if (std::filesystem::equivalent(folder, arguments_.model, ignored))
      fail("--save ", folder.string(), " is the checkpoint itself; give another folder");
    model_.save_pretrained(folder, {.progress = ProgressBar("saving")});
    prepare_.processor().save_pretrained(folder);
  }
  Context<Backend>& context() { return model_.context(); }

  /// Whether the answer depends only on its conversation, and so is the same in any batch. With a seed, the rows of a
  /// batch draw from different streams; limits of the total length count padding; and two rope types depend on the
  /// longest row.
  bool independent_of_company(const Settings& settings) const {
    const GenerationConfig config = settings.generate.applied_to(model_.generation_config());
    const bool padding_counts = (config.min_length > 0 && !config.min_new_tokens) ||
                                (config.max_length && !config.max_new_tokens) || config.forced_bos_token_id ||
                                config.encoder_repetition_penalty != 1.0f || config.encoder_no_repeat_ngram_size == 1;
    const std::string& rope = model_.config().rope.rope_type;
    return !(config.do_sample && config.seed) && !padding_counts && rope != "dynamic" && rope != "longrope";
  }

  /// Answers conversations together. Ctrl-C ends the answers early, or throws Cancelled if there are none yet. Media
  /// paths are relative to `folder`; `images` are those of parts without a path.
  std::vector<Result> operator()(std::span<const Conversation> conversations, const Settings& settings,
                                 const std::filesystem::path& folder, std::span<const Image> images = {},
                                 const Watcher& watcher = {}, PromptCache<Model>* cache = nullptr) {
    const auto start = std::chrono::steady_clock::now();
    const Interruptible interruptible;
    const Processor& processor = prepare_.processor();
    const Prepared prepared = prepare_(conversations, settings.chat, folder, images);
    const Prompts& prompts = prepared.prompts;
    std::vector<AnswerOptions> reading(conversations.size());
    for (std::size_t c = 0; c < conversations.size(); ++c)
      reading[c].starts_in_reasoning = opens_reasoning(prepared.texts[c]);
    if (arguments_.thinking && std::ranges::none_of(reading, &AnswerOptions::starts_in_reasoning))
      fail("--thinking: the chat template of ", arguments_.model, " has no variable enable_thinking");
    const double processing_seconds = detail::seconds_since(start);

    GenerateOptions generate = settings.generate;
    const GenerationConfig config = generate.applied_to(model_.generation_config());
    const index_t rows = prompts.batch_size() * config.num_return_sequences;
    generate.tokenizer = processor.tokenizer();
    if (!settings.stop.empty())
      generate.stopping_criteria.emplace_back(StopStrings(processor.tokenizer(), settings.stop));
    if (arguments_.thinking_budget)
      generate.thinking_budget = thinking_budget(processor.tokenizer(), *arguments_.thinking_budget);
    generate.output_attentions = generate.output_hidden_states = false;  // nothing shows them
    generate.output_transition_scores = rows > prompts.batch_size();     // they distinguish several answers
    TokenStream stream(processor.tokenizer(), /*skip_special_tokens=*/true);
    const bool watched = watcher && config.num_beams == 1 && rows == 1;
    if (config.num_beams == 1) {
      generate.streamer = [&](index_t, TokenId token) {
        if (watched) watcher(stream.push(token));
        return !Interruptible::pressed();
      };
    } else {
      generate.stopping_criteria.emplace_back([](index_t, auto) { return Interruptible::pressed(); });
    }
    generate.prefill_progress = [&, bar = ProgressBar("reading the prompt")](index_t done, index_t total) mutable {
      if (done == 0) ProgressBar::clear();  // the note
      Interruptible::check();
      if (total > generate.prefill_chunk) bar(static_cast<std::size_t>(done), static_cast<std::size_t>(total));
    };
    if (!prompts.spans.empty()) ProgressBar("looking at the images").note();
    const GenerateOutput output = model_.generate(prompts, generate, cache);
    if (watched) watcher(stream.flush());

    std::vector<Result> results(conversations.size());
    const index_t answers = rows / prompts.batch_size();
    for (std::size_t c = 0; c < results.size(); ++c) {
      Result& result = results[c];
      result.processing_seconds = processing_seconds;
      result.timings = output.timings;
      count_tokens(prompts, static_cast<index_t>(c), result);
      for (index_t i = 0; i < answers; ++i) {
        const auto row = c * static_cast<std::size_t>(answers) + static_cast<std::size_t>(i);
        Answer& answer = result.answers.emplace_back();
        answer.token_ids = output.new_tokens[row];
        answer.finish_reason = output.finish_reasons[row];
        if (!output.sequences_scores.empty()) answer.score = output.sequences_scores[row];
        answer.raw = processor.decode(answer.token_ids, {.skip_special_tokens = true});
        answer.parsed = parse_answer(answer.raw, reading[c]);
      }
      // Sampled answers come in the order in which they were drawn.
      std::ranges::stable_sort(result.answers, std::greater<>(), &Answer::score);
    }
    return results;
  }

 private:
  Model load_model() {
    const auto start = std::chrono::steady_clock::now();
    Model model = Model::from_pretrained(arguments_.model, backend_, pretrained_options(arguments_, load_notes_));
    load_seconds_ = detail::seconds_since(start);
    GenerateOptions& generate = settings_.generate;
    const GenerationConfig config = generate.applied_to(model.generation_config());
    if (!config.max_new_tokens && !config.max_length) generate.max_new_tokens = default_max_new_tokens;
    // A chat continues with one answer, whatever the checkpoint's config says.
    if (arguments_.is_chat()) generate.num_return_sequences = 1;
    generate.applied_to(config).validate();  // before anything is computed, and once for a whole batch
    return model;
  }

  static void count_tokens(const Prompts& prompts, index_t row, Result& result) {
    for (const ImageSource& image : prompts.image_sources)
      if (image.row == row) result.images.push_back(image);
    for (const VideoSource& video : prompts.video_sources)
      if (video.row == row) result.videos.push_back(video);
    result.prompt_tokens = prompts.rows.length(row);
    for (const MediaSpan& span : prompts.spans)
      if (span.row == row) (span.kind == image_token ? result.image_tokens : result.video_tokens) += span.count;
  }

  const Arguments& arguments_;
  Backend backend_;
  double load_seconds_ = 0.0;
  std::vector<std::string> load_notes_;
  Preparation prepare_;
  Settings settings_;
  Model model_;
};

}  // namespace program
