// bench-model-<variant>: whole runs of a model: loading, vision tower, prefill, time to the first token, decoding
// behind a context, peak memory. With a checkpoint or with random weights. See docs/performance/method.md.
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "model_run.hpp"
#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/simd/instruction_set.hpp"
#include "qwen3vl/trace/chrome_trace.hpp"

namespace qwen3vl::bench {
namespace {

#if defined(QWEN3VL_BENCH_CUDA)
constexpr bool on_device = true;
constexpr const char* program_name = "bench-model-" QWEN3VL_VARIANT_NAME "-cuda";
#else
constexpr bool on_device = false;
constexpr const char* program_name = "bench-model-" QWEN3VL_VARIANT_NAME;
#endif

/// The precisions that are built in.
template <class... P>
struct Precisions {
  static std::string names() {
    std::string all;
    ((all += (all.empty() ? "" : "|") + std::string(P::name)), ...);
    return all;
  }
  static std::string first() { return names().substr(0, names().find('|')); }
  static RunResult run(const std::string& weights, const RunOptions& options) {
    RunResult result;
    const bool known = ((weights == P::name && (result = run_model<P>(options), true)) || ...);
    if (!known) fail("--weights ", weights, " is not in this program; it has ", names());
    return result;
  }
};
using Built = Precisions<QWEN3VL_PRECISIONS>;

double per_second(double count, double seconds) { return seconds > 0.0 ? count / seconds : 0.0; }

nlohmann::ordered_json to_json(const RunResult& r) {
  return {
      {"parameters", r.parameters},
      {"weight_bytes", r.weight_bytes},
      {"load_seconds", r.load_seconds},
      {"prompt_tokens", r.prompt_tokens},
      {"image_tokens", r.image_tokens},
      {"processing_seconds", r.processing_seconds},
      {"vision_seconds", r.vision_seconds},
      {"vision_gflops", per_second(r.vision_operations * 1e-9, r.vision_seconds)},
      {"prefill_seconds", r.prefill_seconds},
      {"prefill_tokens_per_second", per_second(static_cast<double>(r.prompt_tokens), r.prefill_seconds)},
      {"prefill_gflops", per_second(r.prefill_operations * 1e-9, r.prefill_seconds)},
      {"time_to_first_token_seconds", r.time_to_first_token_seconds},
      {"context", r.context},
      {"sequences", r.sequences},
      {"decode_tokens", r.decode_tokens},
      {"decode_seconds", r.decode_seconds},
      {"decode_tokens_per_second", per_second(static_cast<double>(r.decode_tokens * r.sequences), r.decode_seconds)},
      {"decode_gbytes_per_second",
       per_second(static_cast<double>(r.decode_tokens) * r.decode_bytes * 1e-9, r.decode_seconds)},
      {"decode_gflops",
       per_second(static_cast<double>(r.decode_tokens) * r.decode_operations * 1e-9, r.decode_seconds)},
      {"cache_bytes", r.cache_bytes},
      {"peak_memory_bytes", r.peak_memory_bytes},
      {"device_bytes", r.device_bytes},
      {"runs",
       {{"vision_seconds", r.all_vision_seconds},
        {"prefill_seconds", r.all_prefill_seconds},
        {"decode_seconds", r.all_decode_seconds}}}};
}

/// Percent of the roof: of f32 multiply-adds for products; for decoding, of memory reads that alternate with its steps.
void add_percents(nlohmann::ordered_json& json, const RunResult& result, const Roof& roof) {
  json["roof"] = bench::to_json(roof);
  json["prefill_percent_of_fma_peak"] = json["prefill_gflops"].get<double>() * 1e11 / roof.fma_all;
  json["vision_percent_of_fma_peak"] = json["vision_gflops"].get<double>() * 1e11 / roof.fma_all;
  json["decode_percent_of_read_bandwidth"] =
      100.0 * per_second(result.read_seconds_between_steps, result.decode_seconds_between_reads);
  json["read_gbytes_per_second_between_steps"] = per_second(
      static_cast<double>(result.decode_tokens) * result.decode_bytes * 1e-9, result.read_seconds_between_steps);
}

void write_trace(const std::string& path, const Trace& trace, const nlohmann::ordered_json& figures, const Roof& roof) {
  ChromeTraceOptions options;
  options.least_seconds = [&](const TracedCall& call) {
    return least_seconds({.products = call.products, .others = call.others, .bytes = call.bytes},
                         arithmetic_of(call.weights), roof);
  };
  for (const char* key : {"variant", "weights", "isa"}) options.about[key] = figures.at(key).get<std::string>();
  options.about["threads"] = figures.at("threads").dump();
  options.about["roof"] = bench::to_json(roof).dump();
  write_chrome_trace(path, trace, options);
}

void print(const nlohmann::ordered_json& json) {
  const auto number = [&](const char* key) { return json.at(key).get<double>(); };
  const auto percent = [&](const char* key) {
    if (!json.contains(key)) return;
    std::printf(", %.0f %% of the roof", number(key));
  };
  const auto spread = [&](const char* key) {
    const auto seconds = json.at("runs").at(key).get<std::vector<double>>();
    if (seconds.size() < 2) return;
    const auto [low, high] = std::ranges::minmax_element(seconds);
    std::printf(", %.3f to %.3f s", *low, *high);
  };
  std::printf("loading                %9.2f s, %.2f GB of weights\n", number("load_seconds"),
              number("weight_bytes") * 1e-9);
  if (number("image_tokens") > 0) {
    std::printf("image to patches       %9.3f s\n", number("processing_seconds"));
    std::printf("vision tower           %9.3f s, %.1f GFLOP/s", number("vision_seconds"), number("vision_gflops"));
    percent("vision_percent_of_fma_peak");
    spread("vision_seconds");
    std::puts("");
  }
  if (number("prompt_tokens") > 0) {
    std::printf("prefill                %9.2f tokens/s (%.0f tokens), %.1f GFLOP/s",
                number("prefill_tokens_per_second"), number("prompt_tokens"), number("prefill_gflops"));
    percent("prefill_percent_of_fma_peak");
    spread("prefill_seconds");
    std::printf("\ntime to first token    %9.3f s, after loading\n", number("time_to_first_token_seconds"));
  }
  if (number("decode_tokens") > 0) {
    std::printf("decode                 %9.2f tokens/s behind %.0f tokens, %.1f GB/s",
                number("decode_tokens_per_second"), number("context"), number("decode_gbytes_per_second"));
    if (number("sequences") > 1) std::printf(", %.0f sequences together", number("sequences"));
    percent("decode_percent_of_read_bandwidth");
    spread("decode_seconds");
    std::puts("");
  }
  std::printf("peak memory            %9.2f GB\n", number("peak_memory_bytes") * 1e-9);
  if (number("device_bytes") > 0) std::printf("device memory          %9.2f GB\n", number("device_bytes") * 1e-9);
}

/// The figures that are one number or word; those of the roof with "roof." before their names.
void print_csv(const nlohmann::ordered_json& figures) {
  std::string names, values;
  const auto add = [&](const std::string& name, const nlohmann::ordered_json& value) {
    if (!value.is_primitive()) return;
    const char* const comma = names.empty() ? "" : ",";
    names += comma + name;
    values += comma + value.dump();
  };
  for (const auto& [name, value] : figures.items()) add(name, value);
  if (figures.contains("roof"))
    for (const auto& [name, value] : figures.at("roof").items()) add("roof." + name, value);
  std::printf("%s\n%s\n", names.c_str(), values.c_str());
}

void run(int argc, char** argv) {
  RunOptions options;
  options.threads = omp_get_max_threads();
  std::string weights = Built::first();
  std::string trace;
  bool json = false, csv = false, random = false, with_roof = false, quick = false;
  CLI::App app("Times whole runs of Qwen3-VL " QWEN3VL_VARIANT_NAME ".", program_name);
  auto* const model =
      app.add_option("--model", options.model, "Checkpoint: a folder in the layout of the Hub, or a GGUF file")
          ->type_name("DIR|FILE");
  app.add_option("--mmproj", options.mmproj, "Vision tower of a GGUF model (default: the mmproj-*.gguf beside it)")
      ->type_name("FILE")
      ->needs(model);
  if constexpr (on_device) {
    app.add_option("--device", options.device, "Number of the GPU, as nvidia-smi counts them (default: 0)");
  } else {
    app.add_option("--packed-cache", options.packed_cache,
                   "Folder for packed weights, to time a later start: the first one writes a file there")
        ->type_name("DIR")
        ->needs(model);
    app.add_flag(
        "--roof", with_roof,
        "Measure the machine's roof afterwards and memory reads in turn with more decoding, and print percent of them");
    app.add_flag("--quick", quick, "Measure the roof in a hurry, to see that it works; its figures mean little");
    app.add_option("--trace", trace,
                   "Run once more after measuring, and write every operation with its sizes, time and share of the "
                   "roof into FILE, for chrome://tracing or ui.perfetto.dev")
        ->type_name("FILE");
  }
  app.add_flag("--random", random, "Random weights; needs no checkpoint (the default)")->excludes(model);
  app.add_option("--weights", weights, "Type of the weights in memory: " + Built::names() + " (default: the first)");
  app.add_option("--prompt-tokens", options.prompt_tokens, "Text tokens of the prompt (default: 512; 0: none)")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--decode-tokens", options.decode_tokens, "Tokens to decode (default: 32; 0: none)")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--context", options.context,
                 "Tokens in the cache before decoding, random ones (default: as many as the prompt)")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--prefill-chunk", options.prefill_chunk,
                 "Tokens of the prompt that are computed together (default: 512)")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--sequences", options.sequences, "Sequences to decode together, each behind its own context")
      ->check(CLI::Range(1, 4096));
  app.add_option("--image", options.image, "Put an image before the prompt: a file, or a size of random pixels")
      ->type_name("WxH|FILE");
  app.add_option("--threads", options.threads, "Threads (default: all processors)")->check(CLI::Range(1, 4096));
  app.add_option("--runs", options.runs,
                 "Vision towers, prefills and decodings to take the median of, after a first one (default: 1)")
      ->check(CLI::Range(1, 1000));
  auto* const as_json = app.add_flag("--json", json, "Print one JSON object, which compare_results.py reads");
  app.add_flag("--csv", csv, "Print two lines of CSV: names and figures")->excludes(as_json);
  if (!parse_arguments(app, argc, argv)) return;

  options.trace = !trace.empty();
  if (with_roof)
    options.read_memory = [threads = options.threads, quick,
                           reader = std::shared_ptr<MemoryReader>()](double bytes) mutable {
      if (!reader) reader = std::make_shared<MemoryReader>(threads, quick);
      return (*reader)(bytes);
    };
  const RunResult result = Built::run(weights, options);
  nlohmann::ordered_json figures{{"variant", QWEN3VL_VARIANT_NAME},
                                 {"weights", weights},
                                 {"random", options.model.empty()},
                                 {"isa", on_device ? "CUDA" : simd::isa},
                                 {"threads", options.threads}};
  figures.update(to_json(result));
  if (with_roof || options.trace) {
    const Roof roof = measure_roof(options.threads, quick);
    if (with_roof) add_percents(figures, result, roof);
    if (options.trace) write_trace(trace, result.trace, figures, roof);
  }
  if (json) {
    std::puts(figures.dump(2).c_str());
  } else if (csv) {
    print_csv(figures);
  } else {
    print(figures);
  }
}

}  // namespace
}  // namespace qwen3vl::bench

int main(int argc, char** argv) {
  try {
    qwen3vl::bench::run(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: error: %s\n", qwen3vl::bench::program_name, error.what());
    return 1;
  }
}
