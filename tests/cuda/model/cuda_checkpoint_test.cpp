// A trained checkpoint on the CUDA backend, run on the host: the expected answers, one by one and as a batch, with
// weights and cache of bf16 or, as QWEN3VL_PRECISION says, narrower.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_checkpoint
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"
#include QWEN3VL_VARIANT_HEADER

using namespace qwen3vl;

#ifdef QWEN3VL_PRECISION
using Precision = QWEN3VL_PRECISION;
#else
using Precision = WithKv<Bf16, bf16>;
#endif

BOOST_AUTO_TEST_CASE(expected_answers) {
  const std::filesystem::path assets = QWEN3VL_EXAMPLE_ASSETS, folder = assets / QWEN3VL_CHECKPOINT;
  const Processor processor = Processor::from_pretrained(folder);
  Cuda cuda;
  auto model = ForConditionalGeneration<QWEN3VL_VARIANT_TYPE, Cuda, Precision>::from_pretrained(folder, cuda);
  ProcessorOptions options{.media_directory = assets / "tiny-shapes" / "expected"};
  options.videos = processor.video_processor().options();
  options.videos->do_sample_frames = false;
  // Only a few: every multiplication is emulated here.
  const std::vector<std::string> wanted{"image 01 caption", "image 08 exists", "two pictures 05 06", "clip 02",
                                        "text Hello!"};
  std::vector<Conversation> conversations;
  std::vector<std::vector<TokenId>> expected;
  const auto table =
      parse_ordered_json(read_text_file(folder / "expected" / "cases.json", max_json_bytes), "cases.json");
  for (const auto& row : table["cases"]) {
    if (std::ranges::find(wanted, row["name"].get<std::string>()) == wanted.end()) continue;
    conversations.push_back(messages_from_json(row["messages"]));
    expected.push_back(row["ids"].get<std::vector<TokenId>>());
  }
  BOOST_REQUIRE(conversations.size() == wanted.size());
  const auto answers = [&](std::span<const Conversation> prompts) {
    const ModelInputs inputs = processor.apply_chat_template(prompts, {.add_generation_prompt = true}, options);
    return model.generate(inputs, {.max_new_tokens = 64, .do_sample = false}).new_tokens;
  };
  BOOST_TEST((answers(conversations) == expected));
  for (const std::size_t i : {std::size_t{1}, std::size_t{3}})
    BOOST_TEST(answers(std::span(conversations).subspan(i, 1)).at(0) == expected[i], boost::test_tools::per_element());
}
