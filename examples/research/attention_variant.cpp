// Other attentions in the text model, with no file of the library changed: a sliding window, and ALiBi in place of
// MRoPE. An attention policy is a type that a precision carries; the model's size is a variant derived from a released
// one.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>
#include <vector>

#include "qwen3vl/backend/cpu.hpp"
#include "qwen3vl/config/released.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/loading/random_weights.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/text/text_model.hpp"

using namespace qwen3vl;

// Multiplies the softmax weights by Rule::factor(head, heads, distance) and divides by their new sum: what adding
// log(factor) to the scores does. Written over the backend's operations; `attention_weights` gives all weights, so
// memory grows with the square of the length. (A window that holds less than 1e-38 of a row's weight needs a kernel of
// its own.)
template <class Rule>
struct Reweighted : attention_policy::Flash {  // the vision tower keeps Flash::segments
  template <index_t H, index_t K, index_t D, class B>
  static void causal(Context<B>& ctx, const auto& qkv, const Segments& sequences, auto cache, const auto& out) {
    static_assert(B::is_host, "the loop below touches the weights");
    for (index_t s = 0; s < sequences.count(); ++s) {
      const index_t queries = sequences.length(s), keys = cache.length(s) + queries;
      auto weights = ctx.template scratch<float, H, dynamic, dynamic>(queries, keys);  // [H, queries, keys]
      attention_weights<H, K, D>(ctx, qkv, sequences, cache, s, weights);
      for (index_t h = 0; h < H; ++h) {
        for (index_t q = 0; q < queries; ++q) {
          const index_t newest = keys - queries + q;  // the query's own place
          float sum = 0.0f;
          for (index_t k = 0; k <= newest; ++k) sum += weights(h, q, k) *= Rule::factor(h, H, newest - k);
          for (index_t k = 0; k <= newest; ++k) weights(h, q, k) /= sum;
        }
      }
      weighted_values<H, K, D>(ctx, weights, sequences, cache, s, out);
    }
  }
};

// Every token sees the `size` newest ones, itself included.
template <index_t size>
struct Window {
  static float factor(index_t /*head*/, index_t /*heads*/, index_t distance) { return distance < size ? 1.0f : 0.0f; }
};
// A penalty linear in the distance, of another slope in each head (https://arxiv.org/abs/2108.12409).
struct Alibi {
  static float factor(index_t head, index_t heads, index_t distance) {
    const float slope = std::exp2(-8.0f * static_cast<float>(head + 1) / static_cast<float>(heads));
    return std::exp(-slope * static_cast<float>(distance));
  }
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

// The last token's hidden state after `ids`, by a model of precision P with random weights, always the same ones.
template <class P>
std::vector<float> last_state(const std::vector<TokenId>& ids, const RopeParameters& rope) {
  Cpu cpu(1);
  Context<Cpu> ctx(cpu);
  TextModel<OneLayer, Cpu, P> model;
  load_parameters(ctx, model, RandomWeights(1, 0.3f), "random weights");
  model.configure(ctx, {.rope = rope});
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

template <class P>
void compare(const char* what, const std::vector<TokenId>& a, const std::vector<TokenId>& b,
             const RopeParameters& rope) {
  const auto x = last_state<P>(a, rope), y = last_state<P>(b, rope);
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

  using Sliding = WithAttention<F32, Reweighted<Window<4>>>;
  compare<F32>("full attention, an old token changed", ids, old_changed, rope);
  compare<Sliding>("window of 4, an old token changed", ids, old_changed, rope);
  compare<Sliding>("window of 4, the oldest token in it changed", ids, new_changed, rope);
  compare<F32>("no positions, reordered", ids, reordered, no_rope);
  compare<WithAttention<F32, Reweighted<Alibi>>>("ALiBi in place of MRoPE, reordered", ids, reordered, no_rope);
}
