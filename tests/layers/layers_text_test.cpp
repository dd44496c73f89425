// The text model's layers on Cpu against the same layers in double precision.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE layers_text
#include <boost/test/unit_test.hpp>

#include "qwen3vl/text/text_model.hpp"
#include "support/layer_reference.hpp"

using namespace qwen3vl;
namespace ref = reference;

namespace {

// Odd sizes on purpose: nothing is a multiple of a vector or a tile.
struct Small {
  static constexpr ModelConfig config{.vision = {.depth = 1,
                                                 .hidden_size = 24,
                                                 .intermediate_size = 20,
                                                 .num_heads = 2,
                                                 .out_hidden_size = 52,
                                                 .num_position_embeddings = 9,
                                                 .deepstack_visual_indexes = {0}},
                                      .text = {.vocab_size = 41,
                                               .hidden_size = 52,
                                               .intermediate_size = 36,
                                               .num_hidden_layers = 2,
                                               .num_attention_heads = 6,
                                               .num_key_value_heads = 2,
                                               .head_dim = 18,
                                               .attention_bias = true,
                                               .mrope_section = {3, 4, 2}},
                                      .tie_word_embeddings = true};
};
static_assert(Variant<Small>);
constexpr TextConfig text = Small::config.text;
constexpr float eps = 1e-5f;

// float32 sums of up to 52 products through about ten operations: 1e-5 is some thirty units in the last place of the
// largest value.
constexpr double tolerance = 1e-5;

/// One sequence: its inputs, and positions as an image makes them: the three axes differ.
struct Sequence {
  HostTensor<float, dynamic, text.hidden_size> x;
  HostTensor<std::int32_t, dynamic, 3> positions;

  explicit Sequence(index_t length)
      : x(ref::random_numbers(decltype(x)(length), static_cast<unsigned>(length))), positions(length) {
    for (int t = 0; t < length; ++t) {
      const int axes[] = {t, t / 3 + 2, t % 3 + 1};
      std::ranges::copy(axes, positions[t].data());
    }
  }
};

// residual + mlp(x); the residual may be zero.
template <class P, class B>
auto mlp(Context<B>& ctx, index_t tokens, bool residual_is_zero = false) {
  SwiGluMlp<Small, B, P> layer;
  load_parameters(ctx, layer, ref::AllRandom{}, "random weights");
  using Rows = Tensor<activation_t<B, P>, B, dynamic, text.hidden_size>;
  const Rows x = ref::random_numbers(Rows(tokens), 1);
  Rows residual(tokens);
  if (!residual_is_zero) residual = ref::random_numbers(std::move(residual), 2);
  layer(ctx, x, residual);
  return residual;
}

// A decoder layer over all sequences, chunks[i][s] tokens of sequence s at a time; the rows of each sequence.
template <class P, class B>
auto decoder_layer(Context<B>& ctx, const std::vector<const Sequence*>& sequences,
                   const std::vector<std::vector<index_t>>& chunks) {
  DecoderLayer<Small, B, P> layer;
  load_parameters(ctx, layer, ref::AllRandom{}, "random weights");
  std::vector<float> inv_freq;
  for (int i = 0; i < text.head_dim / 2; ++i)
    inv_freq.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / text.head_dim)));
  using Rows = Tensor<activation_t<B, P>, B, dynamic, text.hidden_size>;
  std::vector<Rows> outputs;
  for (const Sequence* sequence : sequences) outputs.emplace_back(sequence->x.rows());
  std::vector<index_t> done(sequences.size());
  // The cache has as many layers as the variant; only layer 0 is used.
  KvCache<Small, B, P> cache(static_cast<index_t>(sequences.size()));
  for (const auto& chunk : chunks) {
    Segments segments;
    for (const index_t count : chunk) segments.append(count);
    const auto each_row = [&](auto&& f) {  // f(row, sequence, token)
      for (std::size_t s = 0; s < chunk.size(); ++s)
        for (index_t t = 0; t < chunk[s]; ++t) f(segments.offset(static_cast<index_t>(s)) + t, s, done[s] + t);
    };
    const index_t tokens = segments.total();
    Rows x(tokens);
    Tensor<std::int32_t, B, 3, dynamic> ids(tokens);
    Tensor<float, B, dynamic, text.head_dim / 2> cos(tokens), sin(tokens);
    each_row([&](index_t row, std::size_t s, index_t t) {
      std::ranges::copy(sequences[s]->x[t].span(), x[row].data());
      for (index_t axis = 0; axis < 3; ++axis) ids(axis, row) = sequences[s]->positions(t, axis);
    });
    rope_tables<text.mrope_section[0], text.mrope_section[1], text.mrope_section[2]>(
        ctx, ids, View<const float, B, text.head_dim / 2>(inv_freq.data()), 1.0f, cos, sin);
    cache.prepare(chunk);
    layer(ctx, x, TextPositions<Small, B>{cos, sin, segments}, eps, cache.layer(0));
    cache.commit();
    each_row([&](index_t row, std::size_t s, index_t t) { std::ranges::copy(x[row].span(), outputs[s][t].data()); });
    for (std::size_t s = 0; s < chunk.size(); ++s) done[s] += chunk[s];
  }
  return outputs;
}

using BothAttentions = std::tuple<F32, WithAttention<F32, attention_policy::Eager>>;

}  // namespace

BOOST_FIXTURE_TEST_CASE(mlp_equals_its_formula, ref::Backends) {
  for (const index_t tokens : {1, 2, 7, 40})
    BOOST_TEST(ref::relative_error(mlp<F32>(cpu, tokens), mlp<F32>(exact, tokens)) < tolerance);
}

BOOST_FIXTURE_TEST_CASE(mlp_with_bf16_weights_rounds_only_the_weights, ref::Backends) {
  BOOST_TEST(ref::relative_error(mlp<Bf16>(cpu, 9, true), mlp<Bf16>(exact, 9, true)) < tolerance);
}

// On the reference, each sequence is alone and in one piece.
BOOST_FIXTURE_TEST_CASE_TEMPLATE(decoder_layer_equals_its_formula_in_one_shot_and_in_chunks, P, BothAttentions,
                                 ref::Backends) {
  const Sequence sequences[] = {Sequence(11), Sequence(5)};
  for (const std::vector<std::vector<index_t>>& chunks :
       {std::vector<std::vector<index_t>>{{11, 5}}, {{6, 1}, {0, 3}, {4, 0}, {1, 1}}}) {
    const auto found = decoder_layer<P>(cpu, {&sequences[0], &sequences[1]}, chunks);
    for (std::size_t s = 0; s < 2; ++s) {
      const auto alone = decoder_layer<F32>(exact, {&sequences[s]}, {{sequences[s].x.rows()}});
      BOOST_TEST(ref::relative_error(found[s], alone[0]) < tolerance);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(parameter_count_is_that_of_the_formula, ref::Backends) {
  DecoderLayer<Small, Cpu, F32> layer;
  const index_t h = text.hidden_size, q = 6 * 18, kv = 2 * 18;
  const index_t attention = (q + 2 * kv) * (h + 1) + h * (q + 1) + 2 * 18;
  BOOST_TEST(count_parameters(layer) == attention + 3 * h * text.intermediate_size + 2 * h);
}

BOOST_FIXTURE_TEST_CASE(loading_names_everything_that_is_wrong, ref::Backends) {
  struct Broken : ref::AllRandom {
    std::vector<index_t> shape;
    std::optional<RawTensor> find(const Part& part) {
      if (part.name == "mlp.up_proj.weight") return std::nullopt;
      auto raw = AllRandom::find(part);
      if (part.name == "self_attn.q_norm.weight") {
        shape = {17};
        raw->shape = shape;
      }
      return raw;
    }
    std::vector<std::string> names() const { return {"mlp.gate_proj.weight", "extra.weight"}; }
  };
  DecoderLayer<Small, Cpu, F32> layer;
  BOOST_CHECK_EXCEPTION(load_parameters(cpu, layer, Broken{}, "here"), Error, [](const Error& error) {
    const std::string what = error.what();
    return what.find("missing: mlp.up_proj.weight;") != std::string::npos &&
           what.find("self_attn.q_norm.weight is [17], wanted [18]") != std::string::npos &&
           what.find("not part of the model: extra.weight") != std::string::npos;
  });
}

BOOST_FIXTURE_TEST_CASE(what_is_not_used_is_a_warning, ref::Backends) {
  struct Extra : ref::AllRandom {
    std::vector<std::string> names() const { return {"mlp.up_proj.weight", "a", "b", "c\n", "d", "e"}; }
  };
  DecoderLayer<Small, Cpu, F32> layer;
  std::string warning;
  load_parameters(cpu, layer, Extra{}, "here", {}, {"d"}, [&](const std::string& text) { warning = text; });
  BOOST_TEST(warning == "here holds tensors that are not part of the model and not used: a, b, c? and 1 more");
}
