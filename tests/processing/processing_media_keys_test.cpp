// The pixel budget: keys of messages against qwen-vl-utils, options against transformers; token counts; warnings.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_media_keys
#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/processing/chat/message_json.hpp"
#include "qwen3vl/processing/processor.hpp"
#include "support/check_fails.hpp"
#include "support/option_table.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t factor = 32;
const fs::path tiny_shapes = QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes";

json table(const std::string& name) {
  return json::parse(test::read_file(concat(QWEN3VL_TEST_DATA "/golden/cases/processing/", name, ".json")));
}

MediaKeys keys_of(const json& part) { return media_keys_from_json(part, "part"); }

/// What f gives, or null where it fails.
json result_of(const std::function<json()>& f) {
  try {
    return f();
  } catch (const Error&) {
    return nullptr;
  }
}

json size_json(const ImageSize& size) { return {size.height, size.width}; }

/// The pattern of tests/golden/make_qwen_vl_utils.py.
Image pattern(int height, int width, std::int64_t seed = 0) {
  Image image{.height = height, .width = width, .channels = 3, .pixels = {}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        const std::int64_t s = 37 * x + 101 * y + 53 * c + x * y + 29 * seed;
        image.pixels.push_back(static_cast<std::uint8_t>((s * s * 7919 >> 5) % 256));
      }
  return image;
}

/// The size of an image of a list, before its frames are resized together.
ImageSize first_size(const MediaKeys& keys, ImageSize size) {
  return qwen_vl_utils::image_size(keys, size.height, size.width, 2 * factor);
}

const Processor& tiny() {
  static const Processor processor = Processor::from_pretrained(tiny_shapes);
  return processor;
}

using Batch = std::vector<Conversation>;

/// A user's message with one part, whose JSON is `part`.
Batch message(const std::string& part) {
  return Batch(1, messages_from_json(concat(R"([{"role": "user", "content": [)", part, "]}]")));
}

}  // namespace

BOOST_AUTO_TEST_CASE(images_as_qwen_vl_utils_resizes_them) {
  const json rows = table("qwen_vl_utils").at("images");
  for (const json& row : rows)
    BOOST_TEST(result_of([&] {
                 return size_json(qwen_vl_utils::image_size(keys_of(row[2]), row[1], row[0], factor));
               }) == row[3],
               row.dump());
  BOOST_TEST(rows.size() == 110u);
}

BOOST_AUTO_TEST_CASE(lists_as_qwen_vl_utils_resizes_them) {
  const json rows = table("qwen_vl_utils").at("lists");
  for (const json& row : rows) {
    const MediaKeys keys = keys_of(row[3]);
    const std::int64_t frames = row[2].get<std::int64_t>() + row[2].get<std::int64_t>() % 2;
    const json made = result_of([&] {
      const ImageSize first = first_size(keys, {row[1], row[0]});
      const ImageSize size = qwen_vl_utils::frame_size(keys, frames, first.height, first.width, factor);
      const double rate = keys.raw_fps.value_or(keys.sample_fps.value_or(2.0));
      return json{frames, size.height, size.width, rate};
    });
    BOOST_TEST(made == row[4], row.dump() << ": " << made);
  }
  BOOST_TEST(rows.size() == 80u);
}

BOOST_AUTO_TEST_CASE(files_as_qwen_vl_utils_samples_and_resizes_them) {
  const json rows = table("qwen_vl_utils").at("files");
  int long_lists = 0;
  for (const json& row : rows) {
    const MediaKeys keys = keys_of(row[4]);
    const json made = result_of([&] {
      const std::vector<std::int64_t> indices = qwen_vl_utils::frames_of(keys, row[0], row[1]);
      const auto count = static_cast<std::int64_t>(indices.size());
      const ImageSize size = qwen_vl_utils::frame_size(keys, count, row[3], row[2], factor);
      json list = indices;
      if (indices.size() > 40) {
        std::string text = list.dump();
        text = text.substr(1, text.size() - 2);
        list = {{"count", count}, {"crc", test::crc32({text.begin(), text.end()})}};
        ++long_lists;
      }
      return json{list, size.height, size.width};
    });
    BOOST_TEST(made == row[5], row.dump() << ": " << made);
  }
  BOOST_TEST(rows.size() == 140u);
  BOOST_TEST(long_lists > 15);
}

BOOST_AUTO_TEST_CASE(pixels_as_qwen_vl_utils_makes_them) {
  for (const json rows = table("qwen_vl_utils").at("pixels"); const json& row : rows) {
    const MediaKeys keys = keys_of(row[4]);
    const int width = row[1], height = row[2], count = row[3];
    std::vector<std::uint8_t> bytes;
    for (std::int64_t i = 0; i < count + count % 2; ++i) {
      // A file of an odd number of frames has one less; a list repeats its last.
      if (row[0] == "file" && count % 2 == 1 && i + 1 >= count) break;
      Image image = pattern(height, width, 0);
      if (row[0] == "image") {
        image = resized_by_pillow(image, qwen_vl_utils::image_size(keys, height, width, factor));
      } else {
        const std::vector<std::int64_t> taken =
            row[0] == "file" ? qwen_vl_utils::frames_of(keys, count, 2.0) : std::vector<std::int64_t>{};
        image = pattern(height, width,
                        row[0] == "file" ? taken[static_cast<std::size_t>(i)] : std::min<std::int64_t>(i, count - 1));
        if (row[0] == "list") image = resized_by_pillow(image, first_size(keys, {height, width}));
        const std::int64_t frames = row[0] == "file" ? count - count % 2 : count + count % 2;
        image = resize_in_float(image, qwen_vl_utils::frame_size(keys, frames, image.height, image.width, factor));
      }
      bytes.insert(bytes.end(), image.pixels.begin(), image.pixels.end());
      if (row[0] == "image") break;
    }
    BOOST_TEST(test::crc32(bytes) == row[5], row.dump());
  }
}

BOOST_AUTO_TEST_CASE(reported_cases) {
  for (const json rows = table("reports/image_pixels").at("rows"); const json& row : rows) {
    const ImageSize size = qwen_vl_utils::image_size(keys_of(row["part"]), row["height"], row["width"], factor);
    BOOST_TEST((json{1, size.height / 16, size.width / 16}) == row["grid_thw"], row.dump());
  }
  for (const json rows = table("reports/video_pixels").at("rows"); const json& row : rows) {
    const MediaKeys keys = keys_of(row["part"]);
    const std::int64_t frames = (row["frames"].get<std::int64_t>() + 1) / 2 * 2;
    const ImageSize first = first_size(keys, {row["height"], row["width"]});
    const ImageSize size = qwen_vl_utils::frame_size(keys, frames, first.height, first.width, factor);
    BOOST_TEST((json{frames / 2, size.height / 16, size.width / 16}) == row["grid_thw"], row.dump());
  }
  for (const json rows = table("reports/video_frames").at("rows"); const json& row : rows)
    BOOST_TEST(qwen_vl_utils::smart_nframes(keys_of(row["part"]), row["total_frames"], row["video_fps"]) ==
                   row["nframes"].get<std::int64_t>(),
               row.dump());
  for (const json rows = table("reports/video_range").at("rows"); const json& row : rows) {
    const auto range = qwen_vl_utils::frame_range(keys_of(row["part"]), row["total_frames"], row["video_fps"]);
    BOOST_TEST((json{range.first, range.last, range.count()}) == row["start_end_count"], row.dump());
  }
}

// The whole way from a message to patches.
BOOST_AUTO_TEST_CASE(parts_of_messages) {
  const Image image = pattern(200, 300);
  ProcessorOptions options;
  std::vector<std::string> warnings;
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  const auto grid = [&](const std::string& keys) {
    const Prompts prompts =
        tiny().prompts(message(concat(R"({"type": "image")", keys, "}")), {}, options, std::span(&image, 1));
    const GridThw made = prompts.media.image_grid_thw.at(0);
    BOOST_TEST(prompts.image_sources.at(0).resized_width == made.w * 16);
    return json{made.t, made.h, made.w};
  };
  // Without keys the checkpoint's budget of 25600 pixels; with one, qwen-vl-utils' for the others.
  BOOST_TEST(grid("") == json({1, 8, 12}));
  BOOST_TEST(grid(R"(, "min_pixels": 4096)") == json({1, 12, 18}));
  BOOST_TEST(grid(R"(, "max_pixels": 20000)") == json({1, 6, 10}));
  BOOST_TEST(grid(R"(, "resized_height": 64, "resized_width": 96)") == json({1, 4, 6}));
  BOOST_TEST(warnings.empty());
  BOOST_TEST(grid(R"(, "resized_height": 64)") == json({1, 12, 18}));
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings.back() ==
             "messages[0].content[0]: has no effect on an image: resized_height without resized_width");
  BOOST_TEST(grid(R"(, "fps": 2, "min_pixels": null)") == json({1, 12, 18}));
  BOOST_TEST(warnings.back() == "messages[0].content[0]: has no effect on an image: fps");
  CHECK_FAILS(grid(R"(, "min_pixels": "4096")"), "messages[0].content[0].min_pixels is \"4096\", wanted a number");
  CHECK_FAILS(grid(R"(, "max_pixels": -1)"), "max_pixels is -1, wanted a number from 0");
  CHECK_FAILS(grid(R"(, "max_pixels": 100)"), "messages[0].content[0]: max_pixels is 100, below min_pixels, 4096");
  CHECK_FAILS(grid(R"(, "min_pixels": 1e15, "max_pixels": 1e15)"), "no size of whole tokens");
  CHECK_FAILS(grid(R"(, "min_pixels": 3e8, "max_pixels": 1e9)"), "(ImageLimits::max_pixels)");
  options.max_tokens = 50;
  CHECK_FAILS(grid(R"(, "min_pixels": 4096)"), "messages[0].content[0]: would have 54 tokens, over the limit of 50 (P");
  options.max_tokens = 1000;
  // The pixels are Pillow's.
  const Prompts prompts =
      tiny().prompts(message(R"({"type": "image", "max_pixels": 20000})"), {}, options, std::span(&image, 1));
  ImageProcessorOptions as_is = tiny().image_processor().options();
  as_is.do_resize = false;
  const Image pillows = resized_by_pillow(image, {96, 160});
  BOOST_TEST(std::ranges::equal(ImageProcessor(as_is)(std::span(&pillows, 1)).pixel_values.span(),
                                prompts.media.pixel_values.span()));
}

/// Six pixels of 200, 10, 30, which the file calls transparent, and two of 5, 250, 90. transformers lays the first over
/// white; behind qwen-vl-utils, that is done where the resized image still has the very colour. A table of several
/// transparent entries is dropped there.
BOOST_AUTO_TEST_CASE(transparent_colours) {
  const std::string png =
      "iVBORw0KGgoAAAANSUhEUgAAAAgAAAABAQMAAADZzn0AAAAABlBMVEXICh4F+"
      "lrBjG4tAAAAAXRSTlMAQObYZgAAAApJREFUeJxjYAYAAAUABOvTpWYA"
      "AAAASUVORK5CYII=";
  const std::string gif = "R0lGODlhCAABAIEAAMgKHgX6WgAAAAAAACH5BAEAAAAALAAAAAAIAAEAAAgIAAEIHBggQEAAOw==";
  const std::string table =
      "iVBORw0KGgoAAAANSUhEUgAAAAgAAAABAQMAAADZzn0AAAAABlBMVEXICh4F+lrBjG4tAAAAAnRSTlMAB+"
      "j3WJsAAAAKSURBVHicY2AGAAAFAATr06Vm"
      "AAAAAElFTkSuQmCC";
  const auto pixels = [&](const std::string& file, const std::string& keys) {
    return tiny().prompts(message(concat(R"({"type": "image", "base64": ")", file, '"', keys, "}"))).media;
  };
  const auto eight = [](std::array<std::uint8_t, 3> key) {
    Image image{.height = 1, .width = 8, .channels = 3, .pixels = {}};
    for (int i = 0; i < 6; ++i) image.pixels.insert(image.pixels.end(), key.begin(), key.end());
    image.pixels.insert(image.pixels.end(), {5, 250, 90, 5, 250, 90});
    return image;
  };
  ImageProcessorOptions as_is = tiny().image_processor().options();
  as_is.do_resize = false;
  const Image seen = resized_by_pillow(eight({200, 10, 30}), {64, 64});
  Image white = seen;
  int keyed = 0;
  for (auto at = white.pixels.begin(); at != white.pixels.end(); at += 3)
    if (at[0] == 200 && at[1] == 10 && at[2] == 30) std::fill_n(at, 3, std::uint8_t{255}), ++keyed;
  BOOST_TEST(keyed == 2368);
  const Image over_white = eight({255, 255, 255});
  for (const auto& [file, resized] : {std::pair(png, white), std::pair(gif, white), std::pair(table, seen)}) {
    BOOST_TEST(std::ranges::equal(ImageProcessor(as_is)(std::span(&resized, 1)).pixel_values.span(),
                                  pixels(file, R"(, "resized_height": 64, "resized_width": 64)").pixel_values.span()));
    if (file == table) continue;  // its other colour has some alpha, too
    BOOST_TEST(std::ranges::equal(tiny().image_processor()(std::span(&over_white, 1)).pixel_values.span(),
                                  pixels(file, "").pixel_values.span()));
  }
}

BOOST_AUTO_TEST_CASE(videos_of_messages) {
  ProcessorOptions options;
  std::vector<std::string> warnings;
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  const auto ask = [&](const std::string& keys, std::optional<double> fps = 10.0) {
    std::vector<Image> frames;
    for (int i = 0; i < 40; ++i) frames.push_back(pattern(64, 96, i));
    std::vector<Video> videos;
    videos.emplace_back(MemoryFrames(std::move(frames), fps));
    return tiny().prompts(message(concat(R"({"type": "video")", keys, "}")), {}, options, {}, videos);
  };
  const auto taken = [&](const std::string& keys) { return json(ask(keys).video_sources.at(0).frames_indices); };
  BOOST_TEST(taken("").size() == 8u);
  BOOST_TEST(taken(R"(, "nframes": 5)") == json({0, 13, 26, 39}));
  BOOST_TEST(taken(R"(, "fps": 1)") == json({0, 13, 26, 39}));
  BOOST_TEST(taken(R"(, "max_frames": 6)") == json({0, 8, 16, 23, 31, 39}));
  BOOST_TEST(taken(R"(, "video_start": 1, "video_end": 2.05)") == json({10, 13, 17, 20}));
  BOOST_TEST(warnings.empty());
  CHECK_FAILS(taken(R"(, "fps": 1, "nframes": 4)"), "messages[0].content[0]: fps and nframes exclude each other");
  CHECK_FAILS(taken(R"(, "nframes": 50)"), "nframes should be from 2 to the video's 40 frames, but is 50");
  CHECK_FAILS(taken(R"(, "video_start": 3, "video_end": 2)"), "leave the frames 30 to 20");
  CHECK_FAILS(taken(R"(, "fps": 1, "num_frames": 4)"), "messages[0].content[0]: num_frames excludes fps");
  // Times are those of the frames; pixels are torchvision's.
  const Prompts prompts = ask(R"(, "nframes": 4, "min_pixels": 4096, "max_pixels": 5000)");
  BOOST_TEST(json(prompts.video_sources.at(0).timestamps) == json({(0.0 + 1.3) / 2, (2.6 + 3.9) / 2}));
  VideoProcessorOptions as_is = tiny().video_processor().options();
  as_is.do_resize = as_is.do_sample_frames = false;
  const auto made_of = [&](std::vector<Image> frames) {
    Video video(MemoryFrames(std::move(frames), 10.0));
    return VideoProcessor(as_is)(video);
  };
  std::vector<Image> frames;
  for (const std::int64_t i : {0, 13, 26, 39}) frames.push_back(resize_in_float(pattern(64, 96, i), {32, 64}));
  BOOST_TEST(std::ranges::equal(made_of(frames).pixel_values_videos.span(), prompts.media.pixel_values_videos.span()));
  // A rate of frames says nothing about a file, and is said to.
  BOOST_TEST(ask(R"(, "sample_fps": 1, "raw_fps": 3)").video_sources.at(0).fps == 10.0);
  BOOST_TEST(warnings.back() == "messages[0].content[0]: has no effect on a video file: sample_fps, raw_fps");
  warnings.clear();
  BOOST_TEST(ask(R"(, "max_pixels": 9e6)").media.video_grid_thw.at(0).h > 0);
  BOOST_TEST(warnings.back().find("max_pixels is 9000000; a frame of this video has at most 786432") !=
             std::string::npos);
  BOOST_TEST(ask("", std::nullopt).video_sources.at(0).fps == 24.0);
  BOOST_TEST(warnings.back().find("messages[0].content[0]: its frame rate is not known; 24 is assumed") == 0u);
}

BOOST_AUTO_TEST_CASE(lists_of_images_in_messages) {
  ProcessorOptions options{.media_directory = tiny_shapes / "expected/clips/01"};
  std::vector<std::string> warnings;
  options.warn = [&](const std::string& text) { warnings.push_back(text); };
  const auto ask = [&](const std::string& keys) {
    return tiny().prompts(message(concat(R"({"type": "video", "video": ["00.png", "02.png", "05.png"])", keys, "}")),
                          {}, options);
  };
  // As transformers has it: the last frame repeated, raw_fps before sample_fps, no rate without a warning.
  const Prompts plain = ask(R"(, "sample_fps": 1, "raw_fps": 2)");
  BOOST_TEST(json(plain.video_sources.at(0).timestamps) == json({0.25, 1.0}));
  BOOST_TEST(json(ask(R"(, "sample_fps": 1)").video_sources.at(0).timestamps) == json({0.5, 2.0}));
  BOOST_TEST(warnings.empty());
  BOOST_TEST(ask("").video_sources.at(0).fps == 24.0);
  BOOST_TEST(warnings.back().find("00.png: its frame rate is not known; 24 is assumed") != std::string::npos);
  warnings.clear();
  // As qwen-vl-utils has it: the repeated frame has a time of its own, and the rate is 2 where nothing is said.
  const Prompts with_key = ask(R"(, "max_pixels": 200000, "raw_fps": 4)");
  BOOST_TEST(json(with_key.video_sources.at(0).timestamps) == json({0.125, 0.625}));
  BOOST_TEST(json(ask(R"(, "max_pixels": 200000)").video_sources.at(0).timestamps) == json({0.25, 1.25}));
  BOOST_TEST(warnings.empty());
  std::vector<Image> frames;
  for (const char* name : {"00.png", "02.png", "05.png", "05.png"}) {
    const Image frame = convert_to_rgb(load_image(options.media_directory / name));
    const MediaKeys keys{.max_pixels = 200000.0};
    const Image first = resized_by_pillow(frame, first_size(keys, {frame.height, frame.width}));
    frames.push_back(resize_in_float(first, qwen_vl_utils::frame_size(keys, 4, first.height, first.width, factor)));
  }
  VideoProcessorOptions as_is = tiny().video_processor().options();
  as_is.do_resize = as_is.do_sample_frames = false;
  Video video(MemoryFrames(std::move(frames), 4.0));
  BOOST_TEST(std::ranges::equal(VideoProcessor(as_is)(video).pixel_values_videos.span(),
                                with_key.media.pixel_values_videos.span()));
  BOOST_TEST(ask(R"(, "nframes": 2)").media.video_grid_thw.at(0).t == 2);
  BOOST_TEST(warnings.back().find("has no effect on a list of images: nframes") != std::string::npos);
  CHECK_FAILS(ask(R"(, "raw_fps": 0)"), "raw_fps is 0, wanted a number > 0");
  // A folder of images may have a rate, too.
  options.media_directory = tiny_shapes / "expected/clips";
  const Prompts folder = tiny().prompts(message(R"({"type": "video", "video": "01", "raw_fps": 2})"), {}, options);
  BOOST_TEST(folder.video_sources.at(0).fps == 2.0);
}

BOOST_AUTO_TEST_CASE(budget_of_the_options) {
  const Image image = pattern(200, 300);
  const std::string text = "<|vision_start|><|image_pad|><|vision_end|>";
  const auto grid = [&](const ProcessorOptions& options) {
    const GridThw made = tiny()(text, std::span(&image, 1), options).image_grid_thw.at(0);
    return json{made.t, made.h, made.w};
  };
  std::vector<std::string> warnings;
  const Warn warn = [&](const std::string& words) { warnings.push_back(words); };
  BOOST_TEST(grid({.max_pixels = 100000}) == json({1, 12, 18}));
  BOOST_TEST(grid({.min_pixels = 100000, .max_pixels = 200000}) == json({1, 18, 26}));
  BOOST_TEST(grid({.max_pixels = 5000, .warn = warn}) == json({1, 2, 4}));
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0].find("max_pixels is 5000, below min_pixels, 9216") == 0u);
  CHECK_FAILS(grid({.max_pixels = 0}), "max_pixels is 0; it must be from 1 to 2147483648");
  // What transformers' _get_num_multimodal_tokens counts.
  const std::vector<ImageSize> images{{200, 300}, {10, 10}};
  const std::vector<VideoSize> videos{{4, 300, 200}, {12, 200, 320}};
  const MultimodalTokens usual = tiny().num_multimodal_tokens(images, videos);
  BOOST_TEST(json(usual.num_image_patches) == json({96, 36}));
  BOOST_TEST(json(usual.num_image_tokens) == json({24, 9}));
  BOOST_TEST(json(usual.num_video_tokens) == json({48, 48}));
  const MultimodalTokens more =
      tiny().num_multimodal_tokens(images, videos, {.max_pixels = 100000, .max_video_pixels = 1000000});
  BOOST_TEST(json(more.num_image_tokens) == json({54, 9}));
  BOOST_TEST(json(more.num_video_tokens) == json({108, 360}));
  CHECK_FAILS(tiny().num_multimodal_tokens(std::vector<ImageSize>{{1, 201}}), "absolute aspect ratio");
}

BOOST_AUTO_TEST_CASE(errors_name_files) {
  const test::TemporaryFolder folder;
  write_image(folder / "thin.png",
              {.height = 1, .width = 201, .channels = 3, .pixels = std::vector<std::uint8_t>(603)});
  CHECK_FAILS(tiny().prompts(Batch(1, {user({image((folder / "thin.png").string())})})),
              "thin.png: absolute aspect ratio must be smaller than 200");
  // The same for what is handed over, whether or not it has a name.
  Image thin = load_image(folder / "thin.png");
  CHECK_FAILS(tiny().prompts(Batch(1, {user({image()})}), {}, {}, std::span(&thin, 1)),
              "thin.png: absolute aspect ratio");
  thin.name.clear();
  CHECK_FAILS(tiny().prompts(Batch(1, {user({image()})}), {}, {}, std::span(&thin, 1)),
              "messages[0].content[0]: absolute aspect ratio");
}

BOOST_AUTO_TEST_CASE(docs_have_every_key) {
  const MediaKeys none;
  for_each_media_key([](MediaKeyUse, const Option& key, const auto& value) { test::check_row(key, value); }, none);
}

// Every form that the settings of processors have had, against transformers.
BOOST_AUTO_TEST_CASE(forms_of_settings) {
  const json forms = table("processor_forms");
  const auto check = [&](const char* rows, const char* sizes, const auto& grids_of) {
    for (const json& row : forms.at(rows)) {
      json settings = forms.at("usual")[0];
      settings.update(row[0]);
      const json made = result_of([&] {
        const auto processor = grids_of(settings);
        json grids = json::array();
        for (const json& size : forms.at(sizes)) {
          const json grid = result_of([&] { return processor(size); });
          grids.push_back(grid.is_null() ? json("use") : grid);
        }
        return grids == json(std::vector<std::string>(grids.size(), "use")) ? json() : grids;
      });
      // Ours may refuse before an image is there what transformers refuses then, but not the other way round.
      BOOST_TEST((made.is_null() ? row[1].is_string() : made == row[1]), row.dump() << ": " << made);
    }
  };
  check("images", "image_sizes", [](const json& settings) {
    const ImageProcessor processor(
        image_processor_options_from_json({settings, "settings"}, ImageProcessorOptions::of_class(), {}));
    return [processor](const json& size) {
      const ImageSize made = processor.resized_size(size[0], size[1]);
      const std::int64_t patch = processor.options().patch_size;
      return json{1, made.height / patch, made.width / patch};
    };
  });
  check("videos", "video_sizes", [](const json& settings) {
    const VideoProcessor processor(
        video_processor_options_from_json({settings, "settings"}, VideoProcessorOptions::of_class(), {}));
    return [processor](const json& size) {
      const auto count =
          static_cast<std::int64_t>(processor.frames_of({.total_num_frames = size[0], .fps = 4.0}).size());
      const ImageSize made = processor.resized_size(count, size[1], size[2]);
      const std::int64_t patch = processor.options().patch_size;
      BOOST_TEST(processor.number_of_patches(count, size[1], size[2]) ==
                 (count + 1) / 2 * (made.height / patch) * (made.width / patch));
      return json{(count + 1) / 2, made.height / patch, made.width / patch};
    };
  });
}

BOOST_AUTO_TEST_CASE(settings_without_an_effect_are_named) {
  std::vector<std::string> warnings;
  const Warn warn = [&](const std::string& text) { warnings.push_back(text); };
  const auto images = [&](const char* text) {
    return image_processor_options_from_json({json::parse(text), "p.json"}, {}, warn);
  };
  const auto videos = [&](const char* text) {
    return video_processor_options_from_json({json::parse(text), "v.json"}, {}, warn);
  };
  // What transformers saves with its own settings.
  images(
      R"({"size": {"shortest_edge": 1, "longest_edge": 2}, "crop_size": null, "do_pad": null, "do_center_crop": false,
             "data_format": "channels_first", "default_to_square": true, "image_processor_type": "Qwen2VLImageProcessor",
             "processor_class": "Qwen3VLProcessor", "min_pixels": 1, "max_pixels": 2, "device": null})");
  videos(R"({"return_metadata": false, "video_metadata": null, "num_frames": null, "video_processor_type":
             "Qwen3VLVideoProcessor", "size": {"shortest_edge": 1, "longest_edge": 2}, "min_pixels": 1})");
  BOOST_TEST(warnings.empty());
  images(R"({"do_center_crop": true, "crop_size": 9, "do_pad": true, "something": 1, "image_seq_length": 5})");
  BOOST_REQUIRE(warnings.size() == 1u);
  BOOST_TEST(warnings[0] ==
             "p.json: no effect here, nor in transformers, have: crop_size, do_center_crop, do_pad, "
             "image_seq_length, something");
  videos(R"({"max_pixels": 7, "max_duration": 5})");
  BOOST_REQUIRE(warnings.size() == 2u);
  BOOST_TEST(warnings[1] == "v.json: no effect here, nor in transformers, have: max_duration, max_pixels");
  images(R"({"processor_class": "Qwen2_5_VLProcessor"})");
  BOOST_TEST(warnings.back().find("p.json: processor_class is \"Qwen2_5_VLProcessor\"; the settings") == 0u);
  const test::TemporaryFolder folder;
  folder.write("processor_config.json",
               R"({"processor_class": "Qwen3VLProcessor", "video_processor": {}, "other": 1})");
  PreprocessorFiles(folder.path()).warn_about_others(warn);
  BOOST_TEST(warnings.back().ends_with("processor_config.json: other is not used"));
  BOOST_TEST(warnings.size() == 4u);
  CHECK_FAILS(images(R"({"image_processor_type": "CLIPImageProcessor"})"), "p.json: image_processor_type is CLIPImage");
  CHECK_FAILS(videos(R"({"video_processor_type": "Qwen2VLVideoProcessor"})"),
              "v.json: video_processor_type is Qwen2VL");
  CHECK_FAILS(videos(R"({"video_metadata": {"fps": 3}})"), "v.json: video_metadata is {\"fps\":3}, wanted null");
  CHECK_FAILS(images(R"({"input_data_format": "channels_last"})"), "input_data_format is \"channels_last\"");
  CHECK_FAILS(images(R"({"size": {"edge": 4}})"), "p.json: size must have the keys shortest_edge and longest_edge");
  CHECK_FAILS(images(R"({"size": {"shortest_edge": 1.5, "longest_edge": 7}})"), "p.json: size.shortest_edge is 1.5");
  // Before anything is resized, not where the file is read: a text needs no images.
  const ImageProcessor unsized(images(R"({"size": {"min_pixels": 4, "max_pixels": 5}})"));
  CHECK_FAILS(unsized.resized_size(9, 9), "must contain 'shortest_edge' and 'longest_edge' keys");
}
