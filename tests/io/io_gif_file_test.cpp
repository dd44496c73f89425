// Animated GIFs against FFmpeg's frames and frame rates; inconsistent, truncated and enormous files.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_gif_file
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/io/video/video_file.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::json;
using test::crc32;
using test::fails_with;
namespace fs = std::filesystem;

namespace {

const fs::path assets = fs::path(QWEN3VL_TEST_DATA) / "assets/gif";

std::string little_endian(int number) {
  return {static_cast<char>(number & 255), static_cast<char>(number >> 8 & 255)};
}

/// The head of a GIF with a palette of two colours, red and blue.
std::string head(int width, int height) {
  return "GIF89a" + little_endian(width) + little_endian(height) + std::string("\x80\0\0\xff\0\0\0\0\xff", 9);
}

std::string frame(int width, int height, const std::string& data, int left = 0) {
  return "," + little_endian(left) + little_endian(0) + little_endian(width) + little_endian(height) +
         std::string(1, '\0') + data;
}

/// Codes of 3 bits: clear, 0, 1, end.
const std::string red_and_blue("\x02\x02\x44\x0a\x00", 5);

/// Reads every frame of what may be a GIF; only an Error may result.
void decode(const fs::path& file) {
  try {
    GifFile gif(file, std::nullopt, {.max_pixels = 100'000});
    const VideoMetadata about = gif.metadata();
    for (std::int64_t i = 0; i < std::min<std::int64_t>(about.total_num_frames, 20); ++i) {
      gif.frame(i).check();
      BOOST_REQUIRE(gif.frame(i).width == about.width && gif.frame(i).height == about.height);
    }
  } catch (const Error& error) {
    BOOST_REQUIRE(std::string(error.what()).find('\n') == std::string::npos);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(frames_and_rates_are_those_of_ffmpeg) {
  const json expected = json::parse(test::read_file(assets / "expected.json"));
  for (const auto& [file, about] : expected.items()) {
    BOOST_TEST_CONTEXT(file) {
      Video video = open_video(assets / file);
      const auto sums = about.at("crc32").get<std::vector<std::uint32_t>>();
      BOOST_TEST(video.metadata().video_backend == "gif");
      BOOST_TEST(video.metadata().height == about.at("height").get<int>());
      BOOST_TEST(video.metadata().width == about.at("width").get<int>());
      BOOST_TEST(video.metadata().fps.value() == about.at("fps").get<double>());
      BOOST_REQUIRE(video.metadata().total_num_frames == static_cast<std::int64_t>(sums.size()));
      std::vector<std::uint32_t> forwards, backwards, every_second;
      for (std::size_t i = 0; i < sums.size(); ++i)
        forwards.push_back(crc32(video.frame(static_cast<std::int64_t>(i)).pixels));
      for (std::size_t i = sums.size(); i-- > 0;)
        backwards.push_back(crc32(video.frame(static_cast<std::int64_t>(i)).pixels));
      std::reverse(backwards.begin(), backwards.end());
      BOOST_TEST(forwards == sums);
      BOOST_TEST(backwards == sums);
      // Frames that are not requested are drawn all the same.
      Video skipping = open_video(assets / file);
      BOOST_TEST(crc32(skipping.frame(static_cast<std::int64_t>(sums.size()) - 1).pixels) == sums.back());
    }
  }
  BOOST_TEST(expected.size() >= 28u);
}

BOOST_AUTO_TEST_CASE(rates_limits_and_indices) {
  BOOST_TEST(open_video(assets / "plain.gif", {.fps = 3.0}).metadata().fps.value() == 3.0);
  Video video = open_video(assets / "plain.gif");
  BOOST_TEST(fails_with([&] { video.frame(4); }, "frame 4 of a video of 4 frames"));
  BOOST_TEST(fails_with([&] { video.frame(-1); }, "frame -1 of a video"));
  BOOST_TEST(fails_with([] { open_video(assets / "plain.gif", {.limits = {.max_pixels = 259}}); },
                        "a video of 20 x 13, which is nothing or over the limit of 259 pixels"));
  BOOST_TEST(open_video(assets / "plain.gif", {.limits = {.max_pixels = 260}}).metadata().total_num_frames == 4);
  BOOST_TEST(fails_with([] { open_video(assets / "plain.gif", {.limits = {.max_file_bytes = 100}}); },
                        "more than the limit of 100"));
  BOOST_TEST(
      fails_with([] { open_video(assets / "expected.json"); }, "is neither a folder of numbered images nor a GIF"));
  const test::TemporaryFolder folder;
  // No frame has a duration.
  const auto still = folder.write("still.gif", head(2, 1) + frame(2, 1, red_and_blue) + ";rest");
  BOOST_TEST(!GifFile(still).metadata().fps.has_value());
  BOOST_TEST((GifFile(still).frame(0).pixels == std::vector<std::uint8_t>{255, 0, 0, 0, 0, 255}));
}

BOOST_AUTO_TEST_CASE(files_that_are_no_video) {
  const test::TemporaryFolder folder;
  const auto error = [&](const std::string& content, const char* what) {
    const auto file = folder.write("bad.gif", content);
    BOOST_TEST(fails_with([&] { GifFile(file).frame(0); }, what), what);
    BOOST_TEST(fails_with([&] { GifFile(file).frame(0); }, "bad.gif"));
  };
  const std::string good = frame(2, 1, red_and_blue);
  error("", "is not a GIF");
  error("GIF90a", "is not a GIF");
  error("GIF89a", "it ends early");
  error(head(0, 5), "a video of 0 x 5");
  error(head(65535, 65535) + good, "over the limit of 178956970 pixels");
  error(head(2, 1), "it has no frames");
  error(head(2, 1) + ";" + good, "it has no frames");
  error(head(2, 1) + good + "x", "damaged after frame 0: byte 34 begins neither a frame nor an extension");
  error(head(2, 1) + good + ",", "damaged after frame 0: it ends early");
  error(head(2, 1) + frame(0, 1, red_and_blue), "a frame without pixels");
  error(head(2, 1) + frame(2, 1, std::string("\x0c\x01\x00\x00", 4)), "whose codes begin with 12 bits");
  error(head(2, 1) + frame(2, 1, std::string("\0\x01\x00\x00", 4)), "whose codes begin with 0 bits");
  error(head(2, 1) + frame(2, 1, std::string("\x02\xff\x44\x0a\x00", 5)), "it ends early");
  error("GIF89a" + little_endian(2) + little_endian(1) + std::string(3, '\0') + good, "a frame without colours");
  // Fewer colours than pixels: an end code, a code that is not defined yet, no data.
  error(head(2, 1) + frame(3, 1, red_and_blue), "the data of frame 0 ends or breaks off in row 0 of 1");
  error(head(2, 1) + frame(2, 1, std::string("\x02\x01\x3c\x00", 4)), "the data of frame 0 ends or breaks off");
  error(head(2, 1) + frame(2, 1, std::string("\x02\x02\xc4\x01\x00", 5)), "the data of frame 0 ends or breaks off");
  error(head(2, 1) + frame(2, 1, std::string("\x02\x00", 2)), "the data of frame 0 ends or breaks off");
  // A damaged frame invalidates itself and those after it; earlier ones can still be read.
  GifFile gif(folder.write("late.gif", head(2, 1) + good + frame(3, 1, red_and_blue)));
  const Image first = gif.frame(0);
  BOOST_TEST(fails_with([&] { gif.frame(1); }, "the data of frame 1"));
  BOOST_TEST(fails_with([&] { gif.frame(1); }, "the data of frame 1"));
  BOOST_TEST((gif.frame(0).pixels == first.pixels));
  // Completely outside the image: nothing to see, no error.
  GifFile outside(folder.write("outside.gif", head(2, 1) + good + frame(2, 1, red_and_blue, 65535)));
  BOOST_TEST((outside.frame(1).pixels == first.pixels));
}

BOOST_AUTO_TEST_CASE(enormous_promises_are_refused_before_any_work) {
  const test::TemporaryFolder folder;
  std::string many = head(2, 1);
  for (int i = 0; i < 17; ++i) many += frame(65535, 65535, std::string("\x02\x00", 2));
  BOOST_TEST(fails_with([&] { GifFile(folder.write("area.gif", many)); },
                        "more pixels than the limit of 68719476736 (ImageLimits::max_gif_pixels)"));
  many = head(2, 1);
  const std::string one = frame(1, 1, std::string("\x02\x00", 2));
  for (int i = 0; i < 4; ++i) many += one;
  const auto path = folder.write("count.gif", many);
  BOOST_TEST(GifFile(path, {}, {.max_frames = 4}).metadata().total_num_frames == 4);
  BOOST_TEST(fails_with([&] { GifFile(path, {}, {.max_frames = 3}); }, "the limit of 3 (ImageLimits::max_frames)"));
  BOOST_TEST(fails_with([&] { GifFile(path, {}, {.max_pixels = 1}); }, "(ImageLimits::max_pixels)"));
  BOOST_TEST(fails_with([&] { GifFile(path, {}, {.max_file_bytes = 9}); }, "(ImageLimits::max_file_bytes)"));
}

BOOST_AUTO_TEST_CASE(every_truncation_and_many_changes_are_an_error_or_a_video) {
  const test::TemporaryFolder folder;
  std::mt19937 random(7);
  for (const char* name : {"disposal_3_transparent.gif", "interlaced.gif", "own_palettes.gif", "sticks_out.gif",
                           "no_global_palette.gif", "one_pixel.gif"}) {
    const std::string good = test::read_file(assets / name);
    for (std::size_t size = 0; size < good.size(); ++size) decode(folder.write("cut.gif", good.substr(0, size)));
    for (int i = 0; i < 800; ++i) {
      std::string bad = good;
      for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes)
        bad[random() % bad.size()] = static_cast<char>(random() % 2 ? random() : 1u << random() % 8);
      decode(folder.write("changed.gif", bad));
    }
  }
}
