/// --embed and --rerank: inputs from a file, one per line, to embeddings and scores.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "answerer.hpp"
#include "arguments.hpp"
#include "lines.hpp"
#include "preparation.hpp"
#include "qwen3vl/io/weights/npy.hpp"
#include "qwen3vl/loading/pretrained_retrieval.hpp"
#include "qwen3vl/processing/retrieval/retrieval_json.hpp"
#include "report.hpp"
#include "signals.hpp"
#include "trace_file.hpp"

namespace program {

/// What --embed and --rerank share.
template <class Model>
class Retrieval {
  using V = typename Model::VariantType;
  using B = typename Model::BackendType;
  using P = typename Model::PrecisionType;
  using Json = nlohmann::ordered_json;

 public:
  Retrieval(const char* name, const Arguments& arguments)
      : name_(name),
        arguments_(arguments),
        file_(arguments.embed.empty() ? arguments.rerank : arguments.embed),
        backend_(make_backend<B>(arguments)),
        options_(processor_options(arguments, media_folder(file_))),
        settings_(arguments.retrieval) {
    if (arguments.threads > 0) omp_set_num_threads(arguments.threads);  // resizing has no backend handle
    if (arguments.fps) settings_.fps = *arguments.fps;
    options_.max_length = arguments.max_length;
    options_.warn = [this](const std::string& text) { warn(concat("line ", number_, ": ", text)); };
  }

  void embed() {
    const EmbeddingProcessor processor(read_processor(), settings_);
    auto model = load([&](const PretrainedOptions& options) {
      return ForEmbedding<V, B, P>::from_pretrained(arguments_.model, backend_, options);
    });
    const EmbeddingOptions embedding{.dimensions = arguments_.dimensions};
    const bool as_file = !arguments_.embed_out.empty();
    if (embedding.dimensions > V::config.text.hidden_size)
      fail("--dimensions is ", embedding.dimensions, "; this model has embeddings of ", V::config.text.hidden_size);
    std::vector<Json> lines;
    std::vector<Prompts> waiting;  // of the lines without an error
    std::vector<float> all;
    index_t rows = 0;
    const auto compute = [&] {
      HostMatrix<float> vectors;
      if (!waiting.empty()) vectors = timed(model_seconds_, [&] { return model(counted(joined(waiting)), embedding); });
      index_t row = 0;
      for (Json& line : lines) {
        if (!line.contains("error")) {
          const auto vector = vectors[row++].span();
          if (as_file) {
            all.insert(all.end(), vector.begin(), vector.end());
            continue;
          }
          line["embedding"] = short_numbers(vector);
        }
        print_json(line);
      }
      rows += row;
      lines.clear();
      waiting.clear();
    };
    each_line(
        as_file,
        [&](std::string_view text, Json& line) {
          EmbeddingRow row = embedding_row_from_json(text, reading());
          if (!row.id.is_null()) line["id"] = std::move(row.id);
          waiting.push_back(timed(processing_seconds_, [&] {
            return processor.prompts({&row.input, 1}, options_, chat());
          }));
        },
        [&](Json line) {
          lines.push_back(std::move(line));
          // Errors are reported at once if no earlier line waits, and never accumulate.
          if (waiting.empty() || waiting.size() == static_cast<std::size_t>(arguments_.batch_size) ||
              lines.size() >= 1024)
            compute();
        });
    compute();
    if (as_file) {
      const index_t columns = embedding.dimensions == 0 ? V::config.text.hidden_size : embedding.dimensions;
      write_npy(arguments_.embed_out, View<const float, Host, dynamic, dynamic>(all.data(), rows, columns));
    }
    finish(model.context());
  }

  void rerank() {
    const RerankerProcessor processor(read_processor(), settings_);
    auto model = load([&](const PretrainedOptions& options) {
      return ForReranker<V, B, P>::from_pretrained(arguments_.model, backend_, processor.tokens(), options);
    });
    each_line(
        false,
        [&](std::string_view text, Json& line) {
          RerankerRow row = reranker_row_from_json(text, reading());
          if (!row.id.is_null()) line["id"] = std::move(row.id);
          std::vector<float> scores;
          const auto at_once = static_cast<std::size_t>(arguments_.batch_size);
          for (std::size_t first = 0; first < row.input.documents.size(); first += at_once) {
            Interruptible::check();
            const Prompts prompts = timed(processing_seconds_, [&] {
              return processor.prompts(row.input, options_, chat(), {}, {}, first, at_once);
            });
            const auto some = timed(model_seconds_, [&] { return model(counted(prompts)); });
            scores.insert(scores.end(), some.begin(), some.end());
          }
          line["scores"] = short_numbers(scores);
        },
        print_json);
    finish(model.context());
  }

 private:
  /// With as many digits as a float needs, not a double.
  static std::vector<double> short_numbers(std::span<const float> values) {
    std::vector<double> numbers;
    for (const float value : values) {
      char text[32];
      const char* const end = std::to_chars(text, text + sizeof text, value).ptr;
      std::from_chars(text, end, numbers.emplace_back());
    }
    return numbers;
  }

  static ChatTemplateOptions chat() { return {.add_generation_prompt = true, .sanitize_control_tokens = true}; }
  RequestOptions reading() const {
    return {.generation_fields = {}, .ignore_unknown = arguments_.ignore_unknown, .limits = arguments_.limits.messages};
  }
  Processor read_processor() const { return Processor::from_pretrained(arguments_.files(), std::nullopt, warn); }

  /// load(options) makes the model.
  template <class Load>
  auto load(const Load& load) {
    auto model = timed(load_seconds_, [&] { return load(pretrained_options(arguments_, load_notes_)); });
    if (!arguments_.trace.empty()) begin_trace(model.context(), trace_);
    return model;
  }

  /// Gives each line of the file to read(text, line), which may throw, and the result to done(line): an Error becomes
  /// the line's "error" or, if `strict`, the file's.
  void each_line(bool strict, const std::function<void(std::string_view, Json&)>& read,
                 const std::function<void(Json)>& done) {
    const Interruptible interruptible;
    for_each_line(file_, arguments_.limits, [&](std::size_t number, std::string_view text, const std::string& error) {
      Interruptible::check();
      number_ = number;
      Json line{{"line", number}};
      try {
        if (!error.empty()) fail(error);
        read(text, line);
      } catch (const Cancelled&) {
        throw;
      } catch (const Error& wrong) {
        if (strict) fail("line ", number, ": ", wrong.what());
        line["error"] = wrong.what();
        ++failed_;
      }
      done(std::move(line));
    });
  }

  template <class F>
  static auto timed(double& seconds, const F& f) {
    const auto start = std::chrono::steady_clock::now();
    auto result = f();
    seconds += detail::seconds_since(start);
    return result;
  }

  const Prompts& counted(const Prompts& prompts) {
    prompts_ += prompts.batch_size();
    tokens_ += prompts.tokens();
    for (const MediaSpan& span : prompts.spans)
      (span.kind == image_token ? image_tokens_ : video_tokens_) += span.count;
    return prompts;
  }

  void finish(Context<B>& ctx) const {
    if (arguments_.stats)
      for (const std::string& note : load_notes_) std::fprintf(stderr, "[%s]\n", note.c_str());
    if (arguments_.stats)
      std::fprintf(stderr,
                   "[%lld prompts of %lld tokens (%lld of images, %lld of videos) | load %.2f s, processing %.2f s, "
                   "model %.2f s, %.0f tokens/s | peak memory %.0f MB]\n",
                   static_cast<long long>(prompts_), static_cast<long long>(tokens_),
                   static_cast<long long>(image_tokens_), static_cast<long long>(video_tokens_), load_seconds_,
                   processing_seconds_, model_seconds_, rate(tokens_, model_seconds_),
                   static_cast<double>(peak_memory_bytes()) * 1e-6);
    if (failed_ > 0) std::fprintf(stderr, "%zu lines could not be computed\n", failed_);
    if (!arguments_.trace.empty()) write_trace(arguments_.trace, trace_, name_, ctx.backend());
  }

  const char* name_;
  const Arguments& arguments_;
  std::string file_;
  B backend_;
  ProcessorOptions options_;
  RetrievalOptions settings_;
  Trace trace_;
  std::vector<std::string> load_notes_;
  std::size_t number_ = 0, failed_ = 0;
  index_t prompts_ = 0, tokens_ = 0, image_tokens_ = 0, video_tokens_ = 0;
  double load_seconds_ = 0.0, processing_seconds_ = 0.0, model_seconds_ = 0.0;
};

template <class Model>
void run_retrieval(const char* name, const Arguments& arguments) {
  Retrieval<Model> retrieval(name, arguments);
  arguments.embed.empty() ? retrieval.rerank() : retrieval.embed();
}

}  // namespace program
