// Memory grows linearly with images and prompts: scratch memory as counted by the library, and the whole process as
// counted by the kernel. The arithmetic of attention stays quadratic, so what ctest runs is small; run by hand, the
// same program measures an image of 16 megapixels and a prompt of 65536 tokens: linear_memory_test --run_test=full_size
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE linear_memory
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdio>
#include <functional>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/generation/generate.hpp"
#include "qwen3vl/loading/random_weights.hpp"

using namespace qwen3vl;

namespace {

// Wide rows and narrow heads: much memory per token, little arithmetic per pair of tokens.
struct Wide {
  static constexpr ModelConfig config{.vision = {.depth = 1,
                                                 .hidden_size = 32,
                                                 .intermediate_size = 64,
                                                 .num_heads = 4,
                                                 .out_hidden_size = 128,
                                                 .num_position_embeddings = 16,
                                                 .deepstack_visual_indexes = {0}},
                                      .text = {.vocab_size = 512,
                                               .hidden_size = 128,
                                               .intermediate_size = 128,
                                               .num_hidden_layers = 2,
                                               .num_attention_heads = 2,
                                               .num_key_value_heads = 1,
                                               .head_dim = 8,
                                               .mrope_section = {2, 1, 1}},
                                      .tie_word_embeddings = true};
};
using Model = ForConditionalGeneration<Wide, Cpu, F32>;
constexpr VisionConfig vision = Wide::config.vision;

struct Bytes {
  double scratch = 0.0;  // peak of the workspace
  double process = 0.0;  // peak of the resident set
};

/// Runs f in a new, small process; f returns the peak of its scratch memory.
Bytes measure(const std::function<std::size_t()>& f) {
  int ends[2];
  BOOST_REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  BOOST_REQUIRE(child >= 0);
  if (child == 0) {
    std::size_t scratch = 0;
    try {
      scratch = f();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      _exit(1);
    }
    _exit(write(ends[1], &scratch, sizeof scratch) == sizeof scratch ? 0 : 1);
  }
  close(ends[1]);
  std::size_t scratch = 0;
  const auto got = read(ends[0], &scratch, sizeof scratch);
  close(ends[0]);
  int status = 0;
  rusage usage{};
  BOOST_REQUIRE(wait4(child, &status, 0, &usage) == child);
  BOOST_REQUIRE((WIFEXITED(status) && WEXITSTATUS(status) == 0 && got == sizeof scratch));
  return {static_cast<double>(scratch), static_cast<double>(usage.ru_maxrss) * 1024.0};
}

Model model(Cpu& cpu) {
  RuntimeConfig config;
  config.tokens = {
      .image_token_id = 500, .video_token_id = 501, .vision_start_token_id = 502, .vision_end_token_id = 503};
  Model made(cpu, config);
  made.load(RandomWeights(1, 0.1f), "random weights");
  return made;
}

/// A prompt of plain text in one pass, without chunks.
std::size_t forward(index_t tokens) {
  Cpu cpu(1);
  Model made = model(cpu);
  ModelInputs inputs;
  inputs.input_ids = HostMatrix<TokenId>(1, tokens);
  for (index_t i = 0; i < tokens; ++i) inputs.input_ids(0, i) = static_cast<TokenId>(i * 7 % 499);
  if (!std::isfinite(made.forward(inputs, {.logits_to_keep = 1}).logits(0, 0, 0))) fail("not finite");
  return made.context().workspace().peak_bytes();
}

/// An image of rows x columns patches in a prompt, computed in chunks, and two new tokens.
std::size_t generate(index_t text_tokens, const GridThw& grid) {
  Cpu cpu(1);
  Model made = model(cpu);
  GenerationConfig generation;
  generation.pad_token_id = 0;
  made.set_generation_config(generation);
  ModelInputs inputs;
  const index_t image = grid.tokens(vision.spatial_merge_size), tokens = image + text_tokens;
  inputs.input_ids = HostMatrix<TokenId>(1, tokens);
  for (index_t i = 0; i < tokens; ++i) inputs.input_ids(0, i) = i < image ? 500 : static_cast<TokenId>(i * 7 % 499);
  if (image > 0) {
    inputs.image_grid_thw = {grid};
    inputs.pixel_values = HostMatrix<float>(grid.patches(), vision.patch_dim());
  }
  made.generate(inputs, {.max_new_tokens = 2, .do_sample = false});
  return made.context().workspace().peak_bytes();
}

/// Twice the size takes at most a little more than twice the memory. Returns the larger one's.
Bytes check_linear(const char* what, const std::function<std::size_t()>& one, const std::function<std::size_t()>& two) {
  const Bytes base = measure([] { return std::size_t{0}; }), a = measure(one), b = measure(two);
  const double scratch = b.scratch / a.scratch, process = (b.process - base.process) / (a.process - base.process);
  std::printf("%s: scratch %.1f -> %.1f MB (x %.2f), process %.1f -> %.1f MB (x %.2f)\n", what, a.scratch / 1e6,
              b.scratch / 1e6, scratch, a.process / 1e6, b.process / 1e6, process);
  BOOST_TEST(scratch <= 2.1, what << ": scratch memory grew by " << scratch);
#if !defined(__SANITIZE_ADDRESS__)  // its quarantine and shadow are not the library's
  BOOST_TEST(process <= 2.2, what << ": the process grew by " << process);
#endif
  return b;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_forward_pass) {
  check_linear(
      "forward of 8K and 16K tokens", [] { return forward(8192); }, [] { return forward(16384); });
}

BOOST_AUTO_TEST_CASE(an_image) {
  // 1 and 2 megapixels.
  check_linear(
      "a picture of 4K and 8K patches",
      [] {
        return generate(1, {1, 64, 64});
      },
      [] {
        return generate(1, {1, 64, 128});
      });
}

BOOST_AUTO_TEST_CASE(a_prompt_in_chunks) {
  const Bytes chunks = check_linear(
      "generate after 8K and 16K tokens",
      [] {
        return generate(8192, {0, 0, 0});
      },
      [] {
        return generate(16384, {0, 0, 0});
      });
  // Chunks: scratch memory grows only by the packed keys and values of a head.
  BOOST_TEST(chunks.scratch < measure([] { return forward(4096); }).scratch);
}

BOOST_AUTO_TEST_CASE(full_size, *boost::unit_test::disabled()) {
  check_linear(
      "forward of 32K and 64K tokens", [] { return forward(32768); }, [] { return forward(65536); });
  check_linear(
      "generate after 32K and 64K tokens",
      [] {
        return generate(32768, {0, 0, 0});
      },
      [] {
        return generate(65536, {0, 0, 0});
      });
  check_linear(
      "a picture of 8 and 16 megapixels",
      [] {
        return generate(1, {1, 128, 256});
      },
      [] {
        return generate(1, {1, 256, 256});
      });
}
