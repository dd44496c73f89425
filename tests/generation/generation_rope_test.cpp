// Rope types whose frequencies depend on the length of a call: generation in chunks equals one shot.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE generation_rope
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "support/generation_model.hpp"

using namespace qwen3vl;

namespace {

using generation_test::difference;
using Tiny = generation_test::Dense;
using Model = ForConditionalGeneration<Tiny, Cpu, F32>;

constexpr std::int64_t original = 16;

RuntimeConfig config(const std::string& type) {
  RuntimeConfig config;
  config.max_position_embeddings = original;
  config.tokens = {.image_token_id = 60, .video_token_id = 61, .vision_start_token_id = 62, .vision_end_token_id = 63};
  RopeParameters& rope = config.rope;
  rope.rope_type = type;
  rope.rope_theta = 100.0;
  rope.factor = 4.0;
  rope.has_factor = true;
  rope.original_max_position_embeddings = original;
  rope.short_factor = std::vector<double>(8, 1.0);
  rope.long_factor = {1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0};
  return config;
}

ModelInputs prompt(const std::vector<index_t>& lengths) {
  index_t longest = 0;
  for (const index_t length : lengths) longest = std::max(longest, length);
  const auto batch = static_cast<index_t>(lengths.size());
  ModelInputs inputs;
  inputs.input_ids = HostMatrix<TokenId>(batch, longest);
  inputs.attention_mask = HostMatrix<std::uint8_t>(batch, longest);
  for (index_t b = 0; b < batch; ++b)
    for (index_t i = longest - lengths[static_cast<std::size_t>(b)]; i < longest; ++i) {
      inputs.input_ids(b, i) = static_cast<TokenId>((7 * i + 11 * b + i * i) % 59);
      inputs.attention_mask(b, i) = 1;
    }
  return inputs;
}

struct Fixture {
  Cpu cpu{1};
  // Weights of this size make rotations matter.
  Model model(const std::string& type) {
    Model made(cpu, config(type));
    made.load(RandomWeights(3, 0.3f), "random weights");
    GenerationConfig generation;
    generation.do_sample = false;
    generation.pad_token_id = 0;
    made.set_generation_config(generation);
    return made;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(chunks_of_a_prompt_use_the_whole_prompts_frequencies, Fixture) {
  for (const char* type : {"dynamic", "longrope", "yarn"}) {
    // Around the original length, and far above it.
    for (const index_t length : {index_t{15}, index_t{16}, index_t{17}, index_t{40}}) {
      const ModelInputs inputs = prompt({length});
      const auto whole = model(type).generate(inputs, {.max_new_tokens = 6, .output_logits = true});
      Model plain = model(type);
      const ModelOutput forward = plain.forward(inputs, {.logits_to_keep = 1});
      BOOST_TEST(difference(whole.logits[0].slice(0, 1).span(), forward.logits.span()) < 1e-6, type << " " << length);
      for (const index_t chunk : {1, 7, 16, 39}) {
        const auto parts =
            model(type).generate(inputs, {.max_new_tokens = 6, .output_logits = true, .prefill_chunk = chunk});
        // Only the order of sums differs.
        BOOST_TEST(difference(parts.logits.span(), whole.logits.span()) < 1e-5, type << " " << length << " " << chunk);
      }
    }
  }
}

BOOST_FIXTURE_TEST_CASE(the_length_matters, Fixture) {
  // A test that could not fail would not notice frequencies that stay: a long prompt differs from its default rotation.
  const ModelInputs longer = prompt({40}), shorter = prompt({12});
  for (const char* type : {"dynamic", "longrope"}) {
    const auto logits = [&](const char* of_type, const ModelInputs& inputs) {
      return model(of_type).forward(inputs, {.logits_to_keep = 1}).logits;
    };
    if (std::string(type) == "dynamic")
      BOOST_TEST(difference(logits(type, shorter).span(), logits("default", shorter).span()) == 0.0);
    BOOST_TEST(difference(logits(type, longer).span(), logits("default", longer).span()) > 1e-3, type);
  }
}

BOOST_FIXTURE_TEST_CASE(a_batch_turns_by_its_longest_row, Fixture) {
  // As in the reference, the longest row decides for all rows.
  Model together = model("dynamic");
  const auto batch = together.generate(prompt({40, 9}), {.max_new_tokens = 3, .output_logits = true});
  const auto chunked =
      model("dynamic").generate(prompt({40, 9}), {.max_new_tokens = 3, .output_logits = true, .prefill_chunk = 4});
  BOOST_TEST(difference(chunked.logits.span(), batch.logits.span()) < 1e-5);
  const auto forward = model("dynamic").forward(prompt({40, 9}), {.logits_to_keep = 1});
  for (index_t b = 0; b < 2; ++b)
    BOOST_TEST(difference(batch.logits[b].slice(0, 1).span(), forward.logits[b].span()) < 1e-5);
}
