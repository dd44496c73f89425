// attn_implementation: a model with either attention policy computes the same. The operations themselves are compared
// in backend_cpu_test, single layers in layers_text_test and layers_vision_test.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE attention_policy
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/model/memory_plan.hpp"
#include "support/check_fails.hpp"
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

// The rest of forward() is here because these programs compile a model anyway; its numbers are in the golden cases.
BOOST_AUTO_TEST_CASE(outputs_of_selected_layers_and_of_the_tower) {
  Cpu cpu(2);
  auto made = model<F32>(cpu);
  const ModelInputs inputs = prompt();
  const auto all = made.forward(inputs, {.output_hidden_states = true, .output_attentions = true});
  BOOST_TEST((!all.image_outputs && !all.video_outputs));
  const auto some = made.forward(
      inputs, {.output_hidden_states = {-1}, .output_attentions = std::vector<index_t>{0}, .output_vision = true});
  BOOST_REQUIRE((some.hidden_states.size() == 3 && some.attentions.size() == 2));
  BOOST_TEST(
      (!some.hidden_states[0].allocated() && !some.hidden_states[1].allocated() && !some.attentions[1].allocated()));
  BOOST_TEST(some.hidden_states[2].span() == all.last_hidden_state.span(), boost::test_tools::per_element());
  BOOST_TEST(some.attentions[0].span() == all.attentions[0].span(), boost::test_tools::per_element());
  BOOST_TEST(some.logits.span() == all.logits.span(), boost::test_tools::per_element());

  const auto tower = made.get_visual_features(inputs, true, true);
  const VisionOutputs& images = some.image_outputs.value();
  BOOST_TEST(!some.video_outputs);
  BOOST_TEST(images.last_hidden_state.span() == tower->hidden_states.back().span(), boost::test_tools::per_element());
  BOOST_REQUIRE((images.hidden_states.size() == 3 && images.attentions.size() == 2));
  BOOST_TEST((images.hidden_states[2].allocated() && !images.hidden_states[1].allocated()));
  BOOST_TEST((images.attentions[0].size() == 2 && images.attentions[1].empty()));
  for (std::size_t frame = 0; frame < 2; ++frame)
    BOOST_TEST(images.attentions[0][frame].span() == tower->attentions[0][frame].span(),
               boost::test_tools::per_element());
  BOOST_TEST((images.pooler_output.size() == 2 && images.pooler_output[1].rows() == 2));
  BOOST_TEST(images.pooler_output[1].span() == tower->pooler_output.slice(6, 2).span(),
             boost::test_tools::per_element());
  // Features that were computed before say what they have.
  const auto given = made.forward(inputs, {.output_hidden_states = true, .output_vision = true}, nullptr, &*tower);
  BOOST_TEST(given.image_outputs.value().hidden_states.at(1).span() == tower->hidden_states[1].span(),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(forward_names_what_it_cannot_use) {
  Cpu cpu(1);
  auto made = model<F32>(cpu);
  const auto fails = [&](ModelInputs inputs, const ForwardOptions& options, const char* text) {
    CHECK_FAILS(made.forward(inputs, options), text);
  };
  const auto labels = [](std::int32_t label, index_t columns = 17) {
    HostMatrix<std::int32_t> all(2, columns);
    std::ranges::fill(all.span(), -100);
    all(1, columns - 1) = label;
    return all;
  };
  fails(prompt(), {.output_hidden_states = {3}}, "output_hidden_states holds 3, but there are 3 (-3 to 2)");
  fails(prompt(), {.output_attentions = {0, -3}}, "output_attentions holds -3, but there are 2");
  fails(prompt(), {.labels = labels(64)}, "labels holds 64; wanted -100 or a token id below 64");
  fails(prompt(), {.shift_labels = labels(-1)}, "shift_labels holds -1");
  fails(prompt(), {.labels = labels(1), .ignore_index = -2}, "labels holds -100; wanted -2");
  fails(prompt(), {.logits_to_keep = 3, .labels = labels(1)}, "labels is [2, 17], the logits are of [2, 3] tokens");
  fails(prompt(), {.num_items_in_batch = 4}, "num_items_in_batch is 4; give a positive number, and labels");
  fails(prompt(), {.labels = labels(1), .num_items_in_batch = 0}, "num_items_in_batch is 0");
  ModelInputs inputs = prompt();
  inputs.attention_mask(1, 15) = 0;  // a hole
  fails(std::move(inputs), {.labels = labels(5)},
        "the label 5 of row 1 stands behind padding at 15 that follows tokens");
  inputs = prompt();
  inputs.inputs_embeds = HostCube<float>(2, 17, 32);
  fails(std::move(inputs), {}, "either input_ids or inputs_embeds");
  inputs = prompt();
  inputs.input_ids = {};
  inputs.inputs_embeds = HostCube<float>(2, 17, 31);
  fails(std::move(inputs), {}, "inputs_embeds has 31 columns, hidden_size is 32");
  inputs = prompt();
  inputs.input_ids = {};
  inputs.inputs_embeds = HostCube<float>(2, 17, 32);
  fails(std::move(inputs), {}, "the prompt has 0 image tokens, the images make 8");
  inputs = prompt();
  inputs.position_ids = HostCube<std::int32_t>(2, 2, 17);
  fails(std::move(inputs), {}, "position_ids is [2, 2, 17]; wanted [1, 3 or 4, 2, 17]");
  // Another mask over a cache.
  decltype(made)::Past past(2);
  made.forward(prompt(), {}, &past);
  ModelInputs next;
  next.input_ids = HostMatrix<TokenId>(2, 1);
  next.attention_mask = HostMatrix<std::uint8_t>(2, 18);
  std::ranges::fill(next.attention_mask.span(), std::uint8_t{1});
  CHECK_FAILS(made.forward(next, {}, &past),
              "attention_mask marks 17 tokens of row 1 before the 1 new ones, the cache holds 9");
  next.attention_mask = {};
  BOOST_TEST(made.forward(next, {}, &past).position_ids(0, 1, 0) > 0);
  next.position_ids = HostCube<std::int32_t>(1, 2, 1);
  std::ranges::fill(next.position_ids.span(), std::numeric_limits<std::int32_t>::max());
  made.forward(next, {}, &past);
  next.position_ids = {};
  CHECK_FAILS(made.forward(next, {}, &past), "continues at position 2147483648");
}

BOOST_AUTO_TEST_CASE(embeddings_of_ids_are_their_ids) {
  Cpu cpu(2);
  auto made = model<F32>(cpu);
  ModelInputs inputs = prompt();
  ForwardOptions options{.labels = HostMatrix<std::int32_t>(2, 17)};  // also of padding
  const auto by_ids = made.forward(inputs, options);
  inputs.inputs_embeds = made.get_input_embeddings(inputs.input_ids);
  inputs.input_ids = {};
  inputs.position_ids = HostCube<std::int32_t>::of(by_ids.position_ids.extents());
  std::ranges::copy(by_ids.position_ids.span(), inputs.position_ids.data());
  const auto by_embeddings = made.forward(inputs, options);
  BOOST_TEST(by_embeddings.loss.value() == by_ids.loss.value());
  BOOST_TEST(by_embeddings.logits.span() == by_ids.logits.span(), boost::test_tools::per_element());
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
