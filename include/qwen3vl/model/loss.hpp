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

}  // namespace qwen3vl::detail
