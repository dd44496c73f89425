/// Chat templates in Jinja: a compiled template, and rendering it. Made after jinja2 3.1 as transformers 5.24 sets it
/// up (`_compile_jinja_template`): blocks trimmed, an immutable sandbox, `{% generation %}`, `break` and `continue`,
/// transformers' `tojson`, `raise_exception` and `strftime_now`. What is not supported is an Error that names it: tags
/// that load other templates, integers beyond 64 bits, and filters for web pages.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/processing/jinja/interpreter.hpp"
#include "qwen3vl/processing/jinja/json.hpp"
#include "qwen3vl/processing/jinja/parser.hpp"
#include "qwen3vl/processing/jinja/scopes.hpp"

namespace qwen3vl::jinja {

/// What a template wrote.
struct Rendered {
  std::string text;
  /// First byte and end of each `{% generation %}` block: what the assistant says.
  std::vector<std::pair<std::size_t, std::size_t>> generations{};
};

/// A compiled template. May be rendered by several threads at once.
class Template {
 public:
  /// Throws Error for malformed source. `where` names it in errors, which look like "chat_template.jinja, line 3: ...".
  explicit Template(std::string source, std::string where = "template", const Limits& limits = {})
      : where_(std::move(where)), limits_(limits), source_(std::move(source)) {
    if (source_.size() > limits_.max_template_bytes)
      fail(where_, ": a template of ", source_.size(), " bytes; at most ", limits_.max_template_bytes,
           " are read (jinja::Limits::max_template_bytes)");
    try {
      root_ = Parser(Lexer(source_).tokens(), limits_).parse();
      Resolver resolver(find_filter, find_test);
      scope_ = resolver.resolve(*root_);
      names_ = resolver.names();
    } catch (const SyntaxError& error) {
      failed(error.line, error.what());
    }
  }

  const std::string& source() const { return source_; }
  const std::string& where() const { return where_; }

  /// Whether the template reads a variable of this name anywhere.
  bool reads(std::string_view name) const { return std::find(names_.begin(), names_.end(), name) != names_.end(); }

  /// Whether there is a `{% generation %}` block.
  bool has_generations() const {
    bool found = false;
    visit(*root_, [&](const Node& node) { found |= node.kind == Node::Kind::generation; });
    return found;
  }

  /// The text for these variables. Throws Error with the line on which something went wrong: what jinja2 would raise,
  /// the text of `raise_exception`, or the limit that was reached.
  Rendered render(const Variables& variables) const {
    Budget budget{limits_};
    const struct Current {
      Budget* before;
      ~Current() { current_budget = before; }
    } current{std::exchange(current_budget, &budget)};
    int line = 1;
    try {
      Interpreter interpreter(limits_, variables, names_);
      try {
        interpreter.run(*root_, scope_);
      } catch (const Failure&) {
        line = interpreter.line();
        throw;
      }
      return {interpreter.take(), interpreter.generations()};
    } catch (const Failure& error) {
      failed(line, error.what());
    }
  }

  /// The same for an object of variables.
  Rendered render(const nlohmann::ordered_json& variables) const {
    return render([&](std::string_view name, JsonValues& from_json) {
      const auto found = variables.find(name);
      return found == variables.end() ? Value() : from_json(*found);
    });
  }

  /// The template's own words: its text and the strings in its expressions, with zero bytes between them.
  std::string literal_text() const {
    std::string text;
    visit(*root_, [&](const Node& node) {
      if (node.value.is_text()) (text += node.value.text().string) += '\0';
    });
    return text;
  }

 private:
  /// What a template says may have any characters; an error is one line that does nothing to a terminal.
  [[noreturn]] void failed(int line, std::string_view what) const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const char c : what) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= ' ' && byte != 0x7F) {
        text += c;
      } else if (c == '\n') {
        text += "\\n";
      } else {
        text += concat("\\x", digits[byte >> 4], digits[byte & 15]);
      }
    }
    fail(where_, ", line ", line, ": ", text);
  }

  template <class F>
  static void visit(const Node& node, const F& f) {
    f(node);
    for_children(node, [&](const Node& child) { visit(child, f); });
  }

  std::string where_;
  Limits limits_;
  std::string source_;
  std::shared_ptr<Node> root_;
  Scope scope_;
  std::vector<std::string> names_;  // of variables
};

}  // namespace qwen3vl::jinja
