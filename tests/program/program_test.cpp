// The program run as by a user: the tiny checkpoints' expected answers, its options, and bad input.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "support/program_run.hpp"

using namespace qwen3vl::test;

// The cases with images, videos, several turns and reasoning, each by itself.
BOOST_AUTO_TEST_CASE(expected_token_ids) {
  for (const Checkpoint& checkpoint : checkpoints()) {
    const std::vector<json> cases = expected_cases(checkpoint);
    BOOST_TEST(cases.size() >= 40u);
    for (const json& one : cases) {
      // The videos' expected tokens were made of all frames.
      const bool thinking = one.value("enable_thinking", false);
      const std::string options = std::string("--messages - --json --all-frames") + (thinking ? " --thinking" : "");
      const std::vector<json> answers = json_lines(run(checkpoint, options, one.at("messages").dump()));
      BOOST_REQUIRE(answers.size() == 1u);
      check_answer(answers.front(), one);
    }
  }
}

BOOST_AUTO_TEST_CASE(prompt_and_image_options) {
  const Result text = run("--prompt 'Describe this image.'" + image("01.png"));
  BOOST_TEST(text.code == 0, text.err);
  BOOST_TEST(text.out == "A large green star on the right and a small purple heart at the bottom.\n");
  BOOST_TEST(text.err.empty(), text.err);
  const json answer = json::parse(
      run("--json --stats --threads 1 --max-new-tokens 3 --prompt 'Describe this image.'" + image("01.png")).out);
  BOOST_TEST(answer.at("finish_reason") == "length");
  BOOST_TEST(answer.at("token_ids").size() == 3u);
  BOOST_TEST(answer.at("image_tokens") == 25);
  BOOST_TEST(answer.at("timings").at("peak_memory_bytes").get<double>() > 1e6);
  const Result stats = run("--stats --prompt 'Hello!'");
  BOOST_TEST(stats.err.find("prompt tokens") != std::string::npos);
  const Result several = run("--json --prompt 'Which picture has a circle?'" + image("05.png") + image("06.png"));
  BOOST_TEST(json::parse(several.out).at("image_tokens") == 45);
}

BOOST_AUTO_TEST_CASE(messages_from_a_file_name_media_relative_to_it) {
  const TemporaryFolder folder;
  fs::copy(assets / "expected" / "images" / "01.png", folder / "picture.png");
  write(
      folder / "chat.json",
      R"([{"role": "user", "content": [{"type": "image", "image": "picture.png"}, {"type": "text", "text": "How many shapes are there?"}]}])");
  const Result result = run("--messages '" + (folder / "chat.json").string() + "'");
  BOOST_TEST(result.out == "There are two shapes.\n", result.err);
}

BOOST_AUTO_TEST_CASE(sampling_is_repeatable_and_greedy_is_the_default_here) {
  const std::string prompt = " --prompt 'Describe this image.'" + image("05.png");
  BOOST_TEST(run(prompt).out == run(greedy + prompt).out);
  const std::string sampled = "--temperature 3 --top-k 40 --top-p 0.99 --max-new-tokens 24";
  const std::string first = run(sampled + " --seed 1" + prompt).out;
  BOOST_TEST(first == run(sampled + " --seed 1" + prompt).out);
  BOOST_TEST(first != run(sampled + " --seed 2" + prompt).out);
}

BOOST_AUTO_TEST_CASE(chat_keeps_what_was_computed) {
  const std::string image = (assets / "expected" / "images" / "03.png").string();
  const Result result =
      run("--json", "/image " + image + "\nDescribe this image.\nHow many shapes are there?\n/exit\n");
  BOOST_TEST(result.code == 0, result.err);
  std::istringstream lines(result.out);
  std::string line;
  std::vector<json> answers;
  while (std::getline(lines, line)) answers.push_back(json::parse(line));
  BOOST_REQUIRE(answers.size() == 2u);
  const auto computed = [](const json& answer) { return answer.at("timings").at("computed_prompt_tokens").get<int>(); };
  BOOST_TEST(computed(answers[0]) == answers[0].at("prompt_tokens").get<int>());
  // The second turn computes only its question and the end of the first answer, not the image again.
  BOOST_TEST(computed(answers[1]) < 20);
  BOOST_TEST(answers[1].at("prompt_tokens").get<int>() > computed(answers[0]));
  // The same conversation at once gives the same second answer.
  const json messages = {
      {{"role", "user"},
       {"content", {{{"type", "image"}, {"image", image}}, {{"type", "text"}, {"text", "Describe this image."}}}}},
      {{"role", "assistant"}, {"content", answers[0].at("text")}},
      {{"role", "user"}, {"content", {{{"type", "text"}, {"text", "How many shapes are there?"}}}}}};
  BOOST_TEST(json::parse(run("--json --messages -", messages.dump()).out).at("token_ids") ==
             answers[1].at("token_ids"));
}

BOOST_AUTO_TEST_CASE(chat_commands) {
  const std::string image = (assets / "expected" / "images" / "03.png").string();
  const std::string ask = "Describe this image.\n";
  const Result whole = run("", "/image " + image + "\n" + ask);
  BOOST_TEST(whole.code == 0, whole.err);
  // What fails is said, its message is not asked, and the rest of the input is answered.
  const auto differs = [&](const std::string& before, const std::string& message) {
    const Result result = run("", before + "\n" + ask + "/image " + image + "\n" + ask);
    BOOST_TEST(result.code == 1);
    BOOST_TEST(result.out == whole.out);
    BOOST_TEST(result.err.find(message) != std::string::npos, result.err);
    BOOST_TEST(result.err.find("not asked, because a command before it failed: Describe this image.") !=
               std::string::npos);
  };
  differs("/imag " + image, "there is no command /imag; /help lists them");
  differs("/image /nowhere/x.png", "/nowhere/x.png: No such file");
  differs("/image", "/image needs the name of a file");
  differs("/video " + image, image);
  differs("/clear all", "/clear takes no \"all\"");
  // The failed message is an error in the place of its answer; its image is not the next one's.
  const std::string other = (assets / "expected" / "images" / "02.png").string();
  const Result mixed =
      run("--json", "/image " + other + "\n/imag x\n" + ask + "/image " + image + "\n" + ask + "/help\n/exit\nlost\n");
  BOOST_TEST(mixed.code == 1);
  std::istringstream lines(mixed.out);
  std::string first, second, third;
  std::getline(lines, first);
  std::getline(lines, second);
  BOOST_TEST(!std::getline(lines, third));
  BOOST_TEST(json::parse(first).contains("error"), first);
  BOOST_TEST(json::parse(second).at("text").get<std::string>() + "\n" == whole.out);
  // A new conversation, and a message that begins with a slash.
  BOOST_TEST(run("", "/image " + other + "\n" + ask + "/clear\n/image " + image + "\n" + ask).out.ends_with(whole.out));
  const Result slash = run("--json --max-new-tokens 1", "//etc is a folder\n");
  BOOST_TEST(json::parse(slash.out).at("prompt_tokens") ==
             json::parse(run("--json --max-new-tokens 1 --prompt '/etc is a folder'").out).at("prompt_tokens"));
}

BOOST_AUTO_TEST_CASE(cut_answers_and_two_system_messages_are_said) {
  const Result cut = run("--max-new-tokens 2 --prompt 'Describe this image.'" + image("03.png"));
  BOOST_TEST(cut.code == 0);
  BOOST_TEST(cut.err == "[cut off after 2 tokens; --max-new-tokens sets the limit]\n");
  BOOST_TEST(run("--prompt 'Describe this image.'" + image("03.png")).err == "");
  const json two = {{{"role", "system"}, {"content", "A"}}, {{"role", "user"}, {"content", "B"}}};
  check_error(run("--system C --messages -", two.dump()), "has a system message of its own");
  const Result batch = run("--system C --batch -", two.dump() + "\n");
  BOOST_TEST(json::parse(batch.out).at("error").get<std::string>().find("system message") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(command_line_errors) {
  check_error(run("--prompt x --frobnicate"), "--frobnicate");
  check_error(run("--prompt x --top-p 2"), "--top-p");
  check_error(run("--prompt x --max-new-tokens 0"), "--max-new-tokens");
  check_error(run("--prompt x --messages y.json"), "--messages");
  check_error(run("--prompt x --threads 100000"), "--threads: 100000 is not from 1 to 1024");
  check_error(run("--prompt x --thinking-budget -1"), "--thinking-budget: -1 is not from 0 to 2147483647");
  check_error(run("--prompt x --num-frames 99999999999999999999"), "is not from 1 to 2147483647");
  check_error(run("--prompt x --seed 99999999999999999999"), "is more than 18446744073709551615");
  check_error(run("--prompt x --fps 0"), "--fps: 0 is not > 0 and <= 1000000");
  check_error(run("--prompt x --top-p much"), "'much' is not a number");
  check_error(run("--batch /nowhere/x.jsonl"), "/nowhere/x.jsonl: No such file");
  check_error(run("--batch /"), "it is a folder");
  check_error(run("--prompt x", "", "/nonexistent"), "/nonexistent");
  const Result help = run("--help");
  BOOST_TEST(help.code == 0);
  BOOST_TEST(help.out.find("--max-new-tokens") != std::string::npos);
  BOOST_TEST(run("--version").out.find("qwen3vl-tiny-shapes") == 0);
}

BOOST_AUTO_TEST_CASE(bad_images) {
  const TemporaryFolder folder;
  const auto with = [&](const std::string& name) {
    return run("--prompt x --image '" + (folder / name).string() + "'");
  };
  check_error(with("absent.png"), "absent.png");
  check_error(run("--prompt x --image '" + folder.path().string() + "'"), "is not a regular file");
  write(folder / "text.png", "This is no picture.\n");
  check_error(with("text.png"), "text.png is not an image of a kind that is read");
  write(folder / "empty.png", "");
  check_error(with("empty.png"), "is empty");
  const std::string whole = read_file(assets / "expected" / "images" / "01.png");
  write(folder / "half.png", whole.substr(0, whole.size() / 2));
  check_error(with("half.png"), "half.png");
  // A header that promises 2^31 x 2^31 pixels.
  std::string bomb = whole;
  for (std::size_t i = 16; i < 24; ++i) bomb[i] = '\x7f';
  write(folder / "bomb.png", bomb);
  check_error(with("bomb.png"), "bomb.png");
}

BOOST_AUTO_TEST_CASE(extreme_shapes) {
  // PNGs of one colour, made of stored (uncompressed) blocks.
  const auto png = [](std::uint32_t width, std::uint32_t height) {
    const auto big = [](std::uint32_t v) { return std::string{char(v >> 24), char(v >> 16), char(v >> 8), char(v)}; };
    const auto crc = [](const std::string& data) {
      std::uint32_t c = 0xffffffffu;
      for (const unsigned char byte : data) {
        c ^= byte;
        for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
      }
      return ~c;
    };
    const auto chunk = [&](const std::string& type, const std::string& data) {
      return big(static_cast<std::uint32_t>(data.size())) + type + data + big(crc(type + data));
    };
    std::string raw;
    for (std::uint32_t y = 0; y < height; ++y) raw += '\0' + std::string(width * 3, '\x55');
    std::uint32_t a = 1, b = 0;
    for (const unsigned char byte : raw) {
      a = (a + byte) % 65521;
      b = (b + a) % 65521;
    }
    std::string zlib = "\x78\x01";
    zlib += '\x01';
    const auto size = static_cast<std::uint16_t>(raw.size());
    zlib += {char(size & 0xff), char(size >> 8), char(~size & 0xff), char((~size >> 8) & 0xff)};
    zlib += raw + big(b << 16 | a);
    return "\x89PNG\r\n\x1a\n" + chunk("IHDR", big(width) + big(height) + std::string("\x08\x02\x00\x00\x00", 5)) +
           chunk("IDAT", zlib) + chunk("IEND", "");
  };
  const TemporaryFolder folder;
  const auto with = [&](std::uint32_t width, std::uint32_t height) {
    write(folder / "p.png", png(width, height));
    return run("--prompt x --max-new-tokens 2 --image '" + (folder / "p.png").string() + "'");
  };
  for (const auto& [width, height] : {std::pair{1u, 1u}, {1u, 3u}, {200u, 1u}}) {
    const Result result = with(width, height);
    BOOST_TEST(result.code == 0, width << " x " << height << ": " << result.err);
  }
  check_error(with(201, 1), "absolute aspect ratio must be smaller than 200");
  check_error(with(1, 402), "absolute aspect ratio must be smaller than 200");
}

BOOST_AUTO_TEST_CASE(empty_prompt_works_as_in_transformers) {
  // The chat format still has its own tokens.
  BOOST_TEST(run("--prompt '' --max-new-tokens 2").code == 0);
  check_error(run("--messages -", "[]"), "conversation is empty");
  check_error(run("--messages -", "not json"), "request is not valid JSON");
  check_error(run("--messages -", R"([{"role": "user", "content": [{"type": "video", "video": "absent.mp4"}]}])"),
              "messages[0].content[0]: cannot open absent.mp4");
}

BOOST_AUTO_TEST_CASE(damaged_checkpoints) {
  const auto damaged = [](const std::string& file, const std::function<std::string(std::string)>& change) {
    const TemporaryFolder folder;
    copy_checkpoint(folder.path());
    write(folder / file, change(read_file(folder / file)));
    return run("--prompt x", "", folder.path());
  };
  const auto replace = [](std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    BOOST_REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
  };
  const auto config = [&](const std::string& from, const std::string& to) {
    return damaged("config.json", [&](const std::string& text) { return replace(text, from, to); });
  };
  for (const std::size_t size : {0, 7, 8, 1000, 100000}) {
    const Result result = damaged("model.safetensors", [&](const std::string& text) { return text.substr(0, size); });
    check_error(result, "model.safetensors");
  }
  check_error(damaged("model.safetensors",
                      [](std::string text) {
                        text.replace(0, 8, "\xff\xff\xff\xff\xff\xff\xff\xff");
                        return text;
                      }),
              "model.safetensors");
  check_error(
      damaged("model.safetensors", [&](const std::string& text) { return replace(text, "\"BF16\"", "\"XF16\""); }),
      "XF16");
  const Result sizes = config("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5");
  check_error(sizes, "text_config.num_hidden_layers: the variant has 4, the checkpoint 5");
  check_error(config("\"qwen3_vl\"", "\"llama\""), "'llama'");
  check_error(config("\"depth\": 4", "\"depth\": -4"), "vision_config.depth");
  check_error(config("\"image_token_id\": 640", "\"image_token_id\": 17"), "<|image_pad|>");
  check_error(damaged("config.json", [](const std::string& text) { return text.substr(0, 100); }), "config.json");
  check_error(damaged("tokenizer.json", [](const std::string& text) { return text.substr(0, 5000); }),
              "tokenizer.json");
  check_error(
      damaged("preprocessor_config.json",
              [&](const std::string& text) { return replace(text, "\"patch_size\": 16", "\"patch_size\": 0"); }),
      "patch_size is 0");
  check_error(damaged("chat_template.jinja", [](const std::string&) { return std::string("\n{% if %}"); }),
              "chat_template.jinja, line 2: ");
  check_error(
      damaged("generation_config.json", [&](const std::string& text) { return replace(text, "96", "\"many\""); }),
      "max_new_tokens");

  const TemporaryFolder folder;
  copy_checkpoint(folder.path());
  fs::remove(folder / "model.safetensors");
  check_error(run("--prompt x", "", folder.path()), "model.safetensors");
  write(folder / "model.safetensors.index.json",
        R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})");
  check_error(run("--prompt x", "", folder.path()),
              "model-00001-of-00002.safetensors, model-00002-of-00002.safetensors");
  write(folder / "model.safetensors.index.json", R"({"weight_map": {"a": "../../etc/passwd"}})");
  check_error(run("--prompt x", "", folder.path()), "not a plain file name");
}
