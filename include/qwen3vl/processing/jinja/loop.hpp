/// The variables of a scope while it is executed, and `loop`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "qwen3vl/processing/jinja/ast.hpp"
#include "qwen3vl/processing/jinja/operations.hpp"

namespace qwen3vl::jinja {

/// The variables of a scope while it is executed.
struct Frame : Object {
  Frame(std::shared_ptr<Frame> around, const Scope& scope)
      : Object(64 + scope.loads.size() * sizeof(Value)), outer(std::move(around)), slots(scope.loads.size()) {}
  std::shared_ptr<Frame> outer;
  Values slots;
};
using FramePtr = std::shared_ptr<Frame>;

/// `loop` inside of a loop.
struct Loop final : Callable {
  Loop(const Value& over, Next filtered, std::int64_t at_depth, std::function<Value(const Value&)> recursion)
      : Callable("LoopContext"), next_(std::move(filtered)), depth0(at_depth), recurse(std::move(recursion)) {
    if (next_) return;
    next_ = iterate(over);
    if (!over.is(Type::iterator)) length_ = static_cast<std::int64_t>(jinja::length(over));
  }

  bool advance(Value& item) {
    if (!after_.is_missing()) {
      item = std::exchange(after_, {});
    } else if (!next_(item)) {
      return false;
    }
    ++index0_;
    before_ = std::exchange(current_, item);
    return true;
  }

  Value call(Args& args) override {
    if (!recurse) raise("The loop must have the 'recursive' marker to be called recursively.");
    return recurse(args.bind("loop", {"iterable"}, 1)[0]);
  }

  std::optional<Value> attribute(std::string_view name) override {
    if (name == "index") return Value::integer(index0_ + 1);
    if (name == "index0") return Value::integer(index0_);
    if (name == "first") return Value::boolean(index0_ == 0);
    if (name == "last") return Value::boolean(!peek());
    if (name == "length") return Value::integer(length());
    if (name == "revindex") return Value::integer(length() - index0_);
    if (name == "revindex0") return Value::integer(length() - index0_ - 1);
    if (name == "depth") return Value::integer(depth0 + 1);
    if (name == "depth0") return Value::integer(depth0);
    if (name == "previtem") return index0_ == 0 ? Value::undefined("there is no previous item") : before_;
    if (name == "nextitem") return peek() ? after_ : Value::undefined("there is no next item");
    if (name == "cycle")
      return make_function([index = index0_](Args& args) {
        if (args.positional.empty()) raise("no items for cycling given");
        return args.positional[static_cast<std::size_t>(index) % args.positional.size()];
      });
    if (name == "changed")
      return make_function([this, keeps = shared_from_this()](Args& args) {
        Value now = Value::tuple(args.positional);
        const bool changed = changed_.is_missing() || !equals(changed_, now);
        if (changed) changed_ = std::move(now);
        return Value::boolean(changed);
      });
    return std::nullopt;
  }

 private:
  bool peek() {
    if (after_.is_missing() && !next_(after_)) after_ = {};
    return !after_.is_missing();
  }

 public:
  std::int64_t length() {
    if (length_ < 0) {
      Values rest;
      for (Value item; next_(item);) rest.push_back(item);
      length_ = static_cast<std::int64_t>(rest.size()) + index0_ + 1 + (after_.is_missing() ? 0 : 1);
      next_ = iterate(Value::list(std::move(rest)));
    }
    return length_;
  }
  std::string written() override { return concat("<LoopContext ", index0_ + 1, "/", length(), ">"); }

 private:
  Next next_;
  std::int64_t index0_ = -1, length_ = -1;
  Value after_, current_, before_, changed_;

 public:
  const std::int64_t depth0;
  const std::function<Value(const Value&)> recurse;
};

}  // namespace qwen3vl::jinja
