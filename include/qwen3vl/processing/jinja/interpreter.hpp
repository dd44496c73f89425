/// Runs the syntax tree of a template.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/processing/jinja/ast.hpp"
#include "qwen3vl/processing/jinja/filters.hpp"
#include "qwen3vl/processing/jinja/globals.hpp"
#include "qwen3vl/processing/jinja/loop.hpp"
#include "qwen3vl/processing/jinja/tests.hpp"

namespace qwen3vl::jinja {

/// Gives a variable of a rendering by its name, missing if there is none. Called once for each name that the template
/// comes to read.
using Variables = std::function<Value(std::string_view name, JsonValues& from_json)>;

/// One rendering of a template.
class Interpreter {
 public:
  /// `names`: the variables that the template reads, of Resolver.
  Interpreter(const Limits& limits, const Variables& variables, const std::vector<std::string>& names)
      : limits_(limits), variables_(variables), names_(names), values_(names.size()) {}
  Interpreter(const Interpreter&) = delete;
  ~Interpreter() {
    // Frames, namespaces and macros may refer to each other.
    for (const auto& name_space : namespaces_) name_space->attributes.clear();
    for (const FramePtr& captured : captured_)
      for (Frame* frame = captured.get(); frame != nullptr; frame = frame->outer.get()) frame->slots.clear();
  }

  void run(const Node& root, const Scope& scope) {
    const FramePtr frame = std::make_shared<Frame>(nullptr, scope);
    captured_.push_back(frame);
    enter(scope, *frame);
    execute(root, frame);
  }

  /// Where it is, for errors.
  int line() const { return line_; }
  std::string take() { return std::move(output_); }
  /// First byte and end of what stands inside of {% generation %}.
  const std::vector<std::pair<std::size_t, std::size_t>>& generations() const { return generations_; }

 private:
  using Kind = Node::Kind;
  enum class Flow { next, break_loop, continue_loop };

  struct Level {
    Interpreter& in;
    explicit Level(Interpreter& of) : in(of) {
      if (++in.depth_ > in.limits_.max_depth)
        raise("recursion deeper than ", in.limits_.max_depth, " (jinja::Limits::max_depth)");
      step();
    }
    ~Level() { --in.depth_; }
  };

  /// Output goes into `text` while this lives.
  struct Capture {
    Interpreter& in;
    std::string text{};
    std::string* const before;
    explicit Capture(Interpreter& of) : in(of), before(of.out_) { in.out_ = &text; }
    ~Capture() { in.out_ = before; }
    Capture(const Capture&) = delete;
  };

  void write(std::string_view text) {
    step(text.size() / 16);
    if (text.size() > limits_.max_output_bytes || out_->size() > limits_.max_output_bytes - text.size())
      raise("the text is longer than ", limits_.max_output_bytes, " bytes (jinja::Limits::max_output_bytes)");
    out_->append(text);
  }

  /// What filter and call blocks write must be text already.
  void write_text(const Value& value) {
    if (!value.is_text()) raise("expected str instance, ", type_name(value), " found");
    write(value.text().string);
  }

  // ---- variables

  static Value& slot(Frame& frame, int hops, int index) {
    Frame* at = &frame;
    for (; hops > 0; --hops) at = at->outer.get();
    return at->slots[static_cast<std::size_t>(index)];
  }

  const Value& variable(std::size_t which) {
    std::optional<Value>& value = values_[which];
    if (!value) {
      value = variables_(names_[which], from_json_);
      if (value->is_missing()) value = global(names_[which], namespaces_);
    }
    return *value;
  }

  void enter(const Scope& scope, Frame& frame) {
    for (std::size_t i = 0; i < scope.loads.size(); ++i) {
      const Load& load = scope.loads[i];
      if (load.action == Load::Action::resolve) {
        frame.slots[i] = variable(static_cast<std::size_t>(load.slot));
      } else if (load.action == Load::Action::alias) {
        frame.slots[i] = slot(frame, load.hops, load.slot);
      } else if (load.action == Load::Action::undefined) {
        frame.slots[i] = Value();
      }
    }
  }
  FramePtr entered(const Scope& scope, const FramePtr& outer) {
    FramePtr frame = std::make_shared<Frame>(outer, scope);
    enter(scope, *frame);
    return frame;
  }

  /// jinja2 forgets the variables of a scope at its end, also for macros that were defined in it.
  struct Leave {
    Frame& frame;
    ~Leave() { std::fill(frame.slots.begin(), frame.slots.end(), Value()); }
  };

  Namespace& name_space(const Node& target, Frame& frame) {
    const Value& value = slot(frame, target.hops, target.slot);
    if (!value.is(Type::name_space)) raise("cannot assign attribute on non-namespace object");
    return *value.as<Namespace>();
  }
  void check_namespaces(const Node& target, Frame& frame) {
    if (target.kind == Kind::namespace_attribute) name_space(target, frame);
    if (target.kind == Kind::tuple)
      for (const NodePtr& item : target.items) check_namespaces(*item, frame);
  }

  void assign(const Node& target, Frame& frame, const Value& value) {
    if (target.kind == Kind::name) {
      slot(frame, target.hops, target.slot) = value;
    } else if (target.kind == Kind::namespace_attribute) {
      set_attribute(name_space(target, frame), target.names[0], value);
    } else {
      const std::size_t wanted = target.items.size();
      if (!is_iterable(value)) raise("cannot unpack non-iterable ", type_name(value), " object");
      Values items;
      const Next next = iterate(value);
      for (Value item; items.size() <= wanted && next(item);) items.push_back(item);
      if (items.size() > wanted) raise("too many values to unpack (expected ", wanted, ")");
      if (items.size() < wanted) raise("not enough values to unpack (expected ", wanted, ", got ", items.size(), ")");
      for (std::size_t i = 0; i < wanted; ++i) assign(*target.items[i], frame, items[i]);
    }
  }

  // ---- statements

  Flow execute(const Node& node, const FramePtr& frame) {
    const Level level(*this);
    line_ = node.line;
    switch (node.kind) {
      case Kind::block:
        for (const NodePtr& item : node.items)
          if (const Flow flow = execute(*item, frame); flow != Flow::next) return flow;
        return Flow::next;
      case Kind::data:
        write(node.value.text().string);
        return Flow::next;
      case Kind::output: {
        const Value value = evaluate(*node.items[0], frame);
        if (value.is_text()) {
          write(value.text().string);
        } else {
          write(str(value));
        }
        return Flow::next;
      }
      case Kind::if_block:
        for (std::size_t i = 0; i + 1 < node.items.size(); i += 2)
          if (truthy(evaluate(*node.items[i], frame))) return execute(*node.items[i + 1], frame);
        return node.items.size() % 2 == 1 ? execute(*node.items.back(), frame) : Flow::next;
      case Kind::for_block:
        return execute_for(node, frame);
      case Kind::set: {
        check_namespaces(*node.items[0], *frame);
        const Value value = evaluate(*node.items[1], frame);
        assign(*node.items[0], *frame, value);
        return Flow::next;
      }
      case Kind::break_loop:
        return Flow::break_loop;
      case Kind::continue_loop:
        return Flow::continue_loop;
      case Kind::macro:
        slot(*frame, node.hops, node.slot) = macro(node, frame);
        return Flow::next;
      case Kind::call_block: {
        const Value value = call(*node.items.back(), frame, macro(node, frame));
        write_text(value);
        return Flow::next;
      }
      case Kind::set_block:
      case Kind::filter_block:
      case Kind::generation:
        return execute_captured(node, frame);
      case Kind::with_block: {
        const FramePtr inner = entered(node.scopes[0], frame);
        const Leave leave{*inner};
        for (std::size_t i = 0; i + 1 < node.items.size(); i += 2)
          assign(*node.items[i], *inner, evaluate(*node.items[i + 1], frame));
        return execute(*node.items.back(), inner);
      }
      default:
        raise("an expression is no statement");
    }
  }

  /// Blocks whose text goes elsewhere. A break inside of them drops the text.
  Flow execute_captured(const Node& node, const FramePtr& frame) {
    const FramePtr inner = entered(node.scopes[0], frame);
    const Leave leave{*inner};
    const bool sets = node.kind == Kind::set_block;
    std::string text;
    {
      Capture capture(*this);
      const Flow flow = execute(*node.items[sets ? 1 : 0], inner);
      if (flow != Flow::next) return flow;
      text = std::move(capture.text);
    }
    if (node.kind == Kind::generation) {
      generations_.emplace_back(output_.size(), output_.size() + text.size());
      write(text);
      return Flow::next;
    }
    const Node* filter = node.items[sets ? 2 : 1].get();
    Value value = Value::text(std::move(text));
    if (filter != nullptr) value = filtered_block(*filter, inner, value);
    if (sets) {
      check_namespaces(*node.items[0], *frame);
      assign(*node.items[0], *frame, value);
    } else {
      write_text(value);
    }
    return Flow::next;
  }

  Flow execute_for(const Node& node, const FramePtr& frame) {
    const Value iterable = evaluate(*node.items[1], frame);
    if (!node.recursive) return loop(node, frame, iterable, 0);
    write(recursion(node, frame, iterable, 0).text().string);
    return Flow::next;
  }

  Value recursion(const Node& node, const FramePtr& frame, const Value& iterable, std::int64_t depth) {
    Capture capture(*this);
    loop(node, frame, iterable, depth);
    return Value::text(std::move(capture.text));
  }

  Flow loop(const Node& node, const FramePtr& frame, const Value& iterable, std::int64_t depth) {
    const Level level(*this);
    line_ = node.line;
    const FramePtr inner = std::make_shared<Frame>(frame, node.scopes[0]);
    const Leave leave{*inner};
    Next filtered;
    if (node.items[2]) {
      // The test sees the target in a scope of its own. It is evaluated item by item, as the loop goes on.
      const FramePtr test = entered(node.scopes[1], frame);
      filtered = [this, &node, test, next = iterate(iterable)](Value& item) {
        while (next(item)) {
          assign_test_target(node, *test, item);
          if (truthy(evaluate(*node.items[2], test))) return true;
        }
        return false;
      };
    }
    std::function<Value(const Value&)> recurse;
    if (node.recursive) {
      captured_.push_back(frame);
      recurse = [this, &node, frame, depth](const Value& items) {
        const Level deeper(*this);
        return recursion(node, frame, items, depth + 1);
      };
    }
    const auto state = std::make_shared<Loop>(iterable, std::move(filtered), depth, std::move(recurse));
    const int loop_slot = slot_of(node.scopes[0], "loop");
    bool completed = false;
    for (Value item; state->advance(item);) {
      step();
      line_ = node.line;
      assign(*node.items[0], *inner, item);
      inner->slots[static_cast<std::size_t>(loop_slot)] = Value(Type::callable, state);
      enter(node.scopes[0], *inner);
      const Flow flow = execute(*node.items[3], inner);
      if (flow == Flow::break_loop) break;
      // As jinja2 has it, `else` also runs if every turn ended with break or continue.
      completed |= flow == Flow::next;
    }
    if (!node.items[4] || completed) return Flow::next;
    const FramePtr otherwise = entered(node.scopes[2], frame);
    const Leave leave_else{*otherwise};
    return execute(*node.items[4], otherwise);
  }

  static int slot_of(const Scope& scope, std::string_view name) {
    const auto found =
        std::find_if(scope.loads.begin(), scope.loads.end(), [&](const Load& load) { return load.name == name; });
    return static_cast<int>(found - scope.loads.begin());
  }

  /// The target's places in the scope of the test, which has the same names.
  void assign_test_target(const Node& node, Frame& test, const Value& item) {
    const std::function<void(const Node&, const Value&)> set = [&](const Node& target, const Value& value) {
      if (target.kind == Kind::name) {
        test.slots[static_cast<std::size_t>(slot_of(node.scopes[1], target.name))] = value;
        return;
      }
      const Values items = items_of(value);
      if (items.size() != target.items.size())
        raise(items.size() < target.items.size() ? "not enough" : "too many", " values to unpack (expected ",
              target.items.size(), ")");
      for (std::size_t i = 0; i < items.size(); ++i) set(*target.items[i], items[i]);
    };
    set(*node.items[0], item);
  }

  // ---- expressions

  Value evaluate(const Node& node, const FramePtr& frame) {
    const Level level(*this);
    const auto operand = [&](std::size_t i) { return evaluate(*node.items[i], frame); };
    const auto all = [&] {
      Values values;
      values.reserve(node.items.size());
      for (const NodePtr& item : node.items) values.push_back(evaluate(*item, frame));
      return values;
    };
    switch (node.kind) {
      case Kind::constant:
        return node.value;
      case Kind::name: {
        const Value& value = slot(*frame, node.hops, node.slot);
        return value.is_missing() ? Value::undefined_name(node.name) : value;
      }
      case Kind::tuple:
        return Value::tuple(all());
      case Kind::list:
        return Value::list(all());
      case Kind::dict: {
        std::vector<Dict::Item> items;
        for (std::size_t i = 0; i < node.items.size(); i += 2) {
          Value key = operand(i);
          items.emplace_back(std::move(key), operand(i + 1));
        }
        line_ = node.line;
        return make_dict(std::move(items));
      }
      case Kind::attribute: {
        const Value object = operand(0);
        line_ = node.line;
        return get_attribute(object, node.name);
      }
      case Kind::item:
        return item(node, frame);
      case Kind::slice:
        raise("a slice among other subscripts is not supported");
      case Kind::call:
        return call(node, frame, {});
      case Kind::filter: {
        const Value value = operand(0);
        return filtered(node, frame, value);
      }
      case Kind::test: {
        const Value value = operand(0);
        Args args = arguments(node, frame);
        line_ = node.line;
        if (node.test == nullptr) raise("No test named ", python::repr(node.name), ".");
        step();
        return Value::boolean(node.test(value, args));
      }
      case Kind::condition:
        if (truthy(operand(0))) return operand(1);
        if (node.items[2]) return operand(2);
        return Value::undefined(concat("the inline if-expression on line ", node.line,
                                       " evaluated to false and no else section was defined."));
      case Kind::logical_and: {
        Value left = operand(0);
        return truthy(left) ? operand(1) : left;
      }
      case Kind::logical_or: {
        Value left = operand(0);
        return truthy(left) ? left : operand(1);
      }
      case Kind::logical_not:
        return Value::boolean(!truthy(operand(0)));
      case Kind::compare:
        return compare(node, frame);
      case Kind::concatenate: {
        std::string text;
        for (const Value& value : all()) {
          text += str(value);
          if (text.size() > (std::size_t{1} << 16)) expect_memory(text.size());
        }
        return Value::text(std::move(text));
      }
      case Kind::binary: {
        const Value left = operand(0), right = operand(1);
        line_ = node.line;
        return binary(left, right, node.name);
      }
      case Kind::negative: {
        const Value value = operand(0);
        line_ = node.line;
        return negative(value);
      }
      case Kind::positive: {
        const Value value = operand(0);
        line_ = node.line;
        require_defined(value);
        if (!value.is_number()) raise("bad operand type for unary +: '", type_name(value), "'");
        return value.is_integer() ? Value::integer(value.integer()) : value;
      }
      default:
        raise("a statement is no expression");
    }
  }

  Value item(const Node& node, const FramePtr& frame) {
    const Value object = evaluate(*node.items[0], frame);
    const Node& argument = *node.items[1];
    if (argument.kind != Kind::slice) {
      const Value key = evaluate(argument, frame);
      line_ = node.line;
      return get_item(object, key);
    }
    Value bounds[3];
    for (std::size_t i = 0; i < 3; ++i)
      if (argument.items[i]) bounds[i] = evaluate(*argument.items[i], frame);
    line_ = node.line;
    return slice(object, bounds[0], bounds[1], bounds[2]);
  }

  Value compare(const Node& node, const FramePtr& frame) {
    Value left = evaluate(*node.items[0], frame);
    for (std::size_t i = 0; i < node.names.size(); ++i) {
      Value right = evaluate(*node.items[i + 1], frame);
      const std::string& op = node.names[i];
      line_ = node.line;
      const bool holds = op == "=="       ? equals(left, right)
                         : op == "!="     ? !equals(left, right)
                         : op == "in"     ? contains(right, left)
                         : op == "not in" ? !contains(right, left)
                                          : ordered(left, right, op);
      if (!holds) return Value::boolean(false);
      left = std::move(right);
    }
    return Value::boolean(true);
  }

  Args arguments(const Node& node, const FramePtr& frame) {
    Args args;
    for (const NodePtr& item : node.positional) args.positional.push_back(evaluate(*item, frame));
    for (const auto& [name, item] : node.named) args.named.emplace_back(name, evaluate(*item, frame));
    if (node.more_positional) {
      for (Value& item : items_of(evaluate(*node.more_positional, frame))) args.positional.push_back(std::move(item));
    }
    if (node.more_named) {
      const Value more = evaluate(*node.more_named, frame);
      if (!more.is_dict()) raise("argument after ** must be a mapping, not ", type_name(more));
      for (const auto& [key, item] : more.dict().items) {
        if (!key.is_text()) raise("keywords must be strings");
        for (const auto& [name, value] : args.named)
          if (name == key.text().string) raise("got multiple values for keyword argument ", python::repr(name));
        args.named.emplace_back(key.text().string, item);
      }
    }
    return args;
  }

  Value filtered(const Node& node, const FramePtr& frame, const Value& value) {
    Args args = arguments(node, frame);
    line_ = node.line;
    if (node.filter == nullptr) raise("No filter named ", python::repr(node.name), ".");
    step();
    return node.filter(value, args);
  }

  /// A chain of filters that begins with the text of a block.
  Value filtered_block(const Node& node, const FramePtr& frame, const Value& text) {
    return filtered(node, frame, node.items[0] ? filtered_block(*node.items[0], frame, text) : text);
  }

  Value call(const Node& node, const FramePtr& frame, Value caller) {
    const Value callee = evaluate(*node.items[0], frame);
    Args args = arguments(node, frame);
    if (!caller.is_missing()) args.named.emplace_back("caller", std::move(caller));
    line_ = node.line;
    require_defined(callee);
    if (!callee.is(Type::callable)) raise("'", type_name(callee), "' object is not callable");
    return callee.as<Callable>()->call(args);
  }

  // ---- macros

  struct Macro final : Callable {
    Macro(Interpreter& interpreter, const Node& what, FramePtr around)
        : Callable("Macro"), in(interpreter), node(what), frame(std::move(around)) {}
    Value call(Args& args) override { return in.call_macro(*this, args); }
    std::string written() override {
      return node.kind == Kind::macro ? concat("<Macro ", python::repr(node.name), ">") : "<Macro anonymous>";
    }
    std::optional<Value> attribute(std::string_view name) override {
      if (name == "name") return node.kind == Kind::macro ? Value::text(node.name) : Value::none();
      if (name == "catch_kwargs") return Value::boolean(node.kwargs_slot >= 0);
      if (name == "catch_varargs") return Value::boolean(node.varargs_slot >= 0);
      if (name == "caller") return Value::boolean(node.caller_slot >= 0);
      if (name == "arguments") {
        Values names;
        for (const std::string& each : node.names) names.push_back(Value::text(each));
        return Value::tuple(std::move(names));
      }
      return std::nullopt;
    }
    Interpreter& in;
    const Node& node;
    const FramePtr frame;
  };

  Value macro(const Node& node, const FramePtr& frame) {
    captured_.push_back(frame);
    return {Type::callable, std::make_shared<Macro>(*this, node, frame)};
  }

  Value call_macro(const Macro& macro, Args& args) {
    const Level level(*this);
    const Node& node = macro.node;
    const std::string shown_name = node.kind == Kind::macro ? python::repr(node.name) : "None";
    const FramePtr frame = std::make_shared<Frame>(macro.frame, node.scopes[0]);
    const auto take = [&](std::string_view name) {
      for (auto at = args.named.begin(); at != args.named.end(); ++at) {
        if (at->first != name) continue;
        Value value = std::move(at->second);
        args.named.erase(at);
        return value;
      }
      return Value();
    };
    const std::size_t count = node.names.size();
    bool found_caller = args.positional.size() >= count &&
                        std::find(node.names.begin(), node.names.end(), "caller") != node.names.end();
    for (std::size_t i = 0; i < count; ++i) {
      Value& place = frame->slots[static_cast<std::size_t>(node.parameter_slots[i])];
      if (i < args.positional.size()) {
        place = args.positional[i];
      } else {
        place = take(node.names[i]);
        found_caller |= node.names[i] == "caller";
      }
    }
    if (node.caller_slot >= 0 && !found_caller) {
      Value caller = take("caller");
      frame->slots[static_cast<std::size_t>(node.caller_slot)] =
          caller.is_missing() || caller.is_none() ? Value::undefined("No caller defined") : std::move(caller);
    }
    if (node.kwargs_slot >= 0) {
      std::vector<Dict::Item> items;
      for (auto& [name, value] : args.named) items.emplace_back(Value::text(name), std::move(value));
      frame->slots[static_cast<std::size_t>(node.kwargs_slot)] = make_dict(std::move(items));
    } else if (!args.named.empty()) {
      for (const auto& [name, value] : args.named)
        if (name == "caller")
          raise("macro ", shown_name,
                " was invoked with two values for the special caller argument. This is most likely a bug.");
      raise("macro ", shown_name, " takes no keyword argument ", python::repr(args.named.front().first));
    }
    if (node.varargs_slot >= 0) {
      Values rest;
      if (args.positional.size() > count)
        rest.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(count), args.positional.end());
      frame->slots[static_cast<std::size_t>(node.varargs_slot)] = Value::tuple(std::move(rest));
    } else if (args.positional.size() > count) {
      raise("macro ", shown_name, " takes not more than ", count, " argument(s)");
    }
    const int called_from = line_;
    Capture capture(*this);
    enter(node.scopes[0], *frame);
    const std::size_t body_at = node.items.size() - (node.kind == Kind::macro ? 1 : 2), first_default = count - body_at;
    for (std::size_t i = 0; i < count; ++i) {
      Value& place = frame->slots[static_cast<std::size_t>(node.parameter_slots[i])];
      if (!place.is_missing()) continue;
      Value fallback = i >= first_default
                           ? evaluate(*node.items[i - first_default], frame)
                           : Value::undefined(concat("parameter ", python::repr(node.names[i]), " was not provided"));
      frame->slots[static_cast<std::size_t>(node.parameter_slots[i])] = std::move(fallback);
    }
    execute(*node.items[body_at], frame);
    line_ = called_from;
    return Value::text(std::move(capture.text));
  }

  const Limits& limits_;
  const Variables& variables_;
  const std::vector<std::string>& names_;
  JsonValues from_json_;
  std::vector<std::optional<Value>> values_;  // of the names that were read
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<FramePtr> captured_;
  std::string output_;
  std::string* out_ = &output_;
  std::vector<std::pair<std::size_t, std::size_t>> generations_;
  int depth_ = 0, line_ = 1;
};

}  // namespace qwen3vl::jinja
