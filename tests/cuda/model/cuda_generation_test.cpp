// Whole models on the CUDA backend, run on the host. Suite "model": greedy tokens and logits are those of the CPU
// backend. Suite "generation": generate() on a backend that decodes on the device: replayed recordings give the CPU's
// tokens, and the host receives only ids and waits once for each. One program, so that the models are compiled once.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_generation
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "cuda/on_host/counters.hpp"
#include "cuda/on_host/memory.hpp"
#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/layers/score_functions.hpp"
#include "support/generation_model.hpp"

using namespace generation_test;
using cuda_on_host::Counters;

BOOST_AUTO_TEST_SUITE(model)

namespace {

/// A batch of a prompt with an image, one with a video and one of text only, of different lengths.
ModelInputs mixed_batch() {
  Prompt image, video, words;
  image.text({5, 6}).image({{1, 4, 4}, 1}).text({7, 8, 9});
  video.text({11}).video({{2, 4, 4}, 2}).text({12});
  words.text({20, 21, 22, 23, 24});
  return inputs_of({image, video, words});
}

template <class V>
void same_logits_as_cpu() {
  Cpu cpu(1);
  Cuda cuda;
  auto expected_model = random_model<V>(cpu, 7);
  auto model = random_model<V>(cuda, 7);
  const ModelInputs inputs = mixed_batch();
  const GenerateOptions options{
      .max_new_tokens = 6, .do_sample = false, .eos_token_id = std::vector<TokenId>{}, .output_logits = true};
  const GenerateOutput expected = expected_model.generate(inputs, options), got = model.generate(inputs, options);
  BOOST_TEST((got.new_tokens == expected.new_tokens));
  // Both round in f32 in their own order: 2^-24 for each of some hundred roundings on the way.
  double largest = 0.0, difference = 0.0;
  BOOST_REQUIRE(got.logits.size() == expected.logits.size());
  for (index_t i = 0; i < got.logits.size(); ++i) {
    const auto a = static_cast<double>(got.logits.data()[i]), b = static_cast<double>(expected.logits.data()[i]);
    largest = std::max(largest, std::abs(b));
    difference = std::isnan(a) ? INFINITY : std::max(difference, std::abs(a - b));
  }
  BOOST_TEST(largest > 0.0);
  BOOST_TEST(difference < 1e-5 * largest, difference << " of " << largest);
}

}  // namespace

BOOST_AUTO_TEST_CASE(dense) { same_logits_as_cpu<Dense>(); }
BOOST_AUTO_TEST_CASE(mixture_of_experts) { same_logits_as_cpu<Moe>(); }

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(generation)

namespace {

ModelInputs two_prompts() {
  Prompt image, words;
  image.text({5, 6}).image({{1, 4, 4}, 1}).text({7, 8, 9});
  words.text({20, 21, 22, 23, 24});
  return inputs_of({image, words});
}

/// What happened on the device since `before`.
Counters since(const Counters& before) {
  const Counters now = cuda_on_host::counters();
  return {.launches = now.launches - before.launches,
          .graphs_made = now.graphs_made - before.graphs_made,
          .graphs_started = now.graphs_started - before.graphs_started,
          .waits = now.waits - before.waits,
          .bytes_to_host = now.bytes_to_host - before.bytes_to_host,
          .bytes_to_device = now.bytes_to_device - before.bytes_to_device};
}

template <class Model>
Counters counted(Model& model, const ModelInputs& inputs, GenerateOptions options, index_t tokens,
                 std::vector<std::vector<TokenId>>& ids) {
  const Counters before = cuda_on_host::counters();
  options.max_new_tokens = tokens;
  ids = model.generate(inputs, options).new_tokens;
  return since(before);
}

template <class V, class P = F32>
void same_as_cpu(const attention_t<P>& policy = {}) {
  Cpu cpu(1);
  Cuda cuda;
  auto expected_model = random_model<V, P>(cpu, 7);
  auto model = random_model<V, P>(cuda, 7);
  expected_model.set_attention(policy);
  model.set_attention(policy);
  const ModelInputs inputs = two_prompts();
  const GenerateOptions greedy{.do_sample = false, .eos_token_id = std::vector<TokenId>{}};
  std::vector<std::vector<TokenId>> few, many;
  counted(model, inputs, greedy, 6, few);  // scratch memory of the prompt grows
  const Counters short_run = counted(model, inputs, greedy, 6, few),
                 long_run = counted(model, inputs, greedy, 16, many);
  GenerateOptions same = greedy;
  same.max_new_tokens = 16;
  BOOST_TEST((many == expected_model.generate(inputs, same).new_tokens));
  // The first token comes from the prefill, the second from a pass that prepares, all others from the recording.
  BOOST_TEST(short_run.graphs_made == 1u);
  BOOST_TEST(short_run.graphs_started == 4u);
  BOOST_TEST(long_run.graphs_made == 1u);
  BOOST_TEST(long_run.graphs_started == 14u);
  // Ten tokens more: each is one start, one wait and two ids for the host, and no kernel is started by itself.
  BOOST_TEST(long_run.launches == short_run.launches);
  BOOST_TEST(long_run.waits - short_run.waits == 10u);
  BOOST_TEST(long_run.bytes_to_host - short_run.bytes_to_host == 10u * 2u * sizeof(TokenId));
  BOOST_TEST(long_run.bytes_to_device - short_run.bytes_to_device == 10u * 2u * sizeof(double));
}

}  // namespace

BOOST_AUTO_TEST_CASE(greedy_dense) { same_as_cpu<Dense>(); }
BOOST_AUTO_TEST_CASE(greedy_mixture_of_experts) { same_as_cpu<Moe>(); }
BOOST_AUTO_TEST_CASE(greedy_capped_scores) {
  same_as_cpu<Dense, WithAttention<F32, attention_policy::Scored<SoftCap>>>({{0.05f}});
}

// Rows end at different times (an eos token, a streamer, a length limit), several answers share a prompt, and the cache
// outgrows its table: every change of shape is recorded again.
BOOST_AUTO_TEST_CASE(shapes_change) {
  Cpu cpu(1);
  Cuda cuda;
  auto expected_model = random_model<Dense>(cpu, 11);
  auto model = random_model<Dense>(cuda, 11);
  const ModelInputs inputs = two_prompts();
  const auto run = [&](auto& any, std::optional<index_t> copies) {
    GenerateOptions options{
        .max_new_tokens = 9, .do_sample = copies.has_value(), .eos_token_id = std::vector<TokenId>{}};
    options.num_return_sequences = copies;
    options.seed = 3;
    options.streamer = [count = index_t{0}](index_t row, TokenId) mutable { return row != 1 || ++count < 4; };
    return any.generate(inputs, options);
  };
  for (const std::optional<index_t> copies : {std::optional<index_t>{}, std::optional<index_t>{3}}) {
    const Counters before = cuda_on_host::counters();
    const GenerateOutput got = run(model, copies), expected = run(expected_model, copies);
    BOOST_TEST((got.new_tokens == expected.new_tokens));
    BOOST_TEST((got.finish_reasons == expected.finish_reasons));
    BOOST_TEST(got.new_tokens[1].size() == 4u);
    BOOST_TEST(since(before).graphs_made == 2u);  // with all rows, and without the one that was cancelled
  }

  // 500 tokens before: the table of pages is for 512.
  Prompt long_prompt;
  long_prompt.text(some_text(500, 1));
  const ModelInputs long_inputs = inputs_of({long_prompt});
  const GenerateOptions greedy{.max_new_tokens = 20, .do_sample = false, .eos_token_id = std::vector<TokenId>{}};
  const Counters before = cuda_on_host::counters();
  const auto got = model.generate(long_inputs, greedy).new_tokens;
  BOOST_TEST(since(before).graphs_made == 2u);
  BOOST_TEST(since(before).graphs_started == 17u);  // 19 tokens, two of them by passes that prepare
  BOOST_TEST((got == expected_model.generate(long_inputs, greedy).new_tokens));
}

// The random numbers are those of Sampler, so tokens are those of the CPU, whatever is kept.
BOOST_AUTO_TEST_CASE(sampled) {
  Cpu cpu(1);
  Cuda cuda;
  auto expected_model = random_model<Dense>(cpu, 5);
  auto model = random_model<Dense>(cuda, 5);
  const ModelInputs inputs = two_prompts();
  std::vector<TokenId> all;
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    GenerateOptions options{.max_new_tokens = 12, .do_sample = true, .eos_token_id = std::vector<TokenId>{}};
    options.seed = seed;
    options.temperature = 1.5f;
    if (seed == 2) options.top_k = 7;
    if (seed == 3) {
      options.top_p = 0.8f;
      options.min_p = 0.05f;
    }
    const Counters before = cuda_on_host::counters();
    const auto got = model.generate(inputs, options).new_tokens;
    BOOST_TEST(since(before).graphs_started == 10u);
    BOOST_TEST((got == expected_model.generate(inputs, options).new_tokens));
    for (const auto& row : got) all.insert(all.end(), row.begin(), row.end());
  }
  std::ranges::sort(all);
  BOOST_TEST((std::ranges::unique(all).begin() - all.begin()) > 20);  // not one token over and over
}

// A conversation that continues: the cache keeps what passes on the device have appended.
BOOST_AUTO_TEST_CASE(prompt_cache) {
  Cuda cuda;
  auto model = random_model<Dense>(cuda, 9);
  PromptCache<decltype(model)> cache;
  Prompt prompt;
  prompt.text(some_text(20, 4));
  const GenerateOptions options{.max_new_tokens = 8, .do_sample = false, .eos_token_id = std::vector<TokenId>{}};
  for (int turn = 0; turn < 3; ++turn) {
    const ModelInputs inputs = inputs_of({prompt});
    const GenerateOutput got = model.generate(inputs, options, &cache);
    BOOST_TEST((got.new_tokens == model.generate(inputs, options).new_tokens));
    BOOST_TEST(cache.length() == inputs.length() + 7);
    if (turn > 0) BOOST_TEST(got.timings.computed_tokens == 4);  // the last token, and what was asked then
    prompt.text(got.new_tokens[0]).text({1, 2, 3});
  }
}

// A conversation in each row, of which one ends earlier; passes on the device are over those that have not.
BOOST_AUTO_TEST_CASE(prompt_cache_of_a_batch) {
  Cuda cuda;
  auto model = random_model<Dense>(cuda, 9);
  PromptCache<decltype(model)> cache;
  std::vector<Prompt> prompts{Prompt().text(some_text(20, 4)), Prompt().text(some_text(7, 5)),
                              Prompt().text(some_text(70, 6))};
  for (int turn = 0; turn < 3; ++turn) {
    if (turn == 1) prompts.pop_back();  // its keys wait
    const ModelInputs inputs = inputs_of(prompts);
    const auto run = [&](PromptCache<decltype(model)>* with) {
      GenerateOptions options{.max_new_tokens = 6, .do_sample = false, .eos_token_id = std::vector<TokenId>{}};
      options.streamer = [count = 0](index_t row, TokenId) mutable { return row != 0 || ++count < 3; };
      return model.generate(inputs, options, with);
    };
    const GenerateOutput got = run(&cache);
    BOOST_TEST((got.new_tokens == run(nullptr).new_tokens));
    if (turn > 0) BOOST_TEST(got.timings.computed_tokens == 4 * inputs.batch_size());
    for (std::size_t b = 0; b < prompts.size(); ++b) {
      BOOST_TEST(cache.length(static_cast<index_t>(b)) ==
                 static_cast<index_t>(prompts[b].ids.size() + got.new_tokens[b].size()) - 1);
      prompts[b].text(got.new_tokens[b]).text({1, 2, 3});
    }
  }
  BOOST_TEST(cache.rows() == 3);
  BOOST_TEST(cache.length(2) == 70 + 5);
}

// What the layers record is the CPU's, rows that have ended included.
BOOST_AUTO_TEST_CASE(attentions_and_hidden_states) {
  Cpu cpu(1);
  Cuda cuda;
  auto expected_model = random_model<Dense>(cpu, 5);
  auto model = random_model<Dense>(cuda, 5);
  const ModelInputs inputs = two_prompts();
  const auto run = [&](auto& any) {
    GenerateOptions options{.max_new_tokens = 4, .do_sample = false, .eos_token_id = std::vector<TokenId>{}};
    options.streamer = [count = 0](index_t row, TokenId) mutable { return row != 0 || ++count < 2; };
    options.output_attentions = options.output_hidden_states = true;
    options.prefill_chunk = 5;
    return any.generate(inputs, options);
  };
  const GenerateOutput got = run(model), expected = run(expected_model);
  BOOST_REQUIRE(got.attentions.size() == 4u);
  for (std::size_t step = 0; step < 4; ++step) {
    for (std::size_t layer = 0; layer < expected.attentions[step].size(); ++layer)
      BOOST_TEST(difference(got.attentions[step].at(layer).span(), expected.attentions[step][layer].span()) < 1e-4);
    for (std::size_t layer = 0; layer < expected.hidden_states[step].size(); ++layer)
      BOOST_TEST(difference(got.hidden_states[step].at(layer).span(), expected.hidden_states[step][layer].span()) <
                 1e-4);
  }
}

// Features that need logits on the host receive them.
BOOST_AUTO_TEST_CASE(processors_on_the_host) {
  Cpu cpu(1);
  Cuda cuda;
  auto expected_model = random_model<Dense>(cpu, 5);
  auto model = random_model<Dense>(cuda, 5);
  const ModelInputs inputs = two_prompts();
  const auto same = [&](const char* what, auto&& change) {
    GenerateOptions options{.max_new_tokens = 5, .do_sample = false, .eos_token_id = std::vector<TokenId>{}};
    change(options);
    const Counters before = cuda_on_host::counters();
    BOOST_TEST((model.generate(inputs, options).new_tokens == expected_model.generate(inputs, options).new_tokens),
               what);
    BOOST_TEST(since(before).graphs_started == 0u, what);
  };
  same("repetition penalty", [](GenerateOptions& options) { options.repetition_penalty = 1.3f; });
  same("own processor", [](GenerateOptions& options) {
    options.logits_processors.emplace_back([](std::span<const TokenId> ids, std::span<float> scores) {
      scores[static_cast<std::size_t>(ids.back())] = -1e9f;
    });
  });
  same("scores", [](GenerateOptions& options) { options.output_scores = true; });
  same("attentions", [](GenerateOptions& options) { options.output_attentions = true; });
  same("hidden states", [](GenerateOptions& options) { options.output_hidden_states = true; });
  same("beams", [](GenerateOptions& options) { options.num_beams = 2; });
  same("own warper", [](GenerateOptions& options) {
    options.logits_warpers.emplace_back([](std::span<const TokenId> ids, std::span<float> scores) {
      scores[static_cast<std::size_t>(ids.back())] = -1e9f;
    });
  });
  same("suppressed tokens", [](GenerateOptions& options) { options.suppress_tokens = std::vector<TokenId>{3, 17}; });
  same("forced end", [](GenerateOptions& options) { options.forced_eos_token_id = std::vector<TokenId>{3}; });
  same("allowed tokens", [](GenerateOptions& options) {
    options.prefix_allowed_tokens_fn = [](auto, auto) { return std::vector<TokenId>{3, 4, 5}; };
  });
  same("guidance", [](GenerateOptions& options) { options.guidance_scale = 1.5f; });
  same("watermark", [](GenerateOptions& options) { options.watermarking_config = WatermarkingConfig{}; });
  same("prompt lookup", [](GenerateOptions& options) { options.prompt_lookup_num_tokens = 3; });
}

// Weights that do not fit are reported before any memory is allocated.
BOOST_AUTO_TEST_CASE(weights_without_room) {
  Cuda cuda;
  const auto bytes = [&] {
    const std::size_t before = cuda_on_host::allocated_device_memory();
    const auto model = random_model<Dense>(cuda, 5);
    return cuda_on_host::allocated_device_memory() - before;
  }();
  const std::size_t before = cuda_on_host::allocated_device_memory();
  cuda_on_host::set_device_memory(before + bytes / 2);
  BOOST_CHECK_EXCEPTION(random_model<Dense>(cuda, 5), Error, [](const Error& error) {
    BOOST_TEST_MESSAGE(error.what());
    return std::string_view(error.what()).find("out of device memory: the weights need ") != std::string_view::npos;
  });
  BOOST_TEST(cuda_on_host::allocated_device_memory() == before);
  cuda_on_host::set_device_memory(std::size_t{64} << 30);
  BOOST_TEST(cuda.free_bytes() + before == std::size_t{64} << 30);
}

// Broken weights are reported as on the CPU, for the prompt's logits and for a later pass's.
BOOST_AUTO_TEST_CASE(broken_scores_are_told) {
  Cuda cuda;
  auto model = random_model<Dense>(cuda, 5);
  const ModelInputs inputs = two_prompts();
  model.parameters([&](auto& parameter, const Parts& parts) {
    if constexpr (
        requires { parameter.view().span(); } || requires { parameter.rows(); }) {
      if (parts.front().name != "model.language_model.norm.weight") return;
      const std::vector<float> infinite(static_cast<std::size_t>(parameter.size()),
                                        std::numeric_limits<float>::quiet_NaN());
      copy_from_host(model.context(), View<const float, Host, dynamic>(infinite.data(), parameter.size()),
                     View<float, Cuda, dynamic>(parameter.data(), parameter.size()));
    }
  });
  const auto told = [](const Error& error) {
    return std::string_view(error.what()).find("the score of token 0 is") != std::string_view::npos;
  };
  BOOST_CHECK_EXCEPTION(model.generate(inputs, {.max_new_tokens = 3, .do_sample = false}), Error, told);
  typename decltype(model)::Cache cache(1);
  DecodePass<decltype(model)> pass(model, cache, 1);
  pass.begin(std::vector<DecodeRow>{{.sequence = 0, .token = 3, .positions = {0, 0, 0}}}, {});
  BOOST_CHECK_EXCEPTION(pass(std::vector<double>{0.0}), Error, told);
  BOOST_CHECK_THROW(pass.begin({}, {}), Error);
}

BOOST_AUTO_TEST_SUITE_END()
