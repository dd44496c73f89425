// The text model's layers against double-precision twins.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE layers_text
#include <boost/test/unit_test.hpp>

#include "qwen3vl/backend/cpu.hpp"
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

using Positions = std::vector<std::array<int, 3>>;

std::vector<float> inverse_frequencies() {
  std::vector<float> inv_freq;
  for (int i = 0; i < text.head_dim / 2; ++i)
    inv_freq.push_back(static_cast<float>(std::pow(10000.0, -2.0 * i / text.head_dim)));
  return inv_freq;
}

ref::Row angles(const std::array<int, 3>& position) {
  ref::Row row;
  const auto inv_freq = inverse_frequencies();
  for (int i = 0; i < text.head_dim / 2; ++i) {
    int axis = 0;
    if (i % 3 == 1 && i < 3 * text.mrope_section[1]) axis = 1;
    if (i % 3 == 2 && i < 3 * text.mrope_section[2]) axis = 2;
    row.push_back(static_cast<double>(inv_freq[static_cast<std::size_t>(i)]) *
                  position[static_cast<std::size_t>(axis)]);
  }
  return row;
}

ref::Rows mlp(const ref::Weights& w, const std::string& prefix, const ref::Rows& x) {
  ref::Rows gate = ref::map(ref::linear(x, w[prefix + "gate_proj.weight"]), ref::silu);
  const ref::Rows up = ref::linear(x, w[prefix + "up_proj.weight"]);
  for (std::size_t r = 0; r < gate.size(); ++r)
    for (std::size_t i = 0; i < gate[r].size(); ++i) gate[r][i] *= up[r][i];
  return ref::linear(gate, w[prefix + "down_proj.weight"]);
}

// One decoder layer over one whole sequence.
ref::Rows decoder_layer(const ref::Weights& w, ref::Rows x, const Positions& positions) {
  const auto norm = [&](const std::string& name) {
    return [&w, name](const ref::Row& row) { return ref::rms_norm(row, w[name], static_cast<double>(eps)); };
  };
  const ref::Rows normed = ref::each(x, norm("input_layernorm.weight"));
  const std::string a = "self_attn.";
  ref::Rows q = ref::linear(normed, w[a + "q_proj.weight"], w[a + "q_proj.bias"]);
  ref::Rows k = ref::linear(normed, w[a + "k_proj.weight"], w[a + "k_proj.bias"]);
  const ref::Rows v = ref::linear(normed, w[a + "v_proj.weight"], w[a + "v_proj.bias"]);
  const std::size_t dim = text.head_dim, heads = text.num_attention_heads, kv_heads = text.num_key_value_heads;
  const auto norm_and_rotate = [&](ref::Rows& rows, std::size_t count, const std::string& weight) {
    for (std::size_t t = 0; t < rows.size(); ++t)
      for (std::size_t h = 0; h < count; ++h) {
        ref::Row head = ref::rms_norm(ref::head_of(rows[t], h, dim), w[weight], static_cast<double>(eps));
        ref::rotate(head.data(), angles(positions[t]));
        std::copy(head.begin(), head.end(), rows[t].begin() + static_cast<std::ptrdiff_t>(h * dim));
      }
  };
  norm_and_rotate(q, heads, a + "q_norm.weight");
  norm_and_rotate(k, kv_heads, a + "k_norm.weight");
  ref::Rows attended;
  for (std::size_t t = 0; t < x.size(); ++t) {
    ref::Row row;
    for (std::size_t h = 0; h < heads; ++h) {
      ref::Rows keys, values;
      for (std::size_t s = 0; s <= t; ++s) {
        keys.push_back(ref::head_of(k[s], h / (heads / kv_heads), dim));
        values.push_back(ref::head_of(v[s], h / (heads / kv_heads), dim));
      }
      const ref::Row out = ref::attend(ref::head_of(q[t], h, dim), keys, values);
      row.insert(row.end(), out.begin(), out.end());
    }
    attended.push_back(row);
  }
  ref::add(x, ref::linear(attended, w[a + "o_proj.weight"], w[a + "o_proj.bias"]));
  ref::add(x, mlp(w, "mlp.", ref::each(x, norm("post_attention_layernorm.weight"))));
  return x;
}

struct Fixture {
  Cpu cpu{2};
  Context<Cpu> ctx{cpu};
};

using BothAttentions = std::tuple<F32, WithAttention<F32, attention_policy::Eager>>;

}  // namespace

BOOST_FIXTURE_TEST_CASE(mlp_equals_its_formula, Fixture) {
  SwiGluMlp<Small, Cpu, F32> layer;
  const ref::Weights w = ref::randomize(ctx, layer);
  for (const std::size_t tokens : {1, 2, 7, 40}) {
    const ref::Rows x = ref::random_rows(tokens, text.hidden_size, 1);
    ref::Rows expected = ref::random_rows(tokens, text.hidden_size, 2);
    Tensor<float, Cpu, dynamic, text.hidden_size> input(tokens), residual(tokens);
    ref::fill(input.view(), x);
    ref::fill(residual.view(), expected);
    layer(ctx, input, residual);
    ref::add(expected, mlp(w, "", x));
    BOOST_TEST(ref::relative_error(residual, expected) < tolerance);
  }
}

BOOST_FIXTURE_TEST_CASE(mlp_with_bf16_weights_rounds_only_the_weights, Fixture) {
  SwiGluMlp<Small, Cpu, Bf16> layer;
  const ref::Weights w = ref::randomize(ctx, layer, [](float v) { return static_cast<float>(bf16(v)); });
  const ref::Rows x = ref::random_rows(9, text.hidden_size, 3);
  Tensor<float, Cpu, dynamic, text.hidden_size> input(9), residual(9);
  ref::fill(input.view(), x);
  layer(ctx, input, residual);
  BOOST_TEST(ref::relative_error(residual, mlp(w, "", x)) < tolerance);
}

BOOST_FIXTURE_TEST_CASE_TEMPLATE(decoder_layer_equals_its_formula_in_one_shot_and_in_chunks, P, BothAttentions,
                                 Fixture) {
  DecoderLayer<Small, Cpu, P> layer;
  const ref::Weights w = ref::randomize(ctx, layer);
  // Two sequences of different lengths; positions as an image makes them: the three axes differ.
  const std::vector<std::size_t> lengths{11, 5};
  std::vector<ref::Rows> inputs, expected;
  std::vector<Positions> positions;
  for (const std::size_t length : lengths) {
    inputs.push_back(ref::random_rows(length, text.hidden_size, static_cast<unsigned>(length)));
    Positions of_sequence;
    for (int t = 0; t < static_cast<int>(length); ++t) of_sequence.push_back({t, t / 3 + 2, t % 3 + 1});
    expected.push_back(decoder_layer(w, inputs.back(), of_sequence));
    positions.push_back(of_sequence);
  }
  // The cache has as many layers as the variant; only layer 0 is used.
  for (const std::vector<std::vector<std::size_t>>& chunks :
       {std::vector<std::vector<std::size_t>>{{11, 5}}, {{6, 1}, {0, 3}, {4, 0}, {1, 1}}}) {
    KvCache<Small, Cpu, P> cache(2);
    std::vector<std::size_t> done{0, 0};
    for (const auto& chunk : chunks) {
      ref::Rows rows, wanted;
      Segments segments;
      std::vector<std::int32_t> packed[3];
      std::vector<index_t> new_tokens;
      for (std::size_t s = 0; s < 2; ++s) {
        for (std::size_t t = done[s]; t < done[s] + chunk[s]; ++t) {
          rows.push_back(inputs[s][t]);
          wanted.push_back(expected[s][t]);
          for (std::size_t axis = 0; axis < 3; ++axis) packed[axis].push_back(positions[s][t][axis]);
        }
        done[s] += chunk[s];
        segments.append(static_cast<index_t>(chunk[s]));
        new_tokens.push_back(static_cast<index_t>(chunk[s]));
      }
      std::vector<std::int32_t> ids = packed[0];
      ids.insert(ids.end(), packed[1].begin(), packed[1].end());
      ids.insert(ids.end(), packed[2].begin(), packed[2].end());
      const auto tokens = static_cast<index_t>(rows.size());
      Tensor<float, Cpu, dynamic, text.hidden_size> x(tokens);
      Tensor<float, Cpu, dynamic, text.head_dim / 2> cos(tokens), sin(tokens);
      ref::fill(x.view(), rows);
      const auto inv_freq = inverse_frequencies();
      rope_tables<text.mrope_section[0], text.mrope_section[1], text.mrope_section[2]>(
          ctx, View<const std::int32_t, Cpu, 3, dynamic>(ids.data(), tokens),
          View<const float, Cpu, text.head_dim / 2>(inv_freq.data()), 1.0f, cos, sin);
      cache.prepare(new_tokens);
      layer(ctx, x, TextPositions<Small, Cpu>{cos, sin, segments}, eps, cache.layer(0));
      cache.commit();
      BOOST_TEST(ref::relative_error(x, wanted) < tolerance);
    }
  }
}

BOOST_FIXTURE_TEST_CASE(parameter_count_is_that_of_the_formula, Fixture) {
  DecoderLayer<Small, Cpu, F32> layer;
  const index_t h = text.hidden_size, q = 6 * 18, kv = 2 * 18;
  const index_t attention = (q + 2 * kv) * (h + 1) + h * (q + 1) + 2 * 18;
  BOOST_TEST(count_parameters(layer) == attention + 3 * h * text.intermediate_size + 2 * h);
}

BOOST_FIXTURE_TEST_CASE(loading_names_everything_that_is_wrong, Fixture) {
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
  BOOST_CHECK_EXCEPTION(load_parameters(ctx, layer, Broken{}, "here"), Error, [](const Error& error) {
    const std::string what = error.what();
    return what.find("missing: mlp.up_proj.weight;") != std::string::npos &&
           what.find("self_attn.q_norm.weight is [17], wanted [18]") != std::string::npos &&
           what.find("not part of the model: extra.weight") != std::string::npos;
  });
}
