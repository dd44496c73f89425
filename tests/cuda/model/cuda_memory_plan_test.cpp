// A memory plan of the device against what an emulated one gave, and running out of it.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_memory_plan
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <string>

#include "cuda/on_host/memory.hpp"
#include "qwen3vl/backend/cuda.cuh"
#include "qwen3vl/model/memory_plan.hpp"
#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

using Bf16Cache = WithKv<Bf16, bf16>;

// So that weights, pages, activations and logits are hundreds of KB each, and a pass takes a second here.
template <bool experts>
struct Small {
  static constexpr ModelConfig config{.vision = {.depth = 1,
                                                 .hidden_size = 32,
                                                 .intermediate_size = 64,
                                                 .num_heads = 2,
                                                 .out_hidden_size = 64,
                                                 .num_position_embeddings = 16,
                                                 .deepstack_visual_indexes = {0}},
                                      .text = {.vocab_size = 4096,
                                               .hidden_size = 64,
                                               .intermediate_size = 256,
                                               .num_hidden_layers = 2,
                                               .num_attention_heads = 4,
                                               .num_key_value_heads = 2,
                                               .head_dim = 32,
                                               .mrope_section = {6, 5, 5},
                                               .moe = {.num_experts = experts ? 8 : 0,
                                                       .num_experts_per_tok = experts ? 2 : 0,
                                                       .moe_intermediate_size = experts ? 64 : 0}},
                                      .tie_word_embeddings = true};
};

constexpr std::size_t plenty = std::size_t{64} << 30;

struct Measured {
  std::size_t weights = 0, scratch = 0, peak = 0;
};

template <class V>
ModelInputs inputs_for(const MemoryRequest& request) {
  ModelInputs inputs;
  inputs.input_ids = HostMatrix<TokenId>(request.batch_size, request.prompt_tokens);
  inputs.image_grid_thw = request.grid_thw;
  index_t patches = 0;
  for (const GridThw& grid : request.grid_thw) patches += grid.patches();
  const index_t image = patches / 4 / request.batch_size;
  for (index_t b = 0; b < request.batch_size; ++b)
    for (index_t i = 0; i < request.prompt_tokens; ++i)
      inputs.input_ids(b, i) = i < image ? image_token_id : static_cast<TokenId>(i % 50);
  if (patches > 0) inputs.pixel_values = HostMatrix<float>(patches, V::config.vision.patch_dim());
  return inputs;
}

/// Loads a model and generates, on a device of `limit` bytes.
template <class V, class P = Bf16Cache>
Measured run(const MemoryRequest& request, std::size_t limit) {
  struct Limit {
    explicit Limit(std::size_t bytes) { cuda_on_host::set_device_memory(bytes); }
    ~Limit() { cuda_on_host::set_device_memory(plenty); }
  } const device(limit);
  BOOST_REQUIRE(cuda_on_host::allocated_device_memory() == 0u);
  cuda_on_host::reset_peak_device_memory();
  Cuda cuda;
  auto model = random_model<V, P>(cuda, 3);
  Measured measured{.weights = cuda_on_host::allocated_device_memory()};
  model.generate(inputs_for<V>(request), {.max_new_tokens = request.max_new_tokens,
                                          .do_sample = request.sequences_per_prompt > 1,
                                          .num_return_sequences = request.sequences_per_prompt,
                                          .eos_token_id = std::vector<TokenId>{},
                                          .prefill_chunk = request.prefill_chunk});
  measured.scratch = model.context().workspace().peak_bytes();
  measured.peak = cuda_on_host::peak_device_memory();
  return measured;
}

template <class V, class P = Bf16Cache>
MemoryPlan plan_of(const MemoryRequest& request) {
  Cuda cuda;
  ForConditionalGeneration<V, Cuda, P> model(cuda);
  return plan_memory(model, request);
}

/// Without cuBLASLt's workspace, beside which nothing here would be seen.
bool within_five_percent(std::size_t planned, std::size_t measured, std::size_t handle) {
  const auto a = static_cast<double>(planned - handle), b = static_cast<double>(measured - handle);
  return a >= 0.95 * b && a <= 1.05 * b;
}

template <class V, class P = Bf16Cache>
void check(const char* what, const MemoryRequest& request) {
  BOOST_TEST_CONTEXT(what) {
    const MemoryPlan plan = plan_of<V, P>(request);
    const Measured measured = run<V, P>(request, plenty);
    const auto kb = [](std::size_t bytes) { return static_cast<double>(bytes) * 1e-3; };
    std::printf(
        "%s: plan %.1f KB (weights %.1f, cache %.1f, activations %.1f, decoding %.1f, features %.1f, handle %.1f), "
        "device %.1f (weights %.1f, scratch %.1f)\n",
        what, kb(plan.peak), kb(plan.weights), kb(plan.kv_cache), kb(plan.activations), kb(plan.decoding),
        kb(plan.features), kb(plan.handle), kb(measured.peak), kb(measured.weights), kb(measured.scratch));
    BOOST_TEST(plan.handle == cuda::GemmPlans::workspace_bytes);
    BOOST_TEST(plan.pinned == 2 * cuda::Staging::piece);
    BOOST_TEST(plan.activations >= measured.scratch);
    BOOST_TEST(within_five_percent(plan.peak, measured.peak, plan.handle));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(dense) {
  using V = Small<false>;
  check<V>("a prompt of 300 tokens", {.prompt_tokens = 300, .max_new_tokens = 3});
  check<V>("three prompts in chunks of 64",
           {.batch_size = 3, .prompt_tokens = 150, .max_new_tokens = 3, .prefill_chunk = 64});
  check<V>("two prompts of four answers each, which grow beyond a page",
           {.batch_size = 2, .sequences_per_prompt = 4, .prompt_tokens = 60, .max_new_tokens = 8});
  check<V>("a picture", {.prompt_tokens = 120, .max_new_tokens = 2, .grid_thw = {{1, 20, 20}}});
}

BOOST_AUTO_TEST_CASE(mixture_of_experts) {
  check<Small<true>>("a mixture of experts", {.prompt_tokens = 200, .max_new_tokens = 3});
}

// Random weights come as f32 and are rounded on the device.
BOOST_AUTO_TEST_CASE(fp8_weights) {
  using V = Small<false>;
  check<V, Fp8>("fp8, a prompt of 300 tokens", {.prompt_tokens = 300, .max_new_tokens = 3, .stored_bytes = 4});
  check<V, Fp8>(
      "fp8, two prompts of four answers each",
      {.batch_size = 2, .sequences_per_prompt = 4, .prompt_tokens = 60, .max_new_tokens = 8, .stored_bytes = 4});
}

BOOST_AUTO_TEST_CASE(fp8_experts) {
  check<Small<true>, WithKv<Fp8, f8_e4m3>>("fp8, a mixture of experts and a cache in fp8",
                                           {.prompt_tokens = 200, .max_new_tokens = 3, .stored_bytes = 4});
}

// As much as the plan says is enough, and a tenth less is not.
BOOST_AUTO_TEST_CASE(running_out) {
  using V = Small<false>;
  const MemoryRequest request{.batch_size = 2, .prompt_tokens = 200, .max_new_tokens = 3};
  const MemoryPlan plan = plan_of<V>(request);
  constexpr std::size_t rounding = 16 << 10;  // every allocation is a multiple of 256 bytes here
  run<V>(request, plan.peak + rounding);
  BOOST_CHECK_EXCEPTION(
      run<V>(request, plan.peak - (plan.peak - plan.handle) / 10), OutOfMemory, [&](const OutOfMemory& error) {
        const std::string said = error.what();
        BOOST_TEST_MESSAGE(said);
        return said.starts_with("out of device memory: ") &&
               said.find(concat("This call takes ", plan.peak, " bytes in all: ", plan.weights, " of weights")) !=
                   std::string::npos;
      });
  BOOST_TEST(cuda_on_host::allocated_device_memory() == 0u);
  BOOST_CHECK_EXCEPTION(run<V>(request, plan.weights / 2), OutOfMemory, [&](const OutOfMemory& error) {
    return std::string(error.what()).starts_with(concat("out of device memory: the weights need ", plan.weights));
  });
}
