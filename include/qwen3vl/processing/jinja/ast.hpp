/// The syntax tree of a template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/processing/jinja/value.hpp"

namespace qwen3vl::jinja {

struct Node;
using NodePtr = std::unique_ptr<Node>;
using Nodes = std::vector<NodePtr>;

/// What a scope does with one of its variables when it is entered.
struct Load {
  enum class Action { resolve, alias, undefined, parameter };
  std::string name;
  Action action = Action::undefined;
  int hops = 0, slot = 0;  ///< of an alias: the variable outside; of resolve, slot: see Resolver::names()
};

/// The variables of a loop's body, a macro and so on; one for each slot.
struct Scope {
  std::vector<Load> loads;
};

/// One kind of node for all of the syntax; which fields a kind uses stands beside it.
struct Node {
  enum class Kind {
    // expressions
    constant,     // value
    name,         // name; hops and slot
    tuple,        // items
    list,         // items
    dict,         // items: keys and values in turn
    attribute,    // items[0], name
    item,         // items[0], items[1]
    slice,        // items: start, stop, step, each may be null
    call,         // items[0], args
    filter,       // items[0] (null in a filter block), name, args
    test,         // items[0], name, args
    condition,    // items: test, then, else (may be null)
    logical_and,  // items: two
    logical_or,   //
    logical_not,  // items: one
    compare,      // items: operands; names: operators between them
    concatenate,  // items
    binary,       // name: the operator; items: two
    negative,     // items: one
    positive,     //
    // targets of assignments: name, tuple, and
    namespace_attribute,  // name.names[0]; hops and slot of the name
    // statements
    data,           // value
    output,         // items[0]
    if_block,       // items: test and body (a block) in turn, at the end perhaps an else
    for_block,      // items: target, iterable, test (or null), body, else (or null); scopes of body, test, else
    set,            // items: target, value
    set_block,      // items: target, body, filter (or null); scope
    macro,          // name, names: parameters, items: defaults then body; scope
    call_block,     // names: parameters, items: defaults, body, call; scope
    filter_block,   // items: body, filter; scope
    with_block,     // items: targets, values in turn, then body; scope
    generation,     // items: body; scope
    break_loop,     //
    continue_loop,  //
    block,          // items: statements
  };

  Kind kind;
  int line;
  int depth = 1;  ///< of the tree below
  std::string name{};
  std::vector<std::string> names{};
  Nodes items{};
  Value value{};

  // of calls, filters and tests
  Nodes positional{};
  std::vector<std::pair<std::string, NodePtr>> named{};
  NodePtr more_positional{}, more_named{};  ///< *args and **kwargs

  // set by Resolver
  int hops = 0, slot = 0;
  Filter filter = nullptr;  ///< null if there is none of this name: an error only where it is reached
  Test test = nullptr;      ///< the same
  std::vector<Scope> scopes{};
  bool recursive = false;                                     ///< a loop
  std::vector<int> parameter_slots{};                         ///< of a macro
  int caller_slot = -1, kwargs_slot = -1, varargs_slot = -1;  ///< of a macro that uses these

  Node(Kind what, int at) : kind(what), line(at) {}
};

/// Calls f with each child of a Node or const Node.
template <class N, class F>
void for_children(N& node, const F& f) {
  const auto visit = [&](const NodePtr& child) {
    if (child) f(static_cast<N&>(*child));
  };
  for (const NodePtr& item : node.items) visit(item);
  for (const NodePtr& item : node.positional) visit(item);
  for (const auto& [name, item] : node.named) visit(item);
  visit(node.more_positional);
  visit(node.more_named);
}

}  // namespace qwen3vl::jinja
