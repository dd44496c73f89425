// Requests as other tools write them, in --messages and --batch, and what would go into the model (--inputs).
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_requests
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "support/program_run.hpp"

using namespace qwen3vl::test;

namespace {

const std::string picture = (assets / "expected" / "images" / "03.png").string();
const std::string placeholder = "<|vision_start|><|image_pad|><|vision_end|>";
const std::string question = "Describe this image.";

/// The answer to a request of --messages.
json answer(const json& request, const std::string& options = "") {
  const Result result = run("--json --messages - " + options, request.dump());
  BOOST_TEST(result.code == 0, result.err);
  return json::parse(result.out);
}
json inputs(const json& request, const std::string& options = "") { return answer(request, "--inputs " + options); }
std::string prompt_of(const std::string& content) {
  return "<|im_start|>user\n" + content + "<|im_end|>\n<|im_start|>assistant\n";
}
json user(const json& content) { return {{"role", "user"}, {"content", content}}; }

}  // namespace

BOOST_AUTO_TEST_CASE(a_row_is_answered_as_the_same_conversation_in_parts) {
  const json parts =
      json::array({user({{{"type", "image"}, {"image", picture}}, {{"type", "text"}, {"text", question}}})});
  const json wanted = answer(parts);
  const json row = {{"messages", json::array({user("<image>" + question)})}, {"images", {picture}}};
  BOOST_TEST(answer(row).at("token_ids") == wanted.at("token_ids"));
  const json sharegpt = {
      {"id", "a1"},
      {"image", picture},
      {"conversations",
       {{{"from", "human"}, {"value", "<image>" + question}}, {{"from", "gpt"}, {"value", "A cat."}}}}};
  const json labelled = answer(sharegpt);
  BOOST_TEST(labelled.at("token_ids") == wanted.at("token_ids"));
  BOOST_TEST(labelled.at("id") == "a1");
  BOOST_TEST(labelled.at("label") == "A cat.");
  const json video = json::array({user({{{"type", "video_url"}, {"video_url", {{"url", picture}}}}})});
  check_error(run("--messages -", video.dump()), "03.png");  // read as a video
}

BOOST_AUTO_TEST_CASE(settings_of_a_request_are_used) {
  const json request = {
      {"model", "x"}, {"messages", json::array({user("What can you do?")})}, {"max_tokens", 3}, {"temperature", 0}};
  const json short_answer = answer(request);
  BOOST_TEST(short_answer.at("token_ids").size() == 3u);
  BOOST_TEST(short_answer.at("finish_reason") == "length");
  // The request goes first, and stops the answer at the text that it names.
  BOOST_TEST(answer(request, "--max-new-tokens 1").at("token_ids") == short_answer.at("token_ids"));
  const std::string whole = answer(json::array({user("What can you do?")})).at("text");
  const std::string word = whole.substr(whole.find(' ') + 1, 3);
  json stopped = {{"messages", json::array({user("What can you do?")})}, {"stop", word}};
  BOOST_TEST(answer(stopped).at("finish_reason") == "stop_criterion");
  check_error(run("--messages - --tools /nowhere.json", request.dump()), "/nowhere.json");
  // The template of this checkpoint knows neither tools nor their results.
  json with_tools = request;
  with_tools["tools"] = {{{"type", "function"}, {"function", {{"name", "get_weather"}}}}};
  check_error(run("--messages -", with_tools.dump()), "tools[0] is not in the prompt: the checkpoint's chat template");
  BOOST_TEST(answer(with_tools, "--ignore-unknown").at("token_ids") == short_answer.at("token_ids"));
  const json result = json::array({user("Hi"), {{"role", "tool"}, {"content", {{{"temperature", 22}}}}}});
  check_error(run("--messages -", result.dump()), "messages[1] (tool) is not in the prompt");
  // Random choices are those of the same options on the command line.
  const json sampled = {
      {"messages", json::array({user("What can you do?")})}, {"temperature", 3.0}, {"seed", 5}, {"max_tokens", 12}};
  BOOST_TEST(
      answer(sampled).at("token_ids") ==
      answer(json::array({user("What can you do?")}), "--temperature 3 --seed 5 --max-new-tokens 12").at("token_ids"));
  check_error(run("--messages -", json({{"messages", json::array()}, {"temperature", -1}}).dump()),
              "request: temperature is -1");
  check_error(run("--messages -", json({{"messages", json::array()}, {"frequency", 1}}).dump()),
              "means nothing here: frequency");
  check_error(run("--messages -", json::array({user({{{"type", "audio"}, {"audio", "x.wav"}}})}).dump()),
              "messages[0].content[0]: a part of type \"audio\" means nothing here");
  const Result ignored =
      run("--ignore-unknown --messages -",
          json::array({user({{{"type", "audio"}, {"audio", "x.wav"}}, {{"type", "text"}, {"text", "a"}}})}).dump());
  BOOST_TEST(ignored.code == 0, ignored.err);
}

BOOST_AUTO_TEST_CASE(a_batch_of_requests) {
  const json plain = json::array({user("What can you do?")});
  const json short_one = {
      {"custom_id", "q"}, {"method", "POST"}, {"url", "/v1"}, {"body", {{"messages", plain}, {"max_tokens", 2}}}};
  const json thinking = {{"messages", plain}, {"chat_template_kwargs", {{"enable_thinking", true}}}};
  const json bad = {{"messages", plain}, {"max_tokens", 0}};
  const json unshown = {{"messages", plain}, {"output_scores", true}};
  std::string lines;
  for (const json* line : {&plain, &short_one, &plain, &thinking, &bad, &plain, &unshown}) lines += line->dump() + "\n";
  const Result result = run("--batch -", lines);
  const std::vector<json> answers = json_lines(result);
  BOOST_REQUIRE(answers.size() == 7u);
  BOOST_TEST(answers[1].at("id") == "q");
  BOOST_TEST(answers[1].at("token_ids").size() == 2u);
  BOOST_TEST(answers[2].at("token_ids") == answers[0].at("token_ids"));
  BOOST_TEST(answers[5].at("token_ids") == answers[0].at("token_ids"));
  BOOST_TEST(answers[3].contains("reasoning"));
  BOOST_TEST(answers[4].at("error").get<std::string>().find("max_new_tokens is 0") != std::string::npos,
             answers[4].dump());
  BOOST_TEST(answers[6].at("error").get<std::string>().find("request.output_scores: an answer has no place") == 0u,
             answers[6].dump());
}

// No conversation gets the image of another: images and placeholders are counted for each by itself.
BOOST_AUTO_TEST_CASE(each_conversation_keeps_its_image) {
  const json stray = json::array({user(placeholder + question)});
  const json system = json::array(
      {{{"role", "system"}, {"content", {{{"type", "image"}, {"image", picture}}}}}, user("What can you do?")});
  const std::vector<json> answers =
      json_lines(run("--batch - --batch-size 2", stray.dump() + "\n" + system.dump() + "\n"));
  BOOST_REQUIRE(answers.size() == 2u);
  BOOST_REQUIRE_MESSAGE(answers[0].contains("error"), answers[0].dump());
  BOOST_TEST(answers[0].at("error").get<std::string>().find("messages[0]: its text has <|image_pad|>") == 0u);
  // The template of this checkpoint has images in system messages, too.
  const json alone = answer(system);
  BOOST_TEST(answers[1].at("token_ids") == alone.at("token_ids"));
  BOOST_TEST(alone.at("image_tokens").get<int>() > 0);
}

BOOST_AUTO_TEST_CASE(inputs_without_a_model) {
  const json parts =
      json::array({user({{{"type", "image"}, {"image", picture}}, {{"type", "text"}, {"text", question}}})});
  const json shown = inputs(parts);
  BOOST_TEST(shown.at("prompt") == prompt_of(placeholder + question));
  const json grid = shown.at("image_grid_thw").at(0);
  BOOST_TEST(grid.size() == 3u);
  const int tokens = grid[1].get<int>() * grid[2].get<int>() / 4;
  BOOST_TEST(shown.at("images").at(0).at("resized_height") == grid[1].get<int>() * 16);
  BOOST_TEST(shown.at("images").at(0).at("name") == picture);
  BOOST_TEST(shown.at("video_grid_thw").empty());
  BOOST_TEST(shown.at("timestamps").empty());
  const json computed = answer(parts, "--max-new-tokens 1");
  BOOST_TEST(computed.at("prompt_tokens") == shown.at("input_ids").size());
  BOOST_TEST(computed.at("image_tokens") == tokens);
  // The same by the command line, and without weights.
  const TemporaryFolder folder;
  copy_checkpoint(folder.path());
  fs::remove(folder / "model.safetensors");
  const Result typed = run("--inputs --prompt '" + question + "' --image '" + picture + "'", "", folder.path());
  BOOST_TEST(typed.code == 0, typed.err);
  BOOST_TEST(json::parse(typed.out).at("input_ids") == shown.at("input_ids"));
  // A video's frames and times.
  const std::string clip = (assets / "expected" / "clips" / "01").string();
  const json video = inputs(json::array({user({{{"type", "video"}, {"video", clip}, {"sample_fps", 2}}})}));
  BOOST_TEST(video.at("video_grid_thw").at(0).at(0) == video.at("timestamps").at(0).size());
  BOOST_TEST(video.at("videos").at(0).at("frames_indices").size() > 1u);
  // What the request says about the template.
  const json kwargs = {{"messages", json::array({user("a")})}, {"chat_template_kwargs", {{"enable_thinking", true}}}};
  BOOST_TEST(inputs(kwargs).at("prompt") == prompt_of("a") + "<think>\n");
  const json open = {{"messages", {user("a"), {{"role", "assistant"}, {"content", "b"}}}},
                     {"continue_final_message", true}};
  BOOST_TEST(inputs(open).at("prompt") == prompt_of("a") + "b");
  BOOST_TEST(inputs({{"messages", json::array({user("a")})}, {"add_generation_prompt", false}}).at("prompt") ==
             "<|im_start|>user\na<|im_end|>\n");
  // A line each, errors as objects.
  const std::vector<json> lines =
      json_lines(run("--inputs --batch -", kwargs.dump() + "\n[1]\n" + parts.dump() + "\n"));
  BOOST_REQUIRE(lines.size() == 3u);
  BOOST_TEST(lines[0].at("prompt") == prompt_of("a") + "<think>\n");
  BOOST_TEST(lines[1].at("error") == "messages[0] is 1, wanted an object");
  BOOST_TEST(lines[2].at("line") == 3);
  BOOST_TEST(lines[2].at("input_ids") == shown.at("input_ids"));
  check_error(run("--inputs"), "--inputs is for --prompt, --messages and --batch");
}
