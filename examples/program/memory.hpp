/// --memory-plan: what a run would take, before anything is loaded.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "answerer.hpp"
#include "arguments.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include "qwen3vl/processing/image_processor.hpp"
#include "report.hpp"

namespace program {

/// "640x480" as a size. Throws Error for anything else.
inline PictureSize picture_size(const std::string& text) {
  PictureSize size;
  const char* const end = text.data() + text.size();
  const auto width = std::from_chars(text.data(), end, size.width);
  if (width.ec == std::errc() && width.ptr != end && *width.ptr == 'x') {
    const auto height = std::from_chars(width.ptr + 1, end, size.height);
    constexpr std::int64_t most = 1 << 20;
    if (height.ec == std::errc() && height.ptr == end && size.width > 0 && size.height > 0 && size.width <= most &&
        size.height <= most)
      return size;
  }
  fail("--image-size: '", text, "' is no size such as 1024x768");
}

/// What the kernel could give a new program, or nothing where it does not say.
inline std::optional<std::size_t> available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) * 1024;
  return std::nullopt;
}

/// Prints the plan for the lengths that `arguments` give; each prompt has all the pictures.
template <class Model>
void print_memory_plan(const std::string& name, const Arguments& arguments) {
  using Backend = typename Model::BackendType;
  constexpr VisionConfig vision = Model::VariantType::config.vision;
  const ImageProcessor processor = arguments.model.empty() ? ImageProcessor(ImageProcessorOptions{})
                                                           : ImageProcessor::from_pretrained(arguments.model);
  std::vector<PictureSize> sizes;
  for (const std::string& size : arguments.image_sizes) sizes.push_back(picture_size(size));
  for (const std::string& file : arguments.images) {
    const Image picture = load_image(file, arguments.limits.images);
    sizes.push_back({picture.height, picture.width});
  }

  MemoryRequest request;
  request.batch_size = arguments.plan_batch_size.value_or(1);
  request.sequences_per_prompt =
      std::max(arguments.generate.num_beams.value_or(1), arguments.generate.num_return_sequences.value_or(1));
  request.max_new_tokens = arguments.generate.max_new_tokens.value_or(default_max_new_tokens);
  request.prompt_tokens = arguments.prompt_tokens;
  index_t picture_tokens = 0;
  for (index_t b = 0; b < request.batch_size; ++b)
    for (const PictureSize& size : sizes) {
      const PictureSize resized = processor.resized_size(size.height, size.width);
      const GridThw grid{1, resized.height / vision.patch_size, resized.width / vision.patch_size};
      request.grid_thw.push_back(grid);
      request.source_image_bytes += static_cast<std::size_t>(3 * size.height * size.width);
      if (b == 0) picture_tokens += grid.tokens(vision.spatial_merge_size) + 2;  // and its begin and end
    }
  request.prompt_tokens += picture_tokens;

  Backend backend = make_backend<Backend>(arguments);
  Model model(backend);
  const MemoryPlan plan = plan_memory(model, request);
  const std::optional<std::size_t> available = available_memory();
  if (arguments.json) {
    nlohmann::ordered_json json = {{"batch_size", request.batch_size},
                                   {"prompt_tokens", request.prompt_tokens},
                                   {"image_tokens", picture_tokens},
                                   {"max_new_tokens", request.max_new_tokens},
                                   {"weights_bytes", plan.weights},
                                   {"kv_cache_bytes", plan.kv_cache},
                                   {"kv_copying_bytes", plan.kv_copying},
                                   {"activations_bytes", plan.activations},
                                   {"pixels_bytes", plan.pixels},
                                   {"image_features_bytes", plan.features},
                                   {"peak_bytes", plan.peak}};
    if (available) json["available_bytes"] = *available;
    return print_json(json);
  }
  const auto line = [](const char* what, std::size_t bytes) {
    std::printf("  %-42s %10.1f MB\n", what, static_cast<double>(bytes) * 1e-6);
  };
  std::printf("%s, %s weights: %lld x %lld prompt tokens (%lld of pictures) and %lld new ones take\n", name.c_str(),
              std::string(Model::PrecisionType::name).c_str(), static_cast<long long>(request.batch_size),
              static_cast<long long>(request.prompt_tokens), static_cast<long long>(picture_tokens),
              static_cast<long long>(request.max_new_tokens));
  line("weights", plan.weights);
  line("keys and values", plan.kv_cache);
  line("a copy of some while their memory grows", plan.kv_copying);
  line("activations", plan.activations);
  line("pictures: pixels", plan.pixels);
  line("pictures: features", plan.features);
  line("at most at one time", plan.peak);
  std::puts("  and about 100 MB for the program with its tokenizer");
  if (available) line("this machine has available", *available);
  flush_output();
}

}  // namespace program
