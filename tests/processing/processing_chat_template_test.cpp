// Where chat templates are found, and which of several is taken.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_chat_template
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "qwen3vl/processing/chat/chat_template.hpp"
#include "support/check_fails.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
namespace fs = std::filesystem;

namespace {

std::string rendered(const ChatTemplate& chat, const ChatTemplateOptions& options = {}) {
  return chat.render({user("q")}, options).text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(where_templates_are_found) {
  const test::TemporaryFolder folder;
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  };
  const auto found = [&] { return rendered(ChatTemplate::from_pretrained(folder.path())); };
  const auto json = [](const nlohmann::ordered_json& value) { return value.dump(); };
  using List = nlohmann::ordered_json;
  // None: the Instruct template.
  BOOST_CHECK_EQUAL(found(), "<|im_start|>user\nq<|im_end|>\n");
  write("tokenizer_config.json", "{\"pad_token\": \"x\"}");
  BOOST_CHECK_EQUAL(found(), "<|im_start|>user\nq<|im_end|>\n");
  write("tokenizer_config.json", json({{"chat_template", "tokenizer"}}));
  BOOST_CHECK_EQUAL(found(), "tokenizer");
  const nlohmann::json read = "read before";
  BOOST_CHECK_EQUAL(rendered(ChatTemplate::from_pretrained(folder.path(), &read)), "read before");
  write("tokenizer_config.json",
        json({{"chat_template", List::array({List{{"name", "tool_use"}, {"template", "tools"}},
                                             List{{"name", "default"}, {"template", "first"}}})}}));
  BOOST_CHECK_EQUAL(found(), "first");
  BOOST_CHECK_EQUAL(rendered(ChatTemplate::from_pretrained(folder.path()), {.chat_template = "tool_use"}), "tools");
  BOOST_CHECK_EQUAL(rendered(ChatTemplate::from_pretrained(folder.path()), {.chat_template = "{{ 1 + 1 }}"}), "2");
  write("chat_template.jinja", "jinja");
  BOOST_CHECK_EQUAL(found(), "jinja");
  fs::create_directory(folder / "additional_chat_templates");
  write("additional_chat_templates/rag.jinja", "documents");
  BOOST_CHECK_EQUAL(found(), "jinja");
  BOOST_CHECK_EQUAL(rendered(ChatTemplate::from_pretrained(folder.path()), {.chat_template = "rag"}), "documents");
  fs::remove(folder / "chat_template.jinja");
  CHECK_FAILS(found(), "several chat templates, and none is named \"default\"; choose one of rag");
  write("chat_template.json", json({{"chat_template", "legacy"}}));
  BOOST_CHECK_EQUAL(found(), "legacy");
  write("processor_config.json", json({{"chat_template", "processor"}}));
  BOOST_CHECK_EQUAL(found(), "processor");
  write("processor_config.json", "{}");

  write("chat_template.json", "{\"chat_template\": 3}");
  CHECK_FAILS(found(), "chat_template must be a string");
  write("chat_template.json", "{\"chat_template\": [3]}");
  CHECK_FAILS(found(), "chat_template lists something else");
  write("chat_template.json", "{\"chat_template\": []}");
  CHECK_FAILS(found(), "several chat templates, and none is named");
  write("chat_template.json", "[");
  CHECK_FAILS(found(), "is not valid JSON");
  write("chat_template.json", json({{"chat_template", "one\n{% if x"}}));
  CHECK_FAILS(found(), "chat_template.json, line 2: ");
}

BOOST_AUTO_TEST_CASE(variables_of_a_template) {
  ChatTemplate chat("{{ bos_token }}|{{ eos_token }}|{{ x }}|{{ enable_thinking is defined }}|{{ tools }}");
  BOOST_CHECK_EQUAL(rendered(chat), "|||False|None");
  chat.set_special_tokens({{"eos_token", "<e>"}});
  BOOST_CHECK_EQUAL(rendered(chat, {.enable_thinking = false, .tools = nlohmann::ordered_json::array()}),
                    "|<e>||True|[]");
  BOOST_CHECK_EQUAL(rendered(chat, {.chat_template_kwargs = {{"x", {1, "a"}}, {"eos_token", 2}}}),
                    "|2|[1, 'a']|False|None");
  CHECK_FAILS(rendered(chat, {.chat_template_kwargs = {{"messages", 1}}}),
              "chat_template_kwargs: messages is an option");
  CHECK_FAILS(rendered(chat, {.chat_template_kwargs = 3}), "chat_template_kwargs: must be an object, is number");
  CHECK_FAILS(rendered(chat, {.documents = {{"a", 1}}}), "documents: must be a list");
}

BOOST_AUTO_TEST_CASE(marks_of_control_tokens) {
  const std::vector<std::string> tokens = {"<a>", "<a><b>", ""};
  const ControlTokens marks(tokens);
  const std::string begin(ControlTokens::begin), end(ControlTokens::end);
  BOOST_CHECK_EQUAL(marks.marked("x<a><b><a>y"), "x" + begin + "<a><b>" + end + begin + "<a>" + end + "y");
  BOOST_CHECK_EQUAL(marks.marked(begin + "<" + end + "a>"), begin + "<a>" + end);  // no mark can be forged
  const auto pieces = [&](const std::string& prompt) {
    std::string out;
    for (const PromptPiece& piece : marks.pieces(prompt))
      out += (piece.as_text ? "(" : "[") + piece.text + (piece.as_text ? ")" : "]");
    return out;
  };
  BOOST_CHECK_EQUAL(pieces("<a>" + begin + "<a>" + end + "z"), "[<a>](<a>)[z]");
  BOOST_CHECK_EQUAL(pieces(begin + "<a>" + end), "[](<a>)");
  BOOST_CHECK_EQUAL(pieces("<" + begin + "a>" + end + "z"), "[<][a>][z]");  // separated from its token
  BOOST_CHECK_EQUAL(pieces(""), "[]");
}
