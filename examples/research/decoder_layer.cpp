// One decoder layer of Qwen3-VL-2B on random weights: no checkpoint, no tokenizer, only the layer's header.
// It is run over eight tokens at once, then over the same tokens one by one, as in generation.
#include "qwen3vl/text/decoder_layer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/text/rotary_embedding.hpp"

using namespace qwen3vl;
using V = Qwen3VL_2B;
using P = Bf16;

constexpr TextConfig text = V::config.text;
constexpr index_t hidden = text.hidden_size, frequencies = text.head_dim / 2;
using Layer = DecoderLayer<V, Cpu, P>;
using Cache = Cpu::KvCache<P::Kv, 1, text.num_key_value_heads, text.head_dim>;  // of this one layer
using Rows = Tensor<float, Cpu, dynamic, hidden>;

// Runs `rows` [tokens, hidden] in place, as the next tokens of the one sequence in `cache`.
void run(Context<Cpu>& ctx, const Layer& layer, Cache& cache, View<float, Cpu, dynamic, hidden> rows) {
  const index_t tokens = rows.rows(), past = cache.length(0);
  Tensor<std::int32_t, Cpu, 3, dynamic> position_ids(tokens);  // [3, tokens]: the same on all axes for text
  for (index_t axis = 0; axis < 3; ++axis)
    for (index_t t = 0; t < tokens; ++t) position_ids(axis, t) = static_cast<std::int32_t>(past + t);

  const RotaryFrequencies rope = rotary_frequencies({.rope_theta = 5e6}, text.head_dim, 262144);
  const View<const float, Cpu, frequencies> inv_freq(rope.inv_freq.data());
  Tensor<float, Cpu, dynamic, frequencies> cos(tokens), sin(tokens);  // [tokens, head_dim / 2]
  rope_tables<text.mrope_section[0], text.mrope_section[1], text.mrope_section[2]>(
      ctx, position_ids, inv_freq, rope.attention_scaling, cos.view(), sin.view());

  const std::vector<index_t> lengths{tokens};  // one sequence; a batch has its sequences one after another
  const Segments sequences(lengths);
  cache.prepare(lengths);
  layer(ctx, rows, {cos.view(), sin.view(), sequences}, 1e-6f, cache.layer(0));
  cache.commit();
}

int main() {
  Cpu cpu;
  Context<Cpu> ctx(cpu);
  Layer layer;
  load_parameters(ctx, layer, RandomWeights(1), "random weights");
  std::printf("%lld parameters\n", static_cast<long long>(count_parameters(layer)));

  constexpr index_t tokens = 8;
  Rows at_once(tokens), one_by_one(tokens);
  for (index_t i = 0; i < at_once.size(); ++i)
    at_once.data()[i] = one_by_one.data()[i] = std::sin(0.01f * static_cast<float>(i * i % 1000));

  Cache cache(1), other_cache(1);  // one sequence each
  run(ctx, layer, cache, at_once);
  for (index_t t = 0; t < tokens; ++t) run(ctx, layer, other_cache, one_by_one.slice(t, 1));

  float difference = 0.0f, largest = 0.0f;
  for (index_t i = 0; i < at_once.size(); ++i) {
    difference = std::max(difference, std::abs(at_once.data()[i] - one_by_one.data()[i]));
    largest = std::max(largest, std::abs(at_once.data()[i]));
  }
  std::printf("at once and one by one: %s (largest value %.2f, largest difference %.1e)\n",
              difference < 1e-5f * largest ? "equal" : "different", static_cast<double>(largest),
              static_cast<double>(difference));
}
