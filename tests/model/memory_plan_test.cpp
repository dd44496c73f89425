// A memory plan against the memory of a run: scratch memory to the byte, the whole process as the kernel counts it.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE memory_plan
#include "qwen3vl/model/memory_plan.hpp"

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <fstream>
#include <string>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/random_weights.hpp"

using namespace qwen3vl;

namespace {

// Large enough that weights, cache, activations and pixels are megabytes each.
struct Middle {
  static constexpr ModelConfig config{.vision = {.depth = 2,
                                                 .hidden_size = 256,
                                                 .intermediate_size = 512,
                                                 .num_heads = 4,
                                                 .out_hidden_size = 512,
                                                 .num_position_embeddings = 576,
                                                 .deepstack_visual_indexes = {0}},
                                      .text = {.vocab_size = 32768,
                                               .hidden_size = 512,
                                               .intermediate_size = 1024,
                                               .num_hidden_layers = 4,
                                               .num_attention_heads = 8,
                                               .num_key_value_heads = 4,
                                               .head_dim = 64,
                                               .mrope_section = {12, 10, 10}},
                                      .tie_word_embeddings = true};
};
using Model = ForConditionalGeneration<Middle, Cpu, Bf16>;
constexpr VisionConfig vision = Middle::config.vision;
constexpr TokenId image_id = 32000;

struct Measured {
  std::size_t weights, scratch, process;
};

std::size_t status_bytes(const char* field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field)) return std::stoull(line.substr(line.find(':') + 1)) * 1024;
  fail("/proc/self/status has no ", field);
}

Model empty_model(Cpu& cpu) {
  RuntimeConfig config;
  config.tokens = {.image_token_id = image_id,
                   .video_token_id = image_id + 1,
                   .vision_start_token_id = image_id + 2,
                   .vision_end_token_id = image_id + 3};
  return Model(cpu, config);
}

/// The memory of the request, without that of the process before it (VmRSS) and without making the random weights.
Measured run(const MemoryRequest& request, int threads) {
  // Otherwise the allocator keeps freed memory in pieces of up to 32 MB: much here, little for a real model.
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  const std::size_t before = status_bytes("VmRSS");
  Cpu cpu(threads);
  Model model = empty_model(cpu);
  model.load(RandomWeights(1, 0.05f), "random weights");
  Measured measured{.weights = status_bytes("VmRSS") - before, .scratch = 0, .process = 0};
  GenerationConfig generation;
  generation.pad_token_id = 0;
  model.set_generation_config(generation);
  std::ofstream("/proc/self/clear_refs") << "5";  // resets VmHWM
  ModelInputs inputs;
  index_t image = 0;
  for (const GridThw& grid : request.grid_thw) image += grid.tokens(vision.spatial_merge_size);
  image /= request.batch_size;
  inputs.input_ids = HostMatrix<TokenId>(request.batch_size, request.prompt_tokens);
  for (index_t b = 0; b < request.batch_size; ++b)
    for (index_t i = 0; i < request.prompt_tokens; ++i)
      inputs.input_ids(b, i) = i < image ? image_id : static_cast<TokenId>(i * 7 % 31000);
  inputs.image_grid_thw = request.grid_thw;
  index_t patches = 0;
  for (const GridThw& grid : request.grid_thw) patches += grid.patches();
  if (patches > 0) inputs.pixel_values = HostMatrix<float>(patches, vision.patch_dim());
  // Twice: scratch memory that was allocated in pieces is one block from the second call on.
  for (int call = 0; call < 2; ++call)
    model.generate(inputs, {.max_new_tokens = request.max_new_tokens,
                            .do_sample = false,
                            .num_return_sequences = 1,
                            .eos_token_id = std::vector<TokenId>{},
                            .prefill_chunk = request.prefill_chunk});
  measured.scratch = model.context().workspace().peak_bytes();
  measured.process = status_bytes("VmHWM") - before;
  return measured;
}

/// In a new process, whose memory is unused so far.
Measured run_apart(const MemoryRequest& request, int threads) {
  int ends[2];
  BOOST_REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  BOOST_REQUIRE(child >= 0);
  Measured measured{};
  if (child == 0) {
    try {
      measured = run(request, threads);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
    _exit(write(ends[1], &measured, sizeof measured) == sizeof measured ? 0 : 1);
  }
  close(ends[1]);
  const auto got = read(ends[0], &measured, sizeof measured);
  close(ends[0]);
  int status = 0;
  BOOST_REQUIRE(waitpid(child, &status, 0) == child);
  BOOST_REQUIRE((WIFEXITED(status) && WEXITSTATUS(status) == 0 && got == sizeof measured));
  return measured;
}

void check(const char* what, const MemoryRequest& request, int threads) {
  BOOST_TEST_CONTEXT(what) {
    const Measured measured = run_apart(request, threads);
    Cpu cpu(threads);
    Model model = empty_model(cpu);
    MemoryPlan plan = plan_memory(model, request);
    const auto mb = [](std::size_t bytes) { return static_cast<double>(bytes) * 1e-6; };
    std::printf(
        "%s: plan %.1f MB (weights %.1f, cache %.1f + %.1f, activations %.1f, pixels %.1f, features %.1f), process "
        "%.1f\n",
        what, mb(plan.running), mb(plan.weights), mb(plan.kv_cache), mb(plan.kv_copying), mb(plan.activations),
        mb(plan.pixels), mb(plan.features), mb(measured.process));
    BOOST_TEST(plan.peak == std::max(plan.running, plan.weights + plan.loading));
    BOOST_TEST(plan.activations == measured.scratch);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their own memory would be counted
    // Loading was not measured: the source of random weights keeps more than a mapped file.
    BOOST_TEST(mb(plan.running) >= 0.95 * mb(measured.process));
    BOOST_TEST(mb(plan.running) <= 1.05 * mb(measured.process));
    BOOST_TEST(mb(plan.weights) >= 0.95 * mb(measured.weights));
    BOOST_TEST(mb(plan.weights) <= 1.05 * mb(measured.weights));
#endif
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(text) {
  check("a prompt of 3000 tokens", {.prompt_tokens = 3000, .max_new_tokens = 4}, 1);
  check("two prompts of 900 tokens, in chunks of 256",
        {.batch_size = 2, .prompt_tokens = 900, .max_new_tokens = 3, .prefill_chunk = 256}, 2);
  check("a short prompt and a longer answer", {.prompt_tokens = 30, .max_new_tokens = 70}, 1);
}

BOOST_AUTO_TEST_CASE(images) {
  check("a picture of 1024 x 1024", {.prompt_tokens = 1100, .max_new_tokens = 2, .grid_thw = {{1, 64, 64}}}, 2);
  check("two pictures in two prompts",
        {.batch_size = 2, .prompt_tokens = 300, .max_new_tokens = 2, .grid_thw = {{1, 32, 32}, {1, 16, 64}}}, 1);
}

BOOST_AUTO_TEST_CASE(requests_that_make_no_sense) {
  Cpu cpu(1);
  Model model = empty_model(cpu);
  BOOST_CHECK_THROW(plan_memory(model, {.prompt_tokens = 0}), Error);
  BOOST_CHECK_THROW(plan_memory(model, {.batch_size = 0}), Error);
}
