/// TextModel in the form that transformers' users know: padded batches, position ids of 1, 3 or 4 axes, a cache, every
/// output (Qwen3VLTextModel.forward).
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "qwen3vl/inputs/packing.hpp"
#include "qwen3vl/inputs/token_id.hpp"
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
  bool output_hidden_states = false;
  bool output_attentions = false;
};

/// Results in padded form; padded positions are 0.
struct TextOutput {
  HostCube<float> last_hidden_state;           ///< [B, S, hidden_size]
  std::vector<HostCube<float>> hidden_states;  ///< layers + 1; the last is last_hidden_state's values
  /// One per layer, [B, heads, S, past + S].
  std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>> attentions;
};

namespace detail {

/// Weights of all sequences of one layer on the host.
template <class B, class Weights>
std::vector<HostCube<float>> to_host(Context<B>& ctx, const std::vector<Weights>& of_layer) {
  std::vector<HostCube<float>> host;
  for (const Weights& weights : of_layer) {
    host.emplace_back(weights.extent(0), weights.extent(1), weights.extent(2));
    copy_to_host(ctx, View<const float, B, dynamic>(weights.data(), weights.size()),
                 View<float, Host, dynamic>(host.back().data(), host.back().size()));
  }
  return host;
}

/// Recorded attention weights of one layer in padded form, [B, heads, S, past + S].
template <class Weights>
HostTensor<float, dynamic, dynamic, dynamic, dynamic> unpack_attentions(const PackedTokens& packed,
                                                                        const std::vector<std::vector<index_t>>& keys,
                                                                        const Weights& of_sequence, index_t heads,
                                                                        index_t key_columns) {
  HostTensor<float, dynamic, dynamic, dynamic, dynamic> padded(packed.batch, heads, packed.length, key_columns);
  for (index_t s = 0; s < packed.sequences.count(); ++s) {
    const auto& weights = of_sequence[static_cast<std::size_t>(s)];  // [heads, queries, keys]
    const auto& columns = keys[static_cast<std::size_t>(s)];
    for (index_t h = 0; h < heads; ++h)
      for (index_t q = 0; q < weights.extent(1); ++q) {
        const index_t source = packed.source[static_cast<std::size_t>(packed.sequences.offset(s) + q)];
        for (index_t k = 0; k < weights.extent(2); ++k)
          padded(source / packed.length, h, source % packed.length, columns[static_cast<std::size_t>(k)]) =
              weights(h, q, k);
      }
  }
  return padded;
}

/// For each sequence, the padded column of each of its keys: cached ones from the mask, then the new ones.
inline std::vector<std::vector<index_t>> key_columns(const PackedTokens& packed,
                                                     const HostMatrix<std::uint8_t>& attention_mask,
                                                     std::span<const index_t> cached) {
  std::vector<std::vector<index_t>> columns(static_cast<std::size_t>(packed.sequences.count()));
  const bool masked = attention_mask.allocated();
  for (index_t s = 0; s < packed.sequences.count(); ++s) {
    auto& of_sequence = columns[static_cast<std::size_t>(s)];
    const index_t past = masked ? attention_mask.extent(1) - packed.length : cached[static_cast<std::size_t>(s)];
    for (index_t column = 0; column < past; ++column)
      if (!masked || attention_mask(s, column) != 0) of_sequence.push_back(column);
    for (index_t i = packed.sequences.offset(s); i < packed.sequences.offset(s + 1); ++i)
      of_sequence.push_back(past + packed.source[static_cast<std::size_t>(i)] % packed.length);
  }
  return columns;
}

/// [3, tokens] of the packed tokens from positions of 1, 3 or 4 axes, or from the token's index plus `past`.
inline std::vector<std::int32_t> pack_positions(const PackedTokens& packed, const HostCube<std::int32_t>& position_ids,
                                                index_t past) {
  std::vector<std::int32_t> positions;
  const index_t axes = position_ids.allocated() ? position_ids.rows() : 0;
  for (index_t axis = 0; axis < 3; ++axis) {
    for (const index_t i : packed.source) {
      if (axes == 0) {
        positions.push_back(static_cast<std::int32_t>(past + i % packed.length));
      } else {
        // With four axes, the first is the plain text position, which is not used for rotation.
        const index_t used = axes == 1 ? 0 : axes == 3 ? axis : axis + 1;
        positions.push_back(position_ids.data()[used * packed.batch * packed.length + i]);
      }
    }
  }
  return positions;
}

/// Positions of 1, 3 or 4 axes as those that are used for rotation, [3, B, S].
inline HostCube<std::int32_t> three_axes(const HostCube<std::int32_t>& position_ids) {
  HostCube<std::int32_t> used(3, position_ids.extent(1), position_ids.extent(2));
  for (index_t axis = 0; axis < 3; ++axis) {
    const index_t from = position_ids.rows() == 1 ? 0 : position_ids.rows() == 3 ? axis : axis + 1;
    std::ranges::copy(position_ids[from].span(), used[axis].data());
  }
  return used;
}

/// The largest position used for rotation, padded tokens included, as the reference counts for some rope types.
inline std::int32_t longest_position(const HostCube<std::int32_t>& position_ids) {
  std::span<const std::int32_t> used = position_ids.span();
  if (position_ids.rows() == 4) used = used.subspan(used.size() / 4);
  return used.empty() ? -1 : *std::ranges::max_element(used);
}

inline void check_positions(const HostCube<std::int32_t>& position_ids, index_t batch, index_t length) {
  if (!position_ids.allocated()) return;
  const index_t axes = position_ids.rows();
  if ((axes != 1 && axes != 3 && axes != 4) || position_ids.extent(1) != batch || position_ids.extent(2) != length)
    fail("position_ids is [", axes, ", ", position_ids.extent(1), ", ", position_ids.extent(2),
         "]; wanted [1, 3 or 4, ", batch, ", ", length, "]");
  for (const std::int32_t position : position_ids.span())
    if (position < 0) fail("position_ids holds ", position, "; positions are not negative");
}

/// Throws Error unless `inputs` (TextInputs, ModelInputs) have either ids or embeddings, and these the model's size.
template <class Inputs>
void check_embeds(const Inputs& inputs, index_t hidden_size) {
  if (inputs.input_ids.allocated() == inputs.inputs_embeds.allocated()) fail("give either input_ids or inputs_embeds");
  if (inputs.inputs_embeds.allocated() && inputs.inputs_embeds.extent(2) != hidden_size)
    fail("inputs_embeds has ", inputs.inputs_embeds.extent(2), " columns, hidden_size is ", hidden_size);
}

/// Without a mask, positions with a text axis tell apart the sequences that are packed into one row.
template <class Inputs>
void split_by_positions(PackedTokens& packed, const Inputs& inputs) {
  if (inputs.position_ids.allocated() && inputs.position_ids.rows() != 3 && !inputs.attention_mask.allocated())
    split_packed_sequences(packed, inputs.position_ids.span().first(packed.source.size()));
}

/// Throws Error unless the mask, if there is one, marks as many cached tokens of each sequence as there are: keys of
/// padding are never cached, and others cannot be left out later.
inline void check_cached(const PackedTokens& packed, const HostMatrix<std::uint8_t>& attention_mask,
                         std::span<const index_t> cached) {
  if (!attention_mask.allocated()) return;
  const index_t past = attention_mask.extent(1) - packed.length;
  for (index_t b = 0; b < packed.batch; ++b) {
    index_t marked = 0;
    for (index_t column = 0; column < past; ++column) marked += attention_mask(b, column) != 0;
    if (marked != cached[static_cast<std::size_t>(b)])
      fail("attention_mask marks ", marked, " tokens of row ", b, " before the ", packed.length,
           " new ones, the cache holds ", cached[static_cast<std::size_t>(b)],
           "; the mask needs a column for each cached and each new token");
  }
}

inline void check_ids(std::span<const TokenId> ids, index_t vocab_size) {
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocab_size)
      fail("input_ids holds ", ids[i], ", but the vocabulary has ", vocab_size,
           " entries; is the tokenizer another model's?");
}

}  // namespace detail

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

  TextRecord<V, B, P> record;
  record.want_hidden_states = inputs.output_hidden_states;
  record.want_attentions = inputs.output_attentions;
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
  const auto to_padded = [&](const auto& view) { return unpack(packed, download_floats(ctx, view), hidden); };
  output.last_hidden_state = to_padded(x);
  for (const auto& states : record.hidden_states) output.hidden_states.push_back(to_padded(states.view()));
  if (inputs.output_hidden_states) output.hidden_states.push_back(to_padded(x));
  const auto columns = detail::key_columns(packed, inputs.attention_mask, cached);
  for (const auto& of_layer : record.attentions) {
    output.attentions.push_back(detail::unpack_attentions(packed, columns, detail::to_host(ctx, of_layer),
                                                          V::config.text.num_attention_heads, past + length));
  }
  return output;
}

}  // namespace qwen3vl
