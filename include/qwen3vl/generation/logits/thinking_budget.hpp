/// An upper bound for the reasoning of a Thinking model.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "qwen3vl/generation/logits/logits_processor.hpp"

namespace qwen3vl {

/// Ends reasoning that has taken `max_tokens` tokens: the tokens of `closing` are then forced one after another, and
/// the answer continues freely after them. Reasoning that ends by itself is left alone. It begins with the answer if
/// the prompt ends inside reasoning (the template of Thinking models writes `<think>` there), else after the answer's
/// first begin token; an answer without one has no budget. Later reasoning in the same answer is not bounded.
/// thinking_budget() below makes one from a tokenizer.
struct ThinkingBudget {
  static constexpr std::string_view name = "ThinkingBudget";

  index_t max_tokens = 0;        ///< of reasoning; 0: none at all
  TokenId begin_token = -1;      ///< `<think>`
  TokenId end_token = -1;        ///< `</think>`
  std::vector<TokenId> closing;  ///< the forced tokens, including the end token

  /// Throws Error if reasoning would not be closed by it.
  void validate() const {
    if (max_tokens < 0) fail("a thinking budget of ", max_tokens, " tokens; give 0 or more");
    if (std::ranges::find(closing, end_token) == closing.end())
      fail("the closing tokens of a thinking budget lack the end token ", end_token);
  }

  /// A logits processor; `ids` [prompt, then answer].
  void operator()(std::span<const TokenId> ids, std::size_t prompt_tokens, std::span<float> scores) const {
    const auto answer = ids.subspan(prompt_tokens);
    const auto first = std::ranges::find_if(answer, [&](TokenId id) { return id == begin_token || id == end_token; });
    std::size_t start = 0;  // of the reasoning, in the answer
    if (!prompt_is_open(ids.first(prompt_tokens))) {
      if (first == answer.end() || *first != begin_token) return;
      start = static_cast<std::size_t>(first - answer.begin()) + 1;
    }
    const std::size_t limit = start + static_cast<std::size_t>(max_tokens);
    if (answer.size() < limit || answer.size() - limit >= closing.size()) return;
    if (std::ranges::find(answer.subspan(start, limit - start), end_token) !=
        answer.subspan(start, limit - start).end())
      return;
    const std::size_t forced = detail::score_index(closing[answer.size() - limit], scores, name);
    std::ranges::fill(scores, removed_score);
    scores[forced] = 0.0f;
  }

 private:
  bool prompt_is_open(std::span<const TokenId> prompt) const {
    for (std::size_t i = prompt.size(); i-- > 0;) {
      if (prompt[i] == end_token) return false;
      if (prompt[i] == begin_token) return true;
    }
    return false;
  }
};

/// At most `max_tokens` tokens of reasoning for GenerateOptions::thinking_budget; then `"\n</think>\n\n"` is forced, as
/// the Qwen3 format closes reasoning. `tokenizer` is a Tokenizer or anything with its token_to_id and encode. Throws
/// Error for one without `<think>` and `</think>`.
template <class Tokenizer>
ThinkingBudget thinking_budget(const Tokenizer& tokenizer, index_t max_tokens) {
  const auto token = [&](std::string_view text) {
    const std::optional<TokenId> id = tokenizer.token_to_id(text);
    if (!id) fail("the tokenizer has no token ", text, "; a thinking budget is for models that reason");
    return *id;
  };
  ThinkingBudget budget{
      .max_tokens = max_tokens, .begin_token = token("<think>"), .end_token = token("</think>"), .closing = {}};
  budget.closing = tokenizer.encode("\n</think>\n\n");
  budget.validate();
  return budget;
}

}  // namespace qwen3vl
