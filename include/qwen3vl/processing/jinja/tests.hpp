/// The tests of templates: what stands after `is`, and what `select` and its like take by name.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "qwen3vl/processing/jinja/methods.hpp"

namespace qwen3vl::jinja {

Filter find_filter(std::string_view name);

inline const std::unordered_map<std::string_view, Test>& all_tests() {
  static constexpr auto remainder = [](const Value& value, const Value& by) { return binary(value, by, "%"); };
  static constexpr auto other = [](Args& args, const char* name) { return args.bind(name, {"other"}, 1)[0]; };
  static constexpr auto none = [](Args& args, const char* name) { args.bind(name, {}, 0); };
#define QWEN3VL_ORDER(op) [](const Value& value, Args& args) { return ordered(value, other(args, op), op); }
  static constexpr Test eq = [](const Value& value, Args& args) { return equals(value, other(args, "eq")); };
  static constexpr Test ne = [](const Value& value, Args& args) { return !equals(value, other(args, "ne")); };
  static constexpr Test lt = QWEN3VL_ORDER("<"), le = QWEN3VL_ORDER("<="), gt = QWEN3VL_ORDER(">"),
                        ge = QWEN3VL_ORDER(">=");
#undef QWEN3VL_ORDER
  static constexpr auto cased = [](const Value& value, std::string_view method) {
    Args empty;
    return methods::check(Text(str(value), false), empty, method).integer() != 0;
  };
#define QWEN3VL_TEST(name, condition)                                                  \
  {                                                                                    \
    name, [](const Value& value, Args& args) { return none(args, name), (condition); } \
  }
  static const std::unordered_map<std::string_view, Test> all = {
      QWEN3VL_TEST("odd", equals(remainder(value, Value::integer(2)), Value::integer(1))),
      QWEN3VL_TEST("even", equals(remainder(value, Value::integer(2)), Value::integer(0))),
      QWEN3VL_TEST("defined", !value.is_undefined()),
      QWEN3VL_TEST("undefined", value.is_undefined()),
      QWEN3VL_TEST("none", value.is_none()),
      QWEN3VL_TEST("boolean", value.is(Type::boolean)),
      QWEN3VL_TEST("true", value.is(Type::boolean) && value.integer() != 0),
      QWEN3VL_TEST("false", value.is(Type::boolean) && value.integer() == 0),
      QWEN3VL_TEST("integer", value.is(Type::integer) || value.is(Type::big)),
      QWEN3VL_TEST("float", value.is(Type::number)),
      QWEN3VL_TEST("number", value.is_number() || value.is(Type::big)),
      QWEN3VL_TEST("string", value.is_text()),
      QWEN3VL_TEST("mapping", value.is_dict()),
      QWEN3VL_TEST("sequence", value.is_text() || value.is_dict() || value.is_undefined() ||
                                   (value.is(Type::sequence) && !value.sequence().is_view())),
      QWEN3VL_TEST("iterable", is_iterable(value)),
      QWEN3VL_TEST("callable", value.is(Type::callable) || value.is_undefined()),
      QWEN3VL_TEST("escaped", value.is_text() && value.text().markup),
      QWEN3VL_TEST("lower", cased(value, "islower")),
      QWEN3VL_TEST("upper", cased(value, "isupper")),
      QWEN3VL_TEST("filter", value.is_text() && find_filter(value.text().string) != nullptr),
      QWEN3VL_TEST("test", value.is_text() && all_tests().count(value.text().string) != 0),
      {"divisibleby",
       [](const Value& value, Args& args) {
         return equals(remainder(value, args.bind("divisibleby", {"num"}, 1)[0]), Value::integer(0));
       }},
      {"in", [](const Value& value, Args& args) { return contains(args.bind("in", {"seq"}, 1)[0], value); }},
      {"sameas",
       [](const Value& value, Args& args) {
         const Value same = args.bind("sameas", {"other"}, 1)[0];
         const bool is_plain = value.is_none() || value.is(Type::boolean) || value.is(Type::integer);
         return value.type() == same.type() && (is_plain ? equals(value, same) : value.object() == same.object());
       }},
      {"==", eq}, {"eq", eq}, {"equalto", eq}, {"!=", ne}, {"ne", ne},       {"<", lt},  {"lt", lt}, {"lessthan", lt},
      {"<=", le}, {"le", le}, {">", gt},       {"gt", gt}, {"greaterthan", gt}, {">=", ge}, {"ge", ge}};
#undef QWEN3VL_TEST
  return all;
}

/// Null for an unknown name.
inline Test find_test(std::string_view name) {
  const auto found = all_tests().find(name);
  return found == all_tests().end() ? nullptr : found->second;
}

inline bool call_test(const Value& name, const Value& value, Args& args) {
  const Test test = name.is_text() ? find_test(name.text().string) : nullptr;
  if (test == nullptr) raise("No test named ", repr(name), ".");
  step();
  return test(value, args);
}

}  // namespace qwen3vl::jinja
