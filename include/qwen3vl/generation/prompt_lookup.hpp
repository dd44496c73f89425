/// Guesses the next tokens from earlier text (prompt lookup decoding; transformers' PromptLookupCandidateGenerator).
/// The model checks a whole guess in one pass, so answers that repeat their prompt take fewer passes; the answer itself
/// does not change.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "qwen3vl/inputs/token_id.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Up to `most` tokens that followed the last earlier occurrence of the longest suffix of `ids`, of at most `max_ngram`
/// tokens, that occurred before; empty if none did. (transformers uses the first occurrence; the last one suits text
/// that changes as it goes on.)
inline std::vector<TokenId> prompt_lookup_candidates(std::span<const TokenId> ids, index_t most, index_t max_ngram) {
  if (most < 1 || ids.size() < 2) return {};
  const std::size_t longest = std::min(static_cast<std::size_t>(std::max<index_t>(max_ngram, 0)), ids.size() - 1);
  for (std::size_t n = longest; n > 0; --n) {
    const auto ngram = ids.last(n);
    for (std::size_t begin = ids.size() - n; begin-- > 0;) {
      if (!std::equal(ngram.begin(), ngram.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin))) continue;
      const auto found = ids.subspan(begin + n);
      const auto count = std::min(found.size(), static_cast<std::size_t>(most));
      return {found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count)};
    }
  }
  return {};
}

}  // namespace qwen3vl
