/// The chat template of a checkpoint: conversations to prompts (`apply_chat_template(..., tokenize=False)`).
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/control_tokens.hpp"
#include "qwen3vl/processing/chat/instruct_template.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/jinja/template.hpp"

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
};

/// A chat template, or several with names, and the special tokens that it may use. Copies are cheap.
class ChatTemplate {
 public:
  /// Longer files are refused.
  static constexpr std::size_t max_bytes = std::size_t{1} << 20;

  /// Throws Error, which begins with `where`, for a template with a fault in its syntax.
  explicit ChatTemplate(std::string source, std::string where = "the chat template") : where_(std::move(where)) {
    sources_.emplace("default", source);
    compiled_.emplace(std::move(source), where_);
  }

  /// The template of the released Instruct models.
  static ChatTemplate instruct() {
    return ChatTemplate(std::string(instruct_chat_template), "the built-in chat template");
  }

  /// The template of a checkpoint folder, where transformers finds it: `chat_template` of processor_config.json, else
  /// of chat_template.json, else chat_template.jinja with the named ones in additional_chat_templates/, else
  /// `chat_template` of tokenizer_config.json (`of_tokenizer_config`, if that has been read already), else instruct().
  static ChatTemplate from_pretrained(const std::filesystem::path& folder,
                                      const nlohmann::json* of_tokenizer_config = nullptr) {
    namespace fs = std::filesystem;
    ChatTemplate found;
    std::error_code ignored;
    for (const char* name : {"processor_config.json", "chat_template.json"}) {
      const fs::path path = folder / name;
      if (!fs::exists(path, ignored)) continue;
      const nlohmann::json json = read_json_file(path);
      if (found.read(json, path.string())) return found;
    }
    const fs::path plain = folder / "chat_template.jinja", more = folder / "additional_chat_templates";
    if (fs::exists(plain, ignored)) found.sources_["default"] = read_text_file(plain, max_bytes);
    if (fs::is_directory(more, ignored)) {
      for (const auto& entry : fs::directory_iterator(more))
        if (entry.path().extension() == ".jinja")
          found.sources_[entry.path().stem().string()] = read_text_file(entry.path(), max_bytes);
    }
    if (!found.sources_.empty())
      return found.compile(fs::exists(plain, ignored) ? plain.string() : more.string()), found;
    const fs::path path = folder / "tokenizer_config.json";
    if (of_tokenizer_config != nullptr) {
      const nlohmann::json json = {{"chat_template", *of_tokenizer_config}};
      if (found.read(json, path.string())) return found;
    } else if (fs::exists(path, ignored) && found.read(read_json_file(path), path.string())) {
      return found;
    }
    return instruct();
  }

  /// The variables `bos_token`, `eos_token` and so on, an object of strings.
  void set_special_tokens(nlohmann::ordered_json tokens) { special_tokens_ = std::move(tokens); }

  /// The source that `options` choose. Throws Error if there are several and none is the default.
  std::string source(const ChatTemplateOptions& options = {}) const { return chosen(options).source(); }

  /// The prompt for `messages`. Where control tokens of users are marked (`control_tokens`, of
  /// sanitize_control_tokens), see control_tokens.hpp. Throws Error: an empty conversation, faults of the template with
  /// their line, and where `continue_final_message` finds nothing to continue.
  jinja::Rendered render(const Conversation& messages, const ChatTemplateOptions& options = {},
                         std::span<const std::string> control_tokens = {}) const {
    using Json = nlohmann::ordered_json;
    if (messages.empty()) fail("messages: the conversation is empty");
    if (options.continue_final_message && options.add_generation_prompt)
      fail(
          "add_generation_prompt starts a new message and continue_final_message continues the last one; set only one");
    check_list(options.tools, "tools", "functions");
    check_list(options.documents, "documents", "documents");
    std::optional<jinja::Template> other;
    if (!compiled_ || !options.chat_template.empty()) other = chosen(options);
    const jinja::Template& compiled = other ? *other : *compiled_;
    Json variables = Json::object();
    Json chat = template_messages(messages);
    variables["tools"] = options.tools;
    variables["documents"] = options.documents;
    Json named = Json::object();
    if (options.add_vision_id) named["add_vision_id"] = true;
    if (options.enable_thinking) named["enable_thinking"] = *options.enable_thinking;
    if (!options.chat_template_kwargs.is_null() && !options.chat_template_kwargs.is_object())
      fail("chat_template_kwargs: must be an object, is ", options.chat_template_kwargs.type_name());
    for (const auto& [name, value] : options.chat_template_kwargs.items()) named[name] = value;
    for (const char* taken : {"messages", "tools", "documents", "add_generation_prompt"})
      if (named.contains(taken)) fail("chat_template_kwargs: ", taken, " is an option of its own");
    if (!control_tokens.empty()) {
      const ControlTokens marks(control_tokens);
      for (Json* json : {&chat, &variables, &named}) marks.mark(*json);
    }
    alias_reasoning(chat);
    std::string begun;
    if (options.continue_final_message)
      begun = open_final_message(chat, options.continue_final_message, compiled.source());
    variables["messages"] = std::move(chat);
    variables["add_generation_prompt"] = options.add_generation_prompt;
    for (const auto& [name, value] : special_tokens_.items()) variables[name] = value;
    for (const auto& [name, value] : named.items()) variables[name] = value;
    jinja::Rendered rendered = compiled.render(variables);
    if (options.continue_final_message) cut_final_message(rendered.text, begun);
    return rendered;
  }

  /// The messages as the template sees them: as they were given, without keys that are null; a part {"type":
  /// "image_url", "image_url": {"url": ...}} is {"type": "image", "url": ...}.
  static nlohmann::ordered_json template_messages(const Conversation& messages) {
    nlohmann::ordered_json chat = messages_to_json(messages);
    for (auto& message : chat) {
      if (std::any_of(message.begin(), message.end(), [](const auto& value) { return value.is_null(); })) {
        nlohmann::ordered_json given = nlohmann::ordered_json::object();
        for (auto& [key, value] : message.items())
          if (!value.is_null()) given.push_back({key, std::move(value)});
        message = std::move(given);
      }
      const auto content = message.find("content");
      if (content == message.end() || !content->is_array()) continue;
      for (auto& part : *content) {
        if (!part.is_object() || !part.contains("image_url") ||
            part.value("type", nlohmann::ordered_json()) != "image_url")
          continue;
        nlohmann::ordered_json url = part["image_url"];
        if (url.is_object()) url = url.value("url", "");
        part = {{"type", "image"}, {"url", std::move(url)}};
      }
    }
    return chat;
  }

 private:
  static constexpr const char* reasoning_names[] = {"reasoning_content", "thinking", "reasoning"};
  static constexpr std::string_view mark = "CONTINUE_FINAL_MESSAGE_TAG ";

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
    if (found != sources_.end()) compiled_.emplace(found->second, where_);
  }

  jinja::Template chosen(const ChatTemplateOptions& options) const {
    if (!options.chat_template.empty()) {
      const auto named = sources_.find(options.chat_template);
      if (named == sources_.end()) return jinja::Template(options.chat_template, "chat_template");
      if (named->first != "default") return jinja::Template(named->second, concat(where_, " (", named->first, ")"));
    }
    if (compiled_) return *compiled_;
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

  /// Servers disagree on the name of the reasoning. A template sees what was given, and the two names that templates
  /// read.
  static void alias_reasoning(nlohmann::ordered_json& chat) {
    for (auto& message : chat) {
      const auto given = std::find_if(std::begin(reasoning_names), std::end(reasoning_names),
                                      [&](const char* name) { return message.contains(name); });
      if (given == std::end(reasoning_names)) continue;
      const nlohmann::ordered_json reasoning = message[*given];
      nlohmann::ordered_json named = {{"thinking", reasoning}};
      for (const auto& [key, value] : message.items()) named[key] = value;
      named["reasoning_content"] = reasoning;
      message = std::move(named);
    }
  }

  /// Marks the end of the text to continue, because the template decides where that goes and may move or drop it.
  /// Returns the text.
  static std::string open_final_message(nlohmann::ordered_json& chat, const FinalField& field,
                                        const std::string& source) {
    const std::string& name = field.name();
    nlohmann::ordered_json& last = chat.back();
    const auto given = last.find(name);
    if (given == last.end())
      fail("continue_final_message is set but the final message has no \"", name, "\" to continue!");
    const nlohmann::ordered_json final_value = *given;
    std::vector<std::string> names = {name};
    if (std::find(std::begin(reasoning_names), std::end(reasoning_names), name) != std::end(reasoning_names)) {
      names.clear();
      for (const char* alias : reasoning_names)
        if (last.contains(alias) && last[alias] == final_value) names.emplace_back(alias);
    }
    if (std::none_of(names.begin(), names.end(),
                     [&](const auto& each) { return source.find(each) != std::string::npos; }))
      fail("continue_final_message is set to \"", name, "\" but this is not an accepted field in the chat_template");
    if (final_value.is_array()) {
      for (auto part = given->rbegin(); part != given->rend(); ++part) {
        if (!part->is_object() || !part->contains("text") || !(*part)["text"].is_string()) continue;
        std::string begun = (*part)["text"].get<std::string>();
        (*part)["text"] = begun + std::string(mark);
        return begun;
      }
      fail("continue_final_message is set but we could not find any text to continue in the final message!");
    }
    if (!final_value.is_string())
      fail("continue_final_message is set, but \"", name, "\" of the final message is ", final_value.type_name());
    std::string begun = final_value.get<std::string>();
    for (const std::string& each : names) last[each] = begun + std::string(mark);
    return begun;
  }

  static void cut_final_message(std::string& text, const std::string& begun) {
    namespace python = jinja::python;
    const std::string_view stripped = python::strip(mark);
    const std::size_t at = text.rfind(stripped);
    if (at == std::string::npos || text.find(python::strip(begun)) == std::string::npos)
      fail(
          "continue_final_message is set but the final message does not appear in the chat after applying the chat "
          "template: it deletes or changes portions of the final message");
    const bool spacing_kept = std::string_view(text).substr(at).starts_with(mark);
    text.resize(at);
    if (!spacing_kept) text.resize(python::strip(text, false, true).size());
  }

  std::string where_;
  std::map<std::string, std::string> sources_;
  std::optional<jinja::Template> compiled_;
  nlohmann::ordered_json special_tokens_ = nlohmann::ordered_json::object();
};

}  // namespace qwen3vl
