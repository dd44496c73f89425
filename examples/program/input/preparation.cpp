#include "program/input/preparation.hpp"

#include <optional>
#include <utility>

#include "program/input/settings.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/retrieval/retrieval_json.hpp"

namespace program {
namespace {

Processor read_processor(const CheckpointFiles& files, const Warn& warn) {
  return Processor::from_pretrained(files, std::nullopt, warn);
}

constexpr auto retrieval_chat = [] {
  return ChatTemplateOptions{.add_generation_prompt = true, .sanitize_control_tokens = true};
};

}  // namespace

Preparation::Preparation(const CheckpointFiles& files, const Warn& warn)
    : processor_(std::make_shared<const Processor>(read_processor(files, warn))) {}

Prepared Preparation::operator()(std::span<const Conversation> conversations, const ChatTemplateOptions& chat,
                                 const ProcessorOptions& options, std::span<const Image> images, bool all_in) const {
  Prepared prepared{processor_->prompts(conversations, chat, options, images), {}};
  for (const Conversation& messages : conversations) {
    prepared.texts.push_back(processor_->render_chat_template(messages, chat));
    if (all_in) require_in_prompt(messages, chat, prepared.texts.back());
  }
  return prepared;
}

std::string Preparation::decode(std::span<const TokenId> ids) const {
  return processor_->decode(ids, {.skip_special_tokens = true});
}
const Tokenizer& Preparation::tokenizer() const { return processor_->tokenizer(); }
const VideoProcessorOptions& Preparation::video_options() const { return processor_->video_processor().options(); }
std::int64_t Preparation::image_tokens(std::int64_t height, std::int64_t width, const ProcessorOptions& options) const {
  const ImageSize size{height, width};
  return processor_->num_multimodal_tokens({&size, 1}, {}, options).num_image_tokens.front();
}
std::int64_t Preparation::video_tokens(std::int64_t frames, std::int64_t height, std::int64_t width,
                                       const ProcessorOptions& options) const {
  const VideoSize size{frames, height, width};
  return processor_->num_multimodal_tokens({}, {&size, 1}, options).num_video_tokens.front();
}
void Preparation::check(const ProcessorOptions& options) const { processor_->num_multimodal_tokens({}, {}, options); }
void Preparation::save_pretrained(const std::filesystem::path& folder) const { processor_->save_pretrained(folder); }

EmbeddingPreparation::EmbeddingPreparation(const CheckpointFiles& files, const RetrievalOptions& options,
                                           const Warn& warn)
    : processor_(std::make_shared<const EmbeddingProcessor>(read_processor(files, warn), options)) {}
EmbeddingPreparation::Line EmbeddingPreparation::read(std::string_view json, const RequestOptions& options) const {
  EmbeddingRow row = embedding_row_from_json(json, options);
  return {std::move(row.id), std::make_shared<const EmbeddingInput>(std::move(row.input))};
}
Prompts EmbeddingPreparation::prompts(const Line& line, const ProcessorOptions& options) const {
  return processor_->prompts({line.input.get(), 1}, options, retrieval_chat());
}

RerankerPreparation::RerankerPreparation(const CheckpointFiles& files, const RetrievalOptions& options,
                                         const Warn& warn)
    : processor_(std::make_shared<const RerankerProcessor>(read_processor(files, warn), options)) {}
RerankerTokens RerankerPreparation::tokens() const { return processor_->tokens(); }
RerankerPreparation::Line RerankerPreparation::read(std::string_view json, const RequestOptions& options) const {
  RerankerRow row = reranker_row_from_json(json, options);
  const std::size_t documents = row.input.documents.size();
  return {std::move(row.id), documents, std::make_shared<const RerankerInput>(std::move(row.input))};
}
Prompts RerankerPreparation::prompts(const Line& line, const ProcessorOptions& options, std::size_t first,
                                     std::size_t count) const {
  return processor_->prompts(*line.input, options, retrieval_chat(), {}, {}, first, count);
}

}  // namespace program
