// JSON as Python writes it into prompts, and the reader of conversations' JSON.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_python_json
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/json/python_json.hpp"
#include "support/check_fails.hpp"

using namespace qwen3vl;
using nlohmann::ordered_json;

namespace {

std::string round_trip(const std::string& text) { return python_json(parse_ordered_json(text, "test")); }

}  // namespace

BOOST_AUTO_TEST_CASE(floats_are_written_as_python_does) {
  // Each pair as printed by CPython's repr().
  const std::pair<double, const char*> cases[] = {
      {0.0, "0.0"},
      {-0.0, "-0.0"},
      {1.0, "1.0"},
      {-0.5, "-0.5"},
      {0.1, "0.1"},
      {100.0, "100.0"},
      {123456.789, "123456.789"},
      {1e15, "1000000000000000.0"},
      {9999999999999998.0, "9999999999999998.0"},
      {1e16, "1e+16"},
      {1.5e16, "1.5e+16"},
      {123456789012345680.0, "1.2345678901234568e+17"},
      {0.0001, "0.0001"},
      {0.00012345, "0.00012345"},
      {1e-5, "1e-05"},
      {1.5e-7, "1.5e-07"},
      {1e22, "1e+22"},
      {1e100, "1e+100"},
      {-2.5e-300, "-2.5e-300"},
      {5e-324, "5e-324"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {0.30000000000000004, "0.30000000000000004"},
      {std::numeric_limits<double>::infinity(), "inf"},
      {-std::numeric_limits<double>::infinity(), "-inf"},
      {std::nan(""), "nan"},
  };
  for (const auto& [number, expected] : cases) BOOST_CHECK_EQUAL(python_float_repr(number), expected);
}

BOOST_AUTO_TEST_CASE(floats_read_back_as_themselves) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t bits = random();
    double number = 0;
    std::memcpy(&number, &bits, sizeof number);
    if (!std::isfinite(number)) continue;
    const std::string text = python_float_repr(number);
    BOOST_REQUIRE_MESSAGE(std::strtod(text.c_str(), nullptr) == number, text);
    BOOST_REQUIRE_MESSAGE(text.find_first_of(".e") != std::string::npos, text);
  }
}

BOOST_AUTO_TEST_CASE(values_are_written_as_python_does) {
  BOOST_CHECK_EQUAL(round_trip(R"({"b":1,"a":[1,2.0,-3,{"z":null}],"c":{},"d":[],"e":true,"f":false})"),
                    R"({"b": 1, "a": [1, 2.0, -3, {"z": null}], "c": {}, "d": [], "e": true, "f": false})");
  BOOST_CHECK_EQUAL(round_trip(R"([18446744073709551615,-9223372036854775808,1E2])"),
                    "[18446744073709551615, -9223372036854775808, 100.0]");
  BOOST_CHECK_EQUAL(round_trip(R"("\u00e9\u2028\u007f\u0000\u001f\b\f\n\r\t\"\\\/<&>'")"),
                    "\"\u00e9\u2028\x7f\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/<&>'\"");
  BOOST_CHECK_EQUAL(python_json(ordered_json::array({std::nan(""), HUGE_VAL, -HUGE_VAL})),
                    "[NaN, Infinity, -Infinity]");
  BOOST_CHECK_EQUAL(python_json(ordered_json()), "null");
  CHECK_FAILS(python_json(ordered_json::binary({1, 2})), "no JSON form");
}

BOOST_AUTO_TEST_CASE(repeated_keys_act_as_in_a_python_dict) {
  BOOST_CHECK_EQUAL(round_trip(R"({"a":1,"b":2,"a":3})"), R"({"a": 3, "b": 2})");
}

BOOST_AUTO_TEST_CASE(hostile_json_is_refused) {
  const std::string deep(100000, '[');
  CHECK_FAILS(parse_ordered_json(deep, "here"), "here is nested deeper than 128");
  CHECK_FAILS(parse_ordered_json("", "here"), "here is not valid JSON");
  CHECK_FAILS(parse_ordered_json("{\"a\":", "here"), "here is not valid JSON");
  CHECK_FAILS(parse_ordered_json("[1] x", "here"), "here is not valid JSON");
  CHECK_FAILS(parse_ordered_json("\"\xff\"", "here"), "here is not valid JSON");
  CHECK_FAILS(parse_ordered_json("\"\\ud800\"", "here"), "here is not valid JSON");
  CHECK_FAILS(parse_ordered_json("[1e999]", "here"), "here is not valid JSON");
  CHECK_FAILS(parse_ordered_json("[NaN]", "here"), "here is not valid JSON");
  CHECK_FAILS(parse_ordered_json("[123456789012345678901234567890]", "here"), "does not fit 64 bits");

  ordered_json nested = ordered_json::array();
  for (int i = 0; i < 200; ++i) nested = ordered_json::array({std::move(nested)});
  CHECK_FAILS(python_json(nested), "nested deeper");
}

BOOST_AUTO_TEST_CASE(many_keys_are_read_in_linear_time) {
  // 200,000 keys: quadratic search would take minutes and trip the test's time limit.
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":0";
  text += '}';
  const ordered_json value = parse_ordered_json(text, "keys");
  BOOST_CHECK_EQUAL(value.size(), 200000U);
}
