// The sparse feed-forward block on Cpu against the same in double precision, and the two layouts in which experts are
// stored.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE layers_moe
#include <boost/test/unit_test.hpp>

#include "qwen3vl/tensor/host.hpp"
#include "qwen3vl/text/decoder_layers.hpp"
#include "support/layer_reference.hpp"

using namespace qwen3vl;
namespace ref = reference;

namespace {

constexpr ModelConfig config_of(int hidden, int inner, int layers) {
  return {.vision = {.depth = 1,
                     .hidden_size = 24,
                     .intermediate_size = 20,
                     .num_heads = 2,
                     .out_hidden_size = hidden,
                     .num_position_embeddings = 9,
                     .deepstack_visual_indexes = {0}},
          .text = {.vocab_size = 41,
                   .hidden_size = hidden,
                   .intermediate_size = 36,
                   .num_hidden_layers = layers,
                   .num_attention_heads = 2,
                   .num_key_value_heads = 1,
                   .head_dim = 8,
                   .mrope_section = {2, 1, 1},
                   .moe = {.num_experts = 5,
                           .num_experts_per_tok = 2,
                           .moe_intermediate_size = inner,
                           .decoder_sparse_step = 2,
                           .mlp_only_layers = {3}}}};
}
struct Odd {
  static constexpr ModelConfig config = config_of(52, 19, 6);
};
// One of an expert's two matrices is square in each of these.
struct SquareGateUp {
  static constexpr ModelConfig config = config_of(52, 26, 2);
};
struct SquareDown {
  static constexpr ModelConfig config = config_of(52, 52, 2);
};
static_assert(Variant<Odd> && Variant<SquareGateUp> && Variant<SquareDown>);

// Sums of at most 52 products through three products in a row; see layers_text_test.
constexpr double tolerance = 1e-5;

/// The same weights with the last two axes of the experts exchanged, as transformers 5 saves them.
class TransposedExperts {
 public:
  explicit TransposedExperts(std::string only = "") : only_(std::move(only)) {}
  std::optional<RawTensor> find(const Part& part) {
    auto raw = *random_.find(part);
    if (raw.shape.size() != 3 || (!only_.empty() && part.name != only_)) return raw;
    const index_t experts = raw.shape[0], k = raw.shape[1], n = raw.shape[2];
    values_.resize(static_cast<std::size_t>(experts * k * n));
    for (index_t e = 0; e < experts; ++e)
      for (index_t i = 0; i < k; ++i)
        for (index_t j = 0; j < n; ++j)
          values_[static_cast<std::size_t>((e * n + j) * k + i)] =
              load_float<float>(raw.data, static_cast<std::size_t>((e * k + i) * n + j));
    shape_ = {experts, n, k};
    return RawTensor{.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values_.data()), .shape = shape_};
  }
  void release(const Part&) {}
  std::vector<std::string> names() const { return {}; }

 private:
  ref::AllRandom random_;
  std::string only_;
  std::vector<float> values_;
  std::vector<index_t> shape_;
};

template <class V, class B, class Source = ref::AllRandom>
auto moe(Context<B>& ctx, Source source = {}) {
  SparseMoeBlock<V, B, F32> block;
  load_parameters(ctx, block, source, "random weights");
  using Rows = Tensor<activation_t<B, F32>, B, dynamic, V::config.text.hidden_size>;
  const Rows x = ref::random_numbers(Rows(23), 1);
  Rows y(23);
  index_t seen = 0;
  block(ctx, x, y, [&](const auto& logits) { seen = logits.rows(); });
  BOOST_TEST(seen == 23);
  return y;
}

template <class V>
void check_layouts(const std::string& what) {
  ref::Backends on;
  const auto exact = moe<V>(on.exact);
  BOOST_TEST(ref::relative_error(moe<V>(on.cpu), exact) < tolerance, what << ", as on the Hub");
  BOOST_TEST(ref::relative_error(moe<V>(on.cpu, TransposedExperts()), exact) < tolerance,
             what << ", as transformers 5 saves it");
}

}  // namespace

BOOST_AUTO_TEST_CASE(both_layouts_of_experts) { check_layouts<Odd>("odd sizes"); }

// transformers assumes its own layout for a square tensor; here the tensors that are not square decide.
BOOST_AUTO_TEST_CASE(square_experts_are_not_misread) {
  check_layouts<SquareGateUp>("square gate_up_proj");
  check_layouts<SquareDown>("square down_proj");
}

BOOST_AUTO_TEST_CASE(wrong_shapes_are_named) {
  struct Wrong : ref::AllRandom {
    std::optional<RawTensor> find(const Part& part) {
      Part other = part;
      if (part.name == "experts.down_proj") other.shape = {5, 20, 52};
      shape = other.shape;
      auto raw = *ref::AllRandom::find(other);
      raw.shape = shape;
      return raw;
    }
    std::vector<index_t> shape;
  };
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  SparseMoeBlock<Odd, Cpu, F32> block;
  BOOST_CHECK_EXCEPTION(load_parameters(ctx, block, Wrong{}, "a test"), Error, [](const Error& error) {
    return std::string(error.what()).find("experts.down_proj is [5, 20, 52], wanted [5, 19, 52]") != std::string::npos;
  });
}

// decoder_sparse_step 2 and mlp_only_layers {3}: of six layers, 1 and 5 have experts.
BOOST_AUTO_TEST_CASE(dense_and_sparse_layers_are_where_the_config_says) {
  DecoderLayers<Odd, Cpu, F32> layers;
  std::string kinds;
  layers.parameters([&](auto&, const Parts& parts) {
    for (const Part& part : parts) {
      if (part.name.ends_with("mlp.gate.weight")) kinds += part.name.substr(0, 9) + "sparse ";
      if (part.name.ends_with("mlp.down_proj.weight")) kinds += part.name.substr(0, 9) + "dense ";
    }
  });
  BOOST_TEST(kinds == "layers.0.dense layers.1.sparse layers.2.dense layers.3.dense layers.4.dense layers.5.sparse ");
}
