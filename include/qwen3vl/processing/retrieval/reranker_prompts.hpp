/// Prompts of Qwen3-VL-Reranker, as Qwen3VLReranker of QwenLM/Qwen3-VL-Embedding makes them
/// (src/models/qwen3_vl_reranker.py).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/inputs/reranker_tokens.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/retrieval/retrieval_content.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"

namespace qwen3vl {

/// A query and the documents whose scores are wanted.
struct RerankerInput {
  RetrievalItem query{};
  std::vector<RetrievalItem> documents{};
  std::optional<std::string> instruction{};  ///< what makes a document fit
  std::optional<double> fps{};               ///< of video files; not set or 0: that of RetrievalOptions
  std::optional<std::int64_t> max_frames{};  ///< likewise
};

namespace detail::retrieval {

/// Cuts prompts of more than `max_length` tokens before the last `tail`: plain tokens go, from the end on, special ones
/// stay (truncate_tokens_optimized). Throws Error if that would cut an image, whose token then is no special one.
inline void truncate(Prompts& prompts, index_t max_length, index_t tail, std::size_t first_document,
                     const Tokenizer& tokenizer, const Warn& warn) {
  constexpr index_t gone = -1;
  const auto document = [&](index_t b) {
    return concat("documents[", first_document + static_cast<std::size_t>(b), "]: ");
  };
  std::vector<index_t> place(static_cast<std::size_t>(prompts.tokens()));  // of each token in the shorter prompts
  std::vector<TokenId> ids;
  Segments rows;
  for (index_t b = 0; b < prompts.batch_size(); ++b) {
    const auto first = static_cast<std::size_t>(prompts.rows.offset(b)), before = ids.size();
    const std::span<const TokenId> all = prompts.row(b);
    const std::span<const TokenId> body = all.first(all.size() - std::min(all.size(), static_cast<std::size_t>(tail)));
    const auto is_special = [&](TokenId id) { return tokenizer.is_special(id); };
    const auto special = static_cast<index_t>(std::ranges::count_if(body, is_special));
    const bool cut = static_cast<index_t>(body.size()) > max_length;
    index_t plain = cut ? std::max<index_t>(0, max_length - special) : static_cast<index_t>(body.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool kept = i >= body.size() || (cut && is_special(all[i])) || plain-- > 0;
      place[first + i] = kept ? static_cast<index_t>(ids.size()) : gone;
      if (kept) ids.push_back(all[i]);
    }
    rows.append(static_cast<index_t>(ids.size() - before));
    if (cut && warn)
      warn(concat(document(b), "the prompt has ", all.size(), " tokens, of which ", ids.size() - before,
                  " are read (max_length)"));
  }
  for (MediaSpan& span : prompts.spans) {
    const index_t begin = place[static_cast<std::size_t>(span.begin)];
    for (index_t i = span.begin; i < span.end(); ++i)
      if (place[static_cast<std::size_t>(i)] == gone)
        fail(document(span.row), "max_length ", max_length,
             " would cut an image or a video; give a larger one, or fewer pixels");
    span.begin = begin;
  }
  prompts.ids = std::move(ids);
  prompts.rows = std::move(rows);
}

}  // namespace detail::retrieval

/// Makes prompts for ForReranker.
class RerankerProcessor {
 public:
  static constexpr std::string_view default_instruction =
      "Given a search query, retrieve relevant candidates that answer the query.";
  static constexpr index_t default_max_length = 10240;

  /// Throws Error for options out of range.
  explicit RerankerProcessor(Processor processor, RetrievalOptions options = {})
      : processor_(std::move(processor)), options_(std::move(options)) {
    detail::retrieval::check_options(options_);
  }

  const Processor& processor() const { return processor_; }

  /// The ids of "yes" and "no", for ForReranker. Throws Error if the vocabulary lacks one.
  RerankerTokens tokens() const {
    const auto token = [&](std::string_view answer) {
      const std::optional<TokenId> id = processor_.tokenizer().token_to_id(answer);
      if (!id)
        fail("the tokenizer has no token \"", answer, "\", whose row of the head a score needs: this is no reranker");
      return *id;
    };
    return {.yes = token("yes"), .no = token("no")};
  }

  /// The messages that ask whether document i meets the requirements of the query. Throws std::out_of_range.
  Conversation conversation(const RerankerInput& input, std::size_t i, const ProcessorOptions& options = {}) const {
    return placed(input, i, options).messages;
  }

  /// The prompts of documents [first, first + count), or of all from the first on. One of more than max_length tokens
  /// loses plain tokens from the end of the document on; special ones, and the last five, stay. `images` and `videos`
  /// are those of parts that name no file, in order.
  Prompts prompts(const RerankerInput& input, ProcessorOptions options = {},
                  const ChatTemplateOptions& chat = {.add_generation_prompt = true}, std::span<const Image> images = {},
                  std::span<Video> videos = {}, std::size_t first = 0, std::size_t count = std::size_t(-1)) const {
    std::vector<detail::retrieval::PlacedMessages> conversations;
    count = std::min(count, input.documents.size() - std::min(first, input.documents.size()));
    for (std::size_t i = first; i < first + count; ++i) conversations.push_back(placed(input, i, options));
    const index_t max_length = options.max_length.value_or(default_max_length);
    if (max_length < 1) fail("max_length is ", max_length, "; it must be at least 1");
    options.max_length.reset();
    options.truncation = false;
    const Warn warn = options.warn;
    Prompts prompts =
        detail::retrieval::prompts_of(processor_, conversations, std::move(options), chat, images, videos);
    detail::retrieval::truncate(prompts, max_length, 5, first, processor_.tokenizer(), warn);
    return prompts;
  }

 private:
  detail::retrieval::PlacedMessages placed(const RerankerInput& input, std::size_t i,
                                           const ProcessorOptions& options) const {
    std::string instruction = input.instruction.value_or("");
    if (instruction.empty()) instruction = options_.default_instruction.value_or(std::string(default_instruction));
    detail::retrieval::ContentWriter content{options_, options, input.fps, input.max_frames};
    content.words("<Instruct>: " + instruction);
    content.words("<Query>:");
    content.item(input.query, "query.");
    content.words("\n<Document>:");
    content.item(input.documents.at(i), concat("documents[", i, "]."));
    return std::move(content).with_system(
        "Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
        "answer can only be \"yes\" or \"no\".");
  }

  Processor processor_;
  RetrievalOptions options_;
};

}  // namespace qwen3vl
