/// From conversations, and from what --embed and --rerank read, to prompts: the library's processors, compiled once for
/// all programs and the C API. Of all that does not depend on a variant they take the longest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/warning.hpp"
#include "qwen3vl/inputs/prompts.hpp"
#include "qwen3vl/inputs/reranker_tokens.hpp"
#include "qwen3vl/io/image/image.hpp"
#include "qwen3vl/processing/chat/chat_template_options.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/chat/request_messages.hpp"
#include "qwen3vl/processing/processor_options.hpp"
#include "qwen3vl/processing/retrieval/retrieval_options.hpp"

namespace qwen3vl {
class CheckpointFiles;
class EmbeddingProcessor;
class Processor;
class RerankerProcessor;
class Tokenizer;
struct EmbeddingInput;
struct RerankerInput;
}  // namespace qwen3vl

namespace program {

using namespace qwen3vl;

/// Conversations as the model reads them, and the text of each prompt.
struct Prepared {
  Prompts prompts;
  std::vector<std::string> texts;
};

/// A checkpoint's Processor.
class Preparation {
 public:
  explicit Preparation(const CheckpointFiles& files, const Warn& warn);

  /// `images` are those of parts without a path. Throws Error where the chat template dropped something, if `all_in`.
  Prepared operator()(std::span<const Conversation> conversations, const ChatTemplateOptions& chat,
                      const ProcessorOptions& options, std::span<const Image> images = {}, bool all_in = true) const;
  /// Without special tokens.
  std::string decode(std::span<const TokenId> ids) const;
  const Tokenizer& tokenizer() const;
  /// The checkpoint's settings of videos.
  const VideoProcessorOptions& video_options() const;
  /// Tokens that an image, or the sampled frames of a video, become. Throws Error for extreme shapes.
  std::int64_t image_tokens(std::int64_t height, std::int64_t width, const ProcessorOptions& options) const;
  std::int64_t video_tokens(std::int64_t frames, std::int64_t height, std::int64_t width,
                            const ProcessorOptions& options) const;
  /// Throws Error for a wrong budget.
  void check(const ProcessorOptions& options) const;
  void save_pretrained(const std::filesystem::path& folder) const;

 private:
  std::shared_ptr<const Processor> processor_;
};

/// A checkpoint's EmbeddingProcessor.
class EmbeddingPreparation {
 public:
  EmbeddingPreparation(const CheckpointFiles& files, const RetrievalOptions& options, const Warn& warn);

  /// A line of JSON.
  struct Line {
    nlohmann::ordered_json id;
    std::shared_ptr<const EmbeddingInput> input;
  };
  Line read(std::string_view json, const RequestOptions& options) const;
  Prompts prompts(const Line& line, const ProcessorOptions& options) const;

 private:
  std::shared_ptr<const EmbeddingProcessor> processor_;
};

/// A checkpoint's RerankerProcessor.
class RerankerPreparation {
 public:
  RerankerPreparation(const CheckpointFiles& files, const RetrievalOptions& options, const Warn& warn);

  /// A line of JSON.
  struct Line {
    nlohmann::ordered_json id;
    std::size_t documents = 0;
    std::shared_ptr<const RerankerInput> input;
  };
  RerankerTokens tokens() const;
  Line read(std::string_view json, const RequestOptions& options) const;
  /// Of documents [first, first + count).
  Prompts prompts(const Line& line, const ProcessorOptions& options, std::size_t first, std::size_t count) const;

 private:
  std::shared_ptr<const RerankerProcessor> processor_;
};

}  // namespace program
