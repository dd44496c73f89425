// Whole models on the CUDA backend, run on the host: greedy tokens and logits are those of the CPU backend.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_model
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "qwen3vl/backend/cuda.cuh"
#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

/// A batch of a prompt with a picture, one with a clip and one of words, of different lengths.
ModelInputs mixed_batch() {
  Prompt picture, clip, words;
  picture.text({5, 6}).image({{1, 4, 4}, 1}).text({7, 8, 9});
  clip.text({11}).video({{2, 4, 4}, 2}).text({12});
  words.text({20, 21, 22, 23, 24});
  return inputs_of({picture, clip, words});
}

template <class V>
void same_as_cpu() {
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

BOOST_AUTO_TEST_CASE(dense) { same_as_cpu<Dense>(); }
BOOST_AUTO_TEST_CASE(mixture_of_experts) { same_as_cpu<Moe>(); }
