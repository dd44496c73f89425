// The trained checkpoint on the CUDA backend with bf16 weights and activations, run on the host: the expected answers.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_checkpoint
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/model/pretrained.hpp"
#include "qwen3vl/processing/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"
#include QWEN3VL_VARIANT_HEADER

using namespace qwen3vl;

BOOST_AUTO_TEST_CASE(expected_answers) {
  const std::filesystem::path folder = std::filesystem::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes";
  const Processor processor = Processor::from_pretrained(folder);
  Cuda cuda;
  auto model = ForConditionalGeneration<QWEN3VL_VARIANT_TYPE, Cuda, Bf16>::from_pretrained(folder, cuda);
  ProcessorOptions options{.media_directory = folder / "expected"};
  options.videos = processor.video_processor().options();
  options.videos->do_sample_frames = false;
  // A few of them: every multiplication is done by hand here.
  const std::vector<std::string> wanted{"image 01 caption", "image 08 exists", "two pictures 05 06", "clip 02",
                                        "text Hello!"};
  std::size_t found = 0;
  const auto table =
      parse_ordered_json(read_text_file(folder / "expected" / "cases.json", max_json_bytes), "cases.json");
  for (const auto& row : table["cases"]) {
    const auto name = row["name"].get<std::string>();
    if (std::ranges::find(wanted, name) == wanted.end()) continue;
    ++found;
    const ModelInputs inputs =
        processor.apply_chat_template(messages_from_json(row["messages"]), {.add_generation_prompt = true}, options);
    const GenerateOutput output = model.generate(inputs, {.max_new_tokens = 64, .do_sample = false});
    BOOST_TEST(output.new_tokens.at(0) == row["ids"].get<std::vector<TokenId>>(), boost::test_tools::per_element());
  }
  BOOST_TEST(found == wanted.size());
}
