#include "program/memory.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "program/answerer.hpp"
#include "program/input/planned_media.hpp"
#include "program/output/report.hpp"

namespace program {
namespace {

/// The memory available to a new program, if the kernel says so.
std::optional<std::size_t> available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) * 1024;
  return std::nullopt;
}

}  // namespace

void print_memory_plan(const Build& build, const Arguments& arguments) {
  const PlannedMedia media = plan_media(arguments, build.vision);
  MemoryRequest request;
  request.batch_size = arguments.plan_batch_size.value_or(1);
  request.sequences_per_prompt =
      std::max(arguments.generate.num_beams.value_or(1), arguments.generate.num_return_sequences.value_or(1));
  request.max_new_tokens = arguments.generate.max_new_tokens.value_or(default_max_new_tokens);
  request.prompt_tokens = arguments.prompt_tokens;
  for (index_t b = 0; b < request.batch_size; ++b) {
    request.grid_thw.insert(request.grid_thw.end(), media.grid_thw.begin(), media.grid_thw.end());
    request.source_image_bytes += media.source_bytes;
  }
  request.prompt_tokens += media.image_tokens + media.video_tokens;

  const auto [plan, free_on_device] = memory_plan(arguments.place(), request);
  const std::optional<std::size_t> available = build.on_device ? free_on_device : available_memory();
  if (arguments.json) {
    nlohmann::ordered_json json = {{"batch_size", request.batch_size},         {"prompt_tokens", request.prompt_tokens},
                                   {"image_tokens", media.image_tokens},       {"video_tokens", media.video_tokens},
                                   {"max_new_tokens", request.max_new_tokens}, {"weights_bytes", plan.weights},
                                   {"kv_cache_bytes", plan.kv_cache},          {"kv_copying_bytes", plan.kv_copying},
                                   {"activations_bytes", plan.activations},    {"pixels_bytes", plan.pixels},
                                   {"image_features_bytes", plan.features},    {"peak_bytes", plan.peak}};
    if (build.on_device)
      json.update({{"decoding_bytes", plan.decoding}, {"handle_bytes", plan.handle}, {"pinned_bytes", plan.pinned}});
    if (available) json["available_bytes"] = *available;
    return print_json(json);
  }
  const auto line = [](const char* what, std::size_t bytes) {
    std::printf("  %-42s %10.1f MB\n", what, static_cast<double>(bytes) * 1e-6);
  };
  std::printf("%s, %s weights: %lld x %lld prompt tokens (%lld of images and videos) and %lld new ones take\n",
              build.program_name().c_str(), build.precision.c_str(), static_cast<long long>(request.batch_size),
              static_cast<long long>(request.prompt_tokens),
              static_cast<long long>(media.image_tokens + media.video_tokens),
              static_cast<long long>(request.max_new_tokens));
  line("weights", plan.weights);
  line("keys and values", plan.kv_cache);
  line("a copy of some while their memory grows", plan.kv_copying);
  line("activations", plan.activations);
  if (!build.on_device) {
    line("images and videos: pixels", plan.pixels);
    line("images and videos: features", plan.features);
    line("at most at one time", plan.peak);
    std::puts("  and about 100 MB for the program with its tokenizer");
    if (available) line("this machine has available", *available);
  } else {
    line("decoding: logits and activations", plan.decoding);
    line("workspace of cuBLASLt", plan.handle);
    line("images and videos: features", plan.features);
    line("at most at one time", plan.peak);
    std::puts("  and some hundred MB for CUDA itself: its context, the kernels");
    if (available) line("the device has free", *available);
    line("on the host: buffers of copies", plan.pinned);
    line("on the host: pixels", plan.pixels);
  }
  flush_output();
}

}  // namespace program
