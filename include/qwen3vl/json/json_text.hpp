/// Reads JSON that becomes part of a prompt: key order kept, numbers exact, hostile input refused.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/json/python_json.hpp"

namespace qwen3vl {

/// Longer JSON texts are refused unread: images are given by path, so no conversation needs more.
inline constexpr std::size_t max_json_bytes = std::size_t{64} << 20;

/// Limits of JSON that becomes part of a prompt (conversations, tools). Errors name the limit.
struct MessageLimits {
  std::size_t max_bytes = max_json_bytes;
  int max_depth = max_json_depth;  ///< arguments of tools may not be deeper than the default in any case
};

namespace detail {

/// Builds an `ordered_json` from nlohmann's events. Its own DOM builder is unsuitable: it silently rounds integers
/// beyond 64 bits to doubles (Python keeps them), searches all earlier keys for every key (quadratic: a file of keys
/// takes hours), and has no depth limit.
class OrderedJsonBuilder : public nlohmann::json_sax<nlohmann::ordered_json> {
 public:
  using Json = nlohmann::ordered_json;

  OrderedJsonBuilder(std::string_view where, int max_depth) : where_(where), max_depth_(max_depth) {}
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") == std::string::npos) {
      fail(where_, ": the integer ", text.substr(0, 40), " does not fit 64 bits");
    }
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { fail(where_, ": binary values are not JSON"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool key(string_t& value) override {
    open_.back().key = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t byte, const std::string&, const nlohmann::detail::exception& error) override {
    fail(where_, " is not valid JSON at byte ", byte, ": ", error.what());
  }

 private:
  struct Level {
    Json value;
    std::string key;
    std::unordered_map<std::string, std::size_t> index;  // of an object's keys
  };

  bool open(Json&& empty) {
    if (open_.size() >= static_cast<std::size_t>(std::max(max_depth_, 0)))
      fail(where_, " is nested deeper than ", max_depth_, " (MessageLimits::max_depth)");
    open_.push_back({std::move(empty), {}, {}});
    return true;
  }

  bool close() {
    Json done = std::move(open_.back().value);
    open_.pop_back();
    return add(std::move(done));
  }

  template <class Value>
  bool add(Value&& value) {
    if (open_.empty()) {
      root_ = Json(std::forward<Value>(value));
      return true;
    }
    Level& level = open_.back();
    if (level.value.is_array()) {
      level.value.push_back(Json(std::forward<Value>(value)));
      return true;
    }
    // A repeated key keeps its first place and takes the last value, as in a Python dict.
    auto& object = level.value.template get_ref<Json::object_t&>();
    const auto [place, is_new] = level.index.emplace(level.key, object.size());
    if (is_new) {
      static_cast<Json::object_t::Container&>(object).emplace_back(level.key, Json(std::forward<Value>(value)));
    } else {
      object.begin()[static_cast<std::ptrdiff_t>(place->second)].second = Json(std::forward<Value>(value));
    }
    return true;
  }

  std::string where_;
  int max_depth_;
  Json root_;
  std::vector<Level> open_;
};

}  // namespace detail

/// Parses `text`; errors begin with `where` (a file name, or what the text is).
inline nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view where,
                                                 const MessageLimits& limits = {}) {
  if (text.size() > limits.max_bytes)
    fail(where, " has ", text.size(), " bytes; at most ", limits.max_bytes, " are read (MessageLimits::max_bytes)");
  detail::OrderedJsonBuilder builder(where, limits.max_depth);
  nlohmann::ordered_json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

}  // namespace qwen3vl
