// attention_policy::Scored in whole models: tiled kernels on the CPU against the reference backend in double precision,
// with run-time values that differ by layer.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE score_policy
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/backend/eigen.hpp"
#include "qwen3vl/layers/score_functions.hpp"
#include "qwen3vl/model/memory_plan.hpp"
#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

// Gemma 2: capped scores, and every other layer sees the newest tokens only.
struct CappedWindow {
  SoftCap cap;
  std::int32_t window = std::numeric_limits<std::int32_t>::max();
  float operator()(float score, ScorePlace place) const {
    return place.query - place.key < window ? cap(score, place) : -std::numeric_limits<float>::infinity();
  }
};
using Policy = attention_policy::Scored<CappedWindow, SoftCap>;
using Capped = WithAttention<F32, Policy>;

template <class P, class B>
ForConditionalGeneration<Dense, B, P> model(B& backend) {
  return random_model<Dense, P>(backend, 5, 0.5f);
}

// float32 sums of up to 100 products through four layers.
constexpr double tolerance = 1e-5;

// Two images and text, then single tokens: the outputs of all passes.
template <class Model>
std::vector<ModelOutput> passes(Model& model) {
  Prompt prompt;
  prompt.text({5, 9, 33}).image({{1, 4, 6}, 1}).text({7, 7, 21}).image({{1, 8, 4}, 2}).text({4, 8, 15, 16, 23, 42});
  const ForwardOptions options{.output_attentions = true};
  typename Model::Past past(1);
  std::vector<ModelOutput> outputs;
  outputs.push_back(model.forward(inputs_of({prompt}), options, &past));
  for (const TokenId token : {11, 50, 3}) {
    ModelInputs next;
    next.input_ids = HostMatrix<TokenId>(1, 1);
    next.input_ids(0, 0) = token;
    outputs.push_back(model.forward(next, options, &past));
  }
  return outputs;
}

double output_difference(const std::vector<ModelOutput>& a, const std::vector<ModelOutput>& b) {
  BOOST_REQUIRE(a.size() == b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, difference(a[i].logits.span(), b[i].logits.span()));
    for (std::size_t layer = 0; layer < 2; ++layer)
      largest = std::max(largest, difference(a[i].attentions.at(layer).span(), b[i].attentions.at(layer).span()));
  }
  return largest;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_model_with_score_functions_equals_the_reference) {
  Cpu cpu(2);
  Reference<double> exact;
  auto fast = model<Capped>(cpu);
  auto reference = model<Capped>(exact);
  auto plain = model<F32>(cpu);
  const auto unchanged = passes(plain);
  BOOST_TEST(output_difference(passes(fast), unchanged) < tolerance);  // no cap, no window
  const auto windows = [](int layer) { return Policy{.text_score = {{0.4f}, layer % 2 == 0 ? 5 : 1000}}; };
  fast.set_attention(Policy{.text_score = {{0.4f}}, .vision_score = {0.2f}});
  reference.set_attention(Policy{.text_score = {{0.4f}}, .vision_score = {0.2f}});
  const auto capped = passes(fast);
  BOOST_TEST(output_difference(capped, passes(reference)) < tolerance);
  BOOST_TEST(output_difference(capped, unchanged) > 100.0 * tolerance);
  fast.set_attention(windows);
  reference.set_attention(windows);
  const auto windowed = passes(fast);
  BOOST_TEST(output_difference(windowed, passes(reference)) < tolerance);
  BOOST_TEST(output_difference(windowed, capped) > 100.0 * tolerance);
}

// The prompt in chunks gives what it gives at once; the memory plan counts the policy's passes.
BOOST_AUTO_TEST_CASE(generation_and_its_memory_plan) {
  Cpu cpu(1);
  auto made = model<Capped>(cpu);
  made.set_attention(Policy{.text_score = {{0.4f}, 9}});
  const MemoryRequest request{.prompt_tokens = 300, .max_new_tokens = 20, .prefill_chunk = 128};
  ModelInputs inputs;
  inputs.input_ids = HostMatrix<TokenId>(1, request.prompt_tokens);
  for (index_t i = 0; i < request.prompt_tokens; ++i) inputs.input_ids(0, i) = static_cast<TokenId>(7 * i % 59);
  GenerateOptions options{.max_new_tokens = request.max_new_tokens,
                          .do_sample = false,
                          .eos_token_id = std::vector<TokenId>{},
                          .output_logits = true,
                          .prefill_chunk = request.prefill_chunk};
  const auto chunked = made.generate(inputs, options);
  BOOST_TEST(plan_memory(made, request).activations == made.context().workspace().peak_bytes());
  options.prefill_chunk = 512;
  BOOST_TEST(difference(made.generate(inputs, options).logits.span(), chunked.logits.span()) < tolerance);
}
