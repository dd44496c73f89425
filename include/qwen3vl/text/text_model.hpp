/// The text model over packed batches (Qwen3VLTextModel). text/padded_forward.hpp has transformers' padded form.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "qwen3vl/backend/contract/transfer.hpp"
#include "qwen3vl/config/runtime_config.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/layers/embedding.hpp"
#include "qwen3vl/layers/layer_selection.hpp"
#include "qwen3vl/text/decoder_layers.hpp"
#include "qwen3vl/text/rotary_embedding.hpp"

namespace qwen3vl {

/// DeepStack: feature j is added to the rows `index` after decoder layer j.
template <Variant V, Backend B, class P>
struct DeepStackInput {
  using A = activation_t<B, P>;
  View<const std::int32_t, B, dynamic> index;                                   ///< rows of images, [n]
  std::vector<View<const A, B, dynamic, V::config.text.hidden_size>> features;  ///< [n, hidden_size] each
};

/// Intermediate results to record on request; what is not requested costs nothing.
template <Variant V, Backend B, class P>
struct TextRecord {
  using A = activation_t<B, P>;
  LayerSelection want_hidden_states{};  ///< of the embedding and the layers: layers + 1
  LayerSelection want_attentions{};
  bool want_router_logits = false;
  /// The embedding, then the output of each layer but the last, before DeepStack; [tokens, hidden_size] each.
  std::vector<Tensor<A, B, dynamic, V::config.text.hidden_size>> hidden_states;
  /// attentions[layer][sequence]: f32 [heads, new tokens, all tokens].
  std::vector<std::vector<Tensor<float, B, V::config.text.num_attention_heads, dynamic, dynamic>>> attentions;
  /// Of each layer with experts, before the softmax: [tokens, num_experts].
  std::vector<Tensor<A, B, dynamic, V::config.text.moe.num_experts>> router_logits;
};

/// The text model (Qwen3VLTextModel): h = embed_tokens(ids), then for each layer i: h = layer_i(h), plus DeepStack
/// feature i in the rows of images and videos, then norm(h). All tokens of a batch are packed in one [tokens,
/// hidden_size] tensor; sequences attend only to themselves, through the cache. A caller embeds, runs forward() and
/// norm() itself, so that it can replace rows in between.
template <Variant V, Backend B, class P>
class TextModel {
  static constexpr TextConfig text = V::config.text;
  static constexpr index_t hidden = text.hidden_size;
  static constexpr index_t frequencies = text.head_dim / 2;
  using A = activation_t<B, P>;

  Embedding<V, B, P> embed_tokens_;
  DecoderLayers<V, B, P> layers_;
  RmsNorm<hidden, B, P> norm_;

  float rms_norm_eps_ = 1e-6f;
  std::array<attention_t<P>, static_cast<std::size_t>(text.num_hidden_layers)> policies_{};  // of the layers
  /// The frequencies of the last call, state of the model as in the reference. Mutable: forward() changes them for the
  /// rope types 'dynamic' and 'longrope', and only for those.
  mutable RotaryEmbedding rotary_;
  mutable Tensor<float, B, dynamic> inv_freq_;

 public:
  using Cache = KvCache<V, B, P>;

  template <class F>
  void parameters(F&& f) {
    visit("embed_tokens.", embed_tokens_, f);
    visit("", layers_, f);
    visit("norm.", norm_, f);
  }

  /// Sets the run-time values. Throws Error for unusable rope parameters; see rotary_frequencies.
  void configure(Context<B>& ctx, const RuntimeConfig& config) {
    rms_norm_eps_ = config.rms_norm_eps;
    rotary_ = RotaryEmbedding(config.rope, text.head_dim, config.max_position_embeddings);
    inv_freq_ = upload<float>(ctx, rotary_.frequencies().inv_freq);
  }

  /// Sets the run-time values of the attention policy: `policy` is one for all layers, or a function of the layer's
  /// index that returns each.
  template <class Policy>
  void set_attention(const Policy& policy) {
    for (int i = 0; i < text.num_hidden_layers; ++i) {
      auto& of_layer = policies_[static_cast<std::size_t>(i)];
      if constexpr (std::is_invocable_v<const Policy&, int>) {
        of_layer = policy(i);
      } else {
        of_layer = policy;
      }
    }
  }

  const Embedding<V, B, P>& embed_tokens() const { return embed_tokens_; }

  /// x [tokens, hidden]: the embeddings of `ids` [tokens] or, if they are not empty, `inputs_embeds` [tokens, hidden].
  void embed(Context<B>& ctx, View<const TokenId, B, dynamic> ids, const HostMatrix<float>& inputs_embeds,
             View<A, B, dynamic, hidden> x) const {
    if (inputs_embeds.allocated()) {
      copy_from_host(ctx, inputs_embeds.view(), x);
    } else {
      embed_tokens_(ctx, ids, x);
    }
  }

  /// Runs all layers over hidden_states [tokens, hidden], in place, without the final norm. position_ids [3, tokens]:
  /// temporal, height and width position of each token. `longest_position`: the largest of them, on the host because
  /// only some rope types need it; when a prompt is computed in parts, that of the whole prompt each time. `sequences`:
  /// how many of the rows belong to each sequence of `cache`, to which their keys and values are appended. Sizes are
  /// not checked. With the rope types 'dynamic' and 'longrope', calls must not run concurrently.
  void forward(Context<B>& ctx, View<A, B, dynamic, hidden> hidden_states,
               View<const std::int32_t, B, 3, dynamic> position_ids, std::int64_t longest_position,
               const Segments& sequences, Cache& cache, const DeepStackInput<V, B, P>* deepstack = nullptr,
               TextRecord<V, B, P>* record = nullptr) const {
    const index_t tokens = hidden_states.rows();
    if (rotary_.update(longest_position + 1)) inv_freq_ = upload<float>(ctx, rotary_.frequencies().inv_freq);
    auto cos = ctx.template scratch<float, dynamic, frequencies>(tokens);  // [tokens, head_dim / 2]
    auto sin = ctx.template scratch<float, dynamic, frequencies>(tokens);  // [tokens, head_dim / 2]
    rope_tables<text.mrope_section[0], text.mrope_section[1], text.mrope_section[2]>(
        ctx, position_ids, View<const float, B, frequencies>(inv_freq_.data()), rotary_.frequencies().attention_scaling,
        cos, sin);
    const TextPositions<V, B> positions{cos, sin, sequences};

    std::vector<index_t> new_tokens;
    for (index_t s = 0; s < sequences.count(); ++s) new_tokens.push_back(sequences.length(s));
    cache.prepare(new_tokens);
    const auto record_hidden_states = [&](index_t i) {
      if (record == nullptr || !record->want_hidden_states) return;
      auto& states = record->hidden_states.emplace_back();
      if (!record->want_hidden_states.contains(i, text.num_hidden_layers + 1)) return;
      states = Tensor<A, B, dynamic, hidden>(tokens);
      copy_rows(ctx, hidden_states, states.view());
    };
    record_hidden_states(0);
    for (int i = 0; i < text.num_hidden_layers; ++i) {
      const auto layer = static_cast<std::size_t>(i);
      const TraceScope scope(ctx.trace(), "decoder_layer", {"layer", i});
      layers_(i, ctx, hidden_states, positions, rms_norm_eps_, cache.layer(i),
              Recorder{ctx, sequences, cache, i, policies_[layer], record}, policies_[layer]);
      // The reference records a layer's output before DeepStack is added to it.
      if (i + 1 < text.num_hidden_layers) record_hidden_states(i + 1);
      if (deepstack != nullptr && layer < deepstack->features.size())
        add_rows(ctx, deepstack->features[layer], deepstack->index, hidden_states);
    }
    cache.commit();
  }

  /// The same for tokens that may attend to nothing, such as the padding before a prompt: attention gives 0, as
  /// PyTorch's scaled_dot_product_attention has it. No token affects another.
  void forward_unattended(Context<B>& ctx, View<A, B, dynamic, hidden> hidden_states) const {
    const Segments sequences;
    Cache cache(0);
    for (int i = 0; i < text.num_hidden_layers; ++i)
      layers_(i, ctx, hidden_states, rms_norm_eps_, Recorder{ctx, sequences, cache, i, policies_[0], nullptr});
  }

  /// The final norm, [rows, hidden]; y may be x.
  void norm(Context<B>& ctx, View<const A, B, dynamic, hidden> x, View<A, B, dynamic, hidden> y) const {
    norm_(ctx, x, rms_norm_eps_, y);
  }

 private:
  /// Records what the caller requested of one layer.
  struct Recorder {
    Context<B>& ctx;
    const Segments& sequences;
    Cache& cache;
    int layer;
    const attention_t<P>& policy;
    TextRecord<V, B, P>* record;

    void queries(const auto& qkv) const {
      if (record == nullptr || !record->want_attentions) return;
      auto& of_layer = record->attentions.emplace_back();
      if (!record->want_attentions.contains(layer, text.num_hidden_layers)) return;
      for (index_t s = 0; s < sequences.count(); ++s) {
        const index_t count = sequences.length(s);
        auto& weights = of_layer.emplace_back(count, cache.length(s) + count);
        attention_weights<text.num_attention_heads, text.num_key_value_heads, text.head_dim>(
            ctx, qkv, sequences, cache.layer(layer), s, weights.view(), attention_policy::text_score(policy));
      }
    }
    void router(const auto& logits) const {
      if (record == nullptr || !record->want_router_logits) return;
      auto& copy = record->router_logits.emplace_back(logits.rows());
      copy_rows(ctx, logits, copy.view());
    }
  };
};

}  // namespace qwen3vl
