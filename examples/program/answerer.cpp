#include "program/answerer.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>

#include "program/input/question.hpp"
#include "program/input/reading.hpp"
#include "program/output/progress.hpp"
#include "program/output/signals.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/loading/adapters/adapter_argument.hpp"
#include "qwen3vl/processing/tokenizer/token_stream.hpp"

namespace program {
namespace {

void count_tokens(const Prompts& prompts, index_t row, Result& result) {
  for (const ImageSource& image : prompts.image_sources)
    if (image.row == row) result.images.push_back(image);
  for (const VideoSource& video : prompts.video_sources)
    if (video.row == row) result.videos.push_back(video);
  result.prompt_tokens = prompts.rows.length(row);
  for (const MediaSpan& span : prompts.spans)
    if (span.row == row) (span.kind == image_token ? result.image_tokens : result.video_tokens) += span.count;
}

}  // namespace

PretrainedOptions pretrained_options(const Arguments& arguments, std::vector<std::string>& notes) {
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

Answerer::Answerer(const Arguments& arguments)
    : arguments_(arguments), prepare_(arguments.files(), warn), settings_(settings_of(arguments)), model_(load()) {
  if (arguments_.threads > 0) omp_set_num_threads(arguments_.threads);  // resizing has no backend handle
}

std::unique_ptr<AnyModel> Answerer::load() {
  const auto start = std::chrono::steady_clock::now();
  auto model = load_model(arguments_.model, arguments_.place(), pretrained_options(arguments_, load_notes_));
  load_seconds_ = seconds_since(start);
  GenerateOptions& generate = settings_.generate;
  const GenerationConfig config = generate.applied_to(model->generation_config());
  if (!config.max_new_tokens && !config.max_length) generate.max_new_tokens = default_max_new_tokens;
  // A chat continues with one answer, whatever the checkpoint's config says.
  if (arguments_.is_chat()) generate.num_return_sequences = 1;
  generate.applied_to(config).validate();  // before anything is computed, and once for a whole batch
  return model;
}

void Answerer::save(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (std::filesystem::equivalent(folder, arguments_.model, ignored))
    fail("--save ", folder.string(), " is the checkpoint itself; give another folder");
  model_->save_pretrained(folder, {.progress = ProgressBar("saving")});
  prepare_.save_pretrained(folder);
}

bool Answerer::independent_of_company(const Settings& settings) const {
  const GenerationConfig config = settings.generate.applied_to(model_->generation_config());
  const bool padding_counts = (config.min_length > 0 && !config.min_new_tokens) ||
                              (config.max_length && !config.max_new_tokens) || config.forced_bos_token_id ||
                              config.encoder_repetition_penalty != 1.0f || config.encoder_no_repeat_ngram_size == 1;
  const std::string& rope = model_->config().rope.rope_type;
  return !(config.do_sample && config.seed) && !padding_counts && rope != "dynamic" && rope != "longrope";
}

std::vector<Result> Answerer::operator()(std::span<const Conversation> conversations, const Settings& settings,
                                         const std::filesystem::path& folder, std::span<const Image> images,
                                         const Watcher& watcher, AnyModel::Cache* cache) {
  const auto start = std::chrono::steady_clock::now();
  const Interruptible interruptible;
  const Tokenizer& tokenizer = prepare_.tokenizer();
  const ProcessorOptions reading_options = processor_options(arguments_, folder, prepare_.video_options());
  const Prepared prepared = prepare_(conversations, settings.chat, reading_options, images, !arguments_.ignore_unknown);
  const Prompts& prompts = prepared.prompts;
  std::vector<AnswerOptions> reading(conversations.size());
  for (std::size_t c = 0; c < conversations.size(); ++c)
    reading[c].starts_in_reasoning = opens_reasoning(prepared.texts[c]);
  if (arguments_.thinking && std::ranges::none_of(reading, &AnswerOptions::starts_in_reasoning))
    fail("--thinking: the chat template of ", arguments_.model, " has no variable enable_thinking");
  const double processing_seconds = seconds_since(start);

  GenerateOptions generate = settings.generate;
  const GenerationConfig config = generate.applied_to(model_->generation_config());
  const index_t rows = prompts.batch_size() * config.num_return_sequences;
  generate.tokenizer = tokenizer;
  if (!settings.stop.empty()) generate.stopping_criteria.emplace_back(StopStrings(tokenizer, settings.stop));
  if (arguments_.thinking_budget) generate.thinking_budget = thinking_budget(tokenizer, *arguments_.thinking_budget);
  generate.output_attentions = generate.output_hidden_states = false;  // nothing shows them
  generate.output_transition_scores = rows > prompts.batch_size();     // they distinguish several answers
  TokenStream stream(tokenizer, /*skip_special_tokens=*/true);
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
  const GenerateOutput output = model_->generate(prompts, generate, cache);
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
      answer.raw = prepare_.decode(answer.token_ids);
      answer.parsed = parse_answer(answer.raw, reading[c]);
    }
    // Sampled answers come in the order in which they were drawn.
    std::ranges::stable_sort(result.answers, std::greater<>(), &Answer::score);
  }
  return results;
}

}  // namespace program
