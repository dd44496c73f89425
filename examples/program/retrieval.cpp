#include "program/retrieval.hpp"

#include <omp.h>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "program/answerer.hpp"
#include "program/input/lines.hpp"
#include "program/input/preparation.hpp"
#include "program/input/reading.hpp"
#include "program/output/progress.hpp"
#include "program/output/report.hpp"
#include "program/output/signals.hpp"
#include "program/output/trace_file.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/io/weights/npy.hpp"

namespace program {
namespace {

/// What --embed and --rerank share.
class Retrieval {
  using Json = nlohmann::ordered_json;

  template <class F>
  static auto timed(double& seconds, const F& f) {
    const auto start = std::chrono::steady_clock::now();
    auto result = f();
    seconds += seconds_since(start);
    return result;
  }

  /// load(options) makes the model.
  template <class Load>
  auto load(const Load& load) {
    auto model = timed(load_seconds_, [&] { return load(pretrained_options(arguments_, load_notes_)); });
    if (!arguments_.trace.empty()) model->set_trace(&trace_);
    return model;
  }

 public:
  Retrieval(const Build& build, const Arguments& arguments)
      : build_(build),
        arguments_(arguments),
        file_(arguments.embed.empty() ? arguments.rerank : arguments.embed),
        options_(processor_options(arguments, media_folder(file_))),
        settings_(arguments.retrieval) {
    if (arguments.threads > 0) omp_set_num_threads(arguments.threads);  // resizing has no backend handle
    if (arguments.fps) settings_.fps = *arguments.fps;
    options_.max_length = arguments.max_length;
    options_.warn = [this](const std::string& text) { warn(concat("line ", number_, ": ", text)); };
  }

  void embed() {
    const EmbeddingPreparation prepare(arguments_.files(), settings_, warn);
    const auto model = load([&](const PretrainedOptions& options) {
      return load_embedding(arguments_.model, arguments_.place(), options);
    });
    const EmbeddingOptions embedding{.dimensions = arguments_.dimensions};
    const bool as_file = !arguments_.embed_out.empty();
    if (embedding.dimensions > build_.hidden_size)
      fail("--dimensions is ", embedding.dimensions, "; this model has embeddings of ", build_.hidden_size);
    std::vector<Json> lines;
    std::vector<Prompts> waiting;  // of the lines without an error
    std::vector<float> all;
    index_t rows = 0;
    const auto compute = [&] {
      HostMatrix<float> vectors;
      if (!waiting.empty())
        vectors = timed(model_seconds_, [&] { return (*model)(counted(joined(waiting)), embedding); });
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
          const auto row = prepare.read(text, reading());
          if (!row.id.is_null()) line["id"] = row.id;
          waiting.push_back(timed(processing_seconds_, [&] { return prepare.prompts(row, options_); }));
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
      const index_t columns = embedding.dimensions == 0 ? build_.hidden_size : embedding.dimensions;
      write_npy(arguments_.embed_out, View<const float, Host, dynamic, dynamic>(all.data(), rows, columns));
    }
    finish(*model);
  }

  void rerank() {
    const RerankerPreparation prepare(arguments_.files(), settings_, warn);
    const auto model = load([&](const PretrainedOptions& options) {
      return load_reranker(arguments_.model, arguments_.place(), prepare.tokens(), options);
    });
    each_line(
        false,
        [&](std::string_view text, Json& line) {
          const auto row = prepare.read(text, reading());
          if (!row.id.is_null()) line["id"] = row.id;
          std::vector<float> scores;
          const auto at_once = static_cast<std::size_t>(arguments_.batch_size);
          for (std::size_t first = 0; first < row.documents; first += at_once) {
            Interruptible::check();
            const Prompts prompts =
                timed(processing_seconds_, [&] { return prepare.prompts(row, options_, first, at_once); });
            const auto some = timed(model_seconds_, [&] { return (*model)(counted(prompts)); });
            scores.insert(scores.end(), some.begin(), some.end());
          }
          line["scores"] = short_numbers(scores);
        },
        print_json);
    finish(*model);
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

  RequestOptions reading() const {
    return {.generation_fields = {}, .ignore_unknown = arguments_.ignore_unknown, .limits = arguments_.limits.messages};
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

  const Prompts& counted(const Prompts& prompts) {
    prompts_ += prompts.batch_size();
    tokens_ += prompts.tokens();
    for (const MediaSpan& span : prompts.spans)
      (span.kind == image_token ? image_tokens_ : video_tokens_) += span.count;
    return prompts;
  }

  void finish(const Computing& model) const {
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
    if (!arguments_.trace.empty()) write_trace(arguments_.trace, trace_, build_.program_name(), model.threads());
  }

  const Build& build_;
  const Arguments& arguments_;
  std::string file_;
  ProcessorOptions options_;
  RetrievalOptions settings_;
  Trace trace_;
  std::vector<std::string> load_notes_;
  std::size_t number_ = 0, failed_ = 0;
  index_t prompts_ = 0, tokens_ = 0, image_tokens_ = 0, video_tokens_ = 0;
  double load_seconds_ = 0.0, processing_seconds_ = 0.0, model_seconds_ = 0.0;
};

}  // namespace

void run_retrieval(const Build& build, const Arguments& arguments) {
  Retrieval retrieval(build, arguments);
  arguments.embed.empty() ? retrieval.rerank() : retrieval.embed();
}

}  // namespace program
