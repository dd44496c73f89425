// Requests as OpenAI's clients and training sets write them, in the layout of transformers.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_request
#include <array>
#include <boost/test/unit_test.hpp>
#include <string>
#include <string_view>

#include "qwen3vl/processing/chat/request_json.hpp"
#include "support/check_fails.hpp"

using namespace qwen3vl;
using nlohmann::ordered_json;

namespace {

constexpr std::array<std::string_view, 6> fields{"max_new_tokens", "temperature",          "top_p",
                                                 "seed",           "num_return_sequences", "sequence_bias"};

ChatRequest read(const std::string& text, bool ignore_unknown = false) {
  return request_from_json(text, {.generation_fields = fields, .ignore_unknown = ignore_unknown});
}

/// What the messages of a request must be.
void check(const std::string& text, const std::string& messages, bool ignore_unknown = false) {
  BOOST_TEST(read(text, ignore_unknown).messages == ordered_json::parse(messages), text);
}

}  // namespace

BOOST_AUTO_TEST_CASE(messages_of_transformers_stay) {
  for (const char* same :
       {R"([{"role": "user", "content": "a"}])", R"([{"content": "a", "name": "n", "role": "user"}])",
        R"([{"thinking": "t", "role": "assistant", "content": "a"}])",
        R"([{"role": "system", "content": [{"type": "text", "text": "s"}]},
                               {"role": "user", "content": [{"type": "image", "image": "a.png", "max_pixels": 4096},
                                                            {"type": "video", "video": ["1.png", "2.png"], "fps": 2},
                                                            {"type": "image_url", "image_url": {"url": "b.png"}}]},
                               {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]},
                               {"role": "tool", "content": [{"type": "text", "text": "22"}], "tool_call_id": "1"},
                               {"role": "assistant", "content": "x", "reasoning_content": "y"}])"}) {
    check(same, same);
    check(R"({"messages": )" + std::string(same) + "}", same);
  }
}

BOOST_AUTO_TEST_CASE(request_object) {
  const ChatRequest request = read(R"({
    "model": "x", "user": "me", "stream": false, "messages": [{"role": "user", "content": "a", "refusal": null}],
    "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}], "tool_choice": "auto",
    "max_tokens": 3, "temperature": 0, "n": 2, "seed": 7, "stop": ["can", "x"], "logit_bias": {"12": -100},
    "response_format": {"type": "text"}, "logprobs": false,
    "add_generation_prompt": false, "continue_final_message": true, "chat_template_kwargs": {"enable_thinking": true}})");
  BOOST_TEST(request.messages == ordered_json::parse(R"([{"role": "user", "content": "a", "refusal": null}])"));
  BOOST_TEST(request.tools[0]["function"]["name"] == "get_weather");
  BOOST_TEST(request.generation == ordered_json::parse(R"({"temperature": 0, "seed": 7, "max_new_tokens": 3,
    "num_return_sequences": 2, "sequence_bias": [[[12], -100]]})"));
  BOOST_TEST(request.stop == (std::vector<std::string>{"can", "x"}));
  BOOST_TEST((request.add_generation_prompt == false));
  BOOST_TEST((request.continue_final_message == true));
  BOOST_TEST(request.chat_template_kwargs == ordered_json::parse(R"({"enable_thinking": true})"));
  BOOST_TEST(!request.label);
  BOOST_TEST(
      read(R"({"messages": [], "stop": "end", "tools": [{"name": "f"}], "tool_choice": "none"})").tools.is_null());
  BOOST_TEST(read(R"({"messages": [], "stop": "end"})").stop == std::vector<std::string>{"end"});
  const ChatRequest line = read(R"({"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions",
                                    "body": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}})");
  BOOST_TEST(line.id == "q1");
  BOOST_TEST(line.generation.at("max_new_tokens") == 1);
  check(R"([{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "a.gif"}, "fps": 1}]}])",
        R"([{"role": "user", "content": [{"type": "video", "fps": 1, "video": "a.gif"}]}])");
}

BOOST_AUTO_TEST_CASE(rows_of_training_sets) {
  const ChatRequest row = read(R"({"id": 3, "conversations": [
    {"from": "system", "value": "s"}, {"from": "human", "value": "<image>\nWhat? <image>"}, {"from": "gpt", "value": "A cat."}],
    "images": ["a.png", {"path": "b.png", "bytes": null}]})");
  BOOST_TEST(row.messages == ordered_json::parse(R"([{"role": "system", "content": "s"},
    {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "\nWhat? "},
                                 {"type": "image", "image": "b.png"}]}])"));
  BOOST_TEST((row.label == "A cat."));
  BOOST_TEST(row.id == 3);
  // LLaVA has one image; ms-swift needs no marker.
  check(R"({"image": "a.png", "conversations": [{"from": "human", "value": "What?"}]})",
        R"([{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]}])");
  check(
      R"({"messages": [{"role": "user", "content": "<video><image>Say"}], "videos": [["1.png", "2.png"]],
            "images": [{"bytes": "aGk="}]})",
      R"([{"role": "user", "content": [{"type": "video", "video": ["1.png", "2.png"]}, {"type": "image", "base64": "aGk="},
                                         {"type": "text", "text": "Say"}]}])");
  check(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a<image>"}]}], "images": "a.png"})",
        R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "image": "a.png"}]}])");
  // Without such lists the marker is text, and the last answer stays.
  check(R"({"messages": [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "b"}]})",
        R"([{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "b"}])");
  check(R"({"system": "s", "tools": "[{\"name\": \"f\"}]", "conversations": [{"from": "human", "value": "a"},
            {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "1"}]})",
        R"([{"role": "system", "content": "s"}, {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]},
            {"role": "tool", "content": "1"}])");
  // Beside the body of a batch file's line it would be lost.
  CHECK_FAILS(read(R"({"body": {"messages": []}, "continue_final_message": true})"), "continue_final_message");
  CHECK_FAILS(read(R"({"messages": [{"role": "tool_call"}]})"), "wanted the JSON text of a call");
  CHECK_FAILS(read(R"({"continue_final_message": "x", "conversations": [{"from": "human", "value": "a"},
                                                                        {"from": "gpt", "value": "b"}]})"),
              "continue_final_message");
  CHECK_FAILS(read(R"({"messages": [{"role": "user", "content": "<image>"}], "images": ["a", "b"]})"),
              "the messages say <image> 1 times, for 2 images");
  CHECK_FAILS(read(R"({"messages": [{"role": "user", "content": "a"}], "images": [1]})"),
              "images[0] is 1, wanted the name");
  CHECK_FAILS(read(R"({"messages": [{"role": "system", "content": "a"}], "system": "b"})"),
              "a system message of their own");
}

BOOST_AUTO_TEST_CASE(data_of_a_tool_is_json) {
  check(R"([{"role": "tool", "content": [{"temperature": 22}]}])",
        R"([{"role": "tool", "content": "[{\"temperature\": 22}]"}])");
  check(R"([{"role": "tool", "content": {"a": "é"}}])", R"([{"role": "tool", "content": "{\"a\": \"é\"}"}])");
}

BOOST_AUTO_TEST_CASE(what_means_nothing_is_named) {
  const auto refused = [](const std::string& text, const std::string& message) {
    CHECK_FAILS(read(text), message);
    BOOST_CHECK_NO_THROW(read(text, true));
  };
  refused(R"({"messages": [], "frequency_penalties": 1, "audios": ["a"]})",
          "request: means nothing here: frequency_penalties, audios; leave it out, or pass over it (--ignore-unknown)");
  refused(R"([{"role": "user", "content": [{"type": "audio", "audio": "x.wav"}]}])",
          "messages[0].content[0]: a part of type \"audio\" means nothing here");
  refused(R"([{"role": "user", "content": [{"type": "image", "image": "a", "crop": 1}]}])",
          "messages[0].content[0]: means nothing here: crop");
  refused(R"([{"role": "user", "content": [{"type": "text", "text": "a", "fps": 1}]}])", "means nothing here: fps");
  refused(R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a", "detail": "low"}}]}])",
          "messages[0].content[0].image_url.detail is \"low\", wanted \"auto\"");
  refused(R"([{"role": "user", "content": "a", "loss": true}])", "messages[0]: means nothing here: loss");
  // Passed over, it is there for a template that reads it, where it stood.
  check(R"([{"loss": true, "from": "human", "role": "b", "value": "a", "name": null}])",
        R"([{"loss": true, "role": "user", "content": "a", "name": null}])", true);
  refused(R"({"messages": [], "tools": [], "tool_choice": "required"})", "tool_choice is \"required\"");
  refused(R"({"messages": [], "response_format": {"type": "json_object"}})", "response_format is");
  refused(R"({"messages": [], "top_k": 4})", "means nothing here: top_k");  // a caller that cannot apply it
  CHECK_FAILS(read(R"({"messages": [], "max_tokens": 1, "max_new_tokens": 2})"), "given twice");
  CHECK_FAILS(read(R"({"messages": [], "stop": [1]})"), "stop is [1], wanted a text");
  CHECK_FAILS(read(R"({"messages": [], "stop": ""})"), "wanted a text");
  CHECK_FAILS(read(R"({"messages": [], "logit_bias": {"a": 1}})"), "logit_bias is \"a\", wanted a token id");
  CHECK_FAILS(read(R"({"prompt": "a"})"), "no conversation");
  CHECK_FAILS(read(R"([{"content": "a"}])"), "messages[0]: has no \"role\"");
  CHECK_FAILS(read(R"([1])"), "messages[0] is 1, wanted an object");
  CHECK_FAILS(read("5"), "request is 5, wanted an object");
}
