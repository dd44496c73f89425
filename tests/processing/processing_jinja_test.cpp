// The interpreter of chat templates against jinja2, and what it does with hostile templates.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_jinja
#include <boost/test/unit_test.hpp>
#include <set>
#include <string>
#include <thread>

#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/jinja/template.hpp"
#include "support/check_fails.hpp"

using namespace qwen3vl;
using nlohmann::ordered_json;

namespace {

const std::string golden = QWEN3VL_TEST_DATA "/golden/";

ordered_json read_json(const std::string& path) { return parse_ordered_json(read_text_file(path), path); }

std::string render(const std::string& source, const ordered_json& variables = ordered_json::object(),
                   const jinja::Limits& limits = {}) {
  return jinja::Template(source, "t", limits).render(variables).text;
}

}  // namespace

// Made by golden/make_jinja.py with jinja2 itself.
BOOST_AUTO_TEST_CASE(snippets_equal_jinja2) {
  const ordered_json table = read_json(golden + "jinja/snippets.json");
  BOOST_REQUIRE_GT(table["rows"].size(), 900U);
  // Errors of Python's own types are worded for its functions; those of jinja2 are the same here, word for word.
  const std::set<std::string> same_words = {"UndefinedError", "SecurityError", "TemplateError"};
  int errors = 0;
  for (const ordered_json& row : table["rows"]) {
    const std::string source = row["source"].get<std::string>();
    BOOST_TEST_CONTEXT(source) {
      if (row.contains("text")) {
        try {
          BOOST_CHECK_EQUAL(render(source, table["variables"]), row["text"].get<std::string>());
        } catch (const Error& error) {
          BOOST_ERROR(error.what());
        }
        continue;
      }
      ++errors;
      try {
        BOOST_ERROR("no error, but " << render(source, table["variables"]));
      } catch (const Error& error) {
        const std::string what = error.what(), type = row["error"].get<std::string>();
        if (type != "SyntaxError" && type != "RecursionError" && row["line"].is_number())
          BOOST_CHECK_EQUAL(what.substr(0, what.find(':')), "t, line " + std::to_string(row["line"].get<int>()));
        if (same_words.count(type) != 0)
          BOOST_CHECK_MESSAGE(what.ends_with(": " + row["message"].get<std::string>()), what);
      }
    }
  }
  BOOST_CHECK_GT(errors, 200);
}

BOOST_AUTO_TEST_CASE(chat_templates_of_fine_tunes) {
  const ordered_json table = read_json(golden + "chat_templates/expected.json");
  BOOST_REQUIRE_EQUAL(table["rows"].size(), 48U);
  for (const ordered_json& row : table["rows"]) {
    const std::string name = row["template"].get<std::string>();
    BOOST_TEST_CONTEXT(name << ", " << row["case"]) {
      ordered_json variables = row["variables"];
      for (const char* key : {"messages", "tools", "add_generation_prompt"}) variables[key] = row[key];
      const std::string source = read_text_file(golden + "chat_templates/" + name + ".jinja");
      if (row.contains("text")) {
        BOOST_CHECK_EQUAL(render(source, variables), row["text"].get<std::string>());
      } else {
        const std::string error = row["error"].get<std::string>();  // "TemplateError: roles must ..."
        CHECK_FAILS(render(source, variables), error.substr(error.find(": ") + 2).c_str());
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(spans_of_the_assistant) {
  const jinja::Rendered rendered =
      jinja::Template("{% for m in ['a', 'é'] %}[{% generation %}{{ m }}!{% endgeneration %}]{% endfor %}")
          .render(ordered_json::object());
  BOOST_CHECK_EQUAL(rendered.text, "[a!][é!]");
  using Spans = std::vector<std::pair<std::size_t, std::size_t>>;
  BOOST_CHECK((rendered.generations == Spans{{1, 3}, {5, 8}}));
}

BOOST_AUTO_TEST_CASE(what_is_not_supported_is_named_with_its_line) {
  CHECK_FAILS(render("\n{% include 'x' %}"), "t, line 2: the tag 'include' is not supported");
  CHECK_FAILS(render("{% block a %}{% endblock %}"), "'block' is not supported");
  CHECK_FAILS(render("{{ 'x' | wordwrap }}"), "the filter 'wordwrap' is not supported");
  CHECK_FAILS(render("{{ 'x'.encode() }}"), "the method str.encode is not supported");
  CHECK_FAILS(render("{{ lipsum() }}"), "lipsum is not supported");
  CHECK_FAILS(render("{{ range }}"), "writing a function is not supported");
  CHECK_FAILS(render("{{ 9223372036854775807 + 1 }}"), "beyond 64 bits");
  CHECK_FAILS(render("{{ 2 ** 64 }}"), "beyond 64 bits");
  CHECK_FAILS(render("{{ 99999999999999999999 }}"), "does not fit 64 bits");
  CHECK_FAILS(render("{{ x + 1 }}", {{"x", 18446744073709551615U}}), "beyond 64 bits");
  BOOST_CHECK_EQUAL(render("{{ x }} {{ [x] | tojson }} {{ x is integer }}", {{"x", 18446744073709551615U}}),
                    "18446744073709551615 [18446744073709551615] True");
  // A branch that is not taken may use anything that can be parsed.
  BOOST_CHECK_EQUAL(render("{% if false %}{{ 'x' | wordwrap }}{{ 1 | unheard_of }}{% endif %}fine"), "fine");
}

BOOST_AUTO_TEST_CASE(limits) {
  const jinja::Limits small{.max_memory = 1'000'000};
  CHECK_FAILS(render("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", {},
                     {.max_steps = 1'000'000}),
              "takes more than 1000000 steps (jinja::Limits::max_steps)");
  CHECK_FAILS(render("\n{{ 'x' * 1000000000000 }}"), "t, line 2: the template needs more than");
  CHECK_FAILS(render("{{ [1] * 1000000000000 }}"), "needs more than");
  CHECK_FAILS(render("{{ 'abc' | center(100000000000) }}"), "needs more than");
  CHECK_FAILS(render("{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
                     {}, small),
              "needs more than");
  CHECK_FAILS(render("{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
                     {}, small),
              "needs more than");
  CHECK_FAILS(render("{% set ns = namespace(s=[]) %}{% for i in range(999) %}{% set ns.s = [ns.s] %}{% endfor %}"),
              "nested deeper than 200 (jinja::Limits::max_value_depth)");
  CHECK_FAILS(render("{% for i in range(100) %}{{ 'x' * 1000 }}{% endfor %}", {}, {.max_output_bytes = 10'000}),
              "longer than 10000 bytes (jinja::Limits::max_output_bytes)");
  CHECK_FAILS(render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"), "recursion deeper than 600");
  CHECK_FAILS(render("{% set n = [1] %}{% for x in n recursive %}{{ loop(n) }}{% endfor %}"), "recursion deeper than");
  CHECK_FAILS(render("{{ " + std::string(100'000, '(')), "nested deeper than 100 (jinja::Limits::max_nesting)");
  CHECK_FAILS(render("{{ " + std::string(100'000, '-') + "1 }}"), "nested deeper than");
  CHECK_FAILS(render("{{ 1" +
                     [] {
                       std::string chain;
                       for (int i = 0; i < 100'000; ++i) chain += "+1";
                       return chain;
                     }() +
                     " }}"),
              "nested deeper than");
  std::string ifs;
  for (int i = 0; i < 10'000; ++i) ifs += "{% if true %}";
  CHECK_FAILS(render(ifs), "nested deeper than");
  CHECK_FAILS(render(std::string(std::size_t{2} << 20, ' ')), "a template of 2097152 bytes; at most 1048576");
  CHECK_FAILS(render("{{ range(10 ** 18) }}"), "Range too big");
  CHECK_FAILS(render("{{ '{:999999999}'.format(1) }}"), "a width or precision over 1000000");
  // Cycles are freed, and cannot be written for ever.
  CHECK_FAILS(render("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}"), "holds itself");
  BOOST_CHECK_EQUAL(render("{% set ns = namespace() %}{% set ns.f = none %}{% for x in [1, 2] %}"
                           "{% set ns.f = loop.changed %}{% endfor %}{{ ns.f(2) }}{{ ns.f(2) }}"),
                    "TrueFalse");
}

BOOST_AUTO_TEST_CASE(a_template_is_shared_by_threads) {
  const jinja::Template shared(
      "{% set ns = namespace(n=0) %}{% for x in range(n) %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}");
  std::vector<std::thread> threads;
  std::vector<std::string> results(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      results[static_cast<std::size_t>(i)] = shared.render({{"n", 1000 * (i + 1)}}).text;
    });
  for (std::thread& thread : threads) thread.join();
  BOOST_CHECK((results == std::vector<std::string>{"499500", "1999000", "4498500", "7998000"}));
}
