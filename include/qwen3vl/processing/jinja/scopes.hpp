/// Where each name of a template lives. jinja2 decides this when it compiles (idtracking.py), not while it runs: what a
/// loop or a macro sets stays inside, what an `if` sets does not, and a name that is set anywhere in a scope belongs to
/// that scope from its beginning.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/processing/jinja/ast.hpp"
#include "qwen3vl/processing/jinja/lexer.hpp"

namespace qwen3vl::jinja {

/// Fills hops, slots and scopes of a tree, and its filters and tests. Throws SyntaxError for unknown filters and tests,
/// and misplaced tags.
class Resolver {
 public:
  /// The functions give null for unknown names.
  Resolver(Filter (*find_filter)(std::string_view name), Test (*find_test)(std::string_view name))
      : find_filter_(find_filter), find_test_(find_test) {}

  /// Returns the scope of the whole template.
  Scope resolve(Node& root) {
    Symbols symbols;
    analyse(root, symbols);
    Scope scope = finish(symbols);
    visit(root, symbols, {});
    return scope;
  }

  /// The variables that the template reads and does not set, by the slot of their Load.
  std::vector<std::string> names() { return std::move(names_); }

 private:
  using Kind = Node::Kind;

  struct Symbols {
    const Symbols* parent = nullptr;
    std::map<std::string, Load> loads{};
    std::set<std::string> stores{};

    const Symbols* owner(const std::string& name, int& hops) const {
      hops = 0;
      for (const Symbols* at = this; at != nullptr; at = at->parent, ++hops)
        if (at->loads.count(name) != 0) return at;
      return nullptr;
    }
    bool knows(const std::string& name) const {
      int hops = 0;
      return owner(name, hops) != nullptr;
    }
    void define(const std::string& name, Load::Action action) {
      Load load{name, action};
      if (action == Load::Action::alias) {
        load.slot = parent->owner(name, load.hops)->loads.at(name).slot;
        ++load.hops;
      }
      const auto at = loads.find(name);
      if (at != loads.end()) {
        at->second = load;
      } else {
        loads.emplace(name, load);
      }
    }
    void load(const std::string& name) {
      if (!knows(name)) define(name, Load::Action::resolve);
    }
    void store(const std::string& name) {
      stores.insert(name);
      if (loads.count(name) != 0) return;
      define(name, parent != nullptr && parent->knows(name) ? Load::Action::alias : Load::Action::undefined);
    }
    void parameter(const std::string& name) {
      stores.insert(name);
      define(name, Load::Action::parameter);
    }
  };

  struct Context {
    bool soft = false;     ///< inside a condition, where an unknown filter is an error only if it is reached
    bool in_loop = false;  ///< where break and continue may stand
  };

  /// Numbers the variables. Those of the scopes around are numbered already: aliases refer to them.
  Scope finish(Symbols& symbols) {
    Scope scope;
    for (auto& [name, load] : symbols.loads) {
      const int slot = static_cast<int>(scope.loads.size());
      if (load.action == Load::Action::resolve) {
        const auto known = std::find(names_.begin(), names_.end(), name);
        load.slot = static_cast<int>(known - names_.begin());
        if (known == names_.end()) names_.push_back(name);
      }
      scope.loads.push_back(load);
      load.slot = slot;
    }
    return scope;
  }

  // ---- what a scope sees of its statements; scopes inside are left out

  void analyse(Node& node, Symbols& symbols) {
    switch (node.kind) {
      case Kind::name:
      case Kind::namespace_attribute:
        return symbols.load(node.name);
      case Kind::set:
        analyse(*node.items[1], symbols);
        return store(*node.items[0], symbols, false);
      case Kind::set_block:
        store(*node.items[0], symbols, false);
        if (node.items[2]) analyse(*node.items[2], symbols);
        return;
      case Kind::macro:
        return symbols.store(node.name);
      case Kind::for_block:
        return analyse(*node.items[1], symbols);
      case Kind::call_block:
      case Kind::filter_block:
        return analyse(*node.items.back(), symbols);
      case Kind::with_block:
        for (std::size_t i = 1; i < node.items.size(); i += 2) analyse(*node.items[i], symbols);
        return;
      case Kind::generation:
        return;
      case Kind::if_block:
        return analyse_if(node, symbols);
      default:
        for_children(node, [&](Node& child) { analyse(child, symbols); });
    }
  }

  void analyse_if(Node& node, Symbols& symbols) {
    analyse(*node.items[0], symbols);
    Symbols body = symbols, elifs = symbols, otherwise = symbols;
    analyse(*node.items[1], body);
    std::size_t i = 2;
    for (; i + 1 < node.items.size(); i += 2) {
      analyse(*node.items[i], elifs);
      Symbols branch = elifs;
      analyse(*node.items[i + 1], branch);
      merge(elifs, {&branch});
    }
    if (i < node.items.size()) analyse(*node.items[i], otherwise);
    merge(symbols, {&body, &elifs, &otherwise});
  }

  /// A name that only some branches set is what it was outside if the others are taken.
  static void merge(Symbols& symbols, std::initializer_list<const Symbols*> branches) {
    std::set<std::string> stores;
    for (const Symbols* branch : branches) stores.insert(branch->stores.begin(), branch->stores.end());
    for (const std::string& name : symbols.stores) stores.erase(name);
    for (const Symbols* branch : branches) {
      for (const auto& [name, load] : branch->loads) symbols.loads.insert_or_assign(name, load);
      symbols.stores.insert(branch->stores.begin(), branch->stores.end());
    }
    for (const std::string& name : stores)
      symbols.define(
          name, symbols.parent != nullptr && symbols.parent->knows(name) ? Load::Action::alias : Load::Action::resolve);
  }

  static void store(const Node& target, Symbols& symbols, bool as_parameter) {
    if (target.kind == Kind::namespace_attribute) return symbols.load(target.name);
    if (target.kind == Kind::name) return as_parameter ? symbols.parameter(target.name) : symbols.store(target.name);
    for (const NodePtr& item : target.items) store(*item, symbols, as_parameter);
  }

  // ---- the second visit: names find their places

  static void place(Node& node, const Symbols& symbols) {
    const Symbols* owner = symbols.owner(node.name, node.hops);
    if (owner == nullptr) syntax_error(node.line, "the name ", utf8::quoted(node.name), " cannot be used here");
    node.slot = owner->loads.at(node.name).slot;
  }

  void visit(Node& node, const Symbols& symbols, Context context) {
    switch (node.kind) {
      case Kind::name:
      case Kind::namespace_attribute:
        return place(node, symbols);
      case Kind::filter:
      case Kind::test:
        if (node.kind == Kind::filter) node.filter = find_filter_(node.name);
        if (node.kind == Kind::test) node.test = find_test_(node.name);
        if (!context.soft && node.filter == nullptr && node.test == nullptr)
          syntax_error(node.line, "No ", node.kind == Kind::filter ? "filter" : "test", " named '", node.name, "'.");
        return visit_children(node, symbols, context);
      case Kind::condition:
      case Kind::if_block:
        context.soft = true;
        return visit_children(node, symbols, context);
      case Kind::break_loop:
      case Kind::continue_loop:
        if (!context.in_loop)
          syntax_error(node.line,
                       node.kind == Kind::break_loop ? "'break' outside loop" : "'continue' not properly in loop");
        return;
      case Kind::for_block:
        return visit_for(node, symbols, context);
      case Kind::macro:
      case Kind::call_block:
        return visit_macro(node, symbols, context);
      case Kind::generation:
      case Kind::set_block:
      case Kind::filter_block:
      case Kind::with_block:
        return visit_scope(node, symbols, context);
      default:
        return visit_children(node, symbols, context);
    }
  }
  void visit_children(Node& node, const Symbols& symbols, Context context) {
    for_children(node, [&](Node& child) { visit(child, symbols, context); });
  }

  static bool stores_loop(const Node& target) {
    if (target.kind == Kind::name) return target.name == "loop";
    return target.kind == Kind::tuple && std::any_of(target.items.begin(), target.items.end(),
                                                     [](const NodePtr& item) { return stores_loop(*item); });
  }
  static void check_loop_variable(Node& node) {
    const bool stores = node.kind == Kind::for_block || node.kind == Kind::set || node.kind == Kind::set_block;
    if (stores && stores_loop(*node.items[0]))
      syntax_error(node.line, "Can't assign to special loop variable in for-loop target");
    for_children(node, check_loop_variable);
  }

  void visit_for(Node& node, const Symbols& symbols, Context context) {
    check_loop_variable(node);
    visit(*node.items[1], symbols, context);
    Symbols body{&symbols}, test{&symbols}, otherwise{&symbols};
    body.parameter("loop");
    store(*node.items[0], body, true);
    analyse(*node.items[3], body);
    store(*node.items[0], test, true);
    if (node.items[2]) analyse(*node.items[2], test);
    if (node.items[4]) analyse(*node.items[4], otherwise);
    for (Symbols* each : {&body, &test, &otherwise}) node.scopes.push_back(finish(*each));
    visit(*node.items[0], body, {});
    // The test has the target under the same names, in slots of its own.
    if (node.items[2]) visit(*node.items[2], test, {});
    visit(*node.items[3], body, {.soft = false, .in_loop = true});
    if (node.items[4]) visit(*node.items[4], otherwise, {.soft = false, .in_loop = context.in_loop && !node.recursive});
  }

  /// Which of the special names of a macro its body reads before it sets them.
  static void find_undeclared(const Node& node, std::set<std::string>& names, std::set<std::string>& found,
                              bool is_target = false) {
    if (node.kind == Kind::name) {
      if (!is_target && names.count(node.name) != 0) {
        found.insert(node.name);
      } else {
        names.erase(node.name);
      }
      return;
    }
    if (node.kind == Kind::macro || node.kind == Kind::call_block)
      for (const std::string& name : node.names) names.erase(name);
    const bool stores = node.kind == Kind::for_block || node.kind == Kind::set || node.kind == Kind::set_block;
    for_children(node, [&](const Node& child) {
      find_undeclared(child, names, found, is_target || (stores && &child == node.items[0].get()));
    });
  }

  void visit_macro(Node& node, const Symbols& symbols, Context context) {
    const std::size_t body_at = node.items.size() - (node.kind == Kind::macro ? 1 : 2);
    if (node.kind == Kind::call_block) visit(*node.items.back(), symbols, context);
    Symbols inner{&symbols};
    for (const std::string& name : node.names) inner.parameter(name);
    for (std::size_t i = 0; i <= body_at; ++i) analyse(*node.items[i], inner);
    std::set<std::string> names = {"caller", "kwargs", "varargs"}, found;
    find_undeclared(*node.items[body_at], names, found);
    const auto given = [&](const char* name) {
      return std::find(node.names.begin(), node.names.end(), name) - node.names.begin();
    };
    const auto count = static_cast<std::ptrdiff_t>(node.names.size());
    if (found.count("caller") != 0 && given("caller") < count &&
        given("caller") < count - static_cast<std::ptrdiff_t>(body_at))
      syntax_error(node.line,
                   "When defining macros or call blocks the special \"caller\" argument must be omitted or be "
                   "given a default.");
    std::vector<std::pair<const char*, int*>> special = {
        {"caller", &node.caller_slot}, {"kwargs", &node.kwargs_slot}, {"varargs", &node.varargs_slot}};
    for (auto& [name, slot] : special)
      if (found.count(name) != 0 && given(name) == count) inner.parameter(name);
    node.scopes.push_back(finish(inner));
    for (auto& [name, slot] : special)
      if (found.count(name) != 0 && given(name) == count) *slot = inner.loads.at(name).slot;
    for (std::size_t i = 0; i <= body_at; ++i) visit(*node.items[i], inner, {});
    if (node.kind == Kind::macro) place(node, symbols);
    node.parameter_slots.clear();
    for (const std::string& name : node.names) node.parameter_slots.push_back(inner.loads.at(name).slot);
  }

  void visit_scope(Node& node, const Symbols& symbols, Context context) {
    Symbols inner{&symbols};
    context.soft = false;
    if (node.kind == Kind::with_block) {
      for (std::size_t i = 0; i + 1 < node.items.size(); i += 2) store(*node.items[i], inner, true);
      analyse(*node.items.back(), inner);
    } else {
      const std::size_t first = node.kind == Kind::set_block ? 1 : 0;
      for (std::size_t i = first; i < node.items.size(); ++i)
        if (node.items[i]) analyse(*node.items[i], inner);
    }
    node.scopes.push_back(finish(inner));
    if (node.kind == Kind::generation) context.in_loop = false;  // a function in jinja2
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const bool outside = (node.kind == Kind::with_block && i % 2 == 1) || (node.kind == Kind::set_block && i == 0);
      if (node.items[i]) visit(*node.items[i], outside ? symbols : inner, context);
    }
  }

  Filter (*find_filter_)(std::string_view name);
  Test (*find_test_)(std::string_view name);
  std::vector<std::string> names_;
};

}  // namespace qwen3vl::jinja
