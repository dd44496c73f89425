// Other attentions in the text model, with no file of the library changed: a sliding window, ALiBi in place of MRoPE,
// and capped scores. Each is a function of a score and its place, which the tiled kernels apply before the softmax; a
// policy carries it, and a precision the policy. The model's size is a variant derived from a released one.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/layers/score_functions.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/text/text_model.hpp"

using namespace qwen3vl;

// Every token sees the `size` newest ones, itself included.
struct Window {
  std::int32_t size = 4;
  QWEN3VL_HOST_DEVICE float operator()(float score, ScorePlace place) const {
    return score + (place.query - place.key < size ? 0.0f : -INFINITY);
  }
};
// A penalty linear in the distance, of another slope in each head (https://arxiv.org/abs/2108.12409).
struct Alibi {
  QWEN3VL_HOST_DEVICE float operator()(float score, ScorePlace place) const {
    const float slope = std::exp2(-8.0f * static_cast<float>(place.head + 1) / static_cast<float>(place.heads));
    return score - slope * static_cast<float>(place.query - place.key);
  }
};
// Several rules in one: Gemma 2's layers cap the scores, and every other one has a window.
struct CappedWindow {
  SoftCap cap{};
  Window window{};
  QWEN3VL_HOST_DEVICE float operator()(float score, ScorePlace place) const { return window(cap(score, place), place); }
};

// A small relative of Qwen3-VL-2B: everything is as there but for the sizes. One layer, so that effects are exact.
struct OneLayer {
  static constexpr ModelConfig config = [] {
    ModelConfig c = Qwen3VL_2B::config;
    c.vision.out_hidden_size = c.text.hidden_size = 64;
    c.text.intermediate_size = 128;
    c.text.num_hidden_layers = 1;
    c.text.num_attention_heads = 4;
    c.text.num_key_value_heads = 2;
    c.text.vocab_size = 100;
    return c;
  }();
};

// The last token's hidden state after `ids`, by a model of precision P with random weights, always the same ones, and
// the run-time values of its policy.
template <class P>
std::vector<float> last_state(const std::vector<TokenId>& ids, const RopeParameters& rope,
                              const attention_t<P>& policy = {}) {
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  TextModel<OneLayer, Cpu, P> model;
  load_parameters(ctx, model, RandomWeights(1, 0.3f), "random weights");
  model.configure(ctx, {.rope = rope});
  model.set_attention(policy);  // or a function of the layer's index
  const auto tokens = static_cast<index_t>(ids.size());
  const std::vector<index_t> lengths{tokens};
  Tensor<std::int32_t, Cpu, 3, dynamic> positions(tokens);  // [3, tokens]
  for (index_t i = 0; i < positions.size(); ++i) positions.data()[i] = static_cast<std::int32_t>(i % tokens);
  Tensor<float, Cpu, dynamic, 64> x(tokens);  // [tokens, hidden]
  model.embed_tokens()(ctx, View<const TokenId, Cpu, dynamic>(ids.data(), tokens), x);
  KvCache<OneLayer, Cpu, P> cache(1);
  model.forward(ctx, x, positions, tokens - 1, Segments(lengths), cache);
  const auto last = x[tokens - 1].span();
  return {last.begin(), last.end()};
}

void compare(const char* what, const std::vector<float>& x, const std::vector<float>& y) {
  float difference = 0.0f, largest = 0.0f;
  for (std::size_t i = 0; i < x.size(); ++i) {
    difference = std::max(difference, std::abs(x[i] - y[i]));
    largest = std::max(largest, std::abs(x[i]));
  }
  std::printf("%s: %s\n", what, difference < 1e-5f * largest ? "the same" : "different");
}

int main() {
  const std::vector<TokenId> ids{5, 17, 42, 8, 99, 3, 61, 23};
  std::vector<TokenId> old_changed = ids, new_changed = ids, reordered = ids;
  old_changed[3] = 70;                    // five tokens ago, seen from the last one
  new_changed[4] = 70;                    // four tokens ago
  std::swap(reordered[1], reordered[4]);  // the same tokens in another order
  const RopeParameters rope{.rope_theta = 5e6};
  const RopeParameters no_rope{.rope_type = "linear", .factor = 1e30, .has_factor = true};  // all angles are 0

  using Sliding = WithAttention<F32, attention_policy::Scored<Window>>;
  using Biased = WithAttention<F32, attention_policy::Scored<Alibi>>;
  using Capped = WithAttention<F32, attention_policy::Scored<CappedWindow>>;
  const auto full = last_state<F32>(ids, rope), windowed = last_state<Sliding>(ids, rope);
  compare("full attention, an old token changed", full, last_state<F32>(old_changed, rope));
  compare("window of 4, an old token changed", windowed, last_state<Sliding>(old_changed, rope));
  compare("window of 4, the oldest token in it changed", windowed, last_state<Sliding>(new_changed, rope));
  compare("no positions, reordered", last_state<F32>(ids, no_rope), last_state<F32>(reordered, no_rope));
  compare("ALiBi in place of MRoPE, reordered", last_state<Biased>(ids, no_rope),
          last_state<Biased>(reordered, no_rope));
  const auto capped = [&](float cap, std::int32_t size) {
    return last_state<Capped>(ids, rope, {.text_score = {.cap = {cap}, .window = {size}}});
  };
  compare("scores capped at 1e6, window of 100", full, capped(1e6f, 100));
  compare("scores capped at 1e6, window of 4", windowed, capped(1e6f, 4));
  compare("scores capped at 0.1, window of 100", full, capped(0.1f, 100));
}
