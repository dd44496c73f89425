// Video files through libav: pixels of lossless ones bit for bit, counts, rates, seeking, colours; files that are
// inconsistent, truncated, refer to other files or are no videos.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_libav_video
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/io/video/libav_video.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/io/video/video_file.hpp"
#include "qwen3vl/processing/video/video_processor.hpp"
#include "support/libav_writer.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;
using test::write_video;
using test::WriterOptions;
namespace fs = std::filesystem;

// x265, which encodes some of the files, leaks memory. Only the address sanitizer checks for that.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libx265"; }

/// libav_video_other_unit.cpp, which is compiled without libav.
std::int64_t frames_counted_without_libav(const fs::path& path, const MediaReaders* readers);

namespace {

Video open_by_libav(const fs::path& path, VideoFileOptions options = {}) {
  options.readers = linked_readers();
  return open_video(path, options);
}

/// An image of noise that differs for each number.
Image noise(int width, int height, int number) {
  Image image{.height = height, .width = width, .channels = 3, .pixels = {}};
  std::mt19937 random(static_cast<unsigned>(number) + 1);
  image.resize_pixels();
  for (std::uint8_t& value : image.pixels) value = static_cast<std::uint8_t>(random());
  return image;
}

void write_noise(const fs::path& path, const WriterOptions& options, int width, int height, int count) {
  write_video(path, options, width, height, count,
              [&](AVFrame& frame, int i) { test::put_rgb(frame, noise(width, height, i)); });
}

/// Moving stripes in YUV 4:2:0, which every codec preserves.
void write_stripes(const fs::path& path, const WriterOptions& options, int count) {
  write_video(path, options, 64, 48, count, [](AVFrame& frame, int i) {
    for (int y = 0; y < 48; ++y)
      for (int x = 0; x < 64; ++x)
        frame.data[0][y * frame.linesize[0] + x] = static_cast<std::uint8_t>(16 + (x * 5 + i * 7 + y) % 220);
    for (int plane = 1; plane < 3; ++plane)
      for (int y = 0; y < 24; ++y)
        for (int x = 0; x < 32; ++x)
          frame.data[plane][y * frame.linesize[plane] + x] =
              static_cast<std::uint8_t>(100 + (x + y * plane + i * 3) % 60);
  });
}

std::vector<std::vector<std::uint8_t>> all_frames(Video& video) {
  std::vector<std::vector<std::uint8_t>> frames;
  for (std::int64_t i = 0; i < video.metadata().total_num_frames; ++i) frames.push_back(video.frame(i).pixels);
  return frames;
}

/// Reads every frame of what may be a video and returns the number of frames; only an Error of one line may result.
std::int64_t decode(const fs::path& file) {
  std::int64_t i = 0;
  try {
    LibavVideo video(file, std::nullopt, {.max_pixels = 100'000});
    for (; i < std::min<std::int64_t>(video.metadata().total_num_frames, 40); ++i) {
      video.frame(i).check();
      BOOST_REQUIRE(static_cast<std::size_t>(video.frame(i).width) * static_cast<std::size_t>(video.frame(i).height) <=
                    100'000u);
    }
  } catch (const Error& error) {
    BOOST_REQUIRE(std::string(error.what()).find('\n') == std::string::npos);
  }
  return i;
}

struct Lossless {
  const char *file, *codec;
  AVPixelFormat format;
};
const Lossless lossless[] = {
    {"a.mkv", "ffv1", AV_PIX_FMT_BGR0},        {"b.mkv", "magicyuv", AV_PIX_FMT_GBRP},
    {"c.avi", "ffv1", AV_PIX_FMT_BGR0},        {"d.mov", "png", AV_PIX_FMT_RGB24},
    {"e.avi", "png", AV_PIX_FMT_RGB24},        {"f.mov", "png", AV_PIX_FMT_RGBA},
    {"g.mov", "qtrle", AV_PIX_FMT_RGB24},      {"h.avi", "utvideo", AV_PIX_FMT_GBRP},
    {"i.avi", "rawvideo", AV_PIX_FMT_BGR24},   {"j.nut", "ffvhuff", AV_PIX_FMT_RGB24},
    {"k.mkv", "libx264rgb", AV_PIX_FMT_BGR24}, {"l.mp4", "libx264rgb", AV_PIX_FMT_BGR24},
};

}  // namespace

BOOST_AUTO_TEST_CASE(lossless_files_give_every_pixel) {
  const test::TemporaryFolder folder;
  int tried = 0;
  for (const Lossless& each : lossless) {
    if (!test::has_encoder(each.codec)) {
      BOOST_TEST_MESSAGE("no encoder " << each.codec);
      continue;
    }
    ++tried;
    for (const auto& [width, height] : {std::pair{37, 23}, std::pair{64, 48}, std::pair{1, 1}}) {
      const bool x264 = std::string(each.codec) == "libx264rgb";
      BOOST_TEST_CONTEXT(each.file << " " << each.codec << " " << width << " x " << height) {
        const fs::path file = folder / each.file;
        WriterOptions options{.codec = each.codec, .format = each.format, .key_every = 4};
        if (x264) options.codec_options = {{"qp", "0"}}, options.b_frames = 2;
        write_noise(file, options, width, height, 11);
        Video video = open_by_libav(file);
        const VideoMetadata& about = video.metadata();
        BOOST_TEST(about.video_backend == "libav");
        BOOST_REQUIRE(about.total_num_frames == 11);
        BOOST_TEST(about.fps.value() == 25.0);
        BOOST_TEST(about.height == height);
        BOOST_TEST(about.width == width);
        // Forwards, backwards, twice, with gaps.
        std::vector<int> order(11);
        std::iota(order.begin(), order.end(), 0);
        order.insert(order.end(), {10, 9, 4, 3, 0, 0, 7, 8, 8, 10, 5});
        for (const int i : order) {
          const Image frame = video.frame(i);
          BOOST_REQUIRE(frame.height == height);
          BOOST_REQUIRE(frame.width == width);
          BOOST_TEST((frame.pixels == noise(width, height, i).pixels), "frame " << i);
        }
        BOOST_TEST(fails_with([&] { video.frame(11); }, "frame 11 of a video of 11 frames"));
        BOOST_TEST(fails_with([&] { video.frame(-1); }, "frame -1 of a video"));
      }
    }
  }
  BOOST_TEST(tried >= 8);
}

BOOST_AUTO_TEST_CASE(counts_and_rates) {
  const test::TemporaryFolder folder;
  for (const char* name : {"a.mkv", "a.mov", "a.avi", "a.nut"}) {
    for (const AVRational rate : {AVRational{30000, 1001}, AVRational{15, 2}, AVRational{2, 1}, AVRational{60, 1}}) {
      for (const int count : {1, 2, 13}) {
        BOOST_TEST_CONTEXT(name << " " << rate.num << "/" << rate.den << ", " << count << " frames") {
          write_noise(folder / name, {.codec = "png", .format = AV_PIX_FMT_RGB24, .rate = rate}, 8, 6, count);
          Video video = open_by_libav(folder / name);
          BOOST_TEST(video.metadata().total_num_frames == count);
          // Matroska keeps nanoseconds, not fractions.
          const double wanted = av_q2d(rate);
          BOOST_TEST(std::abs(video.metadata().fps.value() - wanted) <= 1e-5 * wanted);
          BOOST_TEST((video.frame(count - 1).pixels == noise(8, 6, count - 1).pixels));
        }
      }
    }
  }
  // Frames at uneven times: 10 of them in 30 / 30 seconds.
  write_noise(
      folder / "vfr.mov",
      {.codec = "png", .format = AV_PIX_FMT_RGB24, .rate = {30, 1}, .times = {0, 1, 2, 9, 10, 17, 20, 21, 28, 29}}, 8,
      6, 10);
  Video uneven = open_by_libav(folder / "vfr.mov");
  BOOST_TEST(uneven.metadata().total_num_frames == 10);
  BOOST_TEST(uneven.metadata().fps.value() == 10.0);
  for (int i = 0; i < 10; ++i) BOOST_TEST((uneven.frame(i).pixels == noise(8, 6, i).pixels));
  BOOST_TEST(open_by_libav(folder / "vfr.mov", {.fps = 3.0}).metadata().fps.value() == 3.0);
  BOOST_TEST(LibavVideo(folder / "vfr.mov", 3.0).metadata().fps.value() == 3.0);
}

BOOST_AUTO_TEST_CASE(jumps_give_the_same_frames_as_going_through) {
  const test::TemporaryFolder folder;
  struct Case {
    const char *file, *codec;
    int b_frames;
  };
  for (const Case& each :
       {Case{"a.mp4", "libx264", 3}, Case{"b.mkv", "libx264", 3}, Case{"c.ts", "libx264", 2}, Case{"d.mp4", "mpeg4", 2},
        Case{"e.avi", "mpeg4", 0}, Case{"f.mkv", "ffv1", 0}, Case{"g.mpg", "mpeg2video", 2}, Case{"h.avi", "mjpeg", 0},
        Case{"i.mp4", "libx265", 3}, Case{"j.webm", "libvpx-vp9", 0}, Case{"k.webm", "libvpx", 0}}) {
    if (!test::has_encoder(each.codec)) {
      BOOST_TEST_MESSAGE("no encoder " << each.codec);
      continue;
    }
    BOOST_TEST_CONTEXT(each.file << " " << each.codec) {
      const std::string codec = each.codec;
      WriterOptions options{.codec = codec,
                            .format = codec == "mjpeg" ? AV_PIX_FMT_YUVJ420P : AV_PIX_FMT_YUV420P,
                            .b_frames = each.b_frames};
      if (codec == "libvpx") options.codec_options = {{"auto-alt-ref", "1"}, {"lag-in-frames", "16"}};
      if (codec == "libx265") options.codec_options = {{"x265-params", "log-level=none:pools=1"}};
      write_stripes(folder / each.file, options, 150);
      Video through = open_by_libav(folder / each.file);
      BOOST_REQUIRE(through.metadata().total_num_frames == 150);
      BOOST_TEST(std::abs(through.metadata().fps.value() - 25.0) < 0.01);
      const auto frames = all_frames(through);
      for (std::size_t i = 1; i < frames.size(); ++i) BOOST_TEST((frames[i] != frames[i - 1]), "frame " << i);
      std::mt19937 random(3);
      Video jumping = open_by_libav(folder / each.file);
      for (int round = 0; round < 6; ++round) {
        for (std::int64_t i = static_cast<std::int64_t>(random() % 40); i < 150;
             i += 1 + static_cast<std::int64_t>(random() % (round % 2 == 0 ? 60 : 9)))
          BOOST_TEST((jumping.frame(i).pixels == frames[static_cast<std::size_t>(i)]), "frame " << i);
        BOOST_TEST((jumping.frame(149).pixels == frames.back()));
      }
    }
  }
}

/// What PyAV 18 makes of frames of one colour.
BOOST_AUTO_TEST_CASE(colours_are_those_that_the_file_says) {
  const test::TemporaryFolder folder;
  struct Case {
    AVColorSpace space;
    AVColorRange range;
    int rgb[3][3];  // of Y, Cb, Cr below
  };
  constexpr int yuv[3][3] = {{100, 90, 160}, {180, 140, 110}, {60, 128, 128}};
  for (const Case& each :
       {Case{AVCOL_SPC_UNSPECIFIED, AVCOL_RANGE_UNSPECIFIED, {{148, 84, 20}, {161, 199, 214}, {51, 51, 51}}},
        Case{AVCOL_SPC_SMPTE170M, AVCOL_RANGE_MPEG, {{148, 84, 20}, {161, 199, 214}, {51, 51, 51}}},
        Case{AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, {{154, 87, 16}, {157, 196, 215}, {51, 51, 51}}},
        Case{AVCOL_SPC_BT709, AVCOL_RANGE_JPEG, {{150, 92, 29}, {151, 185, 202}, {60, 60, 60}}},
        Case{AVCOL_SPC_SMPTE170M, AVCOL_RANGE_JPEG, {{144, 90, 32}, {154, 187, 201}, {60, 60, 60}}},
        Case{AVCOL_SPC_BT2020_NCL, AVCOL_RANGE_MPEG, {{150, 83, 15}, {159, 198, 215}, {51, 51, 51}}}}) {
    for (int colour = 0; colour < 3; ++colour) {
      BOOST_TEST_CONTEXT("space " << each.space << " range " << each.range << " Y " << yuv[colour][0]) {
        write_video(folder / "a.mkv",
                    {.codec = "ffv1", .format = AV_PIX_FMT_YUV420P, .space = each.space, .range = each.range}, 32, 16,
                    2, [&](AVFrame& frame, int) {
                      for (int plane = 0; plane < 3; ++plane)
                        std::memset(frame.data[plane], yuv[colour][plane],
                                    static_cast<std::size_t>(frame.linesize[plane]) * (plane == 0 ? 16 : 8));
                    });
        const Image frame = open_by_libav(folder / "a.mkv").frame(1);
        for (std::size_t i = 0; i < frame.pixels.size(); ++i)
          BOOST_REQUIRE(int{frame.pixels[i]} == each.rgb[colour][i % 3]);
      }
    }
  }
  // Four pixels share a colour, which is not interpolated between them.
  write_video(folder / "edges.mkv", {.codec = "ffv1", .format = AV_PIX_FMT_YUV420P}, 32, 16, 2,
              [&](AVFrame& frame, int) {
                for (int plane = 0; plane < 3; ++plane)
                  for (int i = 0; i < frame.linesize[plane] * (plane == 0 ? 16 : 8); ++i)
                    frame.data[plane][i] = static_cast<std::uint8_t>(plane == 0 || i % 2 == 0 ? yuv[0][plane] : 128);
              });
  constexpr int coloured[3] = {148, 84, 20};
  const Image edges = open_by_libav(folder / "edges.mkv").frame(1);
  for (int x = 0; x < 32; ++x)
    for (std::size_t c = 0; c < 3; ++c)
      BOOST_TEST(int{edges.pixels[edges.offset(7, x) + c]} == (x % 4 < 2 ? coloured[c] : 97));
  write_noise(folder / "gray.mov", {.codec = "png", .format = AV_PIX_FMT_GRAY8}, 9, 5, 2);
  const Image gray = open_by_libav(folder / "gray.mov").frame(1), source = noise(9, 5, 1);
  for (std::size_t i = 0; i < gray.pixels.size(); ++i) BOOST_TEST(gray.pixels[i] == source.pixels[i / 3 * 3]);
}

BOOST_AUTO_TEST_CASE(turned_videos_are_turned_upright) {
  const test::TemporaryFolder folder;
  // Where the matrices move a point: (a x + c y, b x + d y) for {a, b, 0, c, d, ...}. The first is what a phone held
  // upright writes: x becomes down, y becomes left, a quarter clockwise.
  constexpr std::int32_t one = 1 << 16;
  const std::vector<std::int32_t> phone = {0, one, 0, -one, 0, 0, 0, 0, 1 << 30},
                                  half = {-one, 0, 0, 0, -one, 0, 0, 0, 1 << 30},
                                  other = {0, -one, 0, one, 0, 0, 0, 0, 1 << 30};
  for (const auto& [matrix, quarters] : {std::pair{phone, 1}, std::pair{half, 2}, std::pair{other, 3}}) {
    write_noise(folder / "a.mov", {.codec = "png", .format = AV_PIX_FMT_RGB24, .matrix = matrix}, 9, 5, 3);
    Video video = open_by_libav(folder / "a.mov");
    Image wanted = noise(9, 5, 2);
    for (int turn = 0; turn < quarters; ++turn) {
      Image turned{.height = wanted.width, .width = wanted.height, .channels = 3, .pixels = wanted.pixels};
      for (int y = 0; y < wanted.height; ++y)
        for (int x = 0; x < wanted.width; ++x)
          std::copy_n(wanted.pixels.data() + wanted.offset(y, x), 3,
                      turned.pixels.data() + turned.offset(x, wanted.height - 1 - y));
      wanted = turned;
    }
    BOOST_TEST_CONTEXT(quarters) {
      const Image frame = video.frame(2);
      BOOST_TEST(video.metadata().height == wanted.height);
      BOOST_TEST(video.metadata().width == wanted.width);
      BOOST_TEST(frame.height == wanted.height);
      BOOST_TEST((frame.pixels == wanted.pixels));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_trained_checkpoints_videos_are_the_same_as_files) {
  const fs::path videos = fs::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes/expected/clips";
  VideoProcessorOptions settings;
  settings.do_sample_frames = false;
  const VideoProcessor processor(settings);
  const test::TemporaryFolder folder;
  for (const char* name : {"01", "02", "03"}) {
    Video images = open_by_libav(videos / name);
    const VideoPatches expected = processor(images);
    std::vector<Image> frames;
    for (std::int64_t i = 0; i < images.metadata().total_num_frames; ++i)
      frames.push_back(convert_to_rgb(images.frame(i)));
    const AVRational rate = av_d2q(images.metadata().fps.value(), 1000);
    for (const Lossless& each : lossless) {
      if (!test::has_encoder(each.codec)) continue;
      BOOST_TEST_CONTEXT(name << " as " << each.file) {
        WriterOptions options{.codec = each.codec, .format = each.format, .rate = rate};
        if (std::string(each.codec) == "libx264rgb") options.codec_options = {{"qp", "0"}}, options.b_frames = 2;
        write_video(folder / each.file, options, frames[0].width, frames[0].height, static_cast<int>(frames.size()),
                    [&](AVFrame& frame, int i) { test::put_rgb(frame, frames[static_cast<std::size_t>(i)]); });
        Video video = open_by_libav(folder / each.file);
        const VideoPatches patches = processor(video);
        BOOST_TEST((patches.grid == expected.grid));
        BOOST_TEST(std::ranges::equal(patches.pixel_values_videos.span(), expected.pixel_values_videos.span()));
        BOOST_TEST(patches.frames_indices == expected.frames_indices);
        BOOST_TEST(patches.timestamps == expected.timestamps);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(counts_that_lie_are_counted_again) {
  const test::TemporaryFolder folder;
  write_noise(folder / "a.avi", {.codec = "png", .format = AV_PIX_FMT_RGB24}, 8, 6, 5);
  std::string file = test::read_file(folder / "a.avi");
  // How many frames, in the header of the file and in that of the stream.
  const std::size_t all = file.find("avih") + 8 + 16, own = file.find("strh") + 8 + 32;
  BOOST_REQUIRE(file[all] == 5);
  BOOST_REQUIRE(file[own] == 5);
  for (const char claim : {'\x03', '\x09', '\x7f'}) {
    file[all] = file[own] = claim;
    file[own + 2] = claim == '\x7f' ? '\x7f' : '\0';
    Video video = open_by_libav(folder.write("lies.avi", file));
    BOOST_REQUIRE(video.metadata().total_num_frames == 5);
    BOOST_TEST((video.frame(4).pixels == noise(8, 6, 4).pixels));
  }
  // A recording that begins within a scene: no frame before the first complete one.
  if (test::has_encoder("libx264")) {
    for (const char* name : {"headless.ts", "headless.mkv"}) {
      BOOST_TEST_CONTEXT(name) {
        write_stripes(folder / "whole.mkv", {.codec = "libx264", .format = AV_PIX_FMT_YUV420P}, 30);
        write_stripes(
            folder / name,
            {.codec = "libx264", .format = AV_PIX_FMT_YUV420P, .keep = [](const AVPacket&, int i) { return i >= 5; }},
            30);
        Video video = open_by_libav(folder / name), whole = open_by_libav(folder / "whole.mkv");
        BOOST_REQUIRE(video.metadata().total_num_frames == 18);  // the second key frame is number 12
        BOOST_TEST((video.frame(0).pixels == whole.frame(12).pixels));
        BOOST_TEST((video.frame(17).pixels == whole.frame(29).pixels));
      }
    }
  }
  // Truncated: the readable frames count.
  write_noise(folder / "a.mkv", {.codec = "ffv1", .format = AV_PIX_FMT_BGR0, .key_every = 1}, 16, 16, 8);
  file = test::read_file(folder / "a.mkv");
  std::int64_t most = 0;
  for (std::size_t size = file.size() / 3; size < file.size(); size += 97) {
    const std::int64_t count = decode(folder.write("cut.mkv", file.substr(0, size)));
    BOOST_TEST(count >= most - 1);
    most = std::max(most, count);
  }
  BOOST_TEST(most >= 7);
}

BOOST_AUTO_TEST_CASE(damage_amid_a_video_is_an_error_that_says_where) {
  const test::TemporaryFolder folder;
  write_noise(folder / "a.mov", {.codec = "png", .format = AV_PIX_FMT_RGB24}, 8, 6, 5);
  std::string file = test::read_file(folder / "a.mov");
  const auto find_third = [&] {
    std::size_t at = 0;
    for (int i = 0; i < 3; ++i) at = file.find("\x89PNG", at + 1);
    BOOST_REQUIRE(at != std::string::npos);
    return at;
  };
  file.replace(find_third(), 8, "damaged!");
  Video video = open_by_libav(folder.write("bad.mov", file));
  BOOST_TEST(fails_with([&] { video.frame(4); }, "bad.mov is damaged: it cannot be decoded after 2 frames"));
  BOOST_TEST(fails_with([&] { video.frame(4); }, "after 2 frames"));  // again, and then a frame before it
  BOOST_TEST((video.frame(1).pixels == noise(8, 6, 1).pixels));
  // Where frames have to be decoded to be counted, here because the file claims 9, the damage shows at once.
  write_noise(folder / "a.avi", {.codec = "png", .format = AV_PIX_FMT_RGB24}, 8, 6, 5);
  file = test::read_file(folder / "a.avi");
  file.replace(find_third(), 8, "damaged!");
  file[file.find("avih") + 24] = file[file.find("strh") + 40] = '\x09';
  BOOST_TEST(fails_with([&] { open_by_libav(folder.write("bad.avi", file)); }, "cannot be decoded after 2 frames"));
}

BOOST_AUTO_TEST_CASE(what_is_no_video) {
  const test::TemporaryFolder folder;
  const auto error = [&](const std::string& content, const char* what, const char* name = "bad.mp4") {
    const auto file = folder.write(name, content);
    BOOST_TEST(fails_with([&] { open_by_libav(file); }, what), what);
    BOOST_TEST(fails_with([&] { open_by_libav(file); }, name));
  };
  error("", "is no video that libav can read");
  error("{\"a\": 1}", "is no video that libav can read");
  error(std::string(100000, 'x'), "is no video that libav can read");
  error(test::read_file(fs::path(QWEN3VL_EXAMPLE_ASSETS) / "tiny-shapes/expected/clips/01/00.png"), "is an image");
  // Lists of other files, one of which is there.
  write_noise(folder / "there.mkv", {.codec = "ffv1", .format = AV_PIX_FMT_BGR0}, 8, 6, 2);
  const std::string there = (folder / "there.mkv").string();
  error("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + there + "\n#EXT-X-ENDLIST\n",
        "is a list of other files", "list.m3u8");
  error("ffconcat version 1.0\nfile " + there + "\n", "is a list of other files", "list.txt");
  // Sound alone: PCM, 8 bits, mono.
  const std::string sound(8000, '\x80');
  error(
      std::string("RIFF\x64\x1f\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\x40\x1f\0\0", 44) +
          sound,
      "has no video in it", "sound.wav");
  BOOST_TEST(fails_with([&] { LibavVideo(folder / "none.mp4"); }, "cannot open"));
  BOOST_TEST(fails_with([&] { LibavVideo{folder.path()}; }, "is not a regular file"));
  BOOST_TEST(
      fails_with([&] { LibavVideo(folder / "there.mkv", std::nullopt, {.max_pixels = 47}); }, "over the limit of 47"));
  BOOST_TEST(LibavVideo(folder / "there.mkv", std::nullopt, {.max_pixels = 48}).metadata().total_num_frames == 2);
  // A name with a meaning to libav is treated as a plain name.
  fs::copy_file(folder / "there.mkv", folder / "concat:%03d.mkv");
  BOOST_TEST(LibavVideo(folder / "concat:%03d.mkv").metadata().total_num_frames == 2);
}

BOOST_AUTO_TEST_CASE(the_log_is_as_it_was) {
  const test::TemporaryFolder folder;
  write_noise(folder / "a.mkv", {.codec = "ffv1", .format = AV_PIX_FMT_BGR0}, 8, 6, 2);
  const int before = av_log_get_level();
  av_log_set_level(AV_LOG_WARNING);
  {
    LibavVideo video(folder / "a.mkv");
    video.frame(1);
    BOOST_TEST(av_log_get_level() == AV_LOG_WARNING);
    const detail::LibavSilence outer;
    BOOST_TEST(av_log_get_level() == AV_LOG_QUIET);
    video.frame(0);
    BOOST_TEST(av_log_get_level() == AV_LOG_QUIET);
  }
  BOOST_TEST(av_log_get_level() == AV_LOG_WARNING);
  av_log_set_level(before);
}

BOOST_AUTO_TEST_CASE(files_compiled_without_libav_are_of_the_same_program) {
  const test::TemporaryFolder folder;
  write_noise(folder / "a.mkv", {.codec = "ffv1", .format = AV_PIX_FMT_BGR0}, 8, 6, 3);
  const MediaReaders readers = linked_readers();
  BOOST_TEST(frames_counted_without_libav(folder / "a.mkv", &readers) == 3);
  const char* const advice = "is neither a folder of numbered images nor a GIF; for video files, link the CMake target";
  BOOST_TEST(fails_with([&] { frames_counted_without_libav(folder / "a.mkv", nullptr); }, advice));
  BOOST_TEST(fails_with([&] { open_video(folder / "a.mkv"); }, advice));
}

BOOST_AUTO_TEST_CASE(every_truncation_and_many_changes_are_an_error_or_a_video) {
  const test::TemporaryFolder folder;
  std::mt19937 random(7);
  struct Case {
    const char *file, *codec;
    AVPixelFormat format;
  };
  int whole = 0;
  for (const Case& each : {Case{"a.mkv", "ffv1", AV_PIX_FMT_YUV420P}, Case{"b.mov", "png", AV_PIX_FMT_RGB24},
                           Case{"c.mp4", "mpeg4", AV_PIX_FMT_YUV420P}, Case{"d.avi", "mpeg4", AV_PIX_FMT_YUV420P},
                           Case{"e.mp4", "libx264", AV_PIX_FMT_YUV420P}, Case{"f.ts", "libx264", AV_PIX_FMT_YUV420P},
                           Case{"g.webm", "libvpx", AV_PIX_FMT_YUV420P}}) {
    if (!test::has_encoder(each.codec)) continue;
    WriterOptions options{.codec = each.codec, .format = each.format, .key_every = 5};
    if (each.format != AV_PIX_FMT_RGB24 && std::string(each.codec) != "ffv1" && each.file != std::string("d.avi"))
      options.b_frames = 2;
    if (each.file[0] == 'c' || each.file[0] == 'e') options.muxer_options = {{"movflags", "faststart"}};
    if (each.format == AV_PIX_FMT_RGB24)
      write_noise(folder / each.file, options, 16, 12, 12);
    else
      write_stripes(folder / each.file, options, 12);
    const std::string good = test::read_file(folder / each.file);
    whole += decode(folder / each.file) == 12;
    const std::size_t step = good.size() / 150 + 1;
    for (std::size_t size = 0; size < good.size(); size += step) decode(folder.write("cut", good.substr(0, size)));
    for (int i = 0; i < 200; ++i) {
      std::string bad = good;
      // Half of them in the first part, where the sizes and tables are.
      const std::size_t range = i % 2 == 0 ? std::min<std::size_t>(bad.size(), 1500) : bad.size();
      for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes)
        bad[random() % range] = static_cast<char>(random() % 2 ? random() : 1u << random() % 8);
      decode(folder.write("changed", bad));
    }
  }
  BOOST_TEST(whole >= 4);
}
