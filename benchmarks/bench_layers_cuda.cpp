// bench-layers-<variant>-cuda: every layer of a variant on a GPU, with its share of the memory's bandwidth and of the
// tensor cores' peak, which are measured first. Weights are random. See docs/performance/method.md.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <type_traits>
#include <vector>

#include "command_line.hpp"
#include "device_layers.cuh"
#include "device_peaks.cuh"
#include "image_size.hpp"
#include QWEN3VL_VARIANT_HEADER

namespace qwen3vl::bench {
namespace {

#ifndef QWEN3VL_CUDA_KV
#define QWEN3VL_CUDA_KV qwen3vl::bf16
#endif
using V = QWEN3VL_VARIANT_TYPE;
/// As the program keeps its cache on a device (examples/program/backend.hpp).
using P = std::conditional_t<std::is_same_v<typename QWEN3VL_PRECISION::Weight, float>, QWEN3VL_PRECISION,
                             WithKv<QWEN3VL_PRECISION, QWEN3VL_CUDA_KV>>;
constexpr const char* program_name = "bench-layers-" QWEN3VL_VARIANT_NAME "-cuda";

nlohmann::ordered_json to_json(const DeviceLayerResult& result, const DevicePeaks& peaks) {
  const double memory = result.bytes / peaks.bytes, arithmetic = result.operations / peaks.operations;
  return {{"name", result.name},
          {"seconds", result.seconds},
          {"gbytes_per_second", result.bytes / result.seconds * 1e-9},
          {"tflops", result.operations / result.seconds * 1e-12},
          {"percent_of_bandwidth", 100.0 * memory / result.seconds},
          {"percent_of_tensor_peak", 100.0 * arithmetic / result.seconds},
          {"limited_by", memory >= arithmetic ? "memory" : "arithmetic"},
          {"percent_of_roof", 100.0 * std::max(memory, arithmetic) / result.seconds}};
}

void run(int argc, char** argv) {
  DeviceLayerSettings settings;
  std::vector<std::string> images;
  int device = 0;
  bool json = false;
  CLI::App app("Times every layer of Qwen3-VL " QWEN3VL_VARIANT_NAME
               " on a GPU with random weights, beside what the GPU can do at most.",
               program_name);
  const auto list = [&](const char* name, std::vector<index_t>& values, const char* text) {
    app.add_option(name, values, text)->delimiter(',')->check(CLI::Range(1, 1 << 20));
  };
  app.add_option("--device", device, "Number of the GPU, as nvidia-smi counts them (default: 0)");
  list("--tokens", settings.tokens, "Rows of products (default: 1,8,64,4096)");
  list("--context", settings.contexts, "Cached tokens of decode steps (default: 4096,16384)");
  list("--sequences", settings.sequences, "Sequences of decode steps (default: 1,8,64)");
  list("--prompt-tokens", settings.prompts, "Tokens of attention over a prompt (default: 4096,16384)");
  app.add_option("--image", images, "Image sizes (default: 1024x768)")->delimiter(',');
  app.add_option("--filter", settings.filter, "Only layers whose names contain this");
  app.add_flag("--json", json, "Print JSON");
  app.add_flag("--quick", settings.quick, "One run of each, to see that everything works; the figures mean little");
  if (!parse_arguments(app, argc, argv)) return;
  if (!images.empty()) settings.images.clear();
  for (const std::string& image : images) {
    constexpr VisionConfig vision = V::config.vision;
    constexpr int unit = vision.patch_size * vision.spatial_merge_size;
    const auto size = parse_size(image);
    if (!size || size->first % unit != 0 || size->second % unit != 0)
      fail("--image ", image, " is not a size such as 1024x768 with sides that are multiples of ", unit);
    settings.images.push_back({1, size->second / vision.patch_size, size->first / vision.patch_size});
  }

  Cuda cuda(device);
  Context<Cuda> ctx(cuda);
  const DevicePeaks peaks = measure_device_peaks(ctx, settings.quick);
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  if (!json) {
    std::printf("%s: memory %.0f GB/s (nominal %.0f), bf16 products %.1f TFLOP/s\n\n%-52s %10s %9s %9s %6s\n",
                peaks.name.c_str(), peaks.bytes * 1e-9, peaks.nominal_bytes * 1e-9, peaks.operations * 1e-12, "layer",
                "us", "GB/s", "TFLOP/s", "roof%");
  }
  DeviceLayers<V, P>(ctx, settings).run([&](const DeviceLayerResult& result) {
    layers.push_back(to_json(result, peaks));
    if (json) return;
    std::printf("%-52s %10.2f %9.1f %9.2f %6.1f\n", result.name.c_str(), result.seconds * 1e6,
                result.bytes / result.seconds * 1e-9, result.operations / result.seconds * 1e-12,
                layers.back().at("percent_of_roof").get<double>());
    std::fflush(stdout);
  });
  if (layers.empty()) fail("no layer has a name that --filter matches");
  if (!json) return;
  std::puts(nlohmann::ordered_json{{"variant", QWEN3VL_VARIANT_NAME},
                                   {"weights", P::name},
                                   {"device", peaks.name},
                                   {"peaks", bench::to_json(peaks)},
                                   {"layers", layers}}
                .dump(2)
                .c_str());
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
