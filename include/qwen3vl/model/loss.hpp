/// The losses of forward(): next tokens (ForCausalLMLoss) and the balance of experts. Host code.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "qwen3vl/model/forward_types.hpp"

namespace qwen3vl::detail {

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

/// A label that counts, and the place of the logits that it is compared with.
struct LossTarget {
  index_t row = 0;     ///< of the batch
  index_t column = 0;  ///< among the kept positions
  std::int32_t label = 0;
};

/// The labels that count, as in ForCausalLMLoss: shift_labels, or labels moved by one, less ignore_index. `kept`: the
/// number of positions with logits. Throws Error for labels of another shape or outside of the vocabulary.
inline std::vector<LossTarget> loss_targets(const ForwardOptions& options, index_t batch, index_t kept,
                                            index_t vocab_size) {
  const bool shifted = options.shift_labels.allocated();
  const HostMatrix<std::int32_t>& labels = shifted ? options.shift_labels : options.labels;
  const char* const name = shifted ? "shift_labels" : "labels";
  if (const auto items = options.num_items_in_batch; items && (*items < 1 || !labels.allocated()))
    fail("num_items_in_batch is ", *items, "; give a positive number, and labels");
  std::vector<LossTarget> targets;
  if (!labels.allocated()) return targets;
  if (labels.rows() != batch || labels.extent(1) != kept)
    fail(name, " is [", labels.rows(), ", ", labels.extent(1), "], the logits are of [", batch, ", ", kept,
         "] tokens; give a label for each position whose logits are kept");
  for (index_t b = 0; b < batch; ++b) {
    for (index_t s = shifted ? 0 : 1; s < kept; ++s) {
      const std::int32_t label = labels(b, s);
      if (label == options.ignore_index) continue;
      if (label < 0 || label >= vocab_size)
        fail(name, " holds ", label, "; wanted ", options.ignore_index, " or a token id below ", vocab_size);
      targets.push_back({.row = b, .column = shifted ? s : s - 1, .label = label});
    }
  }
  return targets;
}

/// Moves the targets whose logits are those of padding behind the others and returns where they begin. `packed_row`
/// [B * length]: -1 where padded; `positions`: the kept ones. Throws Error for padding that could attend to something,
/// which is not computed.
inline std::size_t padding_last(std::vector<LossTarget>& targets, std::span<const std::int32_t> packed_row,
                                index_t length, std::span<const index_t> positions, std::span<const index_t> cached) {
  const auto place = [&](const LossTarget& target) {
    return target.row * length + positions[static_cast<std::size_t>(target.column)];
  };
  const auto padding = std::stable_partition(targets.begin(), targets.end(), [&](const LossTarget& target) {
    return packed_row[static_cast<std::size_t>(place(target))] >= 0;
  });
  const auto real = static_cast<std::size_t>(padding - targets.begin());
  for (const LossTarget& target : std::span(targets).subspan(real)) {
    const auto before = packed_row.subspan(static_cast<std::size_t>(target.row * length),
                                           static_cast<std::size_t>(place(target) - target.row * length));
    if (cached[static_cast<std::size_t>(target.row)] > 0 || std::ranges::any_of(before, [](auto i) { return i >= 0; }))
      fail("the label ", target.label, " of row ", target.row, " stands behind padding at ",
           positions[static_cast<std::size_t>(target.column)],
           " that follows tokens; set the labels of padding to ignore_index");
  }
  return real;
}

/// -log softmax(logits)[label], in double precision.
inline double cross_entropy(std::span<const float> logits, std::int32_t label) {
  const float largest = *std::ranges::max_element(logits);
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - largest));
  return std::log(sum) + static_cast<double>(largest) - static_cast<double>(logits[static_cast<std::size_t>(label)]);
}

}  // namespace qwen3vl::detail
