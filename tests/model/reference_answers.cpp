// A trained checkpoint on the reference backend: the expected answers about images, from tokenized prompts, so that
// this needs only headers and no tokenizer, and runs on any processor (tests/model/aarch64.sh). Scratch memory must
// equal the memory plan's.
//   reference_answers CHECKPOINT [EVERY [PACKED]]: one of EVERY cases; weights come from a file in PACKED
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <vector>

#include "qwen3vl/backend/eigen.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include QWEN3VL_VARIANT_HEADER

using namespace qwen3vl;

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s CHECKPOINT [EVERY [PACKED]]\n", argv[0]);
    return 2;
  }
  try {
    const std::filesystem::path folder = argv[1], expected = folder / "expected";
    const std::size_t every = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1;
    const ImageProcessor processor = ImageProcessor::from_pretrained(folder);
    Reference<float> backend;
    using Model = ForConditionalGeneration<QWEN3VL_VARIANT_TYPE, Reference<float>, Bf16>;
    const PretrainedOptions options{.packed_cache = argc > 3 ? argv[3] : ""};
    if (argc > 3) static_cast<void>(Model::from_pretrained(folder, backend, options));  // writes the file
    Model model = Model::from_pretrained(folder, backend, options);
    const auto table = read_json_file(expected / "cases.json");
    std::size_t tried = 0, wrong = 0, seen = 0, planned = 0;
    for (const auto& row : table.at("cases")) {
      if (row.contains("video_grid_thw") || seen++ % every != 0) continue;
      std::vector<Image> images;
      for (const auto& message : row.at("messages"))
        if (message.at("content").is_array())
          for (const auto& part : message.at("content"))
            if (part.contains("image")) images.push_back(load_image(expected / part.at("image").get<std::string>()));
      const auto ids = row.at("prompt_ids").get<std::vector<TokenId>>();
      ModelInputs inputs;
      inputs.input_ids = HostMatrix<TokenId>(1, static_cast<index_t>(ids.size()));
      std::copy(ids.begin(), ids.end(), inputs.input_ids.data());
      ImageFeatures features = processor(images);
      inputs.pixel_values = std::move(features.pixel_values);
      inputs.image_grid_thw = features.image_grid_thw;
      planned = std::max(planned, plan_memory(model, {.prompt_tokens = inputs.length(),
                                                      .max_new_tokens = 64,
                                                      .grid_thw = inputs.image_grid_thw})
                                      .activations);
      const auto answer = model.generate(inputs, {.max_new_tokens = 64, .do_sample = false}).new_tokens.at(0);
      ++tried;
      if (answer == row.at("ids").get<std::vector<TokenId>>()) continue;
      ++wrong;
      std::printf("another answer than expected: %s\n", row.at("name").get<std::string>().c_str());
    }
    if (const std::size_t used = model.context().workspace().peak_bytes(); used != planned)
      fail(used, " bytes of scratch memory were used, ", planned, " planned");
    std::printf("%zu of %zu answers are as expected\n", tried - wrong, tried);
    return tried > 0 && wrong == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED: %s\n", error.what());
    return 1;
  }
}
