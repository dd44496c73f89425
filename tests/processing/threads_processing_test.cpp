// One processor in several threads: its const functions may be called at the same time. Also built with
// ThreadSanitizer (the preset tsan).
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE threads_processing
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/chat/answer.hpp"
#include "qwen3vl/processing/grounding/grounding.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "qwen3vl/processing/tokenizer/token_stream.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;

namespace {

const std::filesystem::path tiny = std::filesystem::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes";

/// Everything a server does for a request, as text for comparison; errors too.
std::string serve(const Processor& processor, int request) {
  std::string said;
  const auto add = [&](const Conversation& messages) {
    try {
      const ModelInputs inputs =
          processor.apply_chat_template(messages, {.add_generation_prompt = true},
                                        {.media_directory = tiny / "expected", .readers = linked_readers()});
      for (const TokenId id : inputs.input_ids.span()) said += concat(id, " ");
      double sum = 0.0;
      for (const auto* pixels : {&inputs.pixel_values, &inputs.pixel_values_videos})
        for (index_t i = 0; i < static_cast<index_t>(pixels->size()); ++i) sum += pixels->data()[i] * (i % 97);
      said += concat(sum, "\n");
      TokenStream stream(processor.tokenizer());
      for (const TokenId id : inputs.input_ids.span()) said += stream.push(id);
      said += stream.flush() + processor.decode(inputs.input_ids.span());
    } catch (const Error& error) {
      said += error.what();
    }
  };
  const std::string question = concat("What is request ", request, "? \u00e9e\u0301 <|im_end|> ...");
  add({user({image("images/04.jpg"), text(question)})});
  add({user({image("images/06.png"), text(question)}), assistant("hm"), user("and?")});
  add({user({video("clips/03"), text(question)})});
  add({user({video(QWEN3VL_TEST_DATA "/assets/gif/full_table_smooth.gif"), text(question)})});
  add({user({image("absent.png")})});
  std::string broken = test::read_file(tiny / "expected/images/06.png");
  broken.replace(broken.find("IDAT"), 4, request % 2 == 0 ? "QQQQ" : "IEND");
  try {
    decode_image(std::as_bytes(std::span(broken)), "broken");
  } catch (const Error& error) {
    said += error.what();
  }
  said += parse_answer("<think>a</think>b<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>").text;
  return said + grounding_to_json(parse_grounding("[{\"bbox_2d\": [1, 2, 3, 4]}]", 50, 60)).dump();
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_processor_serves_several_threads) {
  const Processor processor = Processor::from_pretrained(tiny);
  std::vector<std::string> alone, together(4);
  for (int i = 0; i < 4; ++i) alone.push_back(serve(processor, i));
  BOOST_TEST(alone[0] != alone[1]);
  std::vector<std::thread> running;
  for (int i = 0; i < 4; ++i)
    running.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) together[static_cast<std::size_t>(i)] = serve(processor, i);
    });
  for (std::thread& thread : running) thread.join();
  BOOST_TEST(together == alone);
}

BOOST_AUTO_TEST_CASE(processors_are_loaded_in_several_threads) {
  std::vector<std::string> said(3);
  std::vector<std::thread> running;
  for (std::string& one : said) running.emplace_back([&one] { one = serve(Processor::from_pretrained(tiny), 1); });
  for (std::thread& thread : running) thread.join();
  BOOST_TEST(said[0] == said[1]);
  BOOST_TEST(said[0] == said[2]);
}
