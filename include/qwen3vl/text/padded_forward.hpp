/// TextModel in the form that transformers' users know: padded batches, position ids of 1, 3 or 4 axes, a cache, every
/// output (Qwen3VLTextModel.forward).
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "qwen3vl/inputs/packing.hpp"
#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/text/padded_inputs.hpp"
#include "qwen3vl/text/padded_outputs.hpp"
#include "qwen3vl/text/text_model.hpp"

namespace qwen3vl {

/// Arguments of Qwen3VLTextModel.forward, with its names. Give input_ids or inputs_embeds.
struct TextInputs {
  HostMatrix<TokenId> input_ids{};            ///< [B, S]
  HostCube<float> inputs_embeds{};            ///< [B, S, hidden_size]
  HostMatrix<std::uint8_t> attention_mask{};  ///< [B, past + S]; empty: all tokens are real
  /// [axes, B, S] with 1, 3 (t, h, w) or 4 (text, t, h, w) axes; empty: the token's index, padding counted
  HostCube<std::int32_t> position_ids{};
  /// Without a cache and a mask, positions separate sequences packed into one row.
  bool use_cache = true;
  HostMatrix<std::uint8_t> visual_pos_masks{};               ///< [B, S]: rows that DeepStack is added to
  std::vector<HostMatrix<float>> deepstack_visual_embeds{};  ///< [rows, hidden_size] for layers 0, 1, ...
  LayerSelection output_hidden_states{};                     ///< of layers + 1
  LayerSelection output_attentions{};
};

/// Results in padded form; padded positions are 0.
struct TextOutput {
  HostCube<float> last_hidden_state;  ///< [B, S, hidden_size]
  /// layers + 1, empty where not wanted; the last is last_hidden_state's values.
  std::vector<HostCube<float>> hidden_states;
  /// One per layer, empty where not wanted, [B, heads, S, past + S].
  std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>> attentions;
};

/// Runs the text model on a padded batch. `cache` may be null; with use_cache its sequences are the rows of the batch.
template <Variant V, Backend B, class P>
TextOutput padded_forward(Context<B>& ctx, const TextModel<V, B, P>& model, const TextInputs& inputs,
                          KvCache<V, B, P>* cache = nullptr) {
  using A = activation_t<B, P>;
  constexpr index_t hidden = V::config.text.hidden_size;
  const bool by_ids = inputs.input_ids.allocated();
  const index_t batch = by_ids ? inputs.input_ids.rows() : inputs.inputs_embeds.rows();
  const index_t length = by_ids ? inputs.input_ids.extent(1) : inputs.inputs_embeds.extent(1);
  detail::check_embeds(inputs, hidden);
  detail::check_positions(inputs.position_ids, batch, length);
  if (cache != nullptr && cache->sequences() != batch)
    fail("the cache holds ", cache->sequences(), " sequences, the batch ", batch);

  PackedTokens packed = pack(batch, length, inputs.attention_mask);
  if (!inputs.use_cache && cache == nullptr) detail::split_by_positions(packed, inputs);
  index_t past = inputs.attention_mask.allocated() ? inputs.attention_mask.extent(1) - length : 0;
  if (cache != nullptr && !inputs.attention_mask.allocated() && batch > 0) past = cache->length(0);
  const auto positions = upload<std::int32_t>(ctx, detail::pack_positions(packed, inputs.position_ids, past));
  const index_t tokens = packed.tokens();

  auto x = ctx.template scratch<A, dynamic, hidden>(tokens);  // [tokens, hidden]
  if (by_ids) {
    const auto ids = gather<TokenId>(packed, inputs.input_ids.span());
    detail::check_ids(ids, V::config.text.vocab_size);
    model.embed(ctx, upload<TokenId>(ctx, ids), {}, x);
  } else {
    model.embed(ctx, {}, gather(packed, inputs.inputs_embeds), x);
  }

  std::vector<std::int32_t> visual_rows;
  if (inputs.visual_pos_masks.allocated())
    for (std::size_t i = 0; i < packed.source.size(); ++i)
      if (inputs.visual_pos_masks.span()[static_cast<std::size_t>(packed.source[i])] != 0)
        visual_rows.push_back(static_cast<std::int32_t>(i));
  const auto index = upload<std::int32_t>(ctx, visual_rows);
  std::vector<Tensor<A, B, dynamic, hidden>> features;
  DeepStackInput<V, B, P> deepstack{.index = index, .features = {}};
  for (std::size_t j = 0; j < inputs.deepstack_visual_embeds.size(); ++j) {
    const auto& embeds = inputs.deepstack_visual_embeds[j];
    if (embeds.rows() != index.rows() || embeds.extent(1) != hidden)
      fail("deepstack_visual_embeds[", j, "] is [", embeds.rows(), ", ", embeds.extent(1),
           "]; visual_pos_masks wants [", index.rows(), ", ", hidden, "]");
    features.emplace_back(embeds.rows());
    copy_from_host(ctx, embeds.view(), features.back().view());
  }
  for (const auto& feature : features) deepstack.features.push_back(feature);

  auto record = detail::text_record<V, B, P>(inputs.output_hidden_states, inputs.output_attentions);
  std::optional<KvCache<V, B, P>> own_cache;
  if (cache == nullptr) cache = &own_cache.emplace(packed.sequences.count());
  std::vector<index_t> cached;
  for (index_t s = 0; s < cache->sequences(); ++s) cached.push_back(cache->length(s));
  detail::check_cached(packed, inputs.attention_mask, cached);
  const index_t longest =
      inputs.position_ids.allocated() ? detail::longest_position(inputs.position_ids) : past + length - 1;
  model.forward(ctx, x, positions.view().template reshape<3, dynamic>(tokens), longest, packed.sequences, *cache,
                &deepstack, &record);
  model.norm(ctx, x, x);

  TextOutput output;
  output.last_hidden_state = unpack(packed, download_floats(ctx, x), hidden);
  output.hidden_states = detail::hidden_states_of(ctx, packed, record, output.last_hidden_state);
  output.attentions = detail::attentions_of(ctx, packed, record,
                                            detail::key_columns(packed, inputs.attention_mask, cached), past + length);
  return output;
}

}  // namespace qwen3vl
