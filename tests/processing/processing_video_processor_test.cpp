// The video processor against the reference: sizes, sampling, times and pixels of the golden tables; folders; bad
// videos.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_video_processor
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "parity/golden_case.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"
#include "support/check_fails.hpp"
#include "support/option_table.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

const std::string cases = QWEN3VL_TEST_DATA "/golden/cases/processing/";
const fs::path clips = QWEN3VL_EXAMPLE_ASSETS "/tiny-shapes/expected/clips";

json table(const std::string& name) { return json::parse(test::read_file(cases + name + ".json")); }

/// "Type: message" of the tables without the type.
std::string words(const json& error) {
  const auto text = error.get<std::string>();
  return text.substr(text.find(": ") + 2);
}

Image frame(int height, int width, std::uint8_t value = 100) {
  return {.height = height,
          .width = width,
          .channels = 3,
          .pixels =
              std::vector<std::uint8_t>(static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3, value)};
}

Video clip(int count, int height = 32, int width = 32, std::optional<double> fps = 8.0) {
  return MemoryFrames(std::vector<Image>(static_cast<std::size_t>(count), frame(height, width)), fps);
}

}  // namespace

BOOST_AUTO_TEST_CASE(golden_smart_resize_video) {
  const json rows = table("smart_resize_video").at("rows");
  for (const json& row : rows) {
    BOOST_TEST_CONTEXT(row.dump()) {
      std::vector<std::int64_t> v;
      for (int i = 0; i < 7; ++i) v.push_back(row[static_cast<std::size_t>(i)].get<std::int64_t>());
      const auto size = [&] { return smart_resize_video(v[0], v[1], v[2], v[3], v[4], v[5], v[6]); };
      if (!row[9].is_null()) {
        CHECK_FAILS(size(), words(row[9]));
      } else {
        BOOST_TEST(size().height == row[7].get<std::int64_t>());
        BOOST_TEST(size().width == row[8].get<std::int64_t>());
      }
    }
  }
  BOOST_TEST(rows.size() > 40u);
}

BOOST_AUTO_TEST_CASE(golden_video_sampling) {
  const json sampling = table("video_sampling");
  for (const json& row : sampling.at("rows")) {
    BOOST_TEST_CONTEXT(row.dump()) {
      VideoMetadata metadata{.total_num_frames = row[0].get<std::int64_t>()};
      if (!row[1].is_null()) metadata.fps = row[1].get<double>();
      VideoProcessorOptions options;
      const json& given = row[2];
      if (given.contains("fps")) options.fps = given.at("fps").get<double>();
      if (given.contains("num_frames")) options.num_frames = given.at("num_frames").get<std::int64_t>();
      // The rows of num_frames alone passed fps=None.
      if (given.contains("num_frames") && !given.contains("fps")) options.fps.reset();
      if (!row[5].is_null()) {
        CHECK_FAILS(sample_frames(metadata, options), words(row[5]));
        continue;
      }
      const auto indices = sample_frames(metadata, options);
      BOOST_TEST(indices.size() == row[3].get<std::size_t>());
      json shown = indices;
      if (indices.size() > 40) {
        shown = json::array();
        for (std::size_t i = 0; i < 20; ++i) shown.push_back(indices[i]);
        shown.push_back("...");
        for (std::size_t i = indices.size() - 20; i < indices.size(); ++i) shown.push_back(indices[i]);
      }
      BOOST_TEST(shown == row[4]);
    }
  }
  BOOST_TEST(sampling.at("rows").size() > 80u);
}

BOOST_AUTO_TEST_CASE(golden_timestamps) {
  const json stamps = table("timestamps");
  const auto patch = stamps.at("temporal_patch_size").get<std::int64_t>();
  for (const json& row : stamps.at("rows")) {
    BOOST_TEST_CONTEXT(row.dump()) {
      const auto seconds = video_timestamps(row[0].get<std::vector<std::int64_t>>(), row[1].get<double>(), patch);
      BOOST_TEST(json(seconds) == row[2]);
      std::vector<std::string> texts;
      for (const double second : seconds) texts.push_back(timestamp_text(second));
      BOOST_TEST(json(texts) == row[3]);
    }
  }
  BOOST_TEST(stamps.at("rows").size() > 5u);
}

BOOST_AUTO_TEST_CASE(golden_video_pixels) {
  const parity::GoldenCase golden(cases + "video_pixels.json");
  int checked = 0;
  for (const auto& [name, one] : golden.options().at("cases").items()) {
    BOOST_TEST_CONTEXT(name) {
      const auto input = one.at("input").get<std::string>();
      const auto values = golden.integers(input);
      const auto count = golden.extent(input, 0), height = golden.extent(input, 1), width = golden.extent(input, 2);
      std::vector<Image> frames;
      for (index_t t = 0; t < count; ++t) {
        Image& image = frames.emplace_back(frame(static_cast<int>(height), static_cast<int>(width)));
        for (std::size_t i = 0; i < image.pixels.size(); ++i)
          image.pixels[i] = static_cast<std::uint8_t>(values[static_cast<std::size_t>(t) * image.pixels.size() + i]);
      }
      const json settings = golden.options().at("settings");
      auto options = video_processor_options_from_json({settings, "settings"});
      options = video_processor_options_from_json({one.at("options"), "options"}, options);
      Video video(MemoryFrames(std::move(frames), golden.options().at("metadata").at("fps").get<double>()));
      const VideoPatches patches = VideoProcessor(options)(video);
      if (!one.at("frames_indices").is_null()) BOOST_TEST(json(patches.frames_indices) == one.at("frames_indices"));
      const auto grid = golden.integers("out." + name + ".video_grid_thw");
      BOOST_TEST((patches.grid == GridThw{grid[0], grid[1], grid[2]}));
      const auto expected = golden.floats("out." + name + ".pixel_values_videos");
      const auto actual = patches.pixel_values_videos.span();
      BOOST_REQUIRE(actual.size() == expected.size());
      float worst = 0.0f;
      for (std::size_t i = 0; i < expected.size(); ++i) worst = std::max(worst, std::abs(actual[i] - expected[i]));
      // The table allows one unit of a byte; resizing is bit-exact, so only the last bit of the normalisation may
      // differ.
      BOOST_TEST(worst <= 1e-6f);
      ++checked;
    }
  }
  BOOST_TEST(checked == 7);
}

BOOST_AUTO_TEST_CASE(folders_are_videos) {
  Video video = open_video(clips / "01");
  BOOST_TEST(video.metadata().total_num_frames == 8);
  BOOST_TEST(video.metadata().fps.value() == 4.0);
  BOOST_TEST(video.metadata().video_backend == "folder");
  BOOST_TEST(open_video(clips / "01", {.fps = 10.0}).metadata().fps.value() == 10.0);
  const Image third = load_image(clips / "01" / "03.png");
  BOOST_TEST((video.frame(3).pixels == third.pixels));
  BOOST_TEST((video.frame(3).pixels == third.pixels));
  CHECK_FAILS(video.frame(8), "frame 8 of a video of 8 frames");

  const test::TemporaryFolder folder;
  CHECK_FAILS(open_video(folder.path()), "has no numbered images");
  CHECK_FAILS(open_video(folder / "none"), "there is no such file or folder");
  for (const char* name : {"shot 10.png", "shot 9.png", "shot 008.png", "notes.txt", "cover.png"})
    fs::copy(clips / "01" / "00.png", folder / name);
  fs::remove(folder / "shot 9.png");
  fs::copy(clips / "01" / "05.png", folder / "shot 9.PNG");
  Video shots = open_video(folder.path());
  BOOST_TEST(shots.metadata().total_num_frames == 3);
  BOOST_TEST(!shots.metadata().fps.has_value());
  BOOST_TEST((shots.frame(1).pixels == load_image(clips / "01" / "05.png").pixels));
  fs::copy(clips / "01" / "00.png", folder / "other 9.png");
  CHECK_FAILS(open_video(folder.path()), "have the same number");
  folder.write("clip.json", R"({"fps": 0})");
  fs::remove(folder / "other 9.png");
  CHECK_FAILS(open_video(folder.path()), "fps is 0, wanted a number > 0");
}

BOOST_AUTO_TEST_CASE(frames_are_read_once_in_order_and_only_if_taken) {
  struct Counting {
    VideoMetadata of{.total_num_frames = 1000000, .fps = 100.0};
    std::vector<std::int64_t>* asked;
    const VideoMetadata& metadata() const { return of; }
    Image frame(std::int64_t index) {
      asked->push_back(index);
      return ::frame(64, 64);
    }
  };
  std::vector<std::int64_t> asked;
  Video video(Counting{.asked = &asked});
  VideoProcessorOptions options;
  options.fps.reset();
  options.num_frames = 5;
  const VideoPatches patches = VideoProcessor(options)(video);
  BOOST_TEST((asked == std::vector<std::int64_t>{0, 250000, 500000, 749999, 999999}));
  BOOST_TEST(patches.grid.t == 3);
  BOOST_TEST(patches.timestamps.size() == 3u);
  BOOST_TEST(patches.timestamps[2] == 9999.99);
}

BOOST_AUTO_TEST_CASE(videos_and_settings_that_cannot_be) {
  const VideoProcessor usual;
  std::vector<Image> unlike = {frame(32, 32), frame(32, 64), frame(32, 32), frame(32, 32)};
  Video mixed(MemoryFrames(unlike, 2.0));
  CHECK_FAILS(usual(mixed), "frame 1 is of 32 x 64 x 3, the first of 32 x 32 x 3");
  Video still = clip(1);
  CHECK_FAILS(usual(still), "t:1 must be larger than temporal_factor:2");
  CHECK_FAILS(MemoryFrames({}), "a video has no frames");
  CHECK_FAILS(MemoryFrames({frame(8, 8)}, VideoMetadata{.total_num_frames = 5}), "metadata is of 5");
  for (const double fps :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Video wrong = clip(8, 32, 32, fps);
    CHECK_FAILS(usual(wrong), "frames per second");
  }
  CHECK_FAILS(sample_frames({.total_num_frames = 0}, {}), "a video of 0 frames");
  // Enormous counts are limited before frames are produced.
  VideoProcessorOptions many;
  many.fps = 1e6;
  BOOST_TEST(sample_frames({.total_num_frames = std::int64_t{1} << 60, .fps = 1e-300}, many).size() == 768u);
  VideoProcessorOptions all;
  all.do_sample_frames = false;
  CHECK_FAILS(VideoProcessor(all).frames_of({.total_num_frames = 1000000000}), "at most 65536 can be");
  BOOST_TEST(VideoProcessor(all).frames_of({.total_num_frames = 9, .frames_indices = {1, 5}}).size() == 2u);
  CHECK_FAILS(usual.frames_of({.total_num_frames = 9, .frames_indices = {1, 5}}), "set do_sample_frames to false");
  // Each frame is enlarged to a patch, however small the budget.
  VideoProcessorOptions large;
  large.do_sample_frames = false;
  large.patch_size = 1024;
  large.merge_size = 4;
  Video tiny = clip(130, 8, 8);
  const VideoProcessor enlarging(large);
  CHECK_FAILS(enlarging(tiny), "130 frames of 4096 x 4096 are more than 2147483648 pixels");
  const auto read = [](const char* text) { return video_processor_options_from_json({json::parse(text), "v.json"}); };
  CHECK_FAILS(read(R"({"fps": "2"})"), "v.json: fps is \"2\", wanted a number");
  CHECK_FAILS(read(R"({"min_frames": 0})"), "v.json: min_frames is 0, wanted an integer from 1 to 65536");
  CHECK_FAILS(read(R"({"do_sample_frames": 1})"), "v.json: do_sample_frames is 1, wanted true or false");
  BOOST_TEST(!read(R"({"fps": null})").fps.has_value());
  // A rate counts where frames are sampled by it.
  const VideoProcessorOptions unsampled = read(R"({"fps": 0, "do_sample_frames": false})");
  BOOST_CHECK_NO_THROW(unsampled.validate());
  CHECK_FAILS(read(R"({"fps": 0})").validate(), "fps is 0");
  // The older name of a size is for images.
  BOOST_TEST(read(R"({"size": {"shortest_edge": 4, "longest_edge": 25600}, "min_pixels": 9216})").shortest_edge == 4);
  const VideoProcessor unsized(read(R"({"size": {"shortest_edge": 0, "longest_edge": 25600}})"));
  CHECK_FAILS(unsized.resized_size(4, 9, 9), "must contain 'shortest_edge' and 'longest_edge' keys");
  BOOST_TEST(read("{}").fps.value() == 2.0);
  BOOST_TEST(read(R"({"do_center_crop": true, "crop_size": 5, "do_pad": true})").do_resize);
}

BOOST_AUTO_TEST_CASE(settings_come_from_the_first_file_that_has_them) {
  const test::TemporaryFolder folder;
  const auto frames_per_second = [&] { return VideoProcessor::from_pretrained(folder.path()).options().fps.value(); };
  const auto patch = [&] { return ImageProcessor::from_pretrained(folder.path()).options().patch_size; };
  CHECK_FAILS(frames_per_second(), "there is no video_preprocessor_config.json");
  CHECK_FAILS(patch(), "there is no preprocessor_config.json");
  CHECK_FAILS(VideoProcessor::from_pretrained(folder.path() / "none"), "none is not a folder");
  folder.write("preprocessor_config.json", R"({"patch_size": 8, "fps": 3})");
  BOOST_TEST(frames_per_second() == 3.0);
  folder.write("video_preprocessor_config.json", R"({"fps": 4})");
  BOOST_TEST(frames_per_second() == 4.0);
  // Older versions of transformers wrote this file, too, with other things in it.
  folder.write("processor_config.json", R"({"processor_class": "Qwen3VLProcessor", "image_processor": null})");
  BOOST_TEST(frames_per_second() == 4.0);
  BOOST_TEST(patch() == 8);
  folder.write("processor_config.json", R"({"image_processor": {"patch_size": 14}, "video_processor": {"fps": 5}})");
  BOOST_TEST(frames_per_second() == 5.0);
  BOOST_TEST(patch() == 14);
  folder.write("processor_config.json", R"({"image_processor": {"patch_size": 0}, "video_processor": 1})");
  CHECK_FAILS(frames_per_second(), "processor_config.json: video_processor is not a JSON object");
  CHECK_FAILS(patch(), "processor_config.json: image_processor.patch_size is 0");
  folder.write("processor_config.json", "[]");
  CHECK_FAILS(patch(), "processor_config.json is not a JSON object");
}

BOOST_AUTO_TEST_CASE(docs_have_every_option) {
  const auto check = [](const Option& option, const auto& member) { test::check_row(option, member); };
  const ImageProcessorOptions images;
  for_each_image_option(check, images);
  const VideoProcessorOptions videos;
  for_each_video_option(check, videos);
}
