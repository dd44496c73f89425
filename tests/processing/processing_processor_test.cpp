// The processor against the reference: placeholders, token types, padding, conversations of the small trained model.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_processor
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/json/json_file.hpp"
#include "qwen3vl/json/json_text.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "support/check_fails.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

const fs::path tiny_shapes = QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes";

const ordered_json& golden() {
  static const ordered_json table = parse_ordered_json(
      read_text_file(QWEN3VL_TEST_DATA "/golden/cases/processing/processor.json", max_json_bytes), "processor.json");
  return table;
}

// The official vocabulary with the image settings of the golden cases.
const Processor& official() {
  static const Processor processor = [] {
    const test::TemporaryFolder folder;
    fs::create_symlink(QWEN3VL_TEST_DATA "/assets/qwen3-tokenizer/tokenizer.json", folder / "tokenizer.json");
    ordered_json settings = golden()["image_settings"];
    settings["size"] = golden()["image_size"];
    folder.write("preprocessor_config.json", settings.dump());
    ordered_json video_settings = golden()["video_settings"];
    video_settings["size"] = golden()["video_size"];
    folder.write("video_preprocessor_config.json", video_settings.dump());
    return Processor::from_pretrained(folder.path());
  }();
  return processor;
}

std::string base64_of(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) text += i + k < bytes.size() + 1 ? digits[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

const Processor& tiny() {
  static const Processor processor = Processor::from_pretrained(tiny_shapes);
  return processor;
}

Image plain_image(int height, int width) {
  Image image;
  image.height = height;
  image.width = width;
  image.channels = 3;
  image.pixels.assign(static_cast<std::size_t>(height) * width * 3, 127);
  return image;
}

template <class T>
ordered_json to_json(const HostMatrix<T>& matrix) {
  ordered_json rows = ordered_json::array();
  for (index_t i = 0; i < matrix.rows(); ++i) {
    ordered_json row = ordered_json::array();
    for (const T value : matrix[i].span()) row.push_back(static_cast<int>(value));
    rows.push_back(std::move(row));
  }
  return rows;
}

ordered_json to_json(const std::vector<GridThw>& grids) {
  if (grids.empty()) return nullptr;
  ordered_json rows = ordered_json::array();
  for (const GridThw& grid : grids) rows.push_back({grid.t, grid.h, grid.w});
  return rows;
}

}  // namespace

void check_inputs(const ModelInputs& inputs, const ordered_json& expected) {
  BOOST_CHECK_EQUAL(to_json(inputs.input_ids), expected["input_ids"]);
  BOOST_CHECK_EQUAL(to_json(inputs.attention_mask), expected["attention_mask"]);
  BOOST_CHECK_EQUAL(to_json(inputs.mm_token_type_ids), expected["mm_token_type_ids"]);
}

// Videos of plain frames with the metadata of a case.
std::vector<Video> golden_videos(const ordered_json& row) {
  std::vector<Video> videos;
  for (std::size_t i = 0; i < row["videos_thw"].size(); ++i) {
    const auto size = row["videos_thw"][i].get<std::vector<int>>();
    const ordered_json given = row["video_metadata"].is_null() ? ordered_json::object() : row["video_metadata"][i];
    VideoMetadata metadata{.total_num_frames = given.value("total_num_frames", std::int64_t{size[0]})};
    if (given.contains("fps") && !given["fps"].is_null()) metadata.fps = given["fps"].get<double>();
    if (given.contains("frames_indices"))
      metadata.frames_indices = given["frames_indices"].get<std::vector<std::int64_t>>();
    std::vector<Image> frames(static_cast<std::size_t>(size[0]), plain_image(size[1], size[2]));
    videos.emplace_back(MemoryFrames(std::move(frames), metadata));
  }
  return videos;
}

BOOST_AUTO_TEST_CASE(golden_batches) {
  int checked = 0, with_videos = 0;
  for (const ordered_json& row : golden()["cases"]) {
    const std::string name = row["name"].get<std::string>();
    ++checked;
    BOOST_TEST_CONTEXT(name) {
      const auto texts = row["text"].get<std::vector<std::string>>();
      std::vector<Image> images;
      if (!row["images_hw"].is_null()) {
        for (const auto& size : row["images_hw"]) images.push_back(plain_image(size[0].get<int>(), size[1].get<int>()));
      }
      std::vector<Video> videos;
      if (!row["videos_thw"].is_null()) videos = golden_videos(row);
      with_videos += videos.empty() ? 0 : 1;
      ProcessorOptions options;
      options.padding_side = row["padding_side"] == "left" ? PaddingSide::left : PaddingSide::right;
      ordered_json video_options = row["options"];
      video_options.erase("padding");
      options.videos = video_processor_options_from_json({nlohmann::json(video_options), "options"},
                                                         official().video_processor().options());
      if (!row["error"].is_null()) {
        const std::string error = row["error"].get<std::string>();
        CHECK_FAILS(official()(texts, images, options, videos), error.substr(error.find(": ") + 2));
        continue;
      }
      const ModelInputs inputs = official()(texts, images, options, videos);
      check_inputs(inputs, row);
      BOOST_CHECK_EQUAL(to_json(inputs.image_grid_thw), row["image_grid_thw"]);
      BOOST_CHECK_EQUAL(to_json(inputs.video_grid_thw), row["video_grid_thw"]);
      index_t patches = 0;
      for (const GridThw& grid : inputs.image_grid_thw) patches += grid.patches();
      BOOST_CHECK_EQUAL(inputs.pixel_values.empty() ? 0 : inputs.pixel_values.rows(), patches);
      // The prompts as text again: placeholders repeated, times written.
      const auto expanded = [&] {
        const Prompts prompts = official().prompts(texts, images, options, videos);
        ordered_json rows = ordered_json::array();
        for (index_t b = 0; b < prompts.batch_size(); ++b) rows.push_back(official().decode(prompts.row(b)));
        return rows;
      };
      BOOST_CHECK_EQUAL(expanded(), row["expanded_text"]);
      if (videos.empty()) continue;
      std::vector<VideoPatches> clips;
      for (Video& video : videos) clips.push_back(VideoProcessor(*options.videos)(video));
      const VideoFeatures features = join(std::move(clips));
      if (row.contains("frames_indices")) {
        // The reference appends the repeated last frame to the caller's own list.
        auto indices = features.frames_indices;
        for (std::size_t i = 0; i < indices.size(); ++i)
          if (indices[i].size() % 2 == 1 && videos[i].metadata().frames_indices.size() == indices[i].size())
            indices[i].push_back(indices[i].back());
        BOOST_CHECK_EQUAL(ordered_json(indices), row["frames_indices"]);
      }
      BOOST_CHECK_EQUAL(features.pixel_values_videos.rows(), inputs.pixel_values_videos.rows());
      if (!row.contains("without_outer_pair")) continue;
      options.video_prompt = VideoPrompt::without_outer_pair;
      BOOST_CHECK_EQUAL(expanded(), row["without_outer_pair"]["expanded_text"]);
      check_inputs(official()(texts, images, options, videos), row["without_outer_pair"]);
    }
  }
  BOOST_CHECK_GE(checked, 20);
  BOOST_CHECK_GE(with_videos, 10);
}

BOOST_AUTO_TEST_CASE(conversations_of_the_small_trained_model) {
  const ordered_json table =
      parse_ordered_json(read_text_file(tiny_shapes / "expected/cases.json", max_json_bytes), "cases.json");
  // The videos were described from all of their frames.
  ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  here.videos = tiny().video_processor().options();
  here.videos->do_sample_frames = false;
  int checked = 0;
  for (const ordered_json& row : table["cases"]) {
    const std::string name = row["name"].get<std::string>();
    const Conversation messages = messages_from_json(row["messages"]);
    const ChatTemplateOptions options{.add_generation_prompt = true, .enable_thinking = name.ends_with(" thinking")};
    BOOST_TEST_CONTEXT(name) {
      BOOST_CHECK_EQUAL(tiny().render_chat_template(messages, options), row["prompt"].get<std::string>());
      ++checked;
      const ModelInputs inputs = tiny().apply_chat_template(messages, options, here);
      BOOST_CHECK_EQUAL(to_json(inputs.input_ids)[0], row["prompt_ids"]);
      if (row.contains("video_grid_thw")) BOOST_CHECK_EQUAL(to_json(inputs.video_grid_thw), row["video_grid_thw"]);
      if (row.contains("image_grid_thw")) {
        BOOST_CHECK_EQUAL(to_json(inputs.image_grid_thw), row["image_grid_thw"]);
      } else {
        BOOST_CHECK(inputs.image_grid_thw.empty());
        BOOST_CHECK(inputs.pixel_values.empty());
      }
      // The answer back to text, with and without the token that ends it.
      const auto ids = row["ids"].get<std::vector<TokenId>>();
      BOOST_CHECK_EQUAL(tiny().decode(ids), row["raw_text"].get<std::string>());
      const std::vector<std::vector<TokenId>> generated = {ids, ids};
      const auto answers = tiny().post_process_image_text_to_text(generated);
      BOOST_REQUIRE_EQUAL(answers.size(), 2U);
      BOOST_CHECK_EQUAL(answers[1], row["text"].get<std::string>());
    }
  }
  BOOST_CHECK_EQUAL(checked, 47);
}

BOOST_AUTO_TEST_CASE(batches_of_conversations) {
  const ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  const std::vector<Conversation> batch = {{user("Hello!")}, {user({image("images/01.png"), text("What?")})}};
  const ModelInputs both = tiny().apply_chat_template(batch, {.add_generation_prompt = true}, here);
  BOOST_REQUIRE_EQUAL(both.batch_size(), 2);
  BOOST_CHECK_EQUAL(both.image_grid_thw.size(), 1U);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const ModelInputs one = tiny().apply_chat_template(batch[i], {.add_generation_prompt = true}, here);
    BOOST_REQUIRE_EQUAL(one.batch_size(), 1);
    const index_t padding = both.length() - one.length();  // on the left by default
    for (index_t j = 0; j < both.length(); ++j) {
      const auto row = static_cast<index_t>(i);
      BOOST_CHECK_EQUAL(both.attention_mask(row, j), j < padding ? 0 : 1);
      BOOST_CHECK_EQUAL(both.input_ids(row, j), j < padding ? tiny().pad_token_id() : one.input_ids(0, j - padding));
    }
  }
  CHECK_FAILS(tiny().apply_chat_template(std::vector<Conversation>{{user("a")}, {user({image("none.png")})}}, {}, here),
              "conversation 1: messages[0].content[0]: ");
}

BOOST_AUTO_TEST_CASE(batches_of_images_and_videos) {
  ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  here.videos = tiny().video_processor().options();
  here.videos->do_sample_frames = false;
  const std::vector<Conversation> batch = {
      {user("Hello!")},
      {user({video("clips/01"), image("images/01.png"), text("What?"), image("images/02.png")})},
      {user({image("images/03.png"), text("And?")}), assistant("Yes."), user({video("clips/02"), video("clips/03")})},
      {user({video("clips/03")})}};
  const ChatTemplateOptions prompt{.add_generation_prompt = true};
  const ModelInputs all = tiny().apply_chat_template(batch, prompt, here);
  BOOST_REQUIRE_EQUAL(all.batch_size(), 4);
  std::vector<GridThw> images, videos;
  std::vector<float> pixels, video_pixels;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const ModelInputs one = tiny().apply_chat_template(batch[i], prompt, here);
    const auto row = static_cast<index_t>(i);
    const index_t padding = all.length() - one.length();
    for (index_t j = 0; j < all.length(); ++j) {
      BOOST_REQUIRE_EQUAL(all.attention_mask(row, j), j < padding ? 0 : 1);
      BOOST_REQUIRE_EQUAL(all.input_ids(row, j), j < padding ? tiny().pad_token_id() : one.input_ids(0, j - padding));
      BOOST_REQUIRE_EQUAL(all.mm_token_type_ids(row, j), j < padding ? 0 : one.mm_token_type_ids(0, j - padding));
    }
    const auto count = [&](int type) { return std::ranges::count(one.mm_token_type_ids.span(), type); };
    index_t image_tokens = 0, video_tokens = 0;
    for (const GridThw& grid : one.image_grid_thw) image_tokens += grid.tokens(2);
    for (const GridThw& grid : one.video_grid_thw) video_tokens += grid.tokens(2);
    BOOST_CHECK_EQUAL(count(1), image_tokens);
    BOOST_CHECK_EQUAL(count(2), video_tokens);
    images.insert(images.end(), one.image_grid_thw.begin(), one.image_grid_thw.end());
    videos.insert(videos.end(), one.video_grid_thw.begin(), one.video_grid_thw.end());
    pixels.insert(pixels.end(), one.pixel_values.span().begin(), one.pixel_values.span().end());
    video_pixels.insert(video_pixels.end(), one.pixel_values_videos.span().begin(),
                        one.pixel_values_videos.span().end());
  }
  BOOST_CHECK_EQUAL(images.size(), 3U);
  BOOST_CHECK_EQUAL(videos.size(), 4U);
  BOOST_CHECK(all.image_grid_thw == images);
  BOOST_CHECK(all.video_grid_thw == videos);
  BOOST_CHECK(std::ranges::equal(all.pixel_values.span(), pixels));
  BOOST_CHECK(std::ranges::equal(all.pixel_values_videos.span(), video_pixels));
}

BOOST_AUTO_TEST_CASE(videos_as_messages_have_them) {
  const ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  const auto ask = [&](const std::string& part) {
    return tiny().apply_chat_template(
        messages_from_json(concat(R"([{"role": "user", "content": [{"type": "video", )", part, "}]}]")), {}, here);
  };
  const auto written = [&](const ModelInputs& inputs) { return tiny().decode(inputs.input_ids[0].span()); };
  // Eight frames at four per second: two seconds.
  for (const char* four :
       {R"("video": "clips/01")", R"("path": "clips/01", "fps": 2)", R"("url": "clips/01", "fps": 1.9)",
        R"("video": "clips/01", "num_frames": 4)", R"("video": "clips/01", "nframes": 3.5)"}) {
    const ModelInputs inputs = ask(four);
    BOOST_REQUIRE_EQUAL(inputs.video_grid_thw.size(), 1U);
    BOOST_CHECK_MESSAGE(inputs.video_grid_thw[0].t == 2, four);
  }
  BOOST_CHECK_EQUAL(ask(R"("video": "clips/01", "fps": 4)").video_grid_thw[0].t, 4);
  BOOST_CHECK_EQUAL(ask(R"("video": "clips/01", "num_frames": 6)").video_grid_thw[0].t, 3);
  // Declared as two frames per second, the video lasts four seconds, and two per second are all of its frames.
  const ModelInputs slow = ask(R"("video": "clips/01", "raw_fps": 2)");
  BOOST_CHECK_EQUAL(slow.video_grid_thw[0].t, 4);
  BOOST_CHECK_NE(written(slow).find("<3.2 seconds>"), std::string::npos);
  // Its own number goes before the option that takes all frames.
  ProcessorOptions all = here;
  all.videos = tiny().video_processor().options();
  all.videos->do_sample_frames = false;
  const auto of_all = [&](const std::string& part) {
    return tiny().apply_chat_template(
        messages_from_json(concat(R"([{"role": "user", "content": [{"type": "video", )", part, "}]}]")), {}, all);
  };
  BOOST_CHECK_EQUAL(of_all(R"("video": "clips/01")").video_grid_thw[0].t, 4);
  BOOST_CHECK_EQUAL(of_all(R"("video": "clips/01", "num_frames": 6)").video_grid_thw[0].t, 3);
  // A list of images is used unchanged.
  const ModelInputs list =
      ask(R"("video": ["clips/01/00.png", "clips/01/02.png", "clips/01/05.png"], "sample_fps": 0.5)");
  BOOST_CHECK_EQUAL(list.video_grid_thw[0].t, 2);
  BOOST_CHECK_NE(written(list).find("<1.0 seconds>"), std::string::npos);
  BOOST_CHECK_NE(written(list).find("<4.0 seconds>"), std::string::npos);  // the last frame, repeated
  const ModelInputs unknown = ask(R"("video": ["clips/01/00.png", "clips/01/02.png"])");
  BOOST_CHECK_NE(written(unknown).find("<0.0 seconds>"), std::string::npos);  // the mean of 0 and 1/24
  CHECK_FAILS(ask(R"("video": ["clips/01/00.png", "clips/01/01.png"], "num_frames": 2)"),
              "num_frames does not apply to a list of images");
  CHECK_FAILS(ask(R"("video": ["clips/01/00.png", "images/none.png"])"), "none.png");
  CHECK_FAILS(ask(R"("video": ["clips/01/00.png", "http://a/b.png"])"), "is not fetched from the network");
  CHECK_FAILS(ask(R"("video": "clips/01", "fps": -1)"), "messages[0].content[0].fps is -1, wanted a number from 0");
  CHECK_FAILS(ask(R"("video": "clips/01", "fps": 1, "nframes": 2)"), "fps and nframes exclude each other");
  CHECK_FAILS(ask(R"("video": "clips/01", "num_frames": 100000)"), "num_frames is 100000");
  CHECK_FAILS(ask(R"("video": "clips/01", "nframes": 100000)"), "from 2 to the video's 8 frames, but is 100000");
  CHECK_FAILS(ask(R"("video": "clips/01", "fps": 1e300)"), "fps is 1e+300");
  // A GIF, and videos passed beside the messages.
  const ModelInputs gif =
      tiny().apply_chat_template(Conversation{user({video(QWEN3VL_TEST_DATA "/assets/gif/full_table_smooth.gif")})});
  BOOST_CHECK_EQUAL(gif.video_grid_thw[0].t, 1);
  std::vector<Video> beside;
  beside.push_back(open_video(tiny_shapes / "expected/clips/01"));
  const Conversation by_hand = {user({video()})};
  const ModelInputs handed = tiny().apply_chat_template(by_hand, {}, {}, {}, beside);
  BOOST_CHECK_EQUAL(written(handed), written(ask(R"("video": "clips/01")")));
  beside.clear();
  beside.push_back(open_video(tiny_shapes / "expected/clips/01"));
  CHECK_FAILS(tiny().apply_chat_template(Conversation{user("q")}, {}, {}, {}, beside),
              "1 videos were handed over beside the messages for which no part asks");
}

BOOST_AUTO_TEST_CASE(limits_can_be_changed_and_are_named) {
  ProcessorOptions options{.media_directory = tiny_shapes / "expected"};
  const Conversation picture = {user({image("images/01.png"), text("What is this?")})};
  const auto tokens = static_cast<std::size_t>(tiny().apply_chat_template(picture, {}, options).length());
  options.max_tokens = tokens;
  BOOST_TEST(tiny().apply_chat_template(picture, {}, options).length() == static_cast<index_t>(tokens));
  options.max_tokens = tokens - 1;
  CHECK_FAILS(
      tiny().apply_chat_template(picture, {}, options),
      concat("the prompt has ", tokens, " tokens, over the limit of ", tokens - 1, " (ProcessorOptions::max_tokens)"));
  options.max_tokens = 10;  // fewer than the image alone has: checked before its placeholders are written out
  CHECK_FAILS(tiny().apply_chat_template(std::vector<Conversation>{{user("a")}, picture}, {}, options),
              "prompt 1 has ");
  const Conversation clip = {user({video("clips/01"), text("?")})};
  CHECK_FAILS(tiny().apply_chat_template(clip, {}, options), "(ProcessorOptions::max_tokens)");

  options.max_tokens = 1 << 20;
  options.limits.max_pixels = 100;
  CHECK_FAILS(tiny().apply_chat_template(picture, {}, options),
              "over the limit of 100 pixels (ImageLimits::max_pixels)");
  CHECK_FAILS(tiny().apply_chat_template(clip, {}, options), "(ImageLimits::max_pixels)");
  CHECK_FAILS(
      tiny().apply_chat_template(Conversation{user({video(QWEN3VL_TEST_DATA "/assets/gif/plain.gif")})}, {}, options),
      "(ImageLimits::max_pixels)");

  const std::string messages = R"([{"role": "user", "content": "x"}])";
  BOOST_TEST(messages_from_json(messages, {.max_bytes = messages.size(), .max_depth = 2}).size() == 1u);
  CHECK_FAILS(messages_from_json(messages, {.max_bytes = 9}), "at most 9 are read (MessageLimits::max_bytes)");
  CHECK_FAILS(messages_from_json(messages, {.max_depth = 1}), "is nested deeper than 1 (MessageLimits::max_depth)");
}

BOOST_AUTO_TEST_CASE(errors_about_media_name_the_file) {
  const std::string still = QWEN3VL_TEST_DATA "/assets/gif/one_frame.gif";
  CHECK_FAILS(tiny().apply_chat_template(Conversation{user({video(still)})}),
              "messages[0].content[0]: " + still + ": t:1 must be larger than temporal_factor:2");
  ContentPart list = video();
  list.frames = {"images/01.png"};
  const ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  CHECK_FAILS(tiny().apply_chat_template(Conversation{user("x"), user({text("y"), list})}, {}, here),
              "messages[1].content[1]: the list of images that begins with ");
  // An image of this shape is rejected before its pixels are read, with the name of its file.
  const test::TemporaryFolder folder;
  write_image(folder / "thin.png",
              {.height = 1, .width = 201, .channels = 3, .pixels = std::vector<std::uint8_t>(603)});
  CHECK_FAILS(tiny().apply_chat_template(Conversation{user({image((folder / "thin.png").string())})}),
              "thin.png: absolute aspect ratio must be smaller than 200");
  // Images passed beside the messages have no name to report.
  std::vector<Video> beside;
  beside.push_back(open_video(still));
  CHECK_FAILS(tiny()(std::string("<|vision_start|><|video_pad|><|vision_end|>"), {}, {}, beside),
              "video 0: t:1 must be");
}

BOOST_AUTO_TEST_CASE(images_beside_the_messages) {
  const ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  const Image first = load_image(tiny_shapes / "expected/images/01.png");
  const Conversation by_path = {user({image("images/01.png"), text("What?")})};
  const Conversation by_hand = {user({image(), text("What?")})};
  const ModelInputs a = tiny().apply_chat_template(by_path, {}, here);
  const ModelInputs b = tiny().apply_chat_template(by_hand, {}, {}, std::span(&first, 1));
  BOOST_CHECK_EQUAL(to_json(a.input_ids), to_json(b.input_ids));
  BOOST_REQUIRE_EQUAL(a.pixel_values.size(), b.pixel_values.size());
  BOOST_CHECK(std::equal(a.pixel_values.span().begin(), a.pixel_values.span().end(), b.pixel_values.span().begin()));
  CHECK_FAILS(tiny().apply_chat_template(by_hand), "messages[0].content[0]: names no file");
  CHECK_FAILS(tiny().apply_chat_template(by_path, {}, here, std::span(&first, 1)), "for which no part asks");
}

BOOST_AUTO_TEST_CASE(images_inside_of_messages) {
  const std::string file = test::read_file(tiny_shapes / "expected/images/01.png"), data = base64_of(file);
  const ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  const auto same = [&](const Conversation& messages) {
    const ModelInputs a = tiny().apply_chat_template({user({image("images/01.png"), text("What?")})}, {}, here);
    const ModelInputs b = tiny().apply_chat_template(messages, {}, here);
    BOOST_TEST(to_json(a.input_ids) == to_json(b.input_ids));
    BOOST_TEST(std::ranges::equal(a.pixel_values.span(), b.pixel_values.span()));
  };
  const auto with = [](const std::string& part) {
    return messages_from_json(R"([{"role": "user", "content": [{)" + part +
                              R"(}, {"type": "text", "text": "What?"}]}])");
  };
  same({user({image(std::as_bytes(std::span(file))), text("What?")})});
  same(with(R"("type": "image", "base64": ")" + data + '"'));
  same(with(R"("type": "image", "base64": "data:image/png;base64,)" + data + '"'));
  same(with(R"("type": "image", "image": "data:image/png;base64,)" + data + '"'));
  same(with(R"("type": "image", "url": "data:image/jpeg;base64,)" + data + '"'));  // the type is not looked at
  same(with(R"("type": "image_url", "image_url": {"url": "data:image/png;base64,)" + data + R"("})"));
  same(with(R"("type": "image", "image": ")" + data + '"'));  // as transformers takes it
  // A file so small that its text is shorter than many names.
  const ModelInputs tiny_gif = tiny().apply_chat_template(
      with(R"("type": "image", "image": "R0lGODlhAgABAIEAAMgKHgX6WgAAAAAAACH5BAEAAAAALAAAAAACAAEAAAgFAAEECAgAOw==")"),
      {}, here);
  BOOST_TEST(tiny_gif.image_grid_thw.at(0).w > 0);

  const auto fails = [&](const std::string& part, const std::string& message) {
    try {
      tiny().apply_chat_template(with(part), {}, here);
      BOOST_ERROR("no error, wanted: " + message);
    } catch (const Error& error) {
      const std::string what = error.what();
      BOOST_CHECK_MESSAGE(what.find(message) != std::string::npos, what);
      BOOST_CHECK_MESSAGE(what.size() < 400, what);  // never the data
    }
  };
  fails(R"("type": "image", "base64": ")" + data + R"(*")", "messages[0].content[0].base64 is not base64: character");
  fails(R"("type": "image", "image": "data:image/png;base64,)" + data.substr(1) + '"', "messages[0].content[0]");
  fails(R"("type": "image", "image": "data:image/png;base64,)" + base64_of(file.substr(0, 300)) + '"',
        "messages[0].content[0]: the image is damaged");
  fails(R"("type": "image", "image": ")" + base64_of(file.substr(0, 300)) + '"',
        "messages[0].content[0]: the image is damaged");
  fails(R"("type": "image", "image": "data:image/png;base64,")", "messages[0].content[0].image: has no data");
  fails(R"("type": "image", "image": "data:image/svg+xml;base64,PHN2Zy8+")", "the image is an SVG file, which is not");
  fails(R"("type": "image", "image": "a.png", "url": "b.png")", R"(has both "image" and "url"; which is the image?)");
  fails(R"("type": "image", "image": ")" + std::string(100'000, 'x') + '"', "(100000 characters)");
  fails(R"("type": "video", "video": "data:video/mp4;base64,)" + data + '"',
        "a data URL is read for images and lists of frames only");
  // The frames of a list, too.
  const std::string head = R"("type": "video", "sample_fps": 2, "video": ["images/01.png", ")";
  const ModelInputs paths = tiny().apply_chat_template(with(head + R"(images/01.png"])"), {}, here);
  const ModelInputs inside =
      tiny().apply_chat_template(with(head + "data:image/png;base64," + data + R"("])"), {}, here);
  BOOST_TEST(std::ranges::equal(paths.pixel_values_videos.span(), inside.pixel_values_videos.span()));
  fails(head + "data:image/png;base64," + base64_of(file.substr(0, 300)) + R"("])", "frame 1: the image is damaged");
  // Without a name, the place stands for it.
  const std::string thin = "BM" + std::string(8, '\0') + '6' + std::string(3, '\0') + '(' + std::string(3, '\0') +
                           "\xc9" + std::string(3, '\0') + '\1' + std::string(3, '\0') + '\1' + '\0' + '\x18' +
                           std::string(25 + 604, '\0');
  fails(R"("type": "image", "base64": ")" + base64_of(thin) + '"',
        "messages[0].content[0]: absolute aspect ratio must be smaller than 200");
}

BOOST_AUTO_TEST_CASE(media_that_cannot_be_had) {
  const ProcessorOptions here{.media_directory = tiny_shapes};
  const auto ask = [&](const char* source) {
    return tiny().apply_chat_template(Conversation{system_prompt("s"), user({text("a"), image(source)})}, {}, here);
  };
  CHECK_FAILS(ask("missing.png"), "messages[1].content[1]: ");
  CHECK_FAILS(ask("missing.png"), "missing.png");
  CHECK_FAILS(ask("config.json"), "messages[1].content[1]: ");
  CHECK_FAILS(ask("https://example.org/a.png"), "is not fetched from the network");
  CHECK_FAILS(ask("data:image/png;base64,AAAA"), "messages[1].content[1]: the image is not an image of a kind");
  CHECK_FAILS(ask("file://"), "names no file");
  CHECK_FAILS(tiny().apply_chat_template(Conversation{user({video("a.mp4")})}),
              "messages[0].content[0]: cannot open a.mp4");
  CHECK_FAILS(tiny().apply_chat_template(Conversation{user({video()})}), "no video was handed over");
  // The built-in Instruct template has no images in assistant messages.
  const std::string picture = (tiny_shapes / "expected/images/01.png").string();
  Message shown{.role = "assistant", .content = std::vector{image(picture)}, .tool_calls = {}, .reasoning_content = {}};
  const Processor instruct = Processor::from_pretrained(tiny_shapes, ChatTemplate::instruct());
  CHECK_FAILS(instruct.apply_chat_template(Conversation{user("q"), shown}),
              "the prompt has 0 <|image_pad|> and the messages have 1 images: the chat template drops some");
  BOOST_CHECK_EQUAL(tiny().apply_chat_template(Conversation{user("q"), shown}).image_grid_thw.size(), 1U);
}

BOOST_AUTO_TEST_CASE(images_belong_to_their_conversation) {
  const std::string picture = (tiny_shapes / "expected/images/01.png").string();
  const Message secret{.role = "system",
                       .content = std::vector{image(picture), text("Secret.")},
                       .tool_calls = {},
                       .reasoning_content = {}};
  const std::vector<Conversation> batch = {{user("<|vision_start|><|image_pad|><|vision_end|>Describe this image.")},
                                           {secret, user("What can you do?")}};
  CHECK_FAILS(tiny().prompts(batch),
              "conversation 0: the prompt has 1 <|image_pad|> and the messages have 0 images: the chat template or a "
              "text adds some");
  // A placeholder in a text of a user is text if control tokens are sanitized.
  const Prompts prompts = tiny().prompts(batch, {.sanitize_control_tokens = true});
  BOOST_REQUIRE_EQUAL(prompts.spans.size(), 1U);
  BOOST_CHECK_EQUAL(prompts.spans[0].row, 1);
}

BOOST_AUTO_TEST_CASE(chat_templates_of_checkpoints) {
  // A checkpoint without a template gets the Instruct template.
  BOOST_CHECK_EQUAL(official().render_chat_template({user("q")}, {.add_generation_prompt = true}),
                    "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
  const Processor forced =
      Processor::from_pretrained(tiny_shapes, ChatTemplate("{{ messages[0].content }}{{ eos_token }}"));
  BOOST_CHECK_EQUAL(forced.render_chat_template({user("q")}), "q<|im_end|>");
  const Processor broken =
      Processor::from_pretrained(tiny_shapes, ChatTemplate("a\n{{ nothing.at_all }}", "mine.jinja"));
  CHECK_FAILS(broken.render_chat_template({user("q")}), "mine.jinja, line 2: 'nothing' is undefined");
}

// Made by golden/make_chat_templates.py: the options of apply_chat_template, and prompts with sanitized control tokens.
BOOST_AUTO_TEST_CASE(options_of_chat_templates_equal_the_reference) {
  const std::string folder = QWEN3VL_TEST_DATA "/golden/chat_templates/";
  const ordered_json table =
      parse_ordered_json(read_text_file(folder + "options.json", max_json_bytes), "options.json");
  int sanitized = 0, errors = 0;
  for (const ordered_json& row : table["rows"]) {
    const std::string name = row["template"].get<std::string>();
    BOOST_TEST_CONTEXT(name << ", " << row["messages"] << ", " << row["options"]) {
      ChatTemplateOptions options{.sanitize_control_tokens = row["sanitize"].get<bool>()};
      options.chat_template = name == "tiny"                      ? ""
                              : table["templates"].contains(name) ? table["templates"][name].get<std::string>()
                                                                  : read_text_file(folder + name + ".jinja");
      for (const auto& [key, value] : row["options"].items()) {
        if (key == "add_generation_prompt") {
          options.add_generation_prompt = value.get<bool>();
        } else if (key == "continue_final_message") {
          options.continue_final_message = value.is_string() ? FinalField(value.get<std::string>()) : FinalField(true);
        } else if (key == "documents") {
          options.documents = value;
        } else if (key == "enable_thinking") {
          options.enable_thinking = value.get<bool>();
        } else {
          options.chat_template_kwargs[key] = value;
        }
      }
      const Conversation messages = messages_from_json(table["messages"][row["messages"].get<std::string>()]);
      if (row.contains("error")) {
        ++errors;
        BOOST_CHECK_THROW(tiny().render_chat_template(messages, options), Error);
      } else if (row.contains("ids")) {
        ++sanitized;
        const Prompts prompts = tiny().prompts(std::span(&messages, 1), options);
        BOOST_CHECK_EQUAL(ordered_json(std::vector<TokenId>(prompts.ids.begin(), prompts.ids.end())), row["ids"]);
      } else {
        BOOST_CHECK_EQUAL(tiny().render_chat_template(messages, options), row["text"].get<std::string>());
      }
    }
  }
  BOOST_CHECK_GT(sanitized, 50);
  BOOST_CHECK_GT(errors, 50);
}

// From the same table: which tokens are an assistant's, also behind and around images and videos.
BOOST_AUTO_TEST_CASE(tokens_of_assistants_equal_the_reference) {
  const std::string file = QWEN3VL_TEST_DATA "/golden/chat_templates/options.json";
  const ordered_json table = parse_ordered_json(read_text_file(file, max_json_bytes), file);
  const ChatTemplateOptions options{.chat_template = table["marked_template"].get<std::string>(),
                                    .return_assistant_tokens_mask = true};
  ProcessorOptions quiet{.padding_side = PaddingSide::right, .warn = {}};
  quiet.videos = tiny().video_processor().options();
  quiet.videos->do_sample_frames = false;
  for (const ordered_json& row : table["marked"]) {
    std::vector<Conversation> conversations;
    for (const ordered_json& messages : row["messages"]) conversations.push_back(messages_from_json(messages));
    std::vector<Image> images;
    std::vector<Video> videos;
    for (const Conversation& messages : conversations)
      for (const Message& message : messages)
        if (const auto* const parts = std::get_if<std::vector<ContentPart>>(&message.content))
          for (const ContentPart& part : *parts) {
            if (part.kind == ContentPart::Kind::image) images.push_back(plain_image(96, 64));
            if (part.kind == ContentPart::Kind::video)
              videos.emplace_back(MemoryFrames(std::vector<Image>(4, plain_image(64, 64)), {.total_num_frames = 4}));
          }
    const ModelInputs inputs = tiny().apply_chat_template(conversations, options, quiet, images, videos);
    BOOST_CHECK_EQUAL(to_json(inputs.input_ids), row["input_ids"]);
    BOOST_CHECK_EQUAL(to_json(inputs.assistant_masks), row["assistant_masks"]);
  }
  const Conversation plain = {user("q"), assistant("a")};
  ChatTemplateOptions both = options;
  both.sanitize_control_tokens = true;
  CHECK_FAILS(tiny().apply_chat_template(plain, both), "return_assistant_tokens_mask is not compatible with");
  std::string warning;
  const ProcessorOptions listening{.warn = [&](const std::string& text) { warning += text; }};
  BOOST_CHECK_EQUAL(
      tiny().apply_chat_template(plain, {.return_assistant_tokens_mask = true}, listening).assistant_masks(0, 0), 0);
  BOOST_CHECK_MESSAGE(warning.find("has no {% generation %} blocks") != std::string::npos, warning);
}

BOOST_AUTO_TEST_CASE(lengths_of_prompts_equal_the_reference) {
  const std::string file = QWEN3VL_TEST_DATA "/golden/chat_templates/options.json";
  const ordered_json table = parse_ordered_json(read_text_file(file, max_json_bytes), file);
  int errors = 0;
  for (const ordered_json& row : table["lengths"]) {
    BOOST_TEST_CONTEXT(row["options"]) {
      const auto texts = row["texts"].get<std::vector<std::string>>();
      const ordered_json& given = row["options"];
      ProcessorOptions options{.padding_side = PaddingSide::right};
      if (given.value("padding", ordered_json()) == "max_length") options.padding = Padding::max_length;
      if (given.contains("max_length")) options.max_length = given["max_length"].get<index_t>();
      if (given.contains("pad_to_multiple_of")) options.pad_to_multiple_of = given["pad_to_multiple_of"].get<index_t>();
      if (given.contains("truncation")) options.truncation = given["truncation"].get<bool>();
      if (given.contains("truncation_side")) options.truncation_side = TruncationSide::left;
      std::vector<Image> images;
      for (const std::string& text : texts)
        if (text.find(image_placeholder) != std::string::npos) images.push_back(plain_image(96, 64));
      if (row.contains("error")) {
        ++errors;
        CHECK_FAILS(tiny()(texts, images, options), "would cut an image");
        continue;
      }
      const ModelInputs inputs = tiny()(texts, images, options);
      BOOST_CHECK_EQUAL(to_json(inputs.input_ids), row["input_ids"]);
      BOOST_CHECK_EQUAL(to_json(inputs.attention_mask), row["attention_mask"]);
    }
  }
  BOOST_CHECK_EQUAL(errors, 2);
  const std::vector<std::string> two = {"a", "a b"};
  CHECK_FAILS(tiny()(two, {}, {.padding = Padding::do_not_pad}), "they need padding to be one batch");
  CHECK_FAILS(tiny()(two, {}, {.padding = Padding::max_length, .max_length = 1}), "more than max_length 1");
  CHECK_FAILS(tiny()(two, {}, {.truncation = false, .max_length = 1}), "max_length has no effect");
  CHECK_FAILS(tiny()(two, {}, {.max_length = 0}), "max_length is 0");
  CHECK_FAILS(tiny()(two, {}, {.pad_to_multiple_of = 0}), "pad_to_multiple_of is 0");
}

BOOST_AUTO_TEST_CASE(variables_that_a_template_does_not_read) {
  std::vector<std::string> warnings;
  const ProcessorOptions listening{.warn = [&](const std::string& text) { warnings.push_back(text); }};
  ChatTemplateOptions options{.enable_thinking = true, .chat_template_kwargs = {{"tone", "kind"}, {"read", 1}}};
  options.chat_template = "{{ messages[0].content }}{% if read %}!{% endif %}";
  tiny().apply_chat_template({user("q")}, options, listening);
  BOOST_CHECK_EQUAL(ordered_json(warnings),
                    ordered_json({"the chat template does not read enable_thinking, which has no effect",
                                  "the chat template does not read tone, which has no effect"}));
}

BOOST_AUTO_TEST_CASE(settings_of_checkpoints) {
  const test::TemporaryFolder folder;
  for (const char* name : {"tokenizer.json", "preprocessor_config.json"}) {
    fs::create_symlink(tiny_shapes / name, folder / name);
  }
  const std::vector<std::string> texts = {"Hello!", "Hello! Hello!"};
  BOOST_CHECK_EQUAL(Processor::from_pretrained(folder.path())(texts).attention_mask(0, 0), 0);  // left

  folder.write("tokenizer_config.json", R"({"padding_side": "right", "pad_token": {"content": "<|im_end|>"}})");
  const Processor right = Processor::from_pretrained(folder.path());
  const ModelInputs inputs = right(texts);
  BOOST_CHECK_EQUAL(inputs.attention_mask(0, 0), 1);
  BOOST_CHECK_EQUAL(inputs.input_ids(0, inputs.length() - 1), *right.tokenizer().token_to_id("<|im_end|>"));

  folder.write("tokenizer_config.json", R"({"padding_side": "up"})");
  CHECK_FAILS(Processor::from_pretrained(folder.path()), "padding_side is \"up\", wanted left or right");
  folder.write("tokenizer_config.json", R"({"pad_token": 3})");
  CHECK_FAILS(Processor::from_pretrained(folder.path()), "pad_token is 3, wanted a string");
  folder.write("tokenizer_config.json", R"({"pad_token": "<nothing>"})");
  CHECK_FAILS(Processor::from_pretrained(folder.path()), "is not in the vocabulary");
  folder.write("tokenizer_config.json", "{}");
  folder.write("config.json", R"({"image_token_id": 7})");
  CHECK_FAILS(Processor::from_pretrained(folder.path()), "config.json gives <|image_pad|> the id 7, the tokenizer 640");
  folder.write("config.json", R"({"image_token_id": -1})");
  CHECK_FAILS(Processor::from_pretrained(folder.path()), "image_token_id is -1, wanted an integer from 0");
  folder.write("config.json", "{}");
  fs::remove(folder / "tokenizer.json");
  CHECK_FAILS(Processor::from_pretrained(folder.path()), "tokenizer.json");
}

BOOST_AUTO_TEST_CASE(texts_that_make_no_batch) {
  CHECK_FAILS(tiny()(std::vector<std::string>{}), "no text was given");
  CHECK_FAILS(tiny()(""), "every text of the batch is empty");
  CHECK_FAILS(tiny()("<|video_pad|>"), "Found 1 <|video_pad|> tokens in the text but no videos were passed.");
}

// The spans that a processor returns equal those found in its padded form.
BOOST_AUTO_TEST_CASE(spans_of_images_and_videos) {
  const ProcessorOptions here{.media_directory = tiny_shapes / "expected"};
  const std::vector<Conversation> batch = {{user({image("images/01.png"), text("and"), video("clips/01"), text("?")})},
                                           {user("nothing to see")},
                                           {user({image("images/01.png"), image("images/02.png"), text("?")})}};
  Prompts prompts = tiny().prompts(batch, {.add_generation_prompt = true}, here);
  const ModelInputs padded = tiny().apply_chat_template(batch, {.add_generation_prompt = true}, here);
  const TokenId image_id = *tiny().tokenizer().token_to_id(image_placeholder),
                video_id = *tiny().tokenizer().token_to_id(video_placeholder);
  const PromptTokens found =
      from_padded(padded, pack(padded.batch_size(), padded.length(), padded.attention_mask), image_id, video_id, 2);
  BOOST_TEST(prompts.ids == found.ids);
  BOOST_TEST(std::ranges::equal(prompts.rows.cu_seqlens(), found.rows.cu_seqlens()));
  BOOST_REQUIRE(prompts.spans.size() == found.spans.size());
  BOOST_REQUIRE(prompts.spans.size() > 4u);
  for (std::size_t i = 0; i < found.spans.size(); ++i) {
    const MediaSpan &own = prompts.spans[i], &other = found.spans[i];
    BOOST_TEST((own.row == other.row && own.same_place(other) && own.grid == other.grid && own.kind == other.kind));
    BOOST_TEST(!own.content.has_value());
  }
  // The same image twice, and another.
  const std::size_t last = prompts.spans.size() - 1;
  BOOST_TEST(!prompts.spans[0].same_content(prompts.spans[last - 1]));  // not identified yet
  identify(prompts.spans, pixels_of(prompts.spans, prompts.media));
  BOOST_TEST(prompts.spans[0].same_content(prompts.spans[last - 1]));
  BOOST_TEST(!prompts.spans[0].same_content(prompts.spans[last]));
}

BOOST_AUTO_TEST_CASE(decoding_options) {
  const auto ids = tiny().tokenizer().encode("Yes , it is n't .<|im_end|>");
  BOOST_CHECK_EQUAL(tiny().decode(ids), "Yes , it is n't .<|im_end|>");
  BOOST_CHECK_EQUAL(tiny().decode(ids, {.skip_special_tokens = true}), "Yes , it is n't .");
  DecodeOptions clean{.skip_special_tokens = true, .clean_up_tokenization_spaces = true};
  BOOST_CHECK_EQUAL(tiny().decode(ids, clean), "Yes , it is n't .");  // as transformers 5.24 does
  clean.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = true;
  BOOST_CHECK_EQUAL(tiny().decode(ids, clean), "Yes, it isn't.");
  HostMatrix<TokenId> matrix(2, 1);
  matrix(0, 0) = matrix(1, 0) = ids.back();
  BOOST_CHECK_EQUAL(tiny().batch_decode(matrix)[1], "<|im_end|>");
  BOOST_CHECK_EQUAL(tiny().post_process_image_text_to_text(matrix)[1], "");
  // Another option does not bring special tokens back.
  BOOST_CHECK_EQUAL(tiny().post_process_image_text_to_text(matrix, {.clean_up_tokenization_spaces = true})[1], "");
  BOOST_CHECK_EQUAL(tiny().post_process_image_text_to_text(matrix, {.skip_special_tokens = false})[1], "<|im_end|>");
  BOOST_CHECK_EQUAL(clean_up_tokenization("a ? b ! ' c 've . d 's 're 'm"), "a? b!'c've. d's're'm");
}

BOOST_AUTO_TEST_CASE(grids_that_cannot_be_tokens) {
  BOOST_CHECK_EQUAL(detail::tokens_of({1, 4, 4}, 2), 4);
  CHECK_FAILS(detail::tokens_of({1, 4, 4}, 0), "cannot become tokens");
  CHECK_FAILS(detail::tokens_of({0, 4, 4}, 2), "cannot become tokens");
  CHECK_FAILS(detail::tokens_of({1, -4, 4}, 2), "cannot become tokens");
  CHECK_FAILS(detail::tokens_of({std::int64_t{1} << 40, std::int64_t{1} << 40, std::int64_t{1} << 40}, 2),
              "cannot become tokens");
}

BOOST_AUTO_TEST_CASE(a_saved_processor_is_the_checkpoints_own) {
  const test::TemporaryFolder folder;
  folder.write("chat_template.json", "{}");  // of another checkpoint
  tiny().save_pretrained(folder.path());
  for (const char* const name : {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json",
                                 "video_preprocessor_config.json", "chat_template.jinja"})
    BOOST_TEST(test::read_file(folder / name) == test::read_file(tiny_shapes / name), name);
  BOOST_TEST(!fs::exists(folder / "chat_template.json"));
  BOOST_TEST(!fs::exists(folder / "config.json"));
  const Processor again = Processor::from_pretrained(folder.path());
  const Conversation messages{user("What is it?")};
  BOOST_TEST(again.render_chat_template(messages) == tiny().render_chat_template(messages));
  again.save_pretrained(folder.path());  // onto itself
  BOOST_TEST(fs::exists(folder / "tokenizer.json"));

  CHECK_FAILS(again.save_pretrained(folder.write("file", "")), "it is not a folder and none can be made");
  fs::remove(folder / "tokenizer.json");
  CHECK_FAILS(again.save_pretrained(folder / "other"), "has no tokenizer.json any more");
  CHECK_FAILS(Processor::from_pretrained(tiny_shapes, ChatTemplate::instruct()).save_pretrained(folder / "other"),
              "a processor with a given chat template cannot be saved");
  const Processor parts(Tokenizer::from_pretrained(tiny_shapes), ImageProcessor(), ChatTemplate::instruct());
  CHECK_FAILS(parts.save_pretrained(folder / "other"), "a processor made from parts cannot be saved");
}
