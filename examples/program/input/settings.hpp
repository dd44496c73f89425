/// How a conversation becomes a prompt and is answered, and what requests say about it: for the program and the C API.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/generation/generate_types.hpp"
#include "qwen3vl/processing/chat/chat_template_options.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/chat/request_json.hpp"

namespace program {

using namespace qwen3vl;

/// How a conversation becomes a prompt, and how it is answered.
struct Settings {
  ChatTemplateOptions chat{.add_generation_prompt = true, .sanitize_control_tokens = true};
  GenerateOptions generate{};
  std::vector<std::string> stop{};  // texts that end the answer
  std::string own{};                // what a request says of this, as JSON: equal ones can be answered together
};

/// Whether to sample, where only other options say so: who sets an option of sampling wants it, and a temperature of 0
/// is greedy.
void choose_sampling(GenerateOptions& generate);

/// The names of what a request can say about generation.
const std::vector<std::string_view>& generation_names();

/// Puts what `json` says, by the names of generation_config.json, into `generate`.
void read_generation(const nlohmann::json& json, GenerateOptions& generate);

/// What a request says goes before what `settings` said.
void apply(ChatRequest request, Settings& settings);

/// Throws Error where a text has the mark of an image or video: it would be text to the model
/// (sanitize_control_tokens), and who wrote it by hand meant an image.
void refuse_placeholders(const Conversation& messages);

/// Throws Error if the chat template dropped the tools, or a message of somebody else than the assistant (whose
/// reasoning templates leave out on purpose): the answer would be to another question.
void require_in_prompt(const Conversation& messages, const ChatTemplateOptions& chat, const std::string& prompt);

}  // namespace program
