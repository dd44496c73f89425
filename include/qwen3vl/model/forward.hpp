/// ForConditionalGeneration::forward: one pass over a padded batch, with transformers' options and outputs.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/padding.hpp"
#include "qwen3vl/model/for_conditional_generation.hpp"
#include "qwen3vl/model/forward_inputs.hpp"
#include "qwen3vl/model/loss.hpp"
#include "qwen3vl/text/padded_outputs.hpp"

namespace qwen3vl {

template <Variant V, Backend B, class P>
HostCube<float> ForConditionalGeneration<V, B, P>::get_input_embeddings(const HostMatrix<TokenId>& input_ids) const {
  detail::check_ids(input_ids.span(), vocab);
  Tensor<A, B, dynamic, hidden> x(input_ids.size());  // [B * S, hidden]
  model_.language_model().embed(*ctx_, upload<TokenId>(*ctx_, input_ids.span()), {}, x);
  HostCube<float> embeds(input_ids.rows(), input_ids.extent(1), hidden);
  std::ranges::copy(download_floats(*ctx_, x.view()), embeds.data());
  return embeds;
}

template <Variant V, Backend B, class P>
PromptTokens ForConditionalGeneration<V, B, P>::prompts_of(const ModelInputs& inputs,
                                                           const PackedTokens& packed) const {
  constexpr index_t merge = V::config.vision.spatial_merge_size;
  const TokenId image = config_.tokens.image_token_id, video = config_.tokens.video_token_id;
  if (inputs.input_ids.allocated() || inputs.mm_token_type_ids.allocated())
    return from_padded(inputs, packed, image, video, merge);
  HostMatrix<std::uint8_t> types(inputs.batch_size(), inputs.length());  // of text
  if (!inputs.no_media()) {
    HostMatrix<TokenId> placeholders(1, 2);
    placeholders(0, 0) = image;
    placeholders(0, 1) = video;
    const HostCube<float> embeds = get_input_embeddings(placeholders);
    types = detail::types_of(inputs.inputs_embeds, embeds[0][0].span(), embeds[0][1].span());
  }
  return from_padded(inputs, packed, types.span(), merge);
}

template <Variant V, Backend B, class P>
HostMatrix<float> ForConditionalGeneration<V, B, P>::last_token_states(const Prompts& prompts) {
  const index_t batch_size = prompts.batch_size();
  std::vector<std::int32_t> last;
  for (index_t b = 0; b < batch_size; ++b) {
    if (prompts.rows.length(b) == 0) fail("prompt ", b, " has no tokens");
    last.push_back(static_cast<std::int32_t>(prompts.rows.offset(b + 1) - 1));
  }
  HostMatrix<float> states(batch_size, hidden);
  if (batch_size == 0) return states;
  constexpr index_t merge = V::config.vision.spatial_merge_size;
  const TokenBatch batch = token_batch(prompts, get_rope_index(prompts, merge).position_ids, vocab);
  const std::optional<Features> features = get_visual_features(prompts.media);
  detail::check_features(batch.feature_rows, features ? features->pooler_output.rows() : 0);
  auto x = ctx_->template scratch<A, dynamic, hidden>(batch.tokens());  // [tokens, hidden]
  Cache cache = [&] {
    if constexpr (requires { Cache::one_pass(batch_size); }) {
      return Cache::one_pass(batch_size);
    } else {
      return Cache(batch_size);
    }
  }();
  model_.forward(*ctx_, batch, features ? &*features : nullptr, cache, x);
  const auto index = upload<std::int32_t>(*ctx_, last);
  auto wanted = ctx_->template scratch<A, dynamic, hidden>(batch_size);  // [B, hidden]
  gather_rows(*ctx_, x, index, wanted);
  model_.language_model().norm(*ctx_, wanted, wanted);
  std::ranges::copy(download_floats(*ctx_, wanted), states.data());
  return states;
}

template <Variant V, Backend B, class P>
template <class Take>
void ForConditionalGeneration<V, B, P>::each_logits(View<const A, B, dynamic, hidden> x,
                                                    std::span<const std::int32_t> rows, Take&& take) {
  constexpr std::size_t rows_at_once = 64;
  for (std::size_t first = 0; first < rows.size(); first += rows_at_once) {
    const auto part = rows.subspan(first, std::min(rows_at_once, rows.size() - first));
    auto logits = ctx_->template scratch<float, dynamic, vocab>(static_cast<index_t>(part.size()));  // [rows, vocab]
    head(x, {part.begin(), part.end()}, logits);
    const std::vector<float> host = download_floats(*ctx_, logits);
    for (std::size_t i = 0; i < part.size(); ++i)
      take(first + i, std::span(host).subspan(i * std::size_t{vocab}, std::size_t{vocab}));
  }
}

template <Variant V, Backend B, class P>
double ForConditionalGeneration<V, B, P>::loss_of_padding(const ModelInputs& inputs,
                                                          std::span<const detail::LossTarget> targets,
                                                          std::span<const index_t> kept) {
  if (targets.empty()) return 0.0;
  const auto count = static_cast<index_t>(targets.size());
  std::vector<TokenId> ids;
  HostMatrix<float> embeds;
  if (inputs.inputs_embeds.allocated()) embeds = HostMatrix<float>(count, hidden);
  std::vector<std::int32_t> rows(targets.size());
  std::iota(rows.begin(), rows.end(), 0);
  for (index_t i = 0; i < count; ++i) {
    const auto& target = targets[static_cast<std::size_t>(i)];
    const index_t column = kept[static_cast<std::size_t>(target.column)];
    if (embeds.allocated()) {
      std::ranges::copy(inputs.inputs_embeds[target.row][column].span(), embeds[i].data());
    } else {
      ids.push_back(inputs.input_ids(target.row, column));
    }
  }
  detail::check_ids(ids, vocab);
  auto x = ctx_->template scratch<A, dynamic, hidden>(count);  // [padded tokens, hidden]
  const auto device_ids = upload<TokenId>(*ctx_, ids);
  model_.language_model().embed(*ctx_, device_ids, embeds, x);
  model_.language_model().forward_unattended(*ctx_, x);
  double sum = 0.0;
  each_logits(x, rows, [&](std::size_t i, std::span<const float> logits) {
    sum += detail::cross_entropy(logits, targets[i].label);
  });
  return sum;
}

template <Variant V, Backend B, class P>
ModelOutput ForConditionalGeneration<V, B, P>::forward(const ModelInputs& inputs, const ForwardOptions& options,
                                                       Past* past, const Features* features) {
  const index_t batch_size = inputs.batch_size(), length = inputs.length();
  if (batch_size == 0 || length == 0) fail("the input has no tokens");
  detail::check_embeds(inputs, hidden);
  detail::check_positions(inputs.position_ids, batch_size, length);
  constexpr index_t merge = V::config.vision.spatial_merge_size;
  const std::vector<index_t> kept = detail::kept_positions(options, length);
  const auto kept_count = static_cast<index_t>(kept.size());
  std::vector<detail::LossTarget> labelled = detail::loss_targets(options, batch_size, kept_count, vocab);
  PackedTokens packed = pack(batch_size, length, inputs.attention_mask);
  if (!options.use_cache && past == nullptr) detail::split_by_positions(packed, inputs);
  const PromptTokens prompts = prompts_of(inputs, packed);

  std::optional<Past> own_past;
  if (past == nullptr) past = &own_past.emplace(packed.sequences.count());
  if (past->cache.sequences() != packed.sequences.count())
    fail("past_key_values holds ", past->cache.sequences(), " sequences, the batch ", batch_size);
  std::vector<index_t> cached;
  for (index_t s = 0; s < past->cache.sequences(); ++s) cached.push_back(past->cache.length(s));
  detail::check_cached(packed, inputs.attention_mask, cached);
  const index_t past_length =
      inputs.attention_mask.allocated() ? inputs.attention_mask.extent(1) - length : *std::ranges::max_element(cached);
  detail::ForwardPositions positions = detail::forward_positions(inputs, packed, prompts, merge, *past, cached);
  ModelOutput output;
  output.position_ids = std::move(positions.position_ids);
  output.rope_deltas = std::move(positions.rope_deltas);
  TokenBatch batch =
      token_batch(prompts, detail::pack_positions(packed, output.position_ids, 0), vocab,
                  inputs.inputs_embeds.allocated() ? gather(packed, inputs.inputs_embeds) : HostMatrix<float>{});
  batch.longest_position = detail::longest_position(output.position_ids);

  std::vector<std::int32_t> packed_row(static_cast<std::size_t>(batch_size * length), -1);
  for (std::size_t i = 0; i < packed.source.size(); ++i)
    packed_row[static_cast<std::size_t>(packed.source[i])] = static_cast<std::int32_t>(i);
  const std::size_t of_padding = detail::padding_last(labelled, packed_row, length, kept, cached);

  auto record = detail::text_record<V, B, P>(options.output_hidden_states, options.output_attentions);
  record.want_router_logits = options.output_router_logits.value_or(config_.output_router_logits);
  std::optional<Features> own_features;
  if (features == nullptr) {
    own_features = options.output_vision
                       ? get_visual_features(inputs, options.output_hidden_states.and_last(), options.output_attentions)
                       : get_visual_features(inputs);
    if (own_features) features = &*own_features;
  }
  detail::check_features(batch.feature_rows, features == nullptr ? 0 : features->pooler_output.rows());
  auto x = ctx_->template scratch<A, dynamic, hidden>(batch.tokens());  // [tokens, hidden]
  model_.forward(*ctx_, batch, features, past->cache, x, &record);
  past->rope_deltas = output.rope_deltas;
  past->has_media = positions.has_media;

  {
    auto normed = ctx_->template scratch<A, dynamic, hidden>(batch.tokens());  // [tokens, hidden]
    model_.language_model().norm(*ctx_, x, normed);
    output.last_hidden_state = unpack(packed, download_floats(*ctx_, normed), hidden);
  }
  output.hidden_states = detail::hidden_states_of(*ctx_, packed, record, output.last_hidden_state);
  output.attentions = detail::attentions_of(
      *ctx_, packed, record, detail::key_columns(packed, inputs.attention_mask, cached), past_length + length);
  if (options.output_vision && features != nullptr) {
    const auto of = [&](const std::vector<GridThw>& grids, std::span<const GridThw> before) {
      return detail::vision_outputs(*ctx_, *features, grids, before, options.output_hidden_states);
    };
    if (!inputs.image_grid_thw.empty()) output.image_outputs = of(inputs.image_grid_thw, {});
    if (!inputs.video_grid_thw.empty()) output.video_outputs = of(inputs.video_grid_thw, inputs.image_grid_thw);
  }

  std::vector<std::vector<float>> router_logits;
  for (const auto& logits : record.router_logits) {
    constexpr index_t experts = text.moe.num_experts;
    router_logits.push_back(download_floats(*ctx_, logits.view()));
    auto& padded = output.router_logits.emplace_back(batch_size * length, experts);
    for (std::size_t i = 0; i < packed.source.size(); ++i)
      std::copy_n(router_logits.back().data() + static_cast<index_t>(i) * experts, experts,
                  padded.data() + packed.source[i] * experts);
  }
  if (!router_logits.empty())
    output.aux_loss = detail::load_balancing_loss(router_logits, text.moe.num_experts, text.moe.num_experts_per_tok);

  output.logits = HostCube<float>(batch_size, kept_count, vocab);
  std::vector<std::int32_t> rows;
  std::vector<index_t> places;  // of the rows among the kept positions
  for (index_t b = 0; b < batch_size; ++b) {
    for (index_t k = 0; k < kept_count; ++k) {
      const std::int32_t row = packed_row[static_cast<std::size_t>(b * length + kept[static_cast<std::size_t>(k)])];
      if (row < 0) continue;
      rows.push_back(row);
      places.push_back(b * kept_count + k);
    }
  }
  each_logits(x, rows, [&](std::size_t i, std::span<const float> logits) {
    std::ranges::copy(logits, output.logits.data() + places[i] * vocab);
  });
  if (options.labels.allocated() || options.shift_labels.allocated()) {
    double sum = 0.0;
    for (const auto& target : std::span(labelled).first(of_padding))
      sum += detail::cross_entropy(output.logits[target.row][target.column].span(), target.label);
    sum += loss_of_padding(inputs, std::span(labelled).subspan(of_padding), kept);
    // NaN without labels, as in the reference.
    output.loss = static_cast<float>(
        sum / static_cast<double>(options.num_items_in_batch.value_or(static_cast<std::int64_t>(labelled.size()))));
    if (output.aux_loss) *output.loss += static_cast<float>(config_.router_aux_loss_coef) * *output.aux_loss;
  }
  return output;
}

}  // namespace qwen3vl
