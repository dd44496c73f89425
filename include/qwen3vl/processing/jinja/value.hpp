/// The values of a template: Python's, as far as templates can hold them. Lists and dicts never change once they are
/// made, because the sandbox refuses every method that would change them; only a namespace does.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/base/utf8.hpp"

namespace qwen3vl::jinja {

/// Limits of a template and of rendering it. Each has an error that names it.
struct Limits {
  std::size_t max_template_bytes = std::size_t{1} << 20;
  int max_nesting = 100;                                ///< of expressions and statements in the source
  int max_depth = 600;                                  ///< of statements and expressions while rendering: recursion
  std::size_t max_steps = 100'000'000;                  ///< work of any kind, about a nanosecond each
  std::size_t max_output_bytes = std::size_t{1} << 28;  ///< of the text
  std::size_t max_memory = std::size_t{1} << 30;        ///< bytes of all values that are alive
  int max_value_depth = 200;                            ///< lists and dicts inside each other
};

/// What goes wrong in a template, before it is known on which line. Becomes an Error at the border of this room.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Parts>
[[noreturn, gnu::cold]] void raise(const Parts&... parts) {
  throw Failure(concat(parts...));
}

/// What a rendering has used up.
struct Budget {
  const Limits& limits;
  std::size_t steps = 0, memory = 0;

  void step(std::size_t count = 1) {
    steps += count;
    if (steps > limits.max_steps)
      raise("the template takes more than ", limits.max_steps, " steps (jinja::Limits::max_steps)");
  }
  void expect(std::size_t bytes) const {
    if (bytes > limits.max_memory || memory > limits.max_memory - bytes)
      raise("the template needs more than ", limits.max_memory, " bytes (jinja::Limits::max_memory)");
  }
  void claim(std::size_t bytes) {
    expect(bytes);
    step(bytes / 16);
    memory += bytes;
  }
};

/// Of the rendering that this thread is in; none while a template is parsed. Values are made in too many places to hand
/// it to each.
inline thread_local Budget* current_budget = nullptr;

inline void step(std::size_t count = 1) {
  if (current_budget != nullptr) current_budget->step(count);
}
/// Checks in advance that a text or list of `bytes` may be made.
inline void expect_memory(std::size_t bytes) {
  if (current_budget != nullptr) current_budget->expect(bytes);
}

/// What a value refers to. Its memory counts while it is alive.
class Object {
 public:
  explicit Object(std::size_t bytes) : budget_(current_budget), bytes_(bytes) {
    if (budget_ != nullptr) budget_->claim(bytes_);
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() {
    if (budget_ != nullptr) budget_->memory -= bytes_;
  }

 private:
  Budget* budget_;
  std::size_t bytes_;
};

struct Text;
struct Sequence;
struct Dict;
struct Undefined;
struct Namespace;
struct Iterator;
struct Callable;

class Value {
 public:
  enum class Type : std::uint8_t {
    missing,  ///< a variable that was never set; never seen by a template
    undefined,
    none,
    boolean,
    integer,
    big,  ///< an integer from 2^63 to 2^64 - 1, which can be written but not computed with
    number,
    text,
    sequence,
    dict,
    name_space,
    iterator,
    callable,
  };

  Value() = default;
  template <class T>
  Value(Type type, std::shared_ptr<T> object) : type_(type), object_(std::move(object)) {}

  static Value none() { return Value(Type::none); }
  static Value boolean(bool value) { return Value(Type::boolean, value ? 1 : 0); }
  static Value integer(std::int64_t value) { return Value(Type::integer, value); }
  static Value big(std::uint64_t value) { return Value(Type::big, static_cast<std::int64_t>(value)); }
  static Value number(double value) {
    Value result(Type::number);
    result.number_ = value;
    return result;
  }
  static Value text(std::string value, bool markup = false);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value undefined(std::string message, bool is_security = false);
  static Value undefined_name(std::string_view name, std::string_view type = {});

  Type type() const { return type_; }
  bool is(Type type) const { return type_ == type; }
  bool is_missing() const { return type_ == Type::missing; }
  bool is_undefined() const { return type_ == Type::undefined; }
  bool is_none() const { return type_ == Type::none; }
  bool is_text() const { return type_ == Type::text; }
  bool is_dict() const { return type_ == Type::dict; }
  /// Booleans are integers, as in Python.
  bool is_integer() const { return type_ == Type::integer || type_ == Type::boolean; }
  bool is_number() const { return is_integer() || type_ == Type::number; }

  std::int64_t integer() const { return integer_; }
  std::uint64_t big() const { return static_cast<std::uint64_t>(integer_); }
  double number() const { return type_ == Type::number ? number_ : static_cast<double>(integer_); }
  const Text& text() const { return *as<Text>(); }
  const Sequence& sequence() const { return *as<Sequence>(); }
  const Dict& dict() const { return *as<Dict>(); }
  template <class T>
  T* as() const {
    return static_cast<T*>(object_.get());
  }
  const std::shared_ptr<Object>& object() const { return object_; }

 private:
  explicit Value(Type type, std::int64_t value = 0) : type_(type), integer_(value) {}

  Type type_ = Type::missing;
  union {
    std::int64_t integer_ = 0;
    double number_;
  };
  std::shared_ptr<Object> object_;
};

using Values = std::vector<Value>;

/// A string, valid UTF-8. Python counts and cuts code points, so their number is kept.
struct Text : Object {
  Text(std::string value, bool is_markup)
      : Object(value.size() + 64), string(std::move(value)), markup(is_markup), length(count(string)) {}
  bool is_ascii() const { return length == string.size(); }

  const std::string string;
  const bool markup;  ///< marked as safe by `safe` or `escape`: others are escaped when they are added to it
  const std::size_t length;

 private:
  static std::size_t count(std::string_view text) {
    std::size_t length = utf8::ascii_prefix(text);
    for (const char c : text.substr(length)) length += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    return length;
  }
};

namespace detail {
int depth_of(const Value& value);
inline int checked_depth(int inner) {
  if (current_budget != nullptr && inner >= current_budget->limits.max_value_depth)
    raise("lists and dicts are nested deeper than ", inner, " (jinja::Limits::max_value_depth)");
  return inner + 1;
}
}  // namespace detail

struct Sequence : Object {
  enum class Kind { list, tuple, group, range, keys, values, items };

  Sequence(Kind what, Values values)
      : Object(64 + values.size() * sizeof(Value)), kind(what), items(std::move(values)) {
    int inner = 0;
    for (const Value& item : items) inner = std::max(inner, detail::depth_of(item));
    depth = detail::checked_depth(inner);
  }
  bool is_tuple() const { return kind == Kind::tuple || kind == Kind::group; }
  bool is_view() const { return kind == Kind::keys || kind == Kind::values || kind == Kind::items; }

  const Kind kind;
  const Values items;
  std::int64_t range[3] = {0, 0, 1};  ///< start, stop and step of a range
  int depth;
};

/// Keys in the order in which they were first set.
struct Dict : Object {
  using Item = std::pair<Value, Value>;

  explicit Dict(std::vector<Item> entries);
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;

  std::vector<Item> items;
  int depth;

 private:
  std::unordered_map<std::string_view, std::size_t> texts_;  // of dicts with more than a few keys
};

/// What a missing variable or attribute is: prints as nothing, is false; everything else is an error with a message. It
/// is written only then: templates look for keys that are not there all the time.
struct Undefined : Object {
  explicit Undefined(std::string text, bool security = false)
      : Object(96), name(std::move(text)), is_security(security) {}
  /// A variable, or an attribute of an object of type `of`.
  Undefined(std::string_view missing_name, std::string_view of)
      : Object(96), type(of), name(missing_name), is_name(true) {}
  std::string message() const;

  const std::string_view type{};
  const std::string name;  ///< or the whole message
  const bool is_name = false, is_security = false;
};

/// The only thing that a template can change. Rendering empties all of them in the end, so that cycles are freed.
struct Namespace : Object {
  Namespace() : Object(128) {}
  std::vector<std::pair<std::string, Value>> attributes;
};

/// Gives the next item; false at the end.
using Next = std::function<bool(Value&)>;

/// What Python calls a generator or an iterator: lazy, and gone through only once.
struct Iterator : Object {
  explicit Iterator(Next following, std::string_view type = "generator")
      : Object(128), next(std::move(following)), name(type) {}
  Next next;
  std::string_view name;
};

/// Arguments of a call.
struct Args {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;

  /// Arguments by the names of a function's parameters, missing where not given; the first `required` must be. With
  /// `positional_only`, none may be given by name. Throws Failure in Python's words.
  Values bind(std::string_view function, std::initializer_list<std::string_view> names, std::size_t required,
              bool positional_only = false) const {
    Values bound(names.size());
    if (positional.size() > names.size())
      raise(function, "() takes at most ", names.size(), " arguments (", positional.size(), " given)");
    std::copy(positional.begin(), positional.end(), bound.begin());
    for (const auto& [name, value] : named) {
      const auto found = positional_only ? names.end() : std::find(names.begin(), names.end(), name);
      if (found == names.end()) raise(function, "() got an unexpected keyword argument ", utf8::quoted(name));
      Value& place = bound[static_cast<std::size_t>(found - names.begin())];
      if (!place.is_missing()) raise(function, "() got multiple values for argument ", utf8::quoted(name));
      place = value;
    }
    for (std::size_t i = 0; i < required; ++i)
      if (bound[i].is_missing())
        raise(function, "() missing required argument '", *(names.begin() + static_cast<std::ptrdiff_t>(i)), "'");
    return bound;
  }
};

/// What `value | filter(args)` and `value is test(args)` call.
using Filter = Value (*)(const Value& value, Args& args);
using Test = bool (*)(const Value& value, Args& args);

/// A function, a method bound to its object, a macro, a loop, ...
struct Callable : Object, std::enable_shared_from_this<Callable> {
  explicit Callable(std::string_view type) : Object(128), type_name(type) {}
  virtual Value call(Args& args) = 0;
  virtual std::optional<Value> attribute(std::string_view) { return std::nullopt; }
  /// `repr`. Most in Python are addresses, which no template can want.
  virtual std::string written() { raise("writing a ", type_name, " is not supported"); }
  const std::string_view type_name;
};

/// A function in C++.
struct Function final : Callable {
  using Body = std::function<Value(Args&)>;
  explicit Function(Body what, std::string_view type = "builtin_function_or_method")
      : Callable(type), body(std::move(what)) {}
  Value call(Args& args) override { return body(args); }
  Body body;
};

inline Value Value::text(std::string value, bool markup) {
  return {Type::text, std::make_shared<Text>(std::move(value), markup)};
}
inline Value make_sequence(Sequence::Kind kind, Values items) {
  return {Value::Type::sequence, std::make_shared<Sequence>(kind, std::move(items))};
}
inline Value Value::list(Values items) { return make_sequence(Sequence::Kind::list, std::move(items)); }
inline Value Value::tuple(Values items) { return make_sequence(Sequence::Kind::tuple, std::move(items)); }
inline Value Value::undefined(std::string message, bool is_security) {
  return {Type::undefined, std::make_shared<Undefined>(std::move(message), is_security)};
}
inline Value Value::undefined_name(std::string_view name, std::string_view type) {
  return {Type::undefined, std::make_shared<Undefined>(name, type)};
}
inline Value make_iterator(Next next, std::string_view type = "generator") {
  return {Value::Type::iterator, std::make_shared<Iterator>(std::move(next), type)};
}
inline Value make_function(Function::Body body, std::string_view type = "builtin_function_or_method") {
  return {Value::Type::callable, std::make_shared<Function>(std::move(body), type)};
}

namespace detail {
inline int depth_of(const Value& value) {
  if (value.is(Value::Type::sequence)) return value.sequence().depth;
  return value.is_dict() ? value.dict().depth : 0;
}
}  // namespace detail

}  // namespace qwen3vl::jinja
