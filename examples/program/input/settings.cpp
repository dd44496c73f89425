#include "program/input/settings.hpp"

#include <cstddef>
#include <utility>
#include <variant>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/config/generation_config_json.hpp"
#include "qwen3vl/processing/placeholders.hpp"

namespace program {

void choose_sampling(GenerateOptions& generate) {
  bool sampling = false;
  for_each_generation_option(
      [&](const GenerationOption& option, const auto& value) {
        sampling |= option.use == OptionUse::sampling && value.has_value();
      },
      generate);
  if (generate.temperature && *generate.temperature == 0.0f) {
    generate.do_sample = false;
    generate.temperature.reset();
  } else if (generate.do_sample) {
    return;
  } else if (sampling) {
    generate.do_sample = true;
  } else if (generate.num_beams.value_or(1) > 1 || generate.prompt_lookup_num_tokens.value_or(0) > 0) {
    // Both are searches for the likeliest; a checkpoint's sampling defaults are not asked for.
    generate.do_sample = false;
  }
}

const std::vector<std::string_view>& generation_names() {
  static const std::vector<std::string_view> names = [] {
    std::vector<std::string_view> all;
    GenerateOptions none;
    for_each_generation_option([&](const GenerationOption& option, const auto&) { all.push_back(option.name); }, none);
    return all;
  }();
  return names;
}

void read_generation(const nlohmann::json& json, GenerateOptions& generate) {
  GenerateOptions said;
  GenerationConfig config = generation_config_from_json(json, "request");
  for_each_generation_option(
      [&](const GenerationOption& option, const auto& value, auto& own) {
        if (!json.contains(option.name)) return;
        if (option.name.starts_with("output_") && json[option.name] == true)
          fail("request.", option.name, ": an answer has no place for it; the library's generate() gives it");
        own = value;
      },
      config, said);
  JsonFields(json, "request").read("seed", said.seed, at_least(0));
  choose_sampling(said);
  for_each_generation_option(
      [&](const GenerationOption&, const auto& value, auto& own) {
        if (value) own = value;
      },
      said, generate);
  if (said.do_sample == false) generate.temperature.reset();
}

void apply(ChatRequest request, Settings& settings) {
  nlohmann::ordered_json own;
  if (!request.tools.is_null()) {
    own["tools"] = request.tools;
    settings.chat.tools = std::move(request.tools);
  }
  if (request.continue_final_message) {
    own["continue_final_message"] = *request.continue_final_message;
    settings.chat.continue_final_message = *request.continue_final_message;
    if (*request.continue_final_message) settings.chat.add_generation_prompt = false;
  }
  if (request.add_generation_prompt) {
    own["add_generation_prompt"] = *request.add_generation_prompt;
    settings.chat.add_generation_prompt = *request.add_generation_prompt;
  }
  if (!request.chat_template_kwargs.is_null()) {
    own["chat_template_kwargs"] = request.chat_template_kwargs;
    settings.chat.chat_template_kwargs = std::move(request.chat_template_kwargs);
  }
  if (!request.generation.empty()) {
    own["generation"] = request.generation;
    read_generation(nlohmann::json(request.generation), settings.generate);
  }
  if (!request.stop.empty()) {
    own["stop"] = request.stop;
    settings.stop.insert(settings.stop.end(), request.stop.begin(), request.stop.end());
  }
  if (!own.is_null()) settings.own = own.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

void refuse_placeholders(const Conversation& messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto check = [&](std::string_view text) {
      for (const std::string_view mark : {image_placeholder, video_placeholder})
        if (text.find(mark) != std::string_view::npos)
          fail("messages[", i, "]: its text has ", mark, "; give images and videos as parts of the message");
    };
    if (const auto* const text = std::get_if<std::string>(&messages[i].content)) check(*text);
    if (const auto* const parts = std::get_if<std::vector<ContentPart>>(&messages[i].content))
      for (const ContentPart& part : *parts)
        if (part.text) check(*part.text);
  }
}

// The longest word of a text: what a template that writes the text leaves in it, however it trims and quotes.
static std::string_view longest_word(std::string_view text) {
  const auto in_word = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0;
  };
  std::string_view longest;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && in_word(text[end])) ++end;
    if (end - i > longest.size()) longest = text.substr(i, end - i);
    i = end + 1;
  }
  return longest;
}

void require_in_prompt(const Conversation& messages, const ChatTemplateOptions& chat, const std::string& prompt) {
  const auto require = [&](std::string_view text, const std::string& what) {
    if (prompt.find(longest_word(text)) == std::string::npos)
      fail(what, " not in the prompt: the checkpoint's chat template drops it");
  };
  if (chat.tools.is_array())
    for (std::size_t i = 0; i < chat.tools.size(); ++i)
      require(chat.tools[i]["function"]["name"].get<std::string>(), concat("tools[", i, "] is"));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    const std::string what = concat("messages[", i, "] (", detail::shown(message.role, 20), ") is");
    if (message.role == "assistant") continue;
    if (const auto* const text = std::get_if<std::string>(&message.content)) require(*text, what);
    if (const auto* const parts = std::get_if<std::vector<ContentPart>>(&message.content))
      for (const ContentPart& part : *parts)
        if (part.kind == ContentPart::Kind::text && part.text) require(*part.text, what);
  }
}

}  // namespace program
