// bench-layers-<variant>: times every layer of a variant, in GFLOP/s, GB/s and percent of this machine's roof, which is
// measured first. Weights are random. See docs/performance/method.md.
#include <benchmark/benchmark.h>
#include <omp.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "image_size.hpp"
#include "layer_benchmarks.hpp"
#include "roofline_svg.hpp"
#include QWEN3VL_VARIANT_HEADER

namespace qwen3vl::bench {
namespace {

constexpr const char* program_name = "bench-layers-" QWEN3VL_VARIANT_NAME;

struct Arguments {
  LayerSettings layers;
  std::vector<std::string> weights;
  std::vector<std::string> images{"512x512", "1024x768"};
  std::string svg;
  int repetitions = 1;
  bool json = false;
  bool csv = false;
  bool roof_only = false;
};

/// The benchmarks of the chosen precisions; all if none is.
template <class... P>
struct Precisions {
  static void add(const Arguments& arguments) {
    const std::string known = (std::string() + ... + (std::string(P::name) + " "));
    for (const std::string& name : arguments.weights)
      if (!((name == P::name) || ...)) fail("weights ", name, " are not in this program; it has: ", known);
    const auto wanted = [&](std::string_view name) {
      return arguments.weights.empty() || std::ranges::find(arguments.weights, name) != arguments.weights.end();
    };
    ((wanted(P::name) ? add_layer_benchmarks<P>(arguments.layers) : void()), ...);
  }
};

/// Prints as `Base` does and keeps the figures for the plot.
template <class Base>
class Collecting : public Base {
 public:
  using Base::Base;

  std::vector<RooflinePoint> points;
  bool failed = false;

  void ReportRuns(const std::vector<benchmark::BenchmarkReporter::Run>& runs) override {
    std::vector<benchmark::BenchmarkReporter::Run> named = runs;
    for (auto& run : named) {
      // All are timed in the same way, so names need not say how.
      run.run_name.time_type.clear();
      run.run_name.min_time.clear();
      for (auto& [name, counter] : run.counters) counter.flags = benchmark::Counter::kDefaults;  // their names say /s
      // The relative deviation of a counter that stayed at zero is NaN, which JSON cannot express.
      std::erase_if(run.counters, [](const auto& counter) { return !std::isfinite(counter.second.value); });
      failed = failed || run.error_occurred;
      if (run.error_occurred || run.run_type != benchmark::BenchmarkReporter::Run::RT_Iteration) continue;
      points.push_back({.name = run.run_name.function_name,
                        .operations_per_second = run.counters.at("GFLOP/s") * 1e9,
                        .bytes_per_second = run.counters.at("GB/s") * 1e9,
                        .percent_of_roof = run.counters.at("roof%")});
    }
    Base::ReportRuns(named);
  }
};

template <class Base, class... Options>
void run_all(const Arguments& arguments, Options... options) {
  Collecting<Base> reporter(options...);
  benchmark::RunSpecifiedBenchmarks(&reporter);
  if (reporter.failed) fail("a benchmark failed; see above");
  if (reporter.points.empty()) fail("no benchmark has a name that --benchmark_filter matches");
  if (arguments.svg.empty()) return;
  std::ofstream file(arguments.svg);
  file << roofline_svg("Qwen3-VL " QWEN3VL_VARIANT_NAME ", layers", arguments.layers.roof, reporter.points);
  if (!file.flush()) fail("cannot write ", arguments.svg);
}

// Deprecated in Google Benchmark, but the only reporter that writes CSV.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
using CsvReporter = benchmark::CSVReporter;
#pragma GCC diagnostic pop

/// Image sizes in patches.
std::vector<GridThw> grids_of(const std::vector<std::string>& images) {
  constexpr VisionConfig vision = QWEN3VL_VARIANT_TYPE::config.vision;
  constexpr int unit = vision.patch_size * vision.spatial_merge_size;
  std::vector<GridThw> grids;
  for (const std::string& image : images) {
    const auto size = parse_size(image);
    if (!size) fail("--image ", image, " is not a size such as 512x512");
    if (size->first % unit != 0 || size->second % unit != 0)
      fail("--image ", image, ": both sides must be multiples of ", unit, " pixels");
    grids.push_back({1, size->second / vision.patch_size, size->first / vision.patch_size});
  }
  return grids;
}

void print_roof(const Roof& roof) {
  std::printf("Roof of this machine (%s code), 1 thread / %d threads:\n", simd::isa, roof.threads);
  std::printf("  f32 multiply-adds   %8.1f / %.1f GFLOP/s\n", roof.fma_one * 1e-9, roof.fma_all * 1e-9);
  if (roof.bf16_all > 0) std::printf("  bf16 dot products          - / %.1f GFLOP/s\n", roof.bf16_all * 1e-9);
  if (roof.int8_all > 0) std::printf("  8-bit dot products         - / %.1f Gop/s\n", roof.int8_all * 1e-9);
  std::printf("  memory reads        %8.1f / %.1f GB/s (over %.0f MiB)\n", roof.read_one * 1e-9, roof.read_all * 1e-9,
              static_cast<double>(roof.buffer) / (1 << 20));
  if (roof.line_round_trip > 0)
    std::printf("  a line of the cache %8.0f ns to another thread and back\n", roof.line_round_trip * 1e9);
  std::printf("\n");
  std::fflush(stdout);
}

void run(int argc, char** argv) {
  Arguments arguments;
  LayerSettings& layers = arguments.layers;
  layers.threads = omp_get_max_threads();
  CLI::App app("Times every layer of Qwen3-VL " QWEN3VL_VARIANT_NAME
               " with random weights, beside this machine's roof. Options of Google Benchmark, such as "
               "--benchmark_filter=REGEX, are taken, too.",
               program_name);
  app.allow_extras();
  app.add_option("--weights", arguments.weights, "Precisions (default: all that are built in)")->delimiter(',');
  app.add_option("--threads", layers.threads, "Threads (default: all processors)")->check(CLI::Range(1, 4096));
  app.add_option("--prompt-tokens", layers.prompt_tokens, "Tokens of a prefill (default: 512)")
      ->check(CLI::Range(2, 1 << 20));
  app.add_option("--context", layers.contexts, "Cached tokens of decode steps (default: 512,4096,16384)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--image", arguments.images, "Image sizes (default: 512x512,1024x768)")->delimiter(',');
  app.add_option("--svg", arguments.svg, "Also draw a roofline plot into FILE")->type_name("FILE");
  app.add_option("--repetitions", arguments.repetitions,
                 "Measure each so often, and print mean, median and deviation, too (default: 1)")
      ->check(CLI::Range(1, 1000));
  auto* const json = app.add_flag("--json", arguments.json, "Print JSON, which compare_results.py reads");
  app.add_flag("--csv", arguments.csv, "Print CSV")->excludes(json);
  app.add_flag("--roof-only", arguments.roof_only, "Only measure and print the roof");
  app.add_flag("--quick", layers.quick, "Short runs, to see that everything works; the figures mean little");
  if (!parse_arguments(app, argc, argv)) return;

  std::vector<std::string> rest{program_name, layers.quick ? "--benchmark_min_time=0.001" : "--benchmark_min_time=0.5"};
  if (arguments.repetitions > 1) rest.push_back(concat("--benchmark_repetitions=", arguments.repetitions));
  for (const std::string& extra : app.remaining()) {
    if (!extra.starts_with("--benchmark_")) fail(extra, " is not an option; see --help");
    rest.push_back(extra);
  }
  std::vector<char*> rest_argv;
  for (std::string& word : rest) rest_argv.push_back(word.data());
  int rest_argc = static_cast<int>(rest_argv.size());
  rest_argv.push_back(nullptr);
  benchmark::Initialize(&rest_argc, rest_argv.data());

  layers.images = grids_of(arguments.images);
  layers.roof = measure_roof(layers.threads, layers.quick);
  if (arguments.roof_only) {
    if (arguments.json) {
      std::puts(to_json(layers.roof).dump(2).c_str());
    } else {
      print_roof(layers.roof);
    }
    return;
  }
  const HardwareCounters counters(layers.threads);
  layers.counters = &counters;
  if (!counters.why_not().empty()) std::fprintf(stderr, "%s: %s\n", program_name, counters.why_not().c_str());
  Precisions<QWEN3VL_PRECISIONS>::add(arguments);
  if (arguments.csv) {
    run_all<CsvReporter>(arguments);
  } else if (arguments.json) {
    benchmark::AddCustomContext("variant", QWEN3VL_VARIANT_NAME);
    benchmark::AddCustomContext("isa", simd::isa);
    const nlohmann::ordered_json roof = to_json(layers.roof);
    for (const auto& [key, value] : roof.items()) benchmark::AddCustomContext("roof_" + key, value.dump());
    run_all<benchmark::JSONReporter>(arguments);
  } else {
    print_roof(layers.roof);
    const bool terminal = isatty(STDOUT_FILENO) != 0;
    run_all<benchmark::ConsoleReporter>(
        arguments, terminal ? benchmark::ConsoleReporter::OO_ColorTabular : benchmark::ConsoleReporter::OO_Tabular);
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
