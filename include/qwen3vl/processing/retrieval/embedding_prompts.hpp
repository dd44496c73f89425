/// Prompts of Qwen3-VL-Embedding, as Qwen3VLEmbedder of QwenLM/Qwen3-VL-Embedding makes them
/// (src/models/qwen3_vl_embedding.py).
#pragma once

#include <utf8proc.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/utf8.hpp"
#include "qwen3vl/processing/jinja/python_text.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/retrieval/retrieval_content.hpp"

namespace qwen3vl {

/// One input, which becomes one embedding.
struct EmbeddingInput : RetrievalItem {
  std::optional<std::string> instruction{};  ///< what the embedding is for; a full stop is added where none ends it
  std::optional<double> fps{};               ///< of its video files; not set or 0: that of RetrievalOptions
  std::optional<std::int64_t> max_frames{};  ///< likewise
};

/// Makes prompts for ForEmbedding.
class EmbeddingProcessor {
 public:
  static constexpr std::string_view default_instruction = "Represent the user's input.";
  static constexpr index_t default_max_length = 8192;

  /// Throws Error for options out of range.
  explicit EmbeddingProcessor(Processor processor, RetrievalOptions options = {})
      : processor_(std::move(processor)), options_(std::move(options)) {
    detail::retrieval::check_options(options_);
  }

  const Processor& processor() const { return processor_; }

  /// An input as messages: the instruction as the system's, the input as the user's.
  Conversation conversation(const EmbeddingInput& input, const ProcessorOptions& options = {}) const {
    return placed(input, options, "").messages;
  }

  /// The prompts of inputs, of max_length tokens at most: what is longer loses its end, and is an Error where that
  /// would cut an image or a video. `images` and `videos` are those of parts that name no file, in order. Unlike the
  /// published code, which computes the embedding of "NULL" where a file cannot be read, that is an Error.
  Prompts prompts(std::span<const EmbeddingInput> inputs, ProcessorOptions options = {},
                  const ChatTemplateOptions& chat = {.add_generation_prompt = true}, std::span<const Image> images = {},
                  std::span<Video> videos = {}) const {
    std::vector<detail::retrieval::PlacedMessages> conversations;
    const auto name = [&](std::size_t i) { return inputs.size() > 1 ? concat("inputs[", i, "].") : std::string(); };
    for (std::size_t i = 0; i < inputs.size(); ++i) conversations.push_back(placed(inputs[i], options, name(i)));
    options.truncation = true;
    const index_t most = options.max_length.value_or(default_max_length);
    options.max_length = most;
    const Warn warn = options.warn;
    Prompts prompts =
        detail::retrieval::prompts_of(processor_, conversations, std::move(options), chat, images, videos);
    for (index_t b = 0; warn && b < prompts.batch_size(); ++b)
      if (prompts.rows.length(b) == most)
        warn(concat(name(static_cast<std::size_t>(b)), "text: the prompt has ", most,
                    " tokens (max_length); what is longer loses its end"));
    return prompts;
  }

 private:
  detail::retrieval::PlacedMessages placed(const EmbeddingInput& input, const ProcessorOptions& options,
                                           const std::string& place) const {
    std::string instruction = punctuated(input.instruction.value_or(""));
    if (instruction.empty()) instruction = options_.default_instruction.value_or(std::string(default_instruction));
    detail::retrieval::ContentWriter content{options_, options, input.fps, input.max_frames};
    content.item(input, place);
    return std::move(content).with_system(instruction);
  }

  /// An instruction without white space around it, with a full stop unless punctuation ends it.
  static std::string punctuated(std::string_view instruction) {
    const std::string valid = utf8::lossy(instruction);
    std::string words(jinja::python::strip(valid));
    if (words.empty()) return words;
    const utf8proc_category_t last = utf8proc_category(static_cast<utf8proc_int32_t>(utf8::decode_last(words)));
    if (last < UTF8PROC_CATEGORY_PC || last > UTF8PROC_CATEGORY_PO) words += '.';
    return words;
  }

  Processor processor_;
  RetrievalOptions options_;
};

}  // namespace qwen3vl
