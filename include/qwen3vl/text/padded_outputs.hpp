/// What a pass records, and its padded form on the host.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "qwen3vl/inputs/packing.hpp"
#include "qwen3vl/text/text_model.hpp"

namespace qwen3vl::detail {

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

/// What a pass is to record. Throws Error for layers that the model does not have.
template <Variant V, Backend B, class P>
TextRecord<V, B, P> text_record(const LayerSelection& hidden_states, const LayerSelection& attentions) {
  hidden_states.check("output_hidden_states", V::config.text.num_hidden_layers + 1);
  attentions.check("output_attentions", V::config.text.num_hidden_layers);
  TextRecord<V, B, P> record;
  record.want_hidden_states = hidden_states;
  record.want_attentions = attentions;
  return record;
}

/// Recorded hidden states in padded form; the last are those of `last_hidden_state` [B, S, hidden_size].
template <Variant V, Backend B, class P>
std::vector<HostCube<float>> hidden_states_of(Context<B>& ctx, const PackedTokens& packed,
                                              const TextRecord<V, B, P>& record,
                                              const HostCube<float>& last_hidden_state) {
  std::vector<HostCube<float>> padded;
  for (const auto& states : record.hidden_states) {
    padded.emplace_back();
    if (states.allocated())
      padded.back() = unpack(packed, download_floats(ctx, states.view()), V::config.text.hidden_size);
  }
  if (record.want_hidden_states) {
    padded.emplace_back();
    constexpr index_t layers = V::config.text.num_hidden_layers;
    if (record.want_hidden_states.contains(layers, layers + 1)) {
      padded.back() = HostCube<float>::of(last_hidden_state.extents());
      std::ranges::copy(last_hidden_state.span(), padded.back().data());
    }
  }
  return padded;
}

/// Recorded attention weights in padded form, [B, heads, S, past + S] each. `columns`: see key_columns.
template <Variant V, Backend B, class P>
std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>> attentions_of(
    Context<B>& ctx, const PackedTokens& packed, const TextRecord<V, B, P>& record,
    const std::vector<std::vector<index_t>>& columns, index_t key_columns) {
  std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>> padded;
  for (const auto& of_layer : record.attentions) {
    padded.emplace_back();
    if (!of_layer.empty())
      padded.back() =
          unpack_attentions(packed, columns, to_host(ctx, of_layer), V::config.text.num_attention_heads, key_columns);
  }
  return padded;
}

}  // namespace qwen3vl::detail
