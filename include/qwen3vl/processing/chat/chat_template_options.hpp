/// Options of rendering a conversation.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

namespace qwen3vl {

/// What `continue_final_message` continues: nothing, the content (true), or the field of this name.
class FinalField {
 public:
  FinalField(bool content = false) : name_(content ? "content" : "") {}  // NOLINT: as in transformers
  FinalField(const char* name) : name_(name) {}                          // NOLINT
  FinalField(std::string name) : name_(std::move(name)) {}               // NOLINT
  explicit operator bool() const { return !name_.empty(); }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
};

/// Options of rendering a conversation; names as in transformers' `apply_chat_template`.
struct ChatTemplateOptions {
  /// End with the opening of an assistant's message, so that the model answers.
  bool add_generation_prompt = false;
  /// Leave the last message open, so that the model continues it: true, or the name of a field such as
  /// "reasoning_content". Excludes `add_generation_prompt`.
  FinalField continue_final_message{};
  /// The variable `add_vision_id`: the templates of Qwen3-VL then write "Picture 1: ", "Video 1: " and so on.
  bool add_vision_id = false;
  /// The variable `enable_thinking`, if set; templates without such a switch do not read it.
  std::optional<bool> enable_thinking{};
  /// A list of JSON schemas of functions that the model may call; null: none.
  nlohmann::ordered_json tools = nullptr;
  /// A list of objects for templates that know of documents.
  nlohmann::ordered_json documents = nullptr;
  /// More variables for the template, an object; they take precedence over special tokens and the switches above.
  nlohmann::ordered_json chat_template_kwargs = nullptr;
  /// The name of one of the checkpoint's templates, or the source of another one; empty: the checkpoint's default.
  std::string chat_template{};
  /// Control tokens in messages, tools, documents and variables become plain text; only the template can write them.
  bool sanitize_control_tokens = false;
  /// Tell which tokens of the prompt are of an assistant: those that the template writes in `{% generation %}` blocks.
  /// Excludes `continue_final_message` and `sanitize_control_tokens`.
  bool return_assistant_tokens_mask = false;
};

}  // namespace qwen3vl
