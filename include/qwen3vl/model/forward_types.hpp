/// Options and results of ForConditionalGeneration::forward, and small host computations for it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/base/file_limits.hpp"
#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/config/runtime_config.hpp"
#include "qwen3vl/inputs/model_inputs.hpp"
#include "qwen3vl/model/load.hpp"
#include "qwen3vl/model/rope_index.hpp"
#include "qwen3vl/text/decoder_layer.hpp"

namespace qwen3vl {

/// Options of from_pretrained.
struct PretrainedOptions {
  /// File name of the model's configuration within the folder.
  std::string config_file = "config.json";
  LoadProgress progress{};
  /// Changes the run-time half of config.json before it is used (rope parameters, token ids).
  std::function<void(RuntimeConfig&)> override_config{};
  /// Folder for packed weights. The first start writes a file of the weights' size into it; later starts read that file
  /// instead of packing again, several times faster. Whatever has changed (checkpoint, precision, processor) is packed
  /// again. Empty: none.
  std::filesystem::path packed_cache{};
  SafetensorsLimits limits{};  ///< for the weight files
  /// Called with what does not stop loading: tensors that are not used, a tied head that is stored with other values,
  /// packed weights that could not be written, ...
  Warn warn = print_warning;
};

/// Options of save_pretrained.
struct SaveOptions {
  std::uint64_t max_shard_size = 50'000'000'000;  ///< bytes of a weight file; a larger tensor has one of its own
  LoadProgress progress{};                        ///< of the bytes that are written
};

/// `cache` (`past_key_values` before 5.24) with the `rope_deltas` that transformers keeps in the model object.
template <Variant V, Backend B, class P>
struct PastKeyValues {
  KvCache<V, B, P> cache;
  std::vector<std::int64_t> rope_deltas;  ///< [B]; empty before the first call

  explicit PastKeyValues(index_t batch_size) : cache(batch_size) {}
};

/// What forward() computes besides the last hidden state.
struct ForwardOptions {
  /// The last n positions; 0: all.
  index_t logits_to_keep = 0;
  /// These positions instead, if not empty.
  std::vector<index_t> logits_positions{};
  HostMatrix<std::int32_t> labels{};  ///< [B, S]; -100 is ignored; enables the loss
  bool output_hidden_states = false;
  bool output_attentions = false;
  /// For variants with experts; the loss then includes the weighted aux_loss, as in the reference. Not set: what
  /// config.json says.
  std::optional<bool> output_router_logits{};
};

/// Results in padded form; padded positions are 0.
struct ModelOutput {
  HostCube<float> logits;             ///< [B, kept, vocab_size]
  std::optional<float> loss;          ///< mean cross entropy of the labelled next tokens
  HostCube<float> last_hidden_state;  ///< [B, S, hidden_size], after the final norm
  std::vector<HostCube<float>> hidden_states;
  std::vector<HostTensor<float, dynamic, dynamic, dynamic, dynamic>> attentions;
  std::vector<HostMatrix<float>> router_logits;  ///< [B * S, num_experts] per layer with experts, before the softmax
  std::optional<float> aux_loss;                 ///< load balancing loss of the experts; with router_logits
  HostCube<std::int32_t> position_ids;           ///< [3, B, S]
  std::vector<std::int64_t> rope_deltas;         ///< [B]
};

namespace detail {

/// Positions for forward(): those of the prompt if there is no past, else cache length + rope delta + index. For text
/// without images, padding is counted, as in a plain forward of the reference (generate does not count it). Sets
/// past.rope_deltas on the first call.
template <class Past>
HostCube<std::int32_t> forward_positions(const ModelInputs& inputs, const PackedTokens& packed,
                                         const PromptTokens& prompts, index_t merge, Past& past) {
  const bool first = past.rope_deltas.empty();
  if (first && !inputs.no_media()) {
    check_mask(inputs.attention_mask, packed.batch, packed.length);
    PromptPositions positions = get_rope_index(prompts, merge);
    past.rope_deltas = std::move(positions.rope_deltas);
    return unpack_positions(packed, positions.position_ids);
  }
  if (!inputs.no_media())
    fail("images after the first call with past_key_values; give the whole prompt at once, or use generate");
  if (first) past.rope_deltas.assign(static_cast<std::size_t>(packed.batch), 0);
  HostCube<std::int32_t> positions(3, packed.batch, packed.length);
  for (index_t axis = 0; axis < 3; ++axis)
    for (index_t b = 0; b < packed.batch; ++b)
      for (index_t s = 0; s < packed.length; ++s)
        positions(axis, b, s) =
            static_cast<std::int32_t>(past.cache.length(b) + past.rope_deltas[static_cast<std::size_t>(b)] + s);
  return positions;
}

/// Columns whose logits are wanted.
inline std::vector<index_t> kept_positions(const ForwardOptions& options, index_t length) {
  std::vector<index_t> kept = options.logits_positions;
  for (index_t& position : kept) {
    if (position < -length || position >= length)
      fail("logits_positions holds ", position, " of ", length, " positions");
    if (position < 0) position += length;
  }
  if (!kept.empty()) return kept;
  if (options.logits_to_keep < 0) fail("logits_to_keep is ", options.logits_to_keep, "; give 0 for all positions");
  const index_t count = options.logits_to_keep == 0 ? length : std::min(options.logits_to_keep, length);
  for (index_t s = length - count; s < length; ++s) kept.push_back(s);
  return kept;
}

/// load_balancing_loss_func of the reference: E * sum over experts of (share of tokens that choose it) * (mean
/// probability), over the tokens of all layers together; 1 * top_k for an even load. `router_logits` [tokens, E] covers
/// only real tokens.
template <class Matrix>
float load_balancing_loss(const std::vector<Matrix>& router_logits, index_t experts, index_t top_k) {
  std::vector<double> chosen(static_cast<std::size_t>(experts)), probability(static_cast<std::size_t>(experts));
  std::vector<double> row(static_cast<std::size_t>(experts));
  std::vector<std::size_t> order(static_cast<std::size_t>(experts));
  double tokens = 0.0;
  for (const auto& logits : router_logits)
    for (std::size_t first = 0; first < logits.size(); first += row.size(), tokens += 1.0) {
      const auto x = std::span(logits).subspan(first, row.size());
      const double largest = static_cast<double>(*std::ranges::max_element(x));
      double sum = 0.0;
      for (std::size_t e = 0; e < row.size(); ++e) sum += row[e] = std::exp(static_cast<double>(x[e]) - largest);
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return x[a] > x[b]; });
      for (std::size_t j = 0; j < static_cast<std::size_t>(top_k); ++j) chosen[order[j]] += 1.0;
      for (std::size_t e = 0; e < row.size(); ++e) probability[e] += row[e] / sum;
    }
  double loss = 0.0;
  for (std::size_t e = 0; e < row.size(); ++e) loss += chosen[e] / tokens * (probability[e] / tokens);
  return static_cast<float>(loss * static_cast<double>(experts));
}

/// Mean of -log softmax(logits[s])[labels[s + 1]] over all labels that are not -100 and follow a real token.
inline float shifted_loss(const HostCube<float>& logits, const HostMatrix<std::int32_t>& labels,
                          const HostMatrix<std::uint8_t>& attention_mask) {
  const index_t batch = logits.rows(), length = logits.extent(1), vocab = logits.extent(2);
  if (labels.rows() != batch || labels.extent(1) != length)
    fail("labels is [", labels.rows(), ", ", labels.extent(1), "], the logits are of [", batch, ", ", length,
         "] tokens; the loss needs the logits of all positions");
  double sum = 0.0;
  index_t count = 0;
  for (index_t b = 0; b < batch; ++b) {
    for (index_t s = 0; s + 1 < length; ++s) {
      const std::int32_t label = labels(b, s + 1);
      if (label == -100 || (attention_mask.allocated() && attention_mask(b, s) == 0)) continue;
      if (label < 0 || label >= vocab) fail("labels holds ", label, "; wanted -100 or a token id below ", vocab);
      const float* const row = &logits(b, s, 0);
      const float largest = *std::max_element(row, row + vocab);
      double exponentials = 0.0;
      for (index_t v = 0; v < vocab; ++v) exponentials += std::exp(static_cast<double>(row[v] - largest));
      sum += std::log(exponentials) + static_cast<double>(largest) - static_cast<double>(row[label]);
      ++count;
    }
  }
  return static_cast<float>(sum / static_cast<double>(count));  // NaN without labels, as in the reference
}

}  // namespace detail
}  // namespace qwen3vl
