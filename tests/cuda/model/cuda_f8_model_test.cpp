// Whole models in FP8 on the CUDA backend, run on the host: more sequences than are streamed, whose products are then
// cuBLASLt's in captured passes, too.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_f8_model
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cuda.cuh"
#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

template <class V>
void same_in_captured_passes() {
  Cuda cuda;
  auto model = random_model<V, WithKv<Fp8, f8_e4m3>>(cuda, 7);
  std::vector<Prompt> prompts(10);
  for (std::size_t i = 0; i < prompts.size(); ++i) prompts[i].text(some_text(3 + i, static_cast<unsigned>(i)));
  prompts[4].image({{1, 4, 4}, 1}).text({7});
  const ModelInputs inputs = inputs_of(prompts);
  GenerateOptions options{.max_new_tokens = 5, .do_sample = false, .eos_token_id = std::vector<TokenId>{}};
  const auto captured = model.generate(inputs, options).new_tokens;
  options.output_logits = true;  // then passes run one by one
  const GenerateOutput one_by_one = model.generate(inputs, options);
  BOOST_TEST((captured == one_by_one.new_tokens));
  for (index_t i = 0; i < one_by_one.logits.size(); ++i)
    if (!std::isfinite(one_by_one.logits.data()[i])) BOOST_REQUIRE(std::isfinite(one_by_one.logits.data()[i]));
}

}  // namespace

BOOST_AUTO_TEST_CASE(dense) { same_in_captured_passes<Dense>(); }
BOOST_AUTO_TEST_CASE(mixture_of_experts) { same_in_captured_passes<Moe>(); }
