// attn_implementation: a model with either attention policy computes the same. The operations themselves are compared
// in backend_cpu_test, single layers in layers_text_test and layers_vision_test.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE attention_policy
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <span>
#include <vector>

#include "qwen3vl/model/memory_plan.hpp"
#include "support/generation_model.hpp"

using namespace qwen3vl;

namespace {

using generation_test::difference;

struct Tiny {
  static constexpr ModelConfig config = [] {
    ModelConfig config = generation_test::Dense::config;
    config.vision.depth = 2;
    config.vision.patch_size = 4;
    config.vision.num_position_embeddings = 16;
    config.text.num_attention_heads = 4;
    config.text.num_key_value_heads = 2;
    return config;
  }();
};
static_assert(Variant<Tiny>);

using EagerF32 = WithAttention<F32, attention_policy::Eager>;
static_assert(std::is_same_v<attention_t<F32>, attention_policy::Flash>, "the default");
static_assert(std::is_same_v<attention_t<Bf16>, attention_policy::Flash>);
static_assert(std::is_same_v<attention_t<EagerF32>, attention_policy::Eager>);
static_assert(std::is_same_v<EagerF32::Weight, float> && EagerF32::name == F32::name,
              "the rest of the precision stays");
static_assert(std::is_same_v<attention_t<WithAttention<EagerF32, attention_policy::Flash>>, attention_policy::Flash>);

using HalfCache = WithKv<F32, f16>;
static_assert(std::is_same_v<HalfCache::Kv, f16> && std::is_same_v<HalfCache::Weight, float>);
static_assert(std::is_same_v<WithKv<EagerF32, bf16>::Kv, bf16> &&
                  std::is_same_v<attention_t<WithKv<EagerF32, bf16>>, attention_policy::Eager>,
              "policies compose");

constexpr TokenId image_id = 60;

template <class P>
ForConditionalGeneration<Tiny, Cpu, P> model(Cpu& cpu) {
  RuntimeConfig config;
  config.rope.rope_theta = 1000.0;
  config.tokens = {
      .image_token_id = image_id, .video_token_id = 61, .vision_start_token_id = 62, .vision_end_token_id = 63};
  ForConditionalGeneration<Tiny, Cpu, P> made(cpu, config);
  made.load(RandomWeights(5, 0.3f), "random weights");
  GenerationConfig generation;
  generation.do_sample = false;
  generation.pad_token_id = 0;
  made.set_generation_config(generation);
  return made;
}

// Two rows, the shorter one padded on the left, each with an image.
ModelInputs prompt() {
  ModelInputs inputs;
  inputs.image_grid_thw = {{1, 4, 6}, {1, 2, 4}};
  const index_t lengths[] = {17, 9}, images[] = {6, 2}, length = 17;
  inputs.input_ids = HostMatrix<TokenId>(2, length);
  inputs.attention_mask = HostMatrix<std::uint8_t>(2, length);
  for (index_t b = 0; b < 2; ++b) {
    for (index_t i = length - lengths[b]; i < length; ++i) {
      const index_t at = i - (length - lengths[b]);
      inputs.attention_mask(b, i) = 1;
      inputs.input_ids(b, i) = at >= 3 && at < 3 + images[b] ? image_id : static_cast<TokenId>(7 * i % 59);
    }
  }
  constexpr index_t patch = Tiny::config.vision.patch_dim();
  inputs.pixel_values = HostMatrix<float>(24 + 8, patch);
  for (index_t i = 0; i < inputs.pixel_values.size(); ++i)
    inputs.pixel_values.data()[i] = std::sin(0.37f * static_cast<float>(i));
  return inputs;
}

// float32 sums of up to 100 products through four layers.
constexpr double tolerance = 1e-5;

}  // namespace

BOOST_AUTO_TEST_CASE(a_model_computes_the_same_with_both_policies) {
  Cpu cpu(2);
  auto flash = model<F32>(cpu);
  auto eager = model<EagerF32>(cpu);
  const ModelInputs inputs = prompt();
  const ForwardOptions options{.output_hidden_states = true, .output_attentions = true};
  const ModelOutput a = flash.forward(inputs, options), b = eager.forward(inputs, options);
  BOOST_TEST(difference(b.logits.span(), a.logits.span()) < tolerance);
  BOOST_TEST(difference(b.last_hidden_state.span(), a.last_hidden_state.span()) < tolerance);
  BOOST_REQUIRE((a.attentions.size() == 2 && b.attentions.size() == 2));
  for (std::size_t i = 0; i < 2; ++i)
    BOOST_TEST(difference(b.attentions[i].span(), a.attentions[i].span()) < tolerance);

  // With a cache: chunks of a prompt, then single tokens.
  const GenerateOptions steps{.max_new_tokens = 5, .output_logits = true, .prefill_chunk = 6};
  const auto c = flash.generate(inputs, steps), d = eager.generate(inputs, steps);
  BOOST_TEST(c.sequences.span() == d.sequences.span(), boost::test_tools::per_element());
  BOOST_TEST(difference(d.logits.span(), c.logits.span()) < tolerance);
}

BOOST_AUTO_TEST_CASE(a_narrow_cache_changes_results_by_its_rounding) {
  Cpu cpu(2);
  auto exact = model<F32>(cpu);
  const ModelInputs inputs = prompt();
  const GenerateOptions steps{.max_new_tokens = 1, .output_logits = true, .prefill_chunk = 6};
  const auto expected = exact.generate(inputs, steps);
  const auto check = [&](auto made, double epsilon) {
    const auto got = made.generate(inputs, steps);
    // Every key and value is off by half a unit; two layers' softmax and sums add them up.
    const double error = difference(got.logits.span(), expected.logits.span());
    BOOST_TEST(error < 8.0 * epsilon);
    BOOST_TEST(error > 0.0);  // the policy is in use
  };
  check(model<WithKv<F32, f16>>(cpu), 0x1p-11);
  check(model<WithKv<F32, bf16>>(cpu), 0x1p-8);
  check(model<WithKv<EagerF32, f16>>(cpu), 0x1p-11);
}

BOOST_AUTO_TEST_CASE(the_vision_tower_gives_attentions_with_both_policies) {
  Cpu cpu(2);
  auto flash = model<F32>(cpu);
  auto eager = model<EagerF32>(cpu);
  const ModelInputs inputs = prompt();
  const auto of = [&](auto& m) {
    return m.model().visual().forward(m.context(), inputs.pixel_values, inputs.image_grid_thw, false, true);
  };
  const auto a = of(flash);
  const auto b = of(eager);
  BOOST_TEST(difference(b.pooler_output.span(), a.pooler_output.span()) < tolerance);
  BOOST_REQUIRE((a.attentions.size() == 2 && b.attentions.size() == 2));
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t s = 0; s < 2; ++s)
      BOOST_TEST(difference(b.attentions[i].at(s).span(), a.attentions[i].at(s).span()) < tolerance);
}

BOOST_AUTO_TEST_CASE(only_eager_needs_memory_for_all_weights) {
  Cpu cpu(1);
  const auto peak = [&](auto made, index_t length) {
    ModelInputs inputs;
    inputs.input_ids = HostMatrix<TokenId>(1, length);
    made.forward(inputs, {.logits_to_keep = 1});
    return static_cast<double>(made.context().workspace().peak_bytes());
  };
  BOOST_TEST(peak(model<F32>(cpu), 2000) / peak(model<F32>(cpu), 1000) < 2.1);
  BOOST_TEST(peak(model<EagerF32>(cpu), 2000) / peak(model<EagerF32>(cpu), 1000) > 3.5);
}

BOOST_AUTO_TEST_CASE(a_memory_plan_runs_the_policy) {
  Cpu cpu(1);
  const auto check = [&](auto made, const MemoryRequest& request) {
    ModelInputs inputs;
    inputs.input_ids = HostMatrix<TokenId>(1, request.prompt_tokens);
    made.generate(inputs, {.max_new_tokens = request.max_new_tokens,
                           .eos_token_id = std::vector<TokenId>{},
                           .prefill_chunk = request.prefill_chunk});
    BOOST_TEST(plan_memory(made, request).activations == made.context().workspace().peak_bytes());
  };
  check(model<EagerF32>(cpu), {.prompt_tokens = 300, .max_new_tokens = 3, .prefill_chunk = 128});
  check(model<WithKv<EagerF32, f16>>(cpu), {.prompt_tokens = 20, .max_new_tokens = 50});
}
