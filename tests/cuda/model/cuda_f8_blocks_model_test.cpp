// Whole models whose matrices are stored in e4m3 with scales by blocks (Fp8Blocks, Stored), on the CUDA backend, run on
// the host: logits are those of the CPU's model in f32 with the same weights, but for activations of bf16.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE cuda_f8_blocks_model
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <memory>

#include "operations/stored_f8.hpp"
#include "qwen3vl/backend/cuda.cuh"
#include "support/generation_model.hpp"

using namespace generation_test;

namespace {

/// As an official FP8 checkpoint: e4m3 but for the embedding, the vision tower, the router and vectors, which are bf16.
/// Experts are as on the Hub, or as transformers 5 saves them.
class OfficialFp8 {
 public:
  explicit OfficialFp8(bool hub_experts) : hub_experts_(hub_experts) {}
  std::optional<RawTensor> find(const Part& part) {
    RawTensor raw = *random_.find(part);
    if (raw.shape.size() < 2 || !part.name.starts_with("model.language_model.layers.") ||
        part.name.ends_with("mlp.gate.weight")) {
      values_.assign(reinterpret_cast<const float*>(raw.data),
                     reinterpret_cast<const float*>(raw.data) + raw.rows() * raw.row_size());
      values_ = operations::rounded_to<bf16>(values_);
      raw.data = reinterpret_cast<const std::byte*>(values_.data());
      return raw;
    }
    const auto seed = static_cast<std::uint32_t>(stored_.size());
    auto& [rows, shape] = stored_[part.name];
    if (!rows) {
      shape.assign(raw.shape.begin(), raw.shape.end());
      if (shape.size() == 3 && !hub_experts_) std::swap(shape[1], shape[2]);
      rows = std::make_unique<operations::StoredF8>(raw.rows() * raw.row_size() / shape.back(), shape.back(), 128, 128,
                                                    seed, 1.0f);
    }
    return rows->tensor(shape);
  }
  void release(const Part&) {}
  std::vector<std::string> names() const { return {}; }

 private:
  struct Stored {
    std::unique_ptr<operations::StoredF8> rows;
    std::vector<index_t> shape;
  };
  bool hub_experts_;
  RandomWeights random_{7, 0.3f};
  std::vector<float> values_;
  std::map<std::string, Stored> stored_;
};

template <class V, class P, class B>
ForConditionalGeneration<V, B, P> fp8_model(B& backend, bool hub_experts) {
  auto model = random_model<V, P>(backend, 7);
  model.load(OfficialFp8(hub_experts), "stored e4m3");
  return model;
}

template <class V, class P>
void same_logits_as_cpu(bool hub_experts) {
  Cpu cpu(1);
  Cuda cuda;
  auto expected_model = fp8_model<V, F32>(cpu, hub_experts);
  auto model = fp8_model<V, P>(cuda, hub_experts);
  Prompt image, words;
  image.text({5, 6}).image({{1, 4, 4}, 1}).text({7, 8, 9});
  words.text({20, 21, 22, 23, 24});
  const ModelInputs inputs = inputs_of({image, words});
  const HostCube<float> expected = expected_model.forward(inputs).logits, got = model.forward(inputs).logits;
  double error = 0.0, size = 0.0;
  BOOST_REQUIRE(got.size() == expected.size());
  for (index_t i = 0; i < got.size(); ++i) {
    const auto a = static_cast<double>(got.data()[i]), b = static_cast<double>(expected.data()[i]);
    error += (a - b) * (a - b);
    size += b * b;
  }
  BOOST_TEST(size > 0.0);
  BOOST_TEST(std::sqrt(error / size) < 0.02, "relative error " << std::sqrt(error / size));
  BOOST_TEST_MESSAGE("relative error " << std::sqrt(error / size));
  // Passes that are captured say what passes one by one say.
  GenerateOptions options{.max_new_tokens = 5, .do_sample = false, .eos_token_id = std::vector<TokenId>{}};
  const auto captured = model.generate(inputs, options).new_tokens;
  options.output_logits = true;
  BOOST_TEST((captured == model.generate(inputs, options).new_tokens));
}

}  // namespace

BOOST_AUTO_TEST_CASE(dense) { same_logits_as_cpu<Dense, WithKv<Stored, bf16>>(true); }
BOOST_AUTO_TEST_CASE(mixture_of_experts) {
  same_logits_as_cpu<Moe, Fp8Blocks>(true);
  same_logits_as_cpu<Moe, WithKv<Stored, bf16>>(false);
}
