// The program's options for videos, decoding, reasoning, tools and drawing.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE program_options
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <string>
#include <vector>

#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/io/video/gif_file.hpp"
#include "qwen3vl/io/weights/checkpoint.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "support/program_run.hpp"
#include "support/trace_file.hpp"

using namespace qwen3vl::test;

namespace {

json answer_of(const std::string& arguments, const std::string& input = "") {
  const std::vector<json> answers = json_lines(run("--json " + arguments, input));
  BOOST_REQUIRE(answers.size() == 1u);
  return answers.front();
}

const std::string describe = " --prompt 'Describe this image.'" + image("02.png");

}  // namespace

BOOST_AUTO_TEST_CASE(videos) {
  const std::string what = " --prompt 'What happens in this video?'" + video("01");
  const json all = answer_of("--all-frames" + what);
  BOOST_TEST(all.at("text") == "A white heart moves from right to left.");
  BOOST_TEST(all.at("image_tokens") == 0);
  // Eight frames make four groups, four frames two; a group has the same number of tokens unless the budget is short.
  const json four = answer_of("--num-frames 4" + what);
  BOOST_TEST(four.at("video_tokens").get<int>() < all.at("video_tokens").get<int>());
  BOOST_TEST(four.at("prompt_tokens").get<int>() < all.at("prompt_tokens").get<int>());
  // The other form of the prompt lacks the outer pair.
  const json without = answer_of("--all-frames --video-prompt without" + what);
  BOOST_TEST(without.at("prompt_tokens").get<int>() == all.at("prompt_tokens").get<int>() - 2);
  BOOST_TEST(answer_of("--all-frames --video-prompt KEEP" + what).at("token_ids") == all.at("token_ids"));
  // The source's rate decides how many frames the default of the processor takes.
  const auto tokens = [&](const std::string& options) {
    return answer_of(options + what).at("video_tokens").get<int>();
  };
  BOOST_TEST(tokens("--source-fps 1 --fps 1") == tokens("--all-frames"));
  BOOST_TEST(tokens("--source-fps 2 --fps 1") < tokens("--all-frames"));
  check_error(run("--fps 1 --num-frames 4" + what), "--fps");
  check_error(run("--seed -1" + what), "--seed");
  check_error(run("--fps 0" + what), "--fps");
  check_error(run("--num-frames 0" + what), "--num-frames");
  check_error(run("--prompt x --video /nonexistent.mp4"), "cannot open /nonexistent.mp4");
  check_error(run("--prompt x --video ''"), "need the name of a file");
  check_error(run("--messages - --source-fps 2", "[]"), "--source-fps");
}

// An animated GIF, and its frames as a folder of images at the same rate.
BOOST_AUTO_TEST_CASE(animated_gif) {
  const fs::path file = fs::path(QWEN3VL_TEST_DATA) / "assets/gif/pillow.gif";
  qwen3vl::GifFile gif(file);
  const TemporaryFolder folder;
  for (std::int64_t i = 0; i < gif.metadata().total_num_frames; ++i)
    qwen3vl::write_image(folder / (std::to_string(i) + ".png"), gif.frame(i));
  write(folder / "clip.json", json{{"fps", gif.metadata().fps.value()}}.dump());
  const std::string what = "--all-frames --prompt 'What happens in this video?' --video '";
  const json of_gif = answer_of(what + file.string() + "'"), of_folder = answer_of(what + folder.path().string() + "'");
  BOOST_TEST(of_gif.at("video_tokens").get<int>() > 0);
  for (const char* figure : {"token_ids", "video_tokens", "prompt_tokens"})
    BOOST_TEST(of_gif.at(figure) == of_folder.at(figure), figure);
}

BOOST_AUTO_TEST_CASE(pixel_budget) {
  const json usual = answer_of("--max-new-tokens 1" + describe).at("images").at(0);
  BOOST_TEST(usual.at("name").get<std::string>().ends_with("02.png"));
  const json few = answer_of("--max-new-tokens 1 --min-pixels 1 --max-pixels 4096" + describe);
  BOOST_TEST(few.at("images").at(0).at("resized_width").get<int>() < usual.at("resized_width").get<int>());
  BOOST_TEST(few.at("images").at(0).at("width") == usual.at("width"));
  BOOST_TEST(few.at("image_tokens").get<int>() <= 4);
  const std::string what = "--max-new-tokens 1 --prompt x" + video("01");
  const json frames = answer_of("--max-video-pixels 40000 " + what).at("videos").at(0);
  BOOST_TEST(frames.at("resized_width").get<int>() < answer_of(what).at("videos").at(0).at("resized_width").get<int>());
  BOOST_TEST(frames.at("frames") == 4);
  BOOST_TEST(frames.at("frames_indices") == json({0, 2, 5, 7}));
  const qwen3vl::test::Result stats = run("--stats --max-new-tokens 1 --max-pixels 5000" + describe);
  BOOST_TEST(stats.err.find("02.png: ") != std::string::npos, stats.err);
  BOOST_TEST(stats.err.find(" pixels, resized to ") != std::string::npos, stats.err);
  BOOST_TEST(stats.err.find("warning: max_pixels is 5000, below min_pixels, 9216") != std::string::npos, stats.err);
  check_error(run("--max-pixels 0" + describe), "--max-pixels");
  check_error(run("--min-pixels 1e99" + describe), "--min-pixels");
  // The keys of a part go first.
  const std::string messages = R"([{"role": "user", "content": [{"type": "image", "image": ")" +
                               (assets / "expected/images/02.png").string() +
                               R"(", "resized_height": 96, "resized_width": 64}]}])";
  const json keys = answer_of("--max-new-tokens 1 --max-pixels 4096 --messages -", messages).at("images").at(0);
  BOOST_TEST(keys.at("resized_height") == 96);
  BOOST_TEST(keys.at("resized_width") == 64);
}

BOOST_AUTO_TEST_CASE(chat_with_videos) {
  const std::string file = (assets / "expected" / "clips" / "02").string();
  const std::vector<json> answers = json_lines(
      run("--json --all-frames", "/video " + file + "\nWhat happens in this video?\nHow many shapes are there?\n"));
  BOOST_REQUIRE(answers.size() == 2u);
  BOOST_TEST(answers[0].at("text") == "A purple heart stays still.");
  BOOST_TEST(answers[1].at("timings").at("computed_prompt_tokens").get<int>() < 20);
}

BOOST_AUTO_TEST_CASE(search_and_candidates) {
  const json greedy_answer = answer_of(describe);
  for (const char* options : {"--prompt-lookup 5", "--num-beams 1", "--num-return-sequences 1"})
    BOOST_TEST(answer_of(options + describe).at("token_ids") == greedy_answer.at("token_ids"), options);
  const json beams = answer_of("--num-beams 4 --num-return-sequences 3" + describe);
  BOOST_REQUIRE(beams.at("answers").size() == 3u);
  BOOST_TEST(beams.at("answers")[0].at("token_ids") == beams.at("token_ids"));
  for (std::size_t i = 1; i < 3; ++i) {
    BOOST_TEST(beams.at("answers")[i].at("score").get<double>() <=
               beams.at("answers")[i - 1].at("score").get<double>());
    BOOST_TEST(beams.at("answers")[i].at("token_ids") != beams.at("token_ids"));
  }
  const Result text = run("--num-beams 2 --num-return-sequences 2" + describe);
  BOOST_TEST(std::count(text.out.begin(), text.out.end(), '\n') == 2, text.out);
  check_error(run("--num-beams 2 --num-return-sequences 3" + describe), "num_return_sequences");
  check_error(run("--num-return-sequences 2"), "--num-return-sequences");
  // Beams that may end early do; the two settings that search further find a score at least as good.
  const auto score = [&](const std::string& when) {
    return answer_of("--num-beams 3 --num-return-sequences 3 --early-stopping " + when + describe)
        .at("answers")[0]
        .at("score")
        .get<double>();
  };
  BOOST_TEST(score("Never") >= score("true"));
  check_error(run("--num-beams 2 --early-stopping soon" + describe), "--early-stopping");
  BOOST_TEST(answer_of("--prompt-lookup 5 --max-matching-ngram-size 4" + describe).at("token_ids") ==
             greedy_answer.at("token_ids"));
  check_error(run("--max-matching-ngram-size 0" + describe), "--max-matching-ngram-size");
}

BOOST_AUTO_TEST_CASE(penalties_and_ends) {
  const std::string whole = answer_of(describe).at("text");
  const json stopped = answer_of("--stop ' on the' --stop zebra" + describe);
  BOOST_TEST(stopped.at("finish_reason") == "stop_criterion");
  BOOST_TEST(stopped.at("text").get<std::string>().size() < whole.size());
  BOOST_TEST(stopped.at("text").get<std::string>().find(" on the") != std::string::npos);
  const json longer = answer_of("--min-new-tokens 40 --max-new-tokens 60" + describe);
  BOOST_TEST(longer.at("token_ids").size() >= 40u);
  // The penalty on everything said, prompt included, is strong enough to prevent repetition.
  const json once = answer_of("--repetition-penalty 1000 --max-new-tokens 30" + describe);
  std::vector<int> ids = once.at("token_ids");
  std::sort(ids.begin(), ids.end());
  BOOST_TEST((std::adjacent_find(ids.begin(), ids.end()) == ids.end()));
  // The model is too confident for the penalties on the answer alone, whose range is limited.
  BOOST_TEST(answer_of("--presence-penalty 0.5 --frequency-penalty 0.5" + describe).at("text") == whole);
  check_error(run("--presence-penalty 3" + describe), "--presence-penalty: 3 is not from -2 to 2");
  check_error(run("--frequency-penalty=-3" + describe), "--frequency-penalty: -3 is not from -2 to 2");
}

BOOST_AUTO_TEST_CASE(reasoning) {
  const std::string colour = " --thinking --prompt 'What color is the heart?'" + image("02.png");
  const json answer = answer_of(colour);
  BOOST_TEST(answer.at("text") == "The heart is yellow.");
  BOOST_TEST(answer.at("reasoning").get<std::string>().find("I see a small black circle") == 0u);
  BOOST_TEST(run("--hide-thinking" + colour).out == "The heart is yellow.\n");
  BOOST_TEST(run(colour).out.find("</think>") != std::string::npos);
  // With a budget, reasoning ends after that many tokens, and an answer follows.
  const json limited = answer_of("--thinking-budget 5" + colour);
  const std::string all = answer.at("reasoning"), some = limited.at("reasoning");
  BOOST_TEST(all.substr(0, some.size()) == some);
  BOOST_TEST(some.size() < all.size());
  BOOST_TEST(!limited.at("text").get<std::string>().empty());
  BOOST_TEST(answer_of("--thinking-budget 0" + colour).at("reasoning") == "");
  BOOST_TEST(answer_of("--thinking-budget 1000" + colour).at("token_ids") == answer.at("token_ids"));
}

BOOST_AUTO_TEST_CASE(tools) {
  const TemporaryFolder folder;
  write(folder / "tools.json",
        R"([{"name": "zoom", "description": "Looks closer.", "parameters": {"type": "object"}}])");
  const std::string hello = " --json --max-new-tokens 2 --prompt Hello!";
  const std::string tools = "--tools '" + (folder / "tools.json").string() + "'" + hello;
  // The checkpoint's own template has no tools; without one, it is that of the Instruct models.
  check_error(run(tools), "tools[0] is not in the prompt: the checkpoint's chat template drops it");
  const TemporaryFolder model;
  copy_checkpoint(model.path());
  fs::remove(model / "chat_template.jinja");
  const json with = json_lines(run(tools, "", model.path())).front();
  const json without = json_lines(run(hello, "", model.path())).front();
  BOOST_TEST(with.at("prompt_tokens").get<int>() > without.at("prompt_tokens").get<int>() + 50);
  write(folder / "tools.json", R"({"a": 1})");
  check_error(run(tools), "is not a function with a \"name\"");
  check_error(run("--tools /nonexistent.json --prompt x"), "/nonexistent.json");
}

BOOST_AUTO_TEST_CASE(packed_weights) {
  const TemporaryFolder folder;
  const std::string cache = "--packed-cache '" + (folder / "cache").string() + "'";
  const json first = answer_of(cache + describe), second = answer_of(cache + describe);
  BOOST_TEST(first.at("token_ids") == answer_of(describe).at("token_ids"));
  BOOST_TEST(second.at("token_ids") == first.at("token_ids"));
  BOOST_TEST(std::distance(fs::directory_iterator(folder / "cache"), {}) == 1);
  // A cache folder that cannot be used does not stop the program.
  const Result warned = run("--packed-cache /proc/none" + describe);
  BOOST_TEST(warned.code == 0);
  BOOST_TEST(warned.err.find("warning: cannot write") == 0u, warned.err);
}

BOOST_AUTO_TEST_CASE(adapters_and_saving) {
  // An adapter of the whole head: its rows are the embedding's, the other way round.
  const TemporaryFolder folder;
  const qwen3vl::Checkpoint base = qwen3vl::Checkpoint::open(assets);
  const qwen3vl::StoredTensor& embedding = *base.find("model.language_model.embed_tokens.weight");
  std::vector<float> values(static_cast<std::size_t>(embedding.size()));
  qwen3vl::read_floats(embedding, values);
  std::ranges::reverse(values);
  fs::create_directory(folder / "lora");
  qwen3vl::write_safetensors(
      folder / "lora" / "adapter_model.safetensors",
      {{"base_model.model.lm_head.weight", qwen3vl::DType::f32, embedding.shape, std::as_bytes(std::span(values))}});
  write(folder / "lora" / "adapter_config.json",
        R"({"peft_type": "LORA", "modules_to_save": ["lm_head"], "base_model_name_or_path": "tiny"})");
  const std::string lora = " --lora '" + (folder / "lora").string() + "'", out = (folder / "out").string();
  const json plain = answer_of(describe), adapted = answer_of(lora + describe);
  BOOST_TEST(plain.at("token_ids") != adapted.at("token_ids"));
  const Result stats = run(lora + " --stats" + describe);
  BOOST_TEST(stats.err.find("lora: 0 tensors merged, 1 replaced]") != std::string::npos, stats.err);

  const Result saved = run(lora + " --save '" + out + "'");
  BOOST_TEST(saved.code == 0, saved.err);
  BOOST_TEST(saved.err.find("saved to " + out) != std::string::npos, saved.err);
  for (const char* const file : {"config.json", "tokenizer.json", "chat_template.jinja", "preprocessor_config.json"})
    BOOST_TEST(fs::exists(folder / "out" / file), file);
  BOOST_TEST(json_lines(run("--json" + describe, "", folder / "out")).front().at("token_ids") ==
             adapted.at("token_ids"));

  check_error(run("--lora /nowhere" + describe), "there is no adapter /nowhere");
  check_error(run(lora + "=much" + describe), "is not a number: give DIR or DIR=SCALE");
  check_error(run("--save x" + describe), "excludes");
  check_error(run("--save '" + fs::path(assets).string() + "'"), "is the checkpoint itself");
  check_error(run("" + describe, "", folder / "lora"),
              "an adapter (LoRA), not a whole model: call --model tiny --lora ");
}

BOOST_AUTO_TEST_CASE(trace) {
  if (moe.program.empty()) return;
  const TemporaryFolder folder;
  const fs::path file = folder / "trace.json";
  const Result traced = run(moe, "--trace '" + file.string() + "' --json --max-new-tokens 2" + describe);
  BOOST_TEST(traced.code == 0, traced.err);
  auto events = read_trace(file);
  const std::size_t passes = events["text_model"].size();
  BOOST_TEST(passes >= 2u);
  BOOST_TEST(events["vision_model"].size() == 1u);
  for (const char* name : {"decoder_layer", "causal_attention", "route", "expert_mlp"})
    BOOST_TEST(events[name].size() == 4 * passes, name);
  for (const json& event : events["expert_mlp"]) {
    const int used = event.at("args").at("experts used");
    BOOST_TEST((used >= 2 && used <= 8), event.dump());
  }
  check_error(run("--trace /nonexistent/trace.json" + describe), "--trace: there is no folder /nonexistent");
}

BOOST_AUTO_TEST_CASE(limits) {
  const std::string wide = "--limit ImageLimits::max_pixels=300000000 --limit ProcessorOptions::max_tokens=2000000";
  BOOST_TEST(answer_of(wide + describe).at("token_ids") == answer_of(describe).at("token_ids"));
  check_error(run("--limit ImageLimits::max_pixels=100" + describe), "(ImageLimits::max_pixels)");
  check_error(run("--limit ImageLimits::max_file_bytes=9" + describe), "(ImageLimits::max_file_bytes)");
  check_error(run("--limit ProcessorOptions::max_tokens=4" + describe), "(ProcessorOptions::max_tokens)");
  check_error(run("--limit SafetensorsLimits::max_tensors=3" + describe), "(SafetensorsLimits::max_tensors)");
  const std::string messages = R"([{"role": "user", "content": "Hello"}])";
  check_error(run("--limit MessageLimits::max_bytes=30 --messages -", messages), "(MessageLimits::max_bytes)");
  const json line = json::parse(run("--limit MessageLimits::max_bytes=30 --batch -", messages + "\n").out);
  BOOST_TEST(line.at("error").get<std::string>().ends_with("(MessageLimits::max_bytes)"), line.dump());
  check_error(run("--limit max_pixels=5" + describe), "with one of ImageLimits::max_pixels, ");
  check_error(run("--limit ImageLimits::max_pixels" + describe), "is not NAME=VALUE");
  for (const char* value : {"0", "-1", "5x", "", "99999999999999999999"})
    check_error(run(std::string("--limit ImageLimits::max_scans=") + value + describe), "is no number from 1 to ");
}

BOOST_AUTO_TEST_CASE(drawing) {
  const TemporaryFolder folder;
  const std::string draw = "--draw '" + (folder / "out.png").string() + "'";
  const json answer = answer_of(draw + describe);
  BOOST_TEST(answer.at("grounding").is_array());
  const qwen3vl::Image drawn = qwen3vl::load_image(folder / "out.png");
  const qwen3vl::Image original = qwen3vl::load_image(assets / "expected" / "images" / "02.png");
  BOOST_TEST(drawn.width == original.width);
  BOOST_TEST(drawn.height == original.height);
  BOOST_TEST(run(draw + describe).err.find("0 boxes and points drawn") != std::string::npos);
  check_error(run(draw + " --prompt x"), "--draw needs one image; the conversation has 0");
  check_error(run(draw + describe + image("01.png")), "--draw needs one image; the conversation has 2");
  check_error(run("--draw out.gif" + describe), "out.gif");
  check_error(run("--draw /nonexistent/out.png" + describe), "there is no folder /nonexistent");
}
