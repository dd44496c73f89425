/// The budget of reasoning in the words of a tokenizer.
#pragma once

#include <optional>
#include <string_view>

#include "qwen3vl/generation/thinking_budget.hpp"
#include "qwen3vl/processing/tokenizer.hpp"

namespace qwen3vl {

/// At most `max_tokens` tokens of reasoning for GenerateOptions::thinking_budget; then `"\n</think>\n\n"` is forced, as
/// the Qwen3 format closes reasoning. Throws Error for a tokenizer without `<think>` and `</think>`.
inline ThinkingBudget thinking_budget(const Tokenizer& tokenizer, index_t max_tokens) {
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
