/// Tokens to a syntax tree, with the grammar and the errors of jinja2's parser.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/processing/jinja/ast.hpp"
#include "qwen3vl/processing/jinja/lexer.hpp"

namespace qwen3vl::jinja {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const Limits& limits) : tokens_(std::move(tokens)), limits_(limits) {}

  NodePtr parse() {
    NodePtr root = body({});
    return root;
  }

 private:
  using Kind = Node::Kind;
  using Token_ = Token::Kind;

  // ---- tokens

  const Token& now() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token next() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool is(Token_ kind) const { return now().kind == kind; }
  static bool is(const Token& token, Token_ kind, std::string_view value) {
    return token.kind == kind && token.value == value;
  }
  bool is_op(std::string_view value) const { return is(now(), Token_::op, value); }
  bool is_name(std::string_view value) const { return is(now(), Token_::name, value); }
  bool skip_op(std::string_view value) { return is_op(value) && (next(), true); }
  bool skip_name(std::string_view value) { return is_name(value) && (next(), true); }

  static std::string described(Token_ kind) {
    switch (kind) {
      case Token_::data:
        return "template data / text";
      case Token_::block_begin:
        return "begin of statement block";
      case Token_::block_end:
        return "end of statement block";
      case Token_::variable_begin:
        return "begin of print statement";
      case Token_::variable_end:
        return "end of print statement";
      case Token_::name:
        return "name";
      case Token_::text:
        return "string";
      case Token_::integer:
        return "integer";
      case Token_::number:
        return "float";
      default:
        return "end of template";
    }
  }
  static std::string described(const Token& token) {
    return token.kind == Token_::name || token.kind == Token_::op ? token.value : described(token.kind);
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    if (is(Token_::end)) syntax_error(now().line, "unexpected end of template, expected '", wanted, "'.");
    syntax_error(now().line, "expected token '", wanted, "', got '", described(now()), "'");
  }
  Token expect(Token_ kind) {
    if (!is(kind)) unexpected(described(kind));
    return next();
  }
  Token expect_op(std::string_view value) {
    if (!is_op(value)) unexpected(value);
    return next();
  }
  Token expect_name(std::string_view value) {
    if (!is_name(value)) unexpected(value);
    return next();
  }

  // ---- nodes

  /// One level of the recursion of this parser.
  struct Level {
    Parser& parser;
    explicit Level(Parser& of) : parser(of) {
      if (++parser.depth_ > parser.limits_.max_nesting) parser.too_deep(parser.now().line);
    }
    ~Level() { --parser.depth_; }
  };
  [[noreturn]] void too_deep(int line) const {
    syntax_error(line, "nested deeper than ", limits_.max_nesting, " (jinja::Limits::max_nesting)");
  }

  NodePtr make(Kind kind, int line) { return std::make_unique<Node>(kind, line); }
  /// A chain such as a + b + c is a deep tree without being nested in the source.
  void add(Node& node, NodePtr child) {
    if (child) node.depth = std::max(node.depth, child->depth + 1);
    if (node.depth > 2 * limits_.max_nesting) too_deep(node.line);
    node.items.push_back(std::move(child));
  }
  template <class... Children>
  NodePtr make(Kind kind, int line, Children... children) {
    NodePtr node = std::make_unique<Node>(kind, line);
    (add(*node, std::move(children)), ...);
    return node;
  }
  NodePtr constant(Value value, int line) {
    NodePtr node = make(Kind::constant, line);
    node->value = std::move(value);
    return node;
  }

  // ---- statements

  using Names = std::vector<std::string>;

  /// Statements up to one of the tags `ends`, which is then the present token; without any, up to the end.
  NodePtr body(const Names& ends) {
    const Level level(*this);
    NodePtr block = make(Kind::block, now().line);
    if (!ends.empty()) waiting_.push_back(ends);
    while (true) {
      if (is(Token_::end)) {
        if (!ends.empty()) unknown_tag(nullptr);
        break;
      }
      const Token token = next();
      if (token.kind == Token_::data) {
        NodePtr data = make(Kind::data, token.line);
        data->value = Value::text(token.value);
        add(*block, std::move(data));
      } else if (token.kind == Token_::variable_begin) {
        add(*block, make(Kind::output, token.line, tuple()));
        expect(Token_::variable_end);
      } else {
        if (is(Token_::name) && std::find(ends.begin(), ends.end(), now().value) != ends.end()) break;
        add(*block, statement());
        expect(Token_::block_end);
      }
    }
    if (!ends.empty()) waiting_.pop_back();
    return block;
  }

  /// The statements of a tag that ends here, up to one of `ends`. With `skips_end` the name of that one goes too.
  NodePtr statements(const Names& ends, bool skips_end = false) {
    skip_op(":");
    expect(Token_::block_end);
    NodePtr block = body(ends);
    if (skips_end) next();
    return block;
  }

  [[noreturn]] void unknown_tag(const Token* tag) const {
    std::string message =
        tag == nullptr ? "Unexpected end of template." : "Encountered unknown tag '" + tag->value + "'.";
    if (!waiting_.empty()) {
      message += " Jinja was looking for the following tags: ";
      for (const std::string& name : waiting_.back())
        message += (&name == &waiting_.back().front() ? "'" : " or '") + name + "'";
      message += ".";
    }
    if (!tags_.empty()) message += " The innermost block that needs to be closed is '" + tags_.back() + "'.";
    throw SyntaxError(tag == nullptr ? now().line : tag->line, message);
  }

  NodePtr statement() {
    if (!is(Token_::name)) syntax_error(now().line, "tag name expected");
    const Token tag = now();
    static constexpr std::string_view unsupported[] = {"block", "extends", "include", "import", "from", "autoescape"};
    if (std::find(std::begin(unsupported), std::end(unsupported), tag.value) != std::end(unsupported))
      syntax_error(tag.line, "the tag '", tag.value, "' is not supported in chat templates");
    using Rule = NodePtr (Parser::*)(int);
    static constexpr std::pair<std::string_view, Rule> rules[] = {{"for", &Parser::for_tag},
                                                                  {"if", &Parser::if_tag},
                                                                  {"set", &Parser::set_tag},
                                                                  {"macro", &Parser::macro_tag},
                                                                  {"call", &Parser::call_tag},
                                                                  {"filter", &Parser::filter_tag},
                                                                  {"with", &Parser::with_tag},
                                                                  {"print", &Parser::print_tag},
                                                                  {"generation", &Parser::generation_tag},
                                                                  {"break", &Parser::loop_control},
                                                                  {"continue", &Parser::loop_control}};
    for (const auto& [name, rule] : rules) {
      if (tag.value != name) continue;
      tags_.push_back(tag.value);
      if (rule != &Parser::loop_control) next();
      NodePtr node = (this->*rule)(tag.line);
      tags_.pop_back();
      return node;
    }
    unknown_tag(&tag);
  }

  NodePtr loop_control(int line) {
    return make(next().value == "break" ? Kind::break_loop : Kind::continue_loop, line);
  }

  NodePtr set_tag(int line) {
    NodePtr target = assign_target(true);
    if (skip_op("=")) return make(Kind::set, line, std::move(target), tuple());
    NodePtr filtered = filters(nullptr, false);
    NodePtr block = statements({"endset"}, true);
    return make(Kind::set_block, line, std::move(target), std::move(block), std::move(filtered));
  }

  NodePtr for_tag(int line) {
    NodePtr target = assign_target(false);
    expect_name("in");
    NodePtr iterable = tuple(false);
    NodePtr test = skip_name("if") ? expression() : nullptr;
    const bool recursive = skip_name("recursive");
    NodePtr block = statements({"endfor", "else"});
    NodePtr otherwise = next().value == "endfor" ? nullptr : statements({"endfor"}, true);
    NodePtr node = make(Kind::for_block, line, std::move(target), std::move(iterable), std::move(test),
                        std::move(block), std::move(otherwise));
    node->recursive = recursive;
    return node;
  }

  NodePtr if_tag(int line) {
    NodePtr node = make(Kind::if_block, line);
    while (true) {
      add(*node, tuple(false));
      add(*node, statements({"elif", "else", "endif"}));
      const std::string word = next().value;
      if (word == "elif") continue;
      if (word == "else") add(*node, statements({"endif"}, true));
      return node;
    }
  }

  void signature(Node& node) {
    expect_op("(");
    while (!is_op(")")) {
      if (!node.names.empty()) expect_op(",");
      node.names.push_back(plain_name());
      if (skip_op("=")) {
        add(node, expression());
      } else if (!node.items.empty()) {
        syntax_error(now().line, "non-default argument follows default argument");
      }
    }
    expect_op(")");
  }

  std::string plain_name() {
    const Token token = expect(Token_::name);
    if (is_literal(token.value)) syntax_error(token.line, "can't assign to 'name'");
    return token.value;
  }
  static bool is_literal(std::string_view name) {
    return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None";
  }

  NodePtr macro_tag(int line) {
    NodePtr node = make(Kind::macro, line);
    node->name = plain_name();
    signature(*node);
    add(*node, statements({"endmacro"}, true));
    return node;
  }

  NodePtr call_tag(int line) {
    NodePtr node = make(Kind::call_block, line);
    if (is_op("(")) signature(*node);
    NodePtr call = expression();
    if (call->kind != Kind::call) syntax_error(line, "expected call");
    add(*node, statements({"endcall"}, true));
    add(*node, std::move(call));
    return node;
  }

  NodePtr filter_tag(int line) {
    NodePtr filtered = filters(nullptr, true);
    NodePtr block = statements({"endfilter"}, true);
    return make(Kind::filter_block, line, std::move(block), std::move(filtered));
  }

  NodePtr with_tag(int line) {
    NodePtr node = make(Kind::with_block, line);
    while (!is(Token_::block_end)) {
      if (!node->items.empty()) expect_op(",");
      add(*node, assign_target(false));
      expect_op("=");
      add(*node, expression());
    }
    add(*node, statements({"endwith"}, true));
    return node;
  }

  NodePtr print_tag(int line) {
    NodePtr block = make(Kind::block, line);
    while (!is(Token_::block_end)) {
      if (!block->items.empty()) expect_op(",");
      add(*block, make(Kind::output, line, expression()));
    }
    return block;
  }

  NodePtr generation_tag(int line) { return make(Kind::generation, line, statements({"endgeneration"}, true)); }

  NodePtr assign_target(bool with_namespace) {
    NodePtr target = tuple(true, false, true, with_namespace);
    check_target(*target);
    return target;
  }
  void check_target(const Node& target) const {
    if (target.kind == Kind::name || target.kind == Kind::namespace_attribute) return;
    if (target.kind != Kind::tuple) syntax_error(target.line, "can't assign to an expression");
    for (const NodePtr& item : target.items) check_target(*item);
  }

  // ---- expressions

  /// Perhaps several with commas between them. `simplified`: names and literals only.
  NodePtr tuple(bool with_condition = true, bool in_parentheses = false, bool simplified = false,
                bool with_namespace = false) {
    int line = now().line;
    Nodes found;
    bool is_tuple = false;
    while (true) {
      if (!found.empty()) expect_op(",");
      if (is(Token_::variable_end) || is(Token_::block_end) || is_op(")")) break;
      found.push_back(simplified ? primary(with_namespace) : with_condition ? expression() : logical_or());
      if (!is_op(",")) break;
      is_tuple = true;
      line = now().line;
    }
    if (!is_tuple && !found.empty()) return std::move(found.front());
    if (!is_tuple && !in_parentheses) syntax_error(now().line, "Expected an expression, got '", described(now()), "'");
    NodePtr node = make(Kind::tuple, line);
    for (NodePtr& item : found) add(*node, std::move(item));
    return node;
  }

  NodePtr expression() {
    const Level level(*this);
    int line = now().line;
    NodePtr node = logical_or();
    while (skip_name("if")) {
      NodePtr test = logical_or();
      NodePtr otherwise = skip_name("else") ? expression() : nullptr;
      node = make(Kind::condition, line, std::move(test), std::move(node), std::move(otherwise));
      line = now().line;
    }
    return node;
  }

  NodePtr logical_or() {
    int line = now().line;
    NodePtr node = logical_and();
    while (skip_name("or")) {
      node = make(Kind::logical_or, line, std::move(node), logical_and());
      line = now().line;
    }
    return node;
  }

  NodePtr logical_and() {
    int line = now().line;
    NodePtr node = logical_not();
    while (skip_name("and")) {
      node = make(Kind::logical_and, line, std::move(node), logical_not());
      line = now().line;
    }
    return node;
  }

  NodePtr logical_not() {
    if (!is_name("not")) return compare();
    const Level level(*this);
    const int line = next().line;
    return make(Kind::logical_not, line, logical_not());
  }

  NodePtr compare() {
    const int line = now().line;
    NodePtr first = sum();
    NodePtr node;
    while (true) {
      std::string op;
      static constexpr std::string_view operators[] = {"==", "!=", "<", "<=", ">", ">="};
      if (is(Token_::op) && std::find(std::begin(operators), std::end(operators), now().value) != std::end(operators)) {
        op = next().value;
      } else if (skip_name("in")) {
        op = "in";
      } else if (is_name("not") && is(look(), Token_::name, "in")) {
        next(), next();
        op = "not in";
      } else {
        return node ? std::move(node) : std::move(first);
      }
      if (!node) node = make(Kind::compare, line, std::move(first));
      node->names.push_back(op);
      add(*node, sum());
    }
  }

  NodePtr sum() {
    int line = now().line;
    NodePtr node = concatenation();
    while (is_op("+") || is_op("-")) node = binary(std::move(node), line, &Parser::concatenation);
    return node;
  }

  NodePtr concatenation() {
    const int line = now().line;
    NodePtr first = product();
    if (!is_op("~")) return first;
    NodePtr node = make(Kind::concatenate, line, std::move(first));
    while (skip_op("~")) add(*node, product());
    return node;
  }

  NodePtr product() {
    int line = now().line;
    NodePtr node = power();
    while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) node = binary(std::move(node), line, &Parser::power);
    return node;
  }

  NodePtr power() {
    int line = now().line;
    NodePtr node = unary(true);
    while (is_op("**")) node = binary(std::move(node), line, &Parser::filtered_unary);
    return node;
  }
  NodePtr filtered_unary() { return unary(true); }

  NodePtr binary(NodePtr left, int& line, NodePtr (Parser::*operand)()) {
    const std::string op = next().value;
    NodePtr node = make(Kind::binary, line, std::move(left), (this->*operand)());
    node->name = op;
    line = now().line;
    return node;
  }

  NodePtr unary(bool with_filter) {
    const Level level(*this);
    const int line = now().line;
    NodePtr node;
    if (skip_op("-")) {
      node = make(Kind::negative, line, unary(false));
    } else if (skip_op("+")) {
      node = make(Kind::positive, line, unary(false));
    } else {
      node = primary(false);
    }
    node = postfix(std::move(node));
    while (with_filter) {
      if (is_op("|")) {
        node = filters(std::move(node), false);
      } else if (is_name("is")) {
        node = test(std::move(node));
      } else if (is_op("(")) {
        node = call(std::move(node));
      } else {
        break;
      }
    }
    return node;
  }

  NodePtr primary(bool with_namespace) {
    const Token token = now();
    if (token.kind == Token_::name) {
      next();
      if (token.value == "true" || token.value == "True") return constant(Value::boolean(true), token.line);
      if (token.value == "false" || token.value == "False") return constant(Value::boolean(false), token.line);
      if (token.value == "none" || token.value == "None") return constant(Value::none(), token.line);
      NodePtr node = make(Kind::name, token.line);
      node->name = token.value;
      if (with_namespace && skip_op(".")) {
        node->kind = Kind::namespace_attribute;
        node->names.push_back(expect(Token_::name).value);
      }
      return node;
    }
    if (token.kind == Token_::text) {
      std::string text;
      while (is(Token_::text)) text += next().value;
      return constant(Value::text(std::move(text)), token.line);
    }
    if (token.kind == Token_::integer) return constant(Value::integer(next().integer), token.line);
    if (token.kind == Token_::number) return constant(Value::number(next().number), token.line);
    const Level level(*this);
    if (skip_op("(")) {
      NodePtr node = tuple(true, true);
      expect_op(")");
      return node;
    }
    const bool is_list = is_op("[");
    if (!is_list && !is_op("{")) syntax_error(token.line, "unexpected '", described(token), "'");
    next();
    const std::string_view close = is_list ? "]" : "}";
    NodePtr node = make(is_list ? Kind::list : Kind::dict, token.line);
    while (!is_op(close)) {
      if (!node->items.empty()) expect_op(",");
      if (is_op(close)) break;
      add(*node, expression());
      if (is_list) continue;
      expect_op(":");
      add(*node, expression());
    }
    expect_op(close);
    return node;
  }

  NodePtr postfix(NodePtr node) {
    while (true) {
      if (is_op(".") || is_op("[")) {
        node = subscript(std::move(node));
      } else if (is_op("(")) {
        node = call(std::move(node));
      } else {
        return node;
      }
    }
  }

  NodePtr subscript(NodePtr node) {
    const Token token = next();
    if (token.value == ".") {
      const Token attribute = next();
      if (attribute.kind == Token_::name) {
        node = make(Kind::attribute, token.line, std::move(node));
        node->name = attribute.value;
        return node;
      }
      if (attribute.kind != Token_::integer) syntax_error(attribute.line, "expected name or number");
      return make(Kind::item, token.line, std::move(node), constant(Value::integer(attribute.integer), attribute.line));
    }
    NodePtr subscripts = make(Kind::tuple, token.line);
    while (!is_op("]")) {
      if (!subscripts->items.empty()) expect_op(",");
      add(*subscripts, subscribed());
    }
    expect_op("]");
    NodePtr argument = subscripts->items.size() == 1 ? std::move(subscripts->items.front()) : std::move(subscripts);
    return make(Kind::item, token.line, std::move(node), std::move(argument));
  }

  NodePtr subscribed() {
    const int line = now().line;
    NodePtr start = is_op(":") ? nullptr : expression(), stop, stride;
    if (!skip_op(":")) return start;
    const auto ends = [&] { return is_op("]") || is_op(","); };
    if (!is_op(":") && !ends()) stop = expression();
    if (skip_op(":") && !ends()) stride = expression();
    return make(Kind::slice, line, std::move(start), std::move(stop), std::move(stride));
  }

  void arguments(Node& node) {
    const int line = expect_op("(").line;
    const auto ensure = [&](bool fine) {
      if (!fine) syntax_error(line, "invalid syntax for function call expression");
    };
    const auto child = [&](NodePtr value) {
      node.depth = std::max(node.depth, value->depth + 1);
      return value;
    };
    bool first = true;
    while (!is_op(")")) {
      if (!first) {
        expect_op(",");
        if (is_op(")")) break;
      }
      first = false;
      if (skip_op("*")) {
        ensure(!node.more_positional && !node.more_named);
        node.more_positional = child(expression());
      } else if (skip_op("**")) {
        ensure(!node.more_named);
        node.more_named = child(expression());
      } else if (is(Token_::name) && is(look(), Token_::op, "=")) {
        ensure(!node.more_named);
        std::string name = next().value;
        next();
        for (const auto& earlier : node.named)
          if (earlier.first == name) syntax_error(line, "keyword argument repeated: ", name);
        node.named.emplace_back(std::move(name), child(expression()));
      } else {
        ensure(!node.more_positional && !node.more_named && node.named.empty());
        node.positional.push_back(child(expression()));
      }
    }
    expect_op(")");
  }

  NodePtr call(NodePtr callee) {
    NodePtr node = make(Kind::call, now().line, std::move(callee));
    arguments(*node);
    return node;
  }

  std::string dotted_name() {
    std::string name = expect(Token_::name).value;
    while (skip_op(".")) name += "." + expect(Token_::name).value;
    return name;
  }

  NodePtr filters(NodePtr node, bool starts_inline) {
    while (starts_inline || is_op("|")) {
      if (!starts_inline) next();
      starts_inline = false;
      const int line = now().line;
      std::string name = dotted_name();
      node = make(Kind::filter, line, std::move(node));
      node->name = std::move(name);
      if (is_op("(")) arguments(*node);
    }
    return node;
  }

  NodePtr test(NodePtr subject) {
    const int line = next().line;
    const bool negated = skip_name("not");
    NodePtr node = make(Kind::test, line, std::move(subject));
    node->name = dotted_name();
    const bool argument =
        is(Token_::name) || is(Token_::text) || is(Token_::integer) || is(Token_::number) || is_op("[") || is_op("{");
    if (is_op("(")) {
      arguments(*node);
    } else if (argument && !is_name("else") && !is_name("or") && !is_name("and")) {
      if (is_name("is")) syntax_error(now().line, "You cannot chain multiple tests with is");
      NodePtr value = postfix(primary(false));
      node->depth = std::max(node->depth, value->depth + 1);
      node->positional.push_back(std::move(value));
    }
    return negated ? make(Kind::logical_not, line, std::move(node)) : std::move(node);
  }

  std::vector<Token> tokens_;
  const Limits& limits_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::vector<std::string> tags_;
  std::vector<Names> waiting_;
};

}  // namespace qwen3vl::jinja
