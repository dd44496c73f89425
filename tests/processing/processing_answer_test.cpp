// Parsing answers: reasoning, text and tool calls, whole and in pieces; descriptions of tools.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_answer
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/processing/chat/answer.hpp"
#include "qwen3vl/processing/chat/chat_template.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::ordered_json;
using test::fails_with;

namespace {

const std::string weather = R"({"name": "weather", "arguments": {"city": "Köln", "days": 3}})";
const std::string weather_call = "<tool_call>\n" + weather + "\n</tool_call>";

/// The whole result as one string for comparison; a ! for each error.
std::string shown(const ParsedAnswer& answer) {
  return concat(answer.reasoning ? "[" + *answer.reasoning + "]" : "", answer.reasoning_complete ? "" : "...", "(",
                answer.text, ")", tool_calls_to_json(answer.tool_calls).dump(), std::string(answer.errors.size(), '!'));
}

void append(ParsedAnswer& all, const ParsedAnswer& more) {
  if (more.reasoning) all.reasoning = all.reasoning.value_or("") + *more.reasoning;
  all.text += more.text;
  all.tool_calls.insert(all.tool_calls.end(), more.tool_calls.begin(), more.tool_calls.end());
  all.reasoning_complete = more.reasoning_complete;
  all.errors.insert(all.errors.end(), more.errors.begin(), more.errors.end());
}

/// In pieces: cut at each of two places, and one byte at a time.
void check_pieces(const std::string& raw, const AnswerOptions& options) {
  const std::string whole = shown(parse_answer(raw, options));
  AnswerStream stream(options);  // reused for all: it starts afresh after each
  const auto joined = [&](std::vector<std::string_view> pieces) {
    ParsedAnswer all;
    for (const std::string_view piece : pieces) append(all, stream.push(piece));
    append(all, stream.flush());
    return shown(all);
  };
  const std::string_view text = raw;
  for (std::size_t i = 0; i <= raw.size(); ++i)
    for (std::size_t j = i; j <= raw.size(); j += 7)
      BOOST_REQUIRE_EQUAL(joined({text.substr(0, i), text.substr(i, j - i), text.substr(j)}), whole);
  std::vector<std::string_view> bytes;
  for (std::size_t i = 0; i < raw.size(); ++i) bytes.push_back(text.substr(i, 1));
  BOOST_REQUIRE_EQUAL(joined(bytes), whole);
}

void check(const std::string& raw, const std::string& expected, const AnswerOptions& options = {}) {
  BOOST_TEST_CONTEXT(raw) {
    BOOST_CHECK_EQUAL(shown(parse_answer(raw, options)), expected);
    check_pieces(raw, options);
  }
}

constexpr AnswerOptions thinking{.starts_in_reasoning = true};

}  // namespace

BOOST_AUTO_TEST_CASE(reasoning_and_text) {
  check("", "()[]");
  check("A cat.\n", "(A cat.\n)[]");
  check("\n\n a < b </think> <thin", "(\n\n a < b </think> <thin)[]");
  check("Because.\n</think>\n\nA cat.\n", "[Because.](A cat.\n)[]", thinking);
  check("\n\nOne.\n\nTwo.\n\n</think>A", "[One.\n\nTwo.](A)[]", thinking);
  check("<think>\nBecause.\n</think>\n\nA cat.", "[Because.](A cat.)[]");
  check("\n<think>\nBecause.\n</think>\n\nA cat.", "[Because.](A cat.)[]", thinking);
  check("</think>\n\nA", "[](A)[]", thinking);
  check("\n\n</think>\n\n", "[]()[]", thinking);
  check("It ends with </thin", "[It ends with </thin]...()[]", thinking);
  check("It ends early\n", "[It ends early]...()[]", thinking);
  check("", "[]...()[]", thinking);
  check("a </think> b </think> c", "[a ]( b </think> c)[]", thinking);
  check("a <<</think></think>b", "[a <<](</think>b)[]", thinking);
  check("Text first, <think>no</think>", "(Text first, <think>no</think>)[]");
  check(std::string(70, '\n') + "<think>x</think>y", "(" + std::string(70, '\n') + "<think>x</think>y)[]");
}

BOOST_AUTO_TEST_CASE(tool_calls) {
  const std::string one = R"({"name":"weather","arguments":{"city":"Köln","days":3}})";
  check(weather_call, "()[" + one + "]");
  check("I look.\n" + weather_call, "(I look.)[" + one + "]");
  check("I look.\n\n" + weather_call + "\n" + weather_call + "\n", "(I look.)[" + one + "," + one + "]");
  check("Why?\n</think>\n\n" + weather_call, "[Why?]()[" + one + "]", thinking);
  check("Why?\n</think>\n\nI look.\n" + weather_call, "[Why?](I look.)[" + one + "]", thinking);
  check("No call: " + weather_call, "[No call: " + weather_call + "]...()[]", thinking);
  check(weather_call + " \n\nDone.\n", "(Done.\n)[" + one + "]");
  check("a\n" + weather_call + "\nb", "(a\nb)[" + one + "]");
  check("a\n" + weather_call, "(a\n" + weather_call + ")[]", {.parse_tool_calls = false});
  // Without its end: once complete otherwise, once not.
  check("<tool_call>\n" + weather, "()[" + one + "]");
  check("<tool_call>\n" + weather + "\n</tool", "()[" + one + "]");
  check("a\n<tool_call>\n{\"name\": \"wea", "(a\n<tool_call>\n{\"name\": \"wea)[]!");
  check("<tool_call>\n{\"name\": \"f\"\n</tool", "(<tool_call>\n{\"name\": \"f\"\n</tool)[]!");
  check("a <tool_cal", "(a <tool_cal)[]");
  // What is not a call remains as text.
  for (const char* bad : {"", "nonsense", "[1]", "{}", R"({"arguments": {}})", R"({"name": 3, "arguments": {}})",
                          R"({"name": "f", "arguments": {})", R"({"name": "f",,})", R"({,})", "{\"name\": \"f\ng\"}"}) {
    const std::string raw = concat("a\n<tool_call>", bad, "</tool_call>\nb");
    check(raw, "(" + raw + ")[]!");
  }
  check("<tool_call>x</tool_call>\n" + weather_call, "(<tool_call>x</tool_call>)[" + one + "]!");
  check("<tool_call>x</tool_call><tool_call>y", "(<tool_call>x</tool_call><tool_call>y)[]!!");
  // Trailing commas are removed; those inside strings stay.
  check("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, 2 ,\n], \"b\": \",}\\\",]\",\t},\n}\n</tool_call>",
        R"(()[{"name":"f","arguments":{"a":[1,2],"b":",}\",]"}}])");
  check(R"(<tool_call>{"name": "f"}</tool_call>)", R"(()[{"name":"f","arguments":{}}])");
  check(R"(<tool_call>{"name": "f", "arguments": "{\"a\": 1}"}</tool_call>)",
        R"(()[{"name":"f","arguments":"{\"a\": 1}"}])");
  // The mark inside a string is part of the argument; a superfluous quote invalidates only one call.
  check(R"(<tool_call>{"name": "f", "arguments": {"x": "a\"</tool_call>\\"}}</tool_call>)",
        R"(()[{"name":"f","arguments":{"x":"a\"</tool_call>\\"}}])");
  check("<tool_call>\n{\"name\": \"f\"\"}\n</tool_call>\n" + weather_call,
        "(<tool_call>\n{\"name\": \"f\"\"}\n</tool_call>)[" + one + "]!");
  check("<tool_call><tool_call>" + weather + "</tool_call>", "(<tool_call><tool_call>" + weather + "</tool_call>)[]!");
}

BOOST_AUTO_TEST_CASE(errors_say_why) {
  const auto error = [](const std::string& body) {
    const ParsedAnswer answer = parse_answer("<tool_call>" + body + "</tool_call>");
    BOOST_REQUIRE(answer.errors.size() == 1);
    return answer.errors[0];
  };
  BOOST_TEST(error("x").starts_with("a tool call is not valid JSON at byte 1: "));
  BOOST_CHECK_EQUAL(error("[1]"), "a tool call must be an object, is array");
  BOOST_CHECK_EQUAL(error("{\"name\": 3}"), "a tool call has no \"name\" that is a string");
  // One line of bounded length, whatever the model wrote.
  const std::string long_one = error("\"" + std::string(10000, 'x') + "\n\x01");
  BOOST_TEST(long_one.size() < 250u);
  BOOST_TEST(long_one.find('\n') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(an_answer_goes_back_into_the_prompt_as_it_was) {
  const ChatTemplate thinking(read_text_file(QWEN3VL_TEST_DATA "/assets/chat_templates/thinking.jinja"));
  const auto check_prompt = [](const ChatTemplate& format, const std::string& raw, bool with_reasoning) {
    Conversation messages = {user("q")};
    const std::string prompt = format.render(messages, {.add_generation_prompt = true}).text;
    BOOST_TEST(opens_reasoning(prompt) == with_reasoning);
    messages.push_back(parse_answer(raw, {.starts_in_reasoning = opens_reasoning(prompt)}).message());
    BOOST_CHECK_EQUAL(format.render(messages).text, prompt + raw + "<|im_end|>\n");
  };
  const std::string calls = weather_call + "\n" + weather_call;
  for (const std::string& text : {std::string("A cat."), calls, "I look.\n" + calls}) {
    check_prompt(ChatTemplate::instruct(), text, false);
    check_prompt(thinking, "Hm.\n\nWell.\n</think>\n\n" + text, true);
  }
  BOOST_TEST(!opens_reasoning(""));
  BOOST_TEST(opens_reasoning("User: q\nModel: <think>\n"));
  BOOST_TEST(!opens_reasoning("User: <think>\nModel: "));
  BOOST_TEST(!opens_reasoning("<|im_start|>user\n<think>"));
  BOOST_TEST(!opens_reasoning("<|im_start|>assistant\n<think>\na\n</think>\n\nb"));
  BOOST_TEST(opens_reasoning("<|im_start|>assistant\n<think>\na<|im_end|>\n<|im_start|>assistant\n<think>\nb"));
}

BOOST_AUTO_TEST_CASE(hostile_answers_take_linear_time) {
  const auto repeat = [](std::string_view piece, std::size_t count) {
    std::string all;
    for (std::size_t i = 0; i < count; ++i) all += piece;
    return all;
  };
  for (const std::string& raw :
       {repeat("\n", 500000), repeat("<tool_call>", 50000), repeat("<tool_call>{\"</tool_call>", 20000),
        repeat("</think>", 50000), repeat("<", 500000), "<tool_call>" + repeat("[", 500000),
        "<tool_call>" + repeat("{\"a\":", 100000), "<tool_call>{\"name\":\"" + repeat("</tool_call>", 50000)}) {
    for (const AnswerOptions& options : {AnswerOptions{}, thinking}) {
      const auto start = std::chrono::steady_clock::now();
      AnswerStream stream(options);
      for (const char c : raw) stream.push(std::string_view(&c, 1));
      stream.flush();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      BOOST_TEST(seconds.count() < 20.0, raw.substr(0, 20) << " took " << seconds.count() << " s");
    }
  }
  // Any pieces of marks in any order.
  std::mt19937 random(5);
  const std::vector<std::string> pieces = {
      "<think>", "</think>", "<tool_call>", "</tool_call>", weather, "\n", "<", "a", "\"", "\\", "{", "}", " "};
  for (int i = 0; i < 300; ++i) {
    std::string raw;
    for (int j = 0; j < 8; ++j) raw += pieces[random() % pieces.size()];
    check_pieces(raw, {.starts_in_reasoning = random() % 2 == 0, .parse_tool_calls = random() % 4 != 0});
  }
}

BOOST_AUTO_TEST_CASE(descriptions_of_tools) {
  const std::string function = R"({"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": 2}}})";
  const ordered_json list = ordered_json::parse("[" + function + "]");
  BOOST_CHECK_EQUAL(tools_from_json("[" + function + "]", "t").dump(), list.dump());
  BOOST_CHECK_EQUAL(tools_from_json(function, "t").dump(), list.dump());
  BOOST_CHECK_EQUAL(tools_from_json("{\"tools\": [" + function + "]}", "t").dump(), list.dump());
  BOOST_CHECK_EQUAL(tools_from_json(R"([{"name": "f"}])", "t").dump(),
                    R"([{"type":"function","function":{"name":"f"}}])");
  BOOST_CHECK_EQUAL(tools_from_json(R"({"name": "f", "parameters": {"b": 1, "a": 2}})", "t").dump(), list.dump());
  BOOST_CHECK_EQUAL(tools_from_json("[]", "t").dump(), "[]");
  const auto fails = [](const char* text, const char* what) {
    return fails_with([&] { tools_from_json(text, "t.json"); }, what);
  };
  BOOST_TEST(fails("3", "t.json: must be a list of functions, is number"));
  BOOST_TEST(fails(R"({"tools": "f"})", "t.json: must be a list of functions, is string"));
  BOOST_TEST(fails(R"([{"name": "f"}, 7])", "t.json: tools[1] is not a function with a \"name\""));
  BOOST_TEST(fails(R"([{"function": {"title": "f"}}])", "t.json: tools[0] is not a function"));
  BOOST_TEST(fails(R"({"name": 1})", "t.json: tools[0] is not a function"));
  BOOST_TEST(fails("[", "t.json is not valid JSON"));
  const test::TemporaryFolder folder;
  BOOST_CHECK_EQUAL(read_tools(folder.write("tools.json", function)).dump(), list.dump());
  BOOST_TEST(fails_with([&] { read_tools(folder / "none.json"); }, "none.json"));
}
