/// Which chat format a checkpoint wants, read from its Jinja chat template. The template is not run: both formats are
/// written natively (chat_format.hpp), and a template that would write anything else is an error, never a guess.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/fields.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/processing/chat/chat_format.hpp"
#include "qwen3vl/processing/chat/jinja_scan.hpp"

namespace qwen3vl {

/// A chat template's source and the file it comes from.
struct ChatTemplate {
  std::string source;
  std::string where;
};

namespace detail::chat_template {

constexpr std::size_t max_template_bytes = std::size_t{1} << 20;
constexpr std::string_view advice = "; give a ChatFormat to use one of the formats of Qwen3-VL all the same";

/// `chat_template` of the JSON file `where`: a string, or a list of {"name", "template"}, of which "default" is taken.
/// Nothing if it is null.
inline std::optional<ChatTemplate> from_json(const nlohmann::json& found, const std::string& where) {
  if (found.is_null()) return std::nullopt;
  if (found.is_string()) return ChatTemplate{found.get<std::string>(), where};
  if (!found.is_array()) fail(where, ": chat_template must be a string or a list of templates");
  for (const auto& entry : found) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") || !entry["name"].is_string() ||
        !entry["template"].is_string()) {
      fail(where, ": chat_template lists something else than {\"name\": ..., \"template\": ...}");
    }
    if (entry["name"] == "default" || found.size() == 1)
      return ChatTemplate{entry["template"].get<std::string>(), where};
  }
  fail(where, ": chat_template lists no template named \"default\"");
}

using Piece = jinja::Piece;

inline std::string_view keyword(const Piece& piece) {
  if (piece.kind != Piece::Kind::block) return {};
  const std::string_view body = piece.body;
  return body.substr(0, body.find_first_of(" \t\n\r("));
}

inline bool mentions(std::string_view expression, std::string_view name) {
  for (const auto& token : jinja::tokenize(expression)) {
    if (token.kind == jinja::Token::Kind::name && token.value == name) return true;
  }
  return false;
}

/// What the `if` block at `begin` writes when a generation prompt is asked for.
inline std::string generation_prompt(const std::vector<Piece>& pieces, std::size_t begin, jinja::Truth enable_thinking,
                                     std::string_view where) {
  using jinja::Truth;
  struct Level {
    bool reachable;  // the surrounding block is written
    bool decided;    // a branch was taken already
    bool active;     // the present branch is written
  };
  const auto lookup = [&](std::string_view name) -> std::optional<Truth> {
    if (name == "add_generation_prompt" || name == "true" || name == "True") return Truth::yes;
    if (name == "continue_final_message" || name == "false" || name == "False") return Truth::no;
    if (name == "enable_thinking") return enable_thinking;
    return std::nullopt;
  };
  const auto holds = [&](std::string_view text) {
    const auto value = jinja::Condition(text, lookup).value();
    if (!value) {
      fail(where, ": its generation prompt depends on \"", detail::shown(text, 100), "\", which is not understood",
           advice);
    }
    return *value;
  };
  std::vector<Level> levels;
  std::string out;
  for (std::size_t i = begin; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const bool active = levels.empty() || levels.back().active;
    const std::string_view word = keyword(piece);
    const std::string_view rest = std::string_view(piece.body).substr(word.size());
    if (word == "if") {
      const bool yes = active && holds(rest);
      levels.push_back({active, yes, yes});
    } else if (word == "elif") {
      Level& level = levels.back();
      level.active = level.reachable && !level.decided && holds(rest);
      level.decided |= level.active;
    } else if (word == "else") {
      Level& level = levels.back();
      level.active = level.reachable && !level.decided;
    } else if (word == "endif") {
      levels.pop_back();
      if (levels.empty()) return out;
    } else if (!word.empty()) {
      if (active)
        fail(where, ": its generation prompt uses {% ", detail::shown(word, 40), " %}, which is not understood",
             advice);
    } else if (active && piece.kind == Piece::Kind::text) {
      out += piece.body;
    } else if (active) {
      const auto words = jinja::constant(piece.body);
      if (!words) {
        fail(where, ": its generation prompt writes {{ ", detail::shown(piece.body, 100),
             " }}, which is not understood", advice);
      }
      out += *words;
    }
  }
  fail(where, ": {% if add_generation_prompt %} has no {% endif %}");
}

/// Every constant that the template may write: its texts, and the string constants in outputs and assignments.
inline std::vector<std::string> constants(const std::vector<Piece>& pieces) {
  std::vector<std::string> out;
  for (const Piece& piece : pieces) {
    if (piece.kind == Piece::Kind::text) {
      out.push_back(piece.body);
    } else if (piece.kind == Piece::Kind::output || keyword(piece) == "set") {
      for (auto& token : jinja::tokenize(piece.body)) {
        if (token.kind == jinja::Token::Kind::string) out.push_back(std::move(token.value));
      }
    }
  }
  return out;
}

/// Fails unless messages are framed and images marked as Qwen3-VL has it.
inline void check_markers(const std::vector<Piece>& pieces, std::string_view where) {
  const auto written = constants(pieces);
  for (const std::string_view marker : {std::string_view("<|im_start|>"), std::string_view("<|im_end|>"),
                                        std::string_view("<|vision_start|><|image_pad|><|vision_end|>")}) {
    bool found = false;
    for (const std::string& words : written) found |= words.find(marker) != std::string::npos;
    if (!found) fail(where, ": does not write ", marker, ", so it is no chat template of Qwen3-VL", advice);
  }
  for (const std::string& words : written) {
    // Qwen2-VL has a different system message; neither format here would write it.
    const std::size_t start = words.find("<|im_start|>");
    if (start != std::string::npos && words.find("<|im_end|>", start) != std::string::npos) {
      fail(where, ": writes a message of its own, which no format of Qwen3-VL has", advice);
    }
  }
}

}  // namespace detail::chat_template

/// Finds the format that `source` renders, from what it writes as the generation prompt: "<|im_start|>assistant\n"
/// (Instruct), the same with "<think>\n" (Thinking), or the latter only if `enable_thinking` is set (Instruct with a
/// switch). Throws Error, naming `where`, for a template that does anything else.
inline ChatFormat chat_format_of_template(std::string_view source, std::string_view where) {
  using namespace detail;
  if (source.size() > chat_template::max_template_bytes) {
    fail(where, ": a chat template of ", source.size(), " bytes; at most ", chat_template::max_template_bytes,
         " are read");
  }
  const auto pieces = jinja::split(source, where);
  chat_template::check_markers(pieces, where);
  constexpr std::string_view answer = "<|im_start|>assistant\n";
  constexpr std::string_view thought = "<|im_start|>assistant\n<think>\n";
  std::optional<ChatFormat> format;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (chat_template::keyword(pieces[i]) != "if" ||
        !chat_template::mentions(pieces[i].body, "add_generation_prompt")) {
      continue;
    }
    const auto prompt = [&](jinja::Truth enable_thinking) {
      return chat_template::generation_prompt(pieces, i, enable_thinking, where);
    };
    const std::string unset = prompt(jinja::Truth::undefined);
    const std::string on = prompt(jinja::Truth::yes);
    const std::string off = prompt(jinja::Truth::no);
    ChatFormat found;
    if (unset == answer && off == answer && (on == answer || on == thought)) {
      found = {.kind = ChatFormat::Kind::instruct, .has_thinking_switch = on == thought};
    } else if (unset == thought && off == thought && on == thought) {
      found = {.kind = ChatFormat::Kind::thinking};
    } else {
      fail(where, ": opens the assistant's message with ", python_json(unset.substr(0, 100)),
           ", which is neither the Instruct nor the Thinking format of Qwen3-VL", chat_template::advice);
    }
    if (format && *format != found) fail(where, ": has several different generation prompts", chat_template::advice);
    format = found;
  }
  if (!format) fail(where, ": writes no generation prompt (no {% if add_generation_prompt %})", chat_template::advice);
  return *format;
}

/// The chat template of a checkpoint folder: chat_template.jinja, else `chat_template` of chat_template.json, else of
/// tokenizer_config.json; nullopt if there is none. `of_tokenizer_config` is the value in the latter, if it has
/// been read already.
inline std::optional<ChatTemplate> read_chat_template(const std::filesystem::path& folder,
                                                      const nlohmann::json* of_tokenizer_config = nullptr) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path plain = folder / "chat_template.jinja";
  if (fs::exists(plain, ignored)) {
    return ChatTemplate{read_text_file(plain, detail::chat_template::max_template_bytes), plain.string()};
  }
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const fs::path path = folder / name;
    if (!fs::exists(path, ignored)) continue;
    nlohmann::json source;
    if (of_tokenizer_config != nullptr && path.filename() == "tokenizer_config.json") {
      source = *of_tokenizer_config;
    } else {
      const nlohmann::json json = read_json_file(path);
      if (const auto* const found = JsonFields(json, path.string()).find("chat_template")) source = *found;
    }
    if (auto found = detail::chat_template::from_json(source, path.string())) return found;
  }
  return std::nullopt;
}

/// The chat format of the checkpoint in `folder`. Throws Error if it has no template or not one of Qwen3-VL's.
inline ChatFormat chat_format_from_pretrained(const std::filesystem::path& folder,
                                              const nlohmann::json* of_tokenizer_config = nullptr) {
  const auto found = read_chat_template(folder, of_tokenizer_config);
  if (!found) {
    fail("no chat template in ", folder.string(), " (chat_template.jinja, chat_template.json, tokenizer_config.json)",
         detail::chat_template::advice);
  }
  return chat_format_of_template(found->source, found->where);
}

}  // namespace qwen3vl
