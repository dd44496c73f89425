// bench-processing: the tokenizer on a text, chat templates on conversations cut from it, and the image processor on an
// image, one thread each.
//   bench-processing --tokenizer tokenizer.json --image image.jpg [--text FILE] [--json]
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "command_line.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/processing/chat/chat_template.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/tokenizer/tokenizer.hpp"

namespace qwen3vl::bench {
namespace {

constexpr const char* program_name = "bench-processing";

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// The minimum of several runs: the rest is other work on the machine.
template <class F>
double best_of(int runs, F&& call) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) {
    const double start = now();
    call();
    best = std::min(best, now() - start);
  }
  return best;
}

/// `count` messages of `words` words each, in turn of the user and the assistant; the text is taken from the start
/// again where it ends.
Conversation conversation(const std::string& text, std::size_t count, std::size_t words) {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  std::istringstream source(text);
  while (messages.size() < count) {
    std::string content, word;
    for (std::size_t i = 0; i < words; ++i) {
      if (!(source >> word)) {
        source.clear();
        source.seekg(0);
        source >> word;
      }
      content += (i == 0 ? "" : " ") + word;
    }
    messages.push_back({{"role", messages.size() % 2 == 0 ? "user" : "assistant"}, {"content", content}});
  }
  return messages_from_json(messages);
}

/// Microseconds of rendering a conversation, and of the tokens of what was rendered: the first time and later, when the
/// tokenizer remembers the words.
void time_conversations(const std::string& text, const std::string& tokenizer_file, int runs,
                        nlohmann::ordered_json& figures) {
  const ChatTemplate chat_template = ChatTemplate::instruct();
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_file);
  for (const std::size_t words : {8, 20, 60}) {
    const Conversation messages = conversation(text, 200, words);
    std::string prompt;
    const double render = best_of(runs * 10, [&] { prompt = chat_template.render(messages).text; });
    const double first = best_of(1, [&] { tokenizer.encode(prompt); });
    const double later = best_of(runs * 10, [&] { tokenizer.encode(prompt); });
    figures[concat("chat_200_x_", words, "_words_microseconds")] = {
        {"render", render * 1e6}, {"encode_first", first * 1e6}, {"encode_again", later * 1e6}};
  }
}

void run(int argc, char** argv) {
  std::string tokenizer_file, image_file, text_file;
  std::size_t bytes = 4'000'000;
  int runs = 3;
  bool json = false;
  CLI::App app("Times the tokenizer and the image processor, one thread each.", program_name);
  app.add_option("--tokenizer", tokenizer_file, "tokenizer.json")->type_name("FILE");
  app.add_option("--text", text_file, "Text, repeated up to --bytes (default: a few English sentences)")
      ->type_name("FILE");
  app.add_option("--bytes", bytes, "Bytes of text (default: 4000000)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 30));
  app.add_option("--image", image_file, "Picture")->type_name("FILE");
  app.add_option("--runs", runs, "Take the best of so many runs (default: 3)")->check(CLI::Range(1, 1000));
  app.add_flag("--json", json, "Print one JSON object");
  if (!parse_arguments(app, argc, argv)) return;
  if (tokenizer_file.empty() && image_file.empty()) fail("nothing to do; give --tokenizer or --image, see --help");
  omp_set_num_threads(1);

  nlohmann::ordered_json figures;
  if (!tokenizer_file.empty()) {
    std::string text = text_file.empty()
                           ? "The quick brown fox, 42 years old, didn't jump over the lazy dog. It slept.\n"
                           : read_text_file(text_file);
    if (text.find_first_not_of(" \t\r\n") == std::string::npos) fail(text_file, " has no words");
    const std::string once = text;
    while (text.size() < bytes) text += once;
    text.resize(bytes);
    while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80) != 0) text.pop_back();  // whole characters
    const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_file);
    std::size_t tokens = 0;
    const double whole = best_of(runs, [&] { tokens = tokenizer.encode(text).size(); });
    std::vector<std::string> parts;
    for (std::size_t i = 0, end; i < text.size(); i = end) {
      end = std::min(text.size(), i + 4000);
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
      parts.push_back(text.substr(i, end - i));
    }
    const double short_texts = best_of(runs, [&] {
      for (const std::string& part : parts) tokenizer.encode(part);
    });
    const double size = static_cast<double>(text.size()) * 1e-6;
    figures["tokens"] = tokens;
    figures["tokenizer_mbytes_per_second"] = size / whole;
    figures["tokenizer_short_mbytes_per_second"] = size / short_texts;
    time_conversations(once, tokenizer_file, runs, figures);
  }
  if (!image_file.empty()) {
    Image image;
    const double decode = best_of(runs, [&] { image = load_image(image_file, {}, linked_readers()); });
    const ImageProcessor processor;
    ImageFeatures features;
    const double process = best_of(runs, [&] { features = processor(std::span<const Image>(&image, 1)); });
    figures["image_width"] = image.width;
    figures["image_height"] = image.height;
    figures["patches"] = features.image_grid_thw[0].patches();
    figures["image_decode_seconds"] = decode;
    figures["image_process_seconds"] = process;
  }
  if (json) {
    std::puts(figures.dump(2).c_str());
    return;
  }
  for (const auto& [name, value] : figures.items()) std::printf("%-36s %s\n", name.c_str(), value.dump().c_str());
}

}  // namespace
}  // namespace qwen3vl::bench

int main(int argc, char** argv) {
  try {
    qwen3vl::bench::run(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: error: %s\n", qwen3vl::bench::program_name, error.what());
    return 1;
  }
}
