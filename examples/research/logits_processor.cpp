// A custom logits processor: the answer must be one of a list.
//   logits_processor CHECKPOINT IMAGE QUESTION CHOICE...
// The model answers freely first. A processor is any function of the tokens so far and their scores; it comes before
// temperature, top-k and the others of sampling, and works with sampling, beams and batches alike.
#include <algorithm>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/pretrained.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/variants/tiny_shapes_model.hpp"  // the variant, compiled once in a library

using namespace qwen3vl;
using Model = ForConditionalGeneration<variants::TinyShapes, Cpu, Bf16>;

// Leaves only tokens that continue one of `choices`; each ends with an end token.
class OneOf {
 public:
  OneOf(std::vector<std::vector<TokenId>> choices, std::size_t prompt_length)
      : choices_(std::move(choices)), prompt_length_(prompt_length) {}

  void operator()(std::span<const TokenId> ids, std::span<float> scores) const {
    const auto answer = ids.subspan(prompt_length_);
    std::vector<float> kept(scores.size(), removed_score);
    for (const std::vector<TokenId>& choice : choices_) {
      if (answer.size() >= choice.size() || !std::equal(answer.begin(), answer.end(), choice.begin())) continue;
      const auto next = static_cast<std::size_t>(choice[answer.size()]);
      kept.at(next) = scores[next];
    }
    std::ranges::copy(kept, scores.begin());
  }

 private:
  std::vector<std::vector<TokenId>> choices_;
  std::size_t prompt_length_;
};

int main(int argc, char** argv) try {
  if (argc < 5) fail("usage: logits_processor CHECKPOINT IMAGE QUESTION CHOICE...");
  Cpu cpu;
  auto model = Model::from_pretrained(argv[1], cpu);
  const auto processor = Processor::from_pretrained(argv[1]);
  const auto inputs = processor.apply_chat_template({user({image(argv[2]), text(std::string(argv[3]))})},
                                                    {.add_generation_prompt = true});
  const auto answer = [&](const GenerateOptions& options) {
    return processor.post_process_image_text_to_text(model.generate(inputs, options).new_tokens).at(0);
  };
  std::printf("freely: %s\n", answer({.max_new_tokens = 32, .do_sample = false}).c_str());

  std::vector<std::vector<TokenId>> choices;
  for (int i = 4; i < argc; ++i) {
    choices.push_back(processor.tokenizer().encode(argv[i]));
    choices.back().push_back(model.generation_config().eos_token_id.at(0));
  }
  const OneOf one_of(choices, static_cast<std::size_t>(inputs.length()));
  std::printf("of the list: %s\n",
              answer({.max_new_tokens = 32, .do_sample = false, .logits_processors = {one_of}}).c_str());
} catch (const std::exception& error) {
  std::fprintf(stderr, "logits_processor: %s\n", error.what());
  return 1;
}
