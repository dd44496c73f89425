/// What every template can call.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwen3vl/processing/jinja/methods.hpp"

namespace qwen3vl::jinja {

/// Sets an attribute of a namespace (TemplateNamespace).
inline void set_attribute(Namespace& in, const std::string& name, Value value) {
  if (name.starts_with('_'))
    raise("Chat templates cannot store underscore-prefixed attributes on a namespace, but got ", python::repr(name),
          ". Please rename the attribute.");
  for (auto& [key, old] : in.attributes)
    if (key == name) return static_cast<void>(old = std::move(value));
  in.attributes.emplace_back(name, std::move(value));
  expect_memory(in.attributes.size() * 64);
}

/// `dict(*args, **kwargs)`.
inline std::vector<Dict::Item> dict_items(Args& args) {
  std::vector<Dict::Item> items;
  if (args.positional.size() > 1) raise("dict expected at most 1 argument, got ", args.positional.size());
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    if (from.is_dict()) {
      items = from.dict().items;
    } else {
      const Next next = iterate(from);
      for (Value pair; next(pair);) {
        const Values both = is_iterable(pair) ? items_of(pair) : Values();
        if (both.size() != 2) raise("dictionary update sequence elements must have length 2");
        items.emplace_back(both[0], both[1]);
      }
    }
  }
  for (auto& [name, value] : args.named) items.emplace_back(Value::text(name), value);
  return items;
}

inline Value make_range(Args& args) {
  if (!args.named.empty()) raise("range() takes no keyword arguments");
  const Values& given = args.positional;
  if (given.empty() || given.size() > 3) raise("range expected 1 to 3 arguments, got ", given.size());
  const std::int64_t start = given.size() > 1 ? index(given[0]) : 0, stop = index(given[given.size() > 1 ? 1 : 0]);
  const std::int64_t by = given.size() > 2 ? index(given[2]) : 1;
  if (by == 0) raise("range() arg 3 must not be zero");
  constexpr std::int64_t most = 100'000;  // jinja2's MAX_RANGE
  Values items;
  for (std::int64_t i = start; by > 0 ? i < stop : i > stop;) {
    if (items.size() == most) raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE (", most, ").");
    items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  Value range = make_sequence(Sequence::Kind::range, std::move(items));
  const std::int64_t bounds[] = {start, stop, by};
  std::copy(bounds, bounds + 3, range.as<Sequence>()->range);
  return range;
}

struct Cycler final : Callable {
  explicit Cycler(Values all) : Callable("Cycler"), items(std::move(all)) {}
  Value call(Args&) override { raise("'Cycler' object is not callable"); }
  std::optional<Value> attribute(std::string_view name) override {
    if (name == "current") return items[position];
    if (name == "pos") return Value::integer(static_cast<std::int64_t>(position));
    if (name == "items") return Value::tuple(items);
    if (name == "next")
      return make_function([this, keeps = shared_from_this()](Args&) {
        Value item = items[position];
        position = (position + 1) % items.size();
        return item;
      });
    if (name == "reset")
      return make_function([this, keeps = shared_from_this()](Args&) { return position = 0, Value::none(); });
    return std::nullopt;
  }
  Values items;
  std::size_t position = 0;
};

/// The local time as `strftime` writes it.
inline std::string local_time(const std::string& format) {
  const auto time = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  const auto micro = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count() % 1'000'000;
  std::tm local{};
  localtime_r(&seconds, &local);
  // What Python knows beyond the C library; the time has no zone.
  std::string text = methods::replace(format, "%%", "%\x01", -1);
  text = methods::replace(text, "%f", concat(std::string(6 - std::to_string(micro).size(), '0'), micro), -1);
  text = methods::replace(methods::replace(text, "%z", "", -1), "%Z", "", -1);
  text = methods::replace(text, "%\x01", "%%", -1) + " ";  // so that the result is not empty
  if (text.size() > 1000) raise("a format of a time over 1000 bytes is not supported");
  std::string out(16'000, '\0');
  out.resize(std::strftime(out.data(), out.size(), text.c_str(), &local));
  if (!out.empty()) out.pop_back();
  return out;
}

/// A function of this name; missing if there is none. Namespaces that it makes go to `namespaces`.
inline Value global(std::string_view name, std::vector<std::shared_ptr<Namespace>>& namespaces) {
  if (name == "range") return make_function(make_range, "function");
  if (name == "dict") return make_function([](Args& args) { return make_dict(dict_items(args)); }, "TemplateDict");
  if (name == "namespace")
    return make_function(
        [&namespaces](Args& args) {
          const auto created = std::make_shared<Namespace>();
          namespaces.push_back(created);
          for (auto& [key, value] : dict_items(args)) {
            if (!key.is_text()) raise("a namespace needs names that are strings");
            set_attribute(*created, key.text().string, value);
          }
          return Value(Type::name_space, created);
        },
        "type");
  if (name == "cycler")
    return make_function(
        [](Args& args) {
          if (args.positional.empty()) raise("at least one item has to be provided");
          return Value(Type::callable, std::make_shared<Cycler>(args.positional));
        },
        "type");
  if (name == "joiner")
    return make_function(
        [](Args& args) {
          const Values given = args.bind("joiner", {"sep"}, 0);
          const Value between = given[0].is_missing() ? Value::text(", ") : given[0];
          return make_function(
              [between, used = false](Args&) mutable { return std::exchange(used, true) ? between : Value::text(""); },
              "Joiner");
        },
        "type");
  if (name == "lipsum")
    return make_function([](Args&) -> Value { raise("the function lipsum is not supported in chat templates"); },
                         "function");
  if (name == "raise_exception")
    return make_function(
        [](Args& args) -> Value { throw Failure(str(args.bind("raise_exception", {"message"}, 1)[0])); }, "function");
  if (name == "strftime_now")
    return make_function(
        [](Args& args) {
          const Value format = args.bind("strftime_now", {"format"}, 1)[0];
          if (!format.is_text()) raise("strftime() argument 1 must be str, not ", type_name(format));
          return Value::text(local_time(format.text().string));
        },
        "function");
  return {};
}

}  // namespace qwen3vl::jinja
