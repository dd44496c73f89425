/// The chat template of a checkpoint: conversations to prompts (`apply_chat_template(..., tokenize=False)`).
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/io/checkpoint/checkpoint_files.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/chat_template_options.hpp"
#include "qwen3vl/processing/chat/control_tokens.hpp"
#include "qwen3vl/processing/chat/instruct_template.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/chat/template_message.hpp"
#include "qwen3vl/processing/jinja/template.hpp"

namespace qwen3vl {

/// A chat template, or several with names, and the special tokens that it may use. Copies are cheap.
class ChatTemplate {
 public:
  /// Longer files are refused.
  static constexpr std::size_t max_bytes = std::size_t{1} << 20;

  /// Throws Error, which begins with `where`, for a template with a fault in its syntax.
  explicit ChatTemplate(std::string source, std::string where = "the chat template") : where_(std::move(where)) {
    sources_.emplace("default", source);
    compiled_ = std::make_shared<jinja::Template>(std::move(source), where_);
  }

  /// The template of the released Instruct models.
  static ChatTemplate instruct() {
    return ChatTemplate(std::string(instruct_chat_template), "the built-in chat template");
  }

  /// The template of a checkpoint, where transformers finds it: `chat_template` of processor_config.json, else
  /// of chat_template.json, else chat_template.jinja with the named ones in additional_chat_templates/, else
  /// `chat_template` of tokenizer_config.json (`of_tokenizer_config`, if that has been read already), else instruct().
  static ChatTemplate from_pretrained(const CheckpointFiles& files,
                                      const nlohmann::json* of_tokenizer_config = nullptr) {
    namespace fs = std::filesystem;
    ChatTemplate found;
    std::error_code ignored;
    for (const char* name : {"processor_config.json", "chat_template.json"})
      if (const nlohmann::json* const json = files.json(name);
          json != nullptr && found.read(*json, files.place_of(name)))
        return found;
    const bool is_folder = files.gguf() == nullptr;
    const fs::path plain = files.path() / "chat_template.jinja", more = files.path() / "additional_chat_templates";
    if (is_folder && fs::exists(plain, ignored)) found.sources_["default"] = read_text_file(plain, max_bytes);
    if (is_folder && fs::is_directory(more, ignored)) {
      for (const auto& entry : fs::directory_iterator(more))
        if (entry.path().extension() == ".jinja")
          found.sources_[entry.path().stem().string()] = read_text_file(entry.path(), max_bytes);
    }
    if (!found.sources_.empty())
      return found.compile(fs::exists(plain, ignored) ? plain.string() : more.string()), found;
    const std::string name = "tokenizer_config.json";
    if (of_tokenizer_config != nullptr) {
      const nlohmann::json json = {{"chat_template", *of_tokenizer_config}};
      if (found.read(json, files.place_of(name))) return found;
    } else if (const nlohmann::json* const json = files.json(name);
               json != nullptr && found.read(*json, files.place_of(name))) {
      return found;
    }
    return instruct();
  }

  /// The variables `bos_token`, `eos_token` and so on, an object of strings.
  void set_special_tokens(nlohmann::ordered_json tokens) { special_tokens_ = std::move(tokens); }

  /// The source that `options` choose. Throws Error if there are several and none is the default.
  std::string source(const ChatTemplateOptions& options = {}) const { return chosen(options)->source(); }

  /// The template's own words, as jinja::Template has them.
  std::string literal_text(const ChatTemplateOptions& options = {}) const { return chosen(options)->literal_text(); }

  /// Whether the template has a `{% generation %}` block.
  bool marks_generations(const ChatTemplateOptions& options = {}) const { return chosen(options)->has_generations(); }

  /// Those of the variables `enable_thinking`, `add_vision_id` and `chat_template_kwargs` that are set in `options` and
  /// that the template does not read.
  std::vector<std::string> unread(const ChatTemplateOptions& options) const {
    std::vector<std::string> names;
    if (options.enable_thinking) names.emplace_back("enable_thinking");
    if (options.add_vision_id) names.emplace_back("add_vision_id");
    for (const auto& [name, value] : options.chat_template_kwargs.items())
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    if (names.empty()) return names;
    const auto compiled = chosen(options);
    std::erase_if(names, [&](const std::string& name) { return compiled->reads(name); });
    return names;
  }

  /// The prompt for `messages`. Where control tokens of users are marked (`control_tokens`, of
  /// sanitize_control_tokens), see control_tokens.hpp. Throws Error: an empty conversation, faults of the template with
  /// their line, and where `continue_final_message` finds nothing to continue.
  jinja::Rendered render(const Conversation& messages, const ChatTemplateOptions& options = {},
                         std::span<const std::string> control_tokens = {}) const {
    if (messages.empty()) fail("messages: the conversation is empty");
    if (options.continue_final_message && options.add_generation_prompt)
      fail(
          "add_generation_prompt starts a new message and continue_final_message continues the last one; set only one");
    if (options.return_assistant_tokens_mask && (options.continue_final_message || options.sanitize_control_tokens))
      fail("return_assistant_tokens_mask is not compatible with continue_final_message and sanitize_control_tokens");
    check_list(options.tools, "tools", "functions");
    check_list(options.documents, "documents", "documents");
    if (!options.chat_template_kwargs.is_null() && !options.chat_template_kwargs.is_object())
      fail("chat_template_kwargs: must be an object, is ", options.chat_template_kwargs.type_name());
    for (const char* taken : {"messages", "tools", "documents", "add_generation_prompt"})
      if (options.chat_template_kwargs.contains(taken))
        fail("chat_template_kwargs: ", taken, " is an option of its own");
    const auto compiled = chosen(options);

    std::optional<ControlTokens> marks;
    if (!control_tokens.empty()) marks.emplace(control_tokens);
    const jinja::JsonValues::Change mark = [&](const std::string& text) { return marks->marked(text); };
    const auto* const change = marks ? &mark : nullptr;
    std::optional<ContinuedMessage> continued;
    if (options.continue_final_message)
      continued.emplace(messages.back(), options.continue_final_message.name(), compiled->source(),
                        marks ? &*marks : nullptr);

    jinja::Rendered rendered = compiled->render([&](std::string_view name, jinja::JsonValues& from_json) {
      using jinja::Value;
      const auto given = [&](const nlohmann::ordered_json& json) { return from_json(json, change); };
      if (const auto named = options.chat_template_kwargs.find(name); named != options.chat_template_kwargs.end())
        return given(*named);
      if (name == "add_vision_id" && options.add_vision_id) return Value::boolean(true);
      if (name == "enable_thinking" && options.enable_thinking) return Value::boolean(*options.enable_thinking);
      if (const auto token = special_tokens_.find(name); token != special_tokens_.end()) return from_json(*token);
      if (name == "add_generation_prompt") return Value::boolean(options.add_generation_prompt);
      if (name == "tools") return given(options.tools);
      if (name == "documents") return given(options.documents);
      if (name != "messages") return Value();
      jinja::Values all;
      all.reserve(messages.size());
      for (const Message& message : messages) {
        nlohmann::ordered_json own;
        if (continued && &message == &messages.back()) {
          all.push_back(from_json(continued->json()));
        } else {
          all.push_back(given(template_message(message, own)));
        }
      }
      return Value::list(std::move(all));
    });
    if (continued) continued->cut(rendered.text);
    return rendered;
  }

 private:
  ChatTemplate() = default;

  /// `chat_template` of a JSON file: a string, or a list of {"name", "template"}. False if there is none.
  bool read(const nlohmann::json& json, const std::string& where) {
    const nlohmann::json* const found = JsonFields(json, where).find("chat_template");
    if (found == nullptr) return false;
    const auto add = [&](const std::string& name, const nlohmann::json& source) {
      if (!source.is_string()) fail(where, ": chat_template must be a string or a list of templates with names");
      sources_[name] = source.get<std::string>();
    };
    if (found->is_array()) {
      for (const auto& entry : *found) {
        if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") || !entry["name"].is_string())
          fail(where, ": chat_template lists something else than {\"name\": ..., \"template\": ...}");
        add(entry["name"].get<std::string>(), entry["template"]);
      }
    } else if (found->is_object()) {
      for (const auto& [name, source] : found->items()) add(name, source);
    } else {
      add("default", *found);
    }
    compile(where);
    return true;
  }

  void compile(const std::string& where) {
    where_ = where;
    const auto found = sources_.find("default");
    if (found != sources_.end()) compiled_ = std::make_shared<jinja::Template>(found->second, where_);
  }

  std::shared_ptr<const jinja::Template> chosen(const ChatTemplateOptions& options) const {
    if (!options.chat_template.empty()) {
      const auto named = sources_.find(options.chat_template);
      if (named == sources_.end()) return std::make_shared<jinja::Template>(options.chat_template, "chat_template");
      if (named->first != "default")
        return std::make_shared<jinja::Template>(named->second, concat(where_, " (", named->first, ")"));
    }
    if (compiled_ != nullptr) return compiled_;
    std::string names;
    for (const auto& [name, source] : sources_) names += (names.empty() ? "" : ", ") + name;
    fail(where_, ": several chat templates, and none is named \"default\"; choose one of ",
         names.empty() ? "none" : names, " (ChatTemplateOptions::chat_template)");
  }

  static void check_list(const nlohmann::ordered_json& list, const char* name, const char* what) {
    if (list.is_null()) return;
    if (!list.is_array()) fail(name, ": must be a list of ", what, ", is ", list.type_name());
    for (std::size_t i = 0; i < list.size(); ++i)
      if (!list[i].is_object()) fail(name, "[", i, "]: must be an object, is ", list[i].type_name());
  }

  std::string where_;
  std::map<std::string, std::string> sources_;
  std::shared_ptr<const jinja::Template> compiled_;
  nlohmann::ordered_json special_tokens_ = nlohmann::ordered_json::object();
};

}  // namespace qwen3vl
