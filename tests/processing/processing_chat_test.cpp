// Conversations: reading them from JSON, and the templates of Instruct and Thinking against the prompts of the
// reference.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_chat
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "qwen3vl/processing/chat/chat_template.hpp"
#include "qwen3vl/processing/chat/message.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "support/check_fails.hpp"

using namespace qwen3vl;
using nlohmann::ordered_json;

namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  BOOST_REQUIRE_MESSAGE(file, path);
  return {std::istreambuf_iterator<char>(file), {}};
}

const ChatTemplate instruct = ChatTemplate::instruct();
const ChatTemplate thinking(read_text_file(QWEN3VL_TEST_DATA "/assets/chat_templates/thinking.jinja"));
const ChatTemplate with_switch = ChatTemplate::from_pretrained(QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes");

std::string render_chat(const Conversation& messages, const ChatTemplate& format,
                        const ChatTemplateOptions& options = {}) {
  return format.render(messages, options).text;
}

ChatTemplateOptions options_of(const ordered_json& row) {
  ChatTemplateOptions options;
  for (const auto& [key, value] : row.items()) {
    if (key == "add_generation_prompt") {
      options.add_generation_prompt = value.get<bool>();
    } else if (key == "add_vision_id") {
      options.add_vision_id = value.get<bool>();
    } else if (key == "continue_final_message") {
      options.continue_final_message = value.get<bool>();
    } else if (key == "tools") {
      options.tools = value;
    } else {
      BOOST_FAIL("option without a test: " << key);
    }
  }
  return options;
}

std::string instruct_of(const char* json, const ChatTemplateOptions& options = {}) {
  return render_chat(messages_from_json(std::string_view(json)), instruct, options);
}

std::string thinking_of(const char* json, const ChatTemplateOptions& options = {}) {
  return render_chat(messages_from_json(std::string_view(json)), thinking, options);
}

}  // namespace

BOOST_AUTO_TEST_CASE(prompts_equal_those_of_the_reference) {
  const ordered_json table =
      parse_ordered_json(read_file(QWEN3VL_TEST_DATA "/golden/cases/chat/render.json"), "render.json");
  BOOST_REQUIRE_EQUAL(table["cases"].size(), table["count"].get<std::size_t>());
  BOOST_REQUIRE_GT(table["cases"].size(), 0U);
  for (const ordered_json& row : table["cases"]) {
    const std::string kind = row["template"].get<std::string>();
    BOOST_TEST_CONTEXT(row["name"].get<std::string>() << ", " << kind) {
      BOOST_REQUIRE(kind == "instruct" || kind == "thinking");
      const auto render = [&] {
        return render_chat(messages_from_json(row["messages"]), kind == "thinking" ? thinking : instruct,
                           options_of(row["options"]));
      };
      if (row["error"].is_null()) {
        BOOST_CHECK_EQUAL(render(), row["expected"].get<std::string>());
      } else {
        BOOST_CHECK_THROW(render(), Error);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(prompts_of_the_small_trained_model) {
  const ordered_json table =
      parse_ordered_json(read_file(QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes/expected/cases.json"), "cases.json");
  BOOST_REQUIRE_GT(table["cases"].size(), 40U);
  int with_thinking = 0;
  for (const ordered_json& row : table["cases"]) {
    const std::string name = row["name"].get<std::string>();
    const bool think = name.ends_with(" thinking");
    with_thinking += think ? 1 : 0;
    BOOST_TEST_CONTEXT(name) {
      const std::string prompt = render_chat(messages_from_json(row["messages"]), with_switch,
                                             {.add_generation_prompt = true, .enable_thinking = think});
      BOOST_CHECK_EQUAL(prompt, row["prompt"].get<std::string>());
    }
  }
  BOOST_CHECK_GT(with_thinking, 0);
}

BOOST_AUTO_TEST_CASE(builders_make_the_same_messages_as_json) {
  const Conversation messages = {
      system_prompt("Be short."),
      user({image("cat.png"), text("What?")}),
      assistant("A cat."),
      user("And this?"),
      assistant(std::vector<ToolCall>{{"look", {{"x", 1}}}}),
      tool_result("nothing"),
      tool_result({image("shot.png"), video("clip.mp4")}),
  };
  const Conversation read = messages_from_json(std::string_view(R"([
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": "And this?"},
    {"role": "assistant", "tool_calls": [{"name": "look", "arguments": {"x": 1}}]},
    {"role": "tool", "content": "nothing"},
    {"role": "tool", "content": [{"image": "shot.png"}, {"video": "clip.mp4"}]}])"));
  BOOST_REQUIRE_EQUAL(read.size(), messages.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    BOOST_TEST_CONTEXT("message " << i) {
      BOOST_CHECK_EQUAL(read[i].role, messages[i].role);
      BOOST_CHECK(read[i].content == messages[i].content);
      BOOST_CHECK_EQUAL(read[i].tool_calls.size(), messages[i].tool_calls.size());
    }
  }
  for (const ChatTemplate& format : {instruct, thinking}) {
    BOOST_CHECK_EQUAL(render_chat(messages, format), render_chat(read, format));
  }
}

BOOST_AUTO_TEST_CASE(nothing_of_a_message_is_lost) {
  const ordered_json given = parse_ordered_json(R"([
    {"x": 1, "role": "user", "name": "Ann", "content": [{"cache": true, "type": "text", "text": "a"}, {"type": "audio", "y": 2}]},
    {"role": "assistant", "thinking": "t", "content": "b", "tool_calls": [{"id": "7", "name": "f", "arguments": "{}"}]}])",
                                                "messages");
  Conversation messages = messages_from_json(given);
  BOOST_CHECK_EQUAL(messages_to_json(messages).dump(), given.dump());
  // What a program changes counts; the rest stays.
  messages[0].content = "changed";
  messages[1].reasoning_content = "other";
  messages[1].tool_calls.clear();
  BOOST_CHECK_EQUAL(messages_to_json(messages).dump(),
                    R"([{"x":1,"role":"user","name":"Ann","content":"changed"},)"
                    R"({"role":"assistant","content":"b","tool_calls":[],"reasoning_content":"other"}])");
  BOOST_CHECK_EQUAL(
      messages_to_json({user({image("a.png"), text("b")}), assistant(std::vector<ToolCall>{{"f", 1}})}).dump(),
      R"([{"role":"user","content":[{"type":"image","image":"a.png"},{"type":"text","text":"b"}]},)"
      R"({"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":1}}]}])");
  CHECK_FAILS(messages_from_json(std::string_view(R"([{"role": "tool", "content": [{"temperature": 22}]}])")),
              "messages[0].content[0]: a part without a \"type\"");
}

BOOST_AUTO_TEST_CASE(places_of_media_are_read_in_all_layouts) {
  const Conversation read = messages_from_json(std::string_view(R"({"messages": [{"role": "user", "content": [
    {"type": "image", "image": "a.png"}, {"type": "image", "url": "b.png"}, {"type": "image", "path": "c.png"},
    {"type": "image_url", "image_url": {"url": "d.png"}}, {"image_url": "e.png"}, {"type": "image"},
    {"type": "video", "video": "f.mp4"}, {"video": ["g.png", "h.png"]}, {"type": "video", "path": "i.mp4"},
    {"type": "audio", "audio": "j.wav"}]}]})"));
  const auto& parts = std::get<std::vector<ContentPart>>(read.at(0).content);
  const char* sources[] = {"a.png", "b.png", "c.png", "d.png", "e.png", "", "f.mp4", "", "i.mp4", ""};
  using Kind = ContentPart::Kind;
  const Kind kinds[] = {Kind::image, Kind::image, Kind::image, Kind::image, Kind::image,
                        Kind::image, Kind::video, Kind::video, Kind::video, Kind::other};
  BOOST_REQUIRE_EQUAL(parts.size(), 10U);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    BOOST_CHECK_EQUAL(parts[i].source, sources[i]);
    BOOST_CHECK(parts[i].kind == kinds[i]);
  }
  BOOST_CHECK((parts[7].frames == std::vector<std::string>{"g.png", "h.png"}));
}

// Expected strings of this case were rendered by the official templates with Jinja.
BOOST_AUTO_TEST_CASE(corners_of_the_formats) {
  const char* system_image = R"([{"role": "system", "content": [{"type": "image", "text": "seen"}, {"text": "S"}]},
                                   {"role": "user", "content": [{"type": "image"}]}])";
  BOOST_CHECK_EQUAL(instruct_of(system_image, {.add_vision_id = true}),
                    "<|im_start|>system\nseenS<|im_end|>\n<|im_start|>user\nPicture 1: "
                    "<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n");
  BOOST_CHECK_EQUAL(thinking_of(system_image, {.add_vision_id = true}),
                    "<|im_start|>system\nPicture 0: <|vision_start|><|image_pad|><|vision_end|>S<|im_end|>\n"
                    "<|im_start|>user\nPicture 2: <|vision_start|><|image_pad|><|vision_end|><|im_end|>\n");

  const char* no_query = R"([{"role": "assistant", "content": "a<think>b\n</think>\n</think>\n\nc"}])";
  BOOST_CHECK_EQUAL(thinking_of(no_query), "<|im_start|>assistant\nc<|im_end|>\n");
  BOOST_CHECK_EQUAL(instruct_of(no_query), "<|im_start|>assistant\na<think>b\n</think>\n</think>\n\nc<|im_end|>\n");

  const char* empty_parts = R"([{"role": "assistant", "content": [{"text": ""}],
                                 "tool_calls": [{"name": "f", "arguments": null}]}])";
  BOOST_CHECK_EQUAL(instruct_of(empty_parts),
                    "<|im_start|>assistant\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
                    "null}\n</tool_call><|im_end|>\n");
  BOOST_CHECK_EQUAL(thinking_of(empty_parts),
                    "<|im_start|>assistant\n<tool_call>\n{\"name\": \"f\", \"arguments\": "
                    "null}\n</tool_call><|im_end|>\n");
}

BOOST_AUTO_TEST_CASE(continuing_the_final_message) {
  const ChatTemplateOptions go_on{.continue_final_message = true};
  BOOST_CHECK_EQUAL(
      instruct_of(R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a  "}])", go_on),
      "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na  ");
  BOOST_CHECK_EQUAL(
      instruct_of(R"([{"role": "user", "content": [{"text": "one"}, {"text": "two"}, {"type": "image"}]}])", go_on),
      "<|im_start|>user\nonetwo");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"type": "image"}]}])", go_on),
              "could not find any text to continue");
  CHECK_FAILS(instruct_of(R"([{"role": "user"}])", go_on), "has no \"content\" to continue");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": "q"}, {"role": "system", "content": "s"}])", go_on),
              "does not appear in the chat");
  CHECK_FAILS(thinking_of(R"([{"role": "user", "content": "q"},
                              {"role": "assistant", "content": "<think>x</think>y"}])",
                          go_on),
              "does not appear in the chat");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": "q"}])",
                          {.add_generation_prompt = true, .continue_final_message = true}),
              "set only one");
}

BOOST_AUTO_TEST_CASE(the_thinking_switch_needs_a_template_that_has_it) {
  const Conversation messages = {user("q")};
  const ChatTemplateOptions think{.add_generation_prompt = true, .enable_thinking = true};
  BOOST_CHECK(render_chat(messages, instruct, think).ends_with("<|im_start|>assistant\n"));
  BOOST_CHECK(render_chat(messages, with_switch, think).ends_with("<|im_start|>assistant\n<think>\n"));
  BOOST_CHECK(render_chat(messages, with_switch, {.add_generation_prompt = true}).ends_with("<|im_start|>assistant\n"));
}

BOOST_AUTO_TEST_CASE(faulty_conversations_are_refused_with_their_place) {
  CHECK_FAILS(instruct_of("[]"), "the conversation is empty");
  CHECK_FAILS(instruct_of("{}"), "without \"messages\"");
  CHECK_FAILS(instruct_of("7"), "must be a list of messages, is number");
  CHECK_FAILS(instruct_of(R"({"messages": "x"})"), "must be a list of messages, is string");
  CHECK_FAILS(instruct_of(R"({"messages": {"messages": []}})"), "must be a list of messages, is object");
  CHECK_FAILS(instruct_of("[[]]"), "messages[0]: must be an object");
  CHECK_FAILS(instruct_of(R"([{"content": "x"}])"), "messages[0]: has no \"role\"");
  CHECK_FAILS(instruct_of(R"([{"role": 3, "content": "x"}])"), "messages[0].role is 3, wanted a string");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": 5}])"),
              "messages[0].content: must be a string or a list of parts, is number");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": {"type": "text"}}])"), "messages[0].content: must be");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": "a"}, {"role": "user", "content": [1]}])"),
              "messages[1].content[0]: must be an object");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"type": "text"}]}])"), "needs a \"text\"");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"type": "text", "text": 1}]}])"),
              "messages[0].content[0].text is 1, wanted a string");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"type": ["image"]}]}])"),
              "content[0].type is [\"image\"], wanted a string");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"image": 1}]}])"),
              "content[0].image is 1, wanted a string");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"image": ["a"]}]}])"),
              "content[0].image is [\"a\"], wanted a string");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"image_url": {}}]}])"), "image_url: has no \"url\"");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": [{"video": ["a", 2]}]}])"), "video[1] is 2, wanted a string");
  CHECK_FAILS(instruct_of(R"([{"role": "assistant", "tool_calls": {}}])"), "messages[0].tool_calls: must be a list");
  CHECK_FAILS(instruct_of(R"([{"role": "assistant", "tool_calls": [3]}])"), "tool_calls[0]: must be an object");
  CHECK_FAILS(instruct_of(R"([{"role": "assistant", "tool_calls": [{"function": 3}]}])"),
              "tool_calls[0].function: must be an object");
  CHECK_FAILS(instruct_of(R"([{"role": "assistant", "tool_calls": [{"arguments": {}}]}])"), "has no \"name\"");
  CHECK_FAILS(instruct_of(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}])"),
              "tool_calls[0].function: has no \"arguments\"");
  CHECK_FAILS(instruct_of(R"([{"role": "assistant", "reasoning_content": 1}])"),
              "reasoning_content is 1, wanted a string");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": "q"}])", {.tools = {{"a", 1}}}), "tools: must be a list");
  CHECK_FAILS(instruct_of(R"([{"role": "user", "content": "q"}])", {.tools = ordered_json::array({"f"})}),
              "tools[0]: must be an object");
}

BOOST_AUTO_TEST_CASE(deep_and_huge_conversations) {
  CHECK_FAILS(messages_from_json(std::string_view(std::string(1000000, '['))), "nested deeper");
  std::string nested = R"([{"role": "assistant", "tool_calls": [{"name": "f", "arguments": )";
  nested += std::string(200, '[') + std::string(200, ']') + "}]}]";
  CHECK_FAILS(messages_from_json(std::string_view(nested)), "nested deeper");

  ordered_json deep = ordered_json::array();
  for (int i = 0; i < 300; ++i) deep = ordered_json::array({std::move(deep)});
  const Conversation calls = {assistant(std::vector<ToolCall>{{"f", deep}})};
  CHECK_FAILS(render_chat(calls, instruct), "nested deeper");

  const std::string words(std::size_t{20} << 20, 'x');
  const std::string prompt = render_chat({user(words)}, thinking);
  BOOST_CHECK_EQUAL(prompt.size(), words.size() + std::strlen("<|im_start|>user\n<|im_end|>\n"));
}

BOOST_AUTO_TEST_CASE(damaged_conversations_never_crash) {
  const std::string whole =
      R"([{"role":"system","content":"a"},{"role":"user","content":[{"type":"image","image":"x"},{"text":"</think>"}]},)"
      R"({"role":"assistant","content":null,"reasoning":"r","tool_calls":[{"function":{"name":"f","arguments":{"a":1e3}}}]},)"
      R"({"role":"tool","content":[{"video":["v"]}]}])";
  BOOST_REQUIRE_EQUAL(messages_from_json(std::string_view(whole)).size(), 4U);
  std::mt19937 random(11);
  const std::string alphabet = "{}[]\",:0e-ntf\\ \xff";
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = whole;
    for (int edit = 0; edit < 2; ++edit) {
      const std::size_t at = random() % damaged.size();
      if (random() % 2 == 0) {
        damaged[at] = alphabet[random() % alphabet.size()];
      } else {
        damaged.erase(at, 1 + random() % 20);
      }
      if (damaged.empty()) break;
    }
    try {
      const Conversation messages = messages_from_json(std::string_view(damaged));
      render_chat(messages, i % 2 == 0 ? instruct : thinking, {.add_vision_id = true});
    } catch (const Error&) {
      ++refused;
    }
  }
  BOOST_CHECK_GT(refused, 100);
  BOOST_CHECK_LT(refused, 2000);
}
