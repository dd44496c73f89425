/// Token healing (GenerationMixin.heal_tokens of transformers): the last token of a prompt may be the beginning of a
/// longer one that the model would rather say.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/generation/answers.hpp"
#include "qwen3vl/inputs/prompts.hpp"

namespace qwen3vl::detail {

/// Replaces the last token of each prompt by the one that the model chooses in its place, with the checkpoint's
/// generation_config, among those whose text begins with it; the token itself is slightly preferred. The prompt before
/// it stays as it is, where the reference decodes it without special tokens, strips it and encodes it again. Throws
/// Error without a tokenizer, and for prompts with images and videos, which the reference cannot heal.
template <class Model>
void heal_tokens(Model& model, PromptTokens& tokens, const Media& media, const GenerateOptions& options) {
  if (!options.tokenizer)
    fail("token_healing needs the tokenizer; give GenerateOptions::tokenizer, such as processor.tokenizer()");
  if (!media.no_media()) fail("token_healing is for prompts of text; leave it out with images and videos");
  for (index_t b = 0; b < tokens.batch_size(); ++b) {
    const auto row = tokens.row(b);
    if (row.size() < 2) continue;
    const TokenId tail = row.back();
    const std::string_view text = options.tokenizer(tail);
    std::vector<SequenceBias> longer;
    for (TokenId id = 0; id < Model::vocab_size && !text.empty(); ++id)
      if (options.tokenizer(id).starts_with(text)) longer.push_back({{id}, id == tail ? 11.0f : 10.0f});
    if (longer.size() < 2) continue;
    Prompts trimmed;
    trimmed.ids.assign(row.begin(), row.end() - 1);
    trimmed.rows.append(static_cast<index_t>(trimmed.ids.size()));
    const GenerateOutput output = generate(model, trimmed,
                                           GenerateOptions{.max_new_tokens = 1,
                                                           .num_return_sequences = 1,
                                                           .sequence_bias = std::move(longer),
                                                           .token_healing = false,
                                                           .tokenizer = options.tokenizer,
                                                           .prefill_chunk = options.prefill_chunk});
    tokens.ids[static_cast<std::size_t>(tokens.rows.offset(b + 1)) - 1] = output.new_tokens.front().front();
  }
}

}  // namespace qwen3vl::detail
