// Still images of the kinds beside PNG and JPEG, and orientation, against Pillow's pixels; hostile files; kinds that
// are not read; base64 and data URLs.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_stills
#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/base/base64.hpp"
#include "qwen3vl/io/image/image_file.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/image/convert_rgb.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::json;
using test::fails_with;
using namespace std::string_literals;
namespace fs = std::filesystem;

namespace {

const fs::path stills = fs::path(QWEN3VL_TEST_DATA) / "assets/stills";

Image decode(const std::string& file, const ImageLimits& limits = {}) {
  return decode_image(std::as_bytes(std::span(file)), "image", limits, linked_readers());
}

std::string little_endian(std::uint32_t number, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(std::uint64_t{number} >> 8 * i & 255);
  return text;
}

/// A WebP file of these chunks.
std::string webp(const std::string& chunks) {
  return "RIFF" + little_endian(static_cast<std::uint32_t>(chunks.size() + 4), 4) + "WEBP" + chunks;
}
std::string chunk(const std::string& name, const std::string& data) {
  return name + little_endian(static_cast<std::uint32_t>(data.size()), 4) + data + (data.size() % 2 != 0 ? "\0"s : "");
}
/// The header of an extended WebP file.
std::string canvas(std::uint32_t width, std::uint32_t height, int flags) {
  return chunk("VP8X", little_endian(static_cast<std::uint32_t>(flags), 4) + little_endian(width - 1, 3) +
                           little_endian(height - 1, 3));
}

/// A BMP of 32 bits with only a header.
std::string bmp(std::uint32_t width, std::uint32_t height, int bits = 32) {
  return "BM" + little_endian(0, 8) + little_endian(54, 4) + little_endian(40, 4) + little_endian(width, 4) +
         little_endian(height, 4) + little_endian(1, 2) + little_endian(static_cast<std::uint32_t>(bits), 2) +
         std::string(24, '\0');
}

std::string unbase64(std::string_view text) { return decode_base64(text, "x"); }

}  // namespace

BOOST_AUTO_TEST_CASE(pixels_are_those_of_pillow) {
  const MediaReaders readers = linked_readers();
  const json expected = json::parse(test::read_file(stills / "expected.json"));
  int exact = 0;
  for (const auto& [name, about] : expected.items()) {
    BOOST_TEST_CONTEXT(name) {
      if (readers.webp == nullptr && name.ends_with(".webp")) continue;
      const Image image = convert_to_rgb(load_image(stills / name, {}, readers));
      BOOST_TEST(image.height == about.at("height").get<int>());
      BOOST_TEST(image.width == about.at("width").get<int>());
      if (readers.jpeg == nullptr && name.ends_with(".jpg")) continue;
      BOOST_TEST(test::crc32(image.pixels) == about.at("crc32").get<std::uint32_t>());
      ++exact;
    }
  }
  BOOST_TEST(exact > 50);
}

BOOST_AUTO_TEST_CASE(images_have_the_names_of_their_files) {
  BOOST_TEST(load_image(stills / "gray.bmp").name == (stills / "gray.bmp").string());
  BOOST_TEST(load_image(stills / "orientation_exif.png").name == (stills / "orientation_exif.png").string());
}

BOOST_AUTO_TEST_CASE(webp_without_its_library) {
  const std::string file = test::read_file(stills / "lossy_RGB.webp");
  BOOST_TEST(fails_with([&] { decode_image(std::as_bytes(std::span(file)), "a.webp"); }, "a.webp is a WebP file"));
  BOOST_TEST(fails_with([&] { decode_image(std::as_bytes(std::span(file)), "a.webp"); }, "libwebp-dev"));
}

BOOST_AUTO_TEST_CASE(webp_files_that_are_wrong) {
  const std::string good = test::read_file(stills / "lossless_RGBA.webp"), image = good.substr(12);
  BOOST_TEST(fails_with([&] { decode(good, {.max_pixels = 13 * 9 - 1}); }, "over the limit of 116 pixels"));
  BOOST_TEST(fails_with([&] { decode(good.substr(0, good.size() - 3)); }, "ends early"));
  BOOST_TEST(fails_with([&] { decode(good.substr(0, 17)); }, "ends early"));
  BOOST_TEST(fails_with([&] { decode(webp(chunk("ICCP", "x"))); }, "has no image"));
  const std::string enormous =
      webp(canvas(1 << 24, 1 << 24, 0x12) + chunk("ANMF", std::string(6, '\0') + little_endian(12, 3) +
                                                              little_endian(8, 3) + little_endian(100, 4) + image));
  // A canvas of 2^48 pixels, and one that is not of its image's size.
  BOOST_TEST(fails_with([&] { decode(enormous); }, "over the limit"));
  BOOST_TEST(fails_with([&] { decode(webp(canvas(14, 9, 0x10) + image)); }, "not of the size that its header says"));
  BOOST_TEST(fails_with([&] { decode(webp("VP8X\xff\xff\xff\x7f" + image)); }, "is damaged"));
  BOOST_TEST(fails_with([&] { decode(webp("VP8L\xff\xff\xff\x7f" + image.substr(8))); }, "past its end"));
  // Frames beside the canvas, and without an image.
  const std::string animation(canvas(20, 20, 0x12));
  const auto frame = [&](std::uint32_t left, const std::string& data) {
    return webp(animation + chunk("ANMF", little_endian(left, 3) + little_endian(0, 3) + little_endian(12, 3) +
                                              little_endian(8, 3) + little_endian(100, 4) + data));
  };
  BOOST_TEST(fails_with([&] { decode(frame(4, image)); }, "does not fit into it"));
  BOOST_TEST(fails_with([&] { decode(frame(0xffffff, image)); }, "does not fit into it"));
  BOOST_TEST(fails_with([&] { decode(frame(0, chunk("ALPH", "x"))); }, "cut off"));
  BOOST_TEST(fails_with([&] { decode(webp(animation + chunk("ANMF", "x"))); }, "cut off"));
  if (linked_readers().webp != nullptr) {
    BOOST_TEST(decode(frame(3, image)).width == 20);
    BOOST_TEST(fails_with([&] { decode(webp(chunk("VP8L", image.substr(8, 12)))); }, "image is damaged"));
    // A long animation: only the first frame is looked at.
    std::string many = animation + chunk("ANMF", std::string(6, '\0') + little_endian(12, 3) + little_endian(8, 3) +
                                                     little_endian(100, 4) + image);
    for (int i = 0; i < 100'000; ++i) many += chunk("ANMF", "");
    BOOST_TEST(decode(webp(many)).height == 20);
  }
}

BOOST_AUTO_TEST_CASE(gif_files_that_are_wrong) {
  const std::string good = test::read_file(stills / "interlaced.gif");
  BOOST_TEST(fails_with([&] { decode(good, {.max_pixels = 13 * 9 - 1}); }, "over the limit of 116 pixels"));
  BOOST_TEST(fails_with([&] { decode(good.substr(0, 9)); }, "it ends early"));
  BOOST_TEST(fails_with([&] { decode("GIF89a\x01\0\x01\0\0\0\0;"s); }, "it has no frames"));
  BOOST_TEST(fails_with([&] { decode(good.substr(0, good.size() - 20)); }, "end or break off in row"));
  BOOST_TEST(fails_with([&] { decode("GIF89a"s + std::string(20, '!')); }, "it ends early"));
}

BOOST_AUTO_TEST_CASE(bmp_files_that_are_wrong) {
  BOOST_TEST(fails_with([&] { decode(bmp(0, 1)); }, "an image of 0 x 1"));
  BOOST_TEST(fails_with([&] { decode(bmp(1, 0x80000000u)); }, "over the limit"));
  BOOST_TEST(fails_with([&] { decode(bmp(0xffffffffu, 0xffffffffu)); }, "over the limit"));
  BOOST_TEST(fails_with([&] { decode(bmp(10000, 10000)); }, "ends before its last row"));
  BOOST_TEST(fails_with([&] { decode(bmp(1, 1, 2)); }, "a BMP of 2 bits per pixel, which is not read; convert it"));
  BOOST_TEST(fails_with([&] { decode("BM"); }, "it ends early"));
  std::string png_inside = bmp(1, 1);
  png_inside[30] = 5;
  BOOST_TEST(fails_with([&] { decode(png_inside); }, "a BMP of compression 5"));
  png_inside[30] = 1;
  BOOST_TEST(fails_with([&] { decode(png_inside); }, "run lengths without a palette"));
  BOOST_TEST(fails_with([&] { decode(test::read_file(stills / "run_lengths_8.bmp").substr(0, 1100)); }, "ends early"));
}

BOOST_AUTO_TEST_CASE(damaged_files_are_errors_or_images) {
  std::mt19937 random(1);
  int errors = 0;
  for (const char* name : {"lossy_RGBA.webp", "lossless_RGB.webp", "animated_RGBA.webp", "small_frame.webp",
                           "transparent.gif", "interlaced.gif", "4_bits.bmp", "bgra.bmp", "run_lengths_4.bmp",
                           "run_lengths_8.bmp", "orientation_profile_packed.png", "orientation_in_two.jpg"})
    errors += test::errors_of_damaged(test::read_file(stills / name), 300, random,
                                      [](const std::string& file) { decode(file, {.max_pixels = 1 << 20}).check(); });
  BOOST_TEST(errors > 800);
}

BOOST_AUTO_TEST_CASE(kinds_that_are_not_read) {
  const auto check = [](const std::string& file, const std::string& what) {
    BOOST_TEST(fails_with([&] { decode(file); }, what), what);
  };
  check("II*\0\x08\0\0\0"s, "image is a TIFF file, which is not read; convert it: magick FILE out.png");
  check("MM\0*\0\0\0\x08"s, "a TIFF file");
  check(
      "\0\0\0\x20"
      "ftypavif\0\0\0\0"s,
      "an AVIF file, which is not read; convert it: avifdec FILE out.png");
  check(
      "\0\0\0\x18"
      "ftypheic\0\0\0\0"s,
      "a HEIC file, which is not read; convert it: heif-convert");
  check(
      "\0\0\0\x18"
      "ftypmp42\0\0\0\0"s,
      "image is a video; hand it over as a video");
  check("\xff\x0a\0\0"s, "a JPEG XL file, which is not read; convert it: djxl");
  check("\0\0\0\x0cJXL \r\n\x87\n"s, "a JPEG XL file");
  check("<svg xmlns=''/>", "an SVG file, which is not read; convert it: rsvg-convert");
  check("\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by x -->\n<SVG/>", "an SVG file");
  check("%PDF-1.7\n", "a PDF file, which is not read; convert its pages: pdftoppm");
  check("\n<!DOCTYPE html><html>", "image is a web page; was the page saved");
  check("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; get it: git lfs pull");
  check("P6\n1 1\n255\nabc", "a PNM file");
  check("Hello", "image is not an image of a kind that is read (PNG, JPEG, WebP, GIF, BMP)");
  check("<", "is not an image of a kind that is read");
}

// Values by Python's base64.
BOOST_AUTO_TEST_CASE(base64) {
  BOOST_TEST(unbase64("") == "");
  BOOST_TEST(unbase64("AA==") == "\0"s);
  BOOST_TEST(unbase64("aGk=") == "hi");
  BOOST_TEST(unbase64("aGkh") == "hi!");
  BOOST_TEST(unbase64("aG\r\n kh\n") == "hi!");
  BOOST_TEST(unbase64("+/+/") == "\xfb\xff\xbf");
  BOOST_TEST(unbase64("-_-_") == "\xfb\xff\xbf");  // the alphabet for URLs
  BOOST_TEST(unbase64("aGk") == "hi");             // padding may be left out
  BOOST_TEST(unbase64("////AAECAwQFBgcICQ==") == "\xff\xff\xff\0\1\2\3\4\5\6\7\x08\x09"s);
  BOOST_TEST(fails_with([] { unbase64("aGkha"); }, "x is not base64: 5 characters and 0 of padding"));
  BOOST_TEST(fails_with([] { unbase64("aGkh="); }, "is it cut off?"));
  BOOST_TEST(fails_with([] { unbase64("aG=kh"); }, "goes on after the padding, at character 3 of 5"));
  BOOST_TEST(fails_with([] { unbase64("aG*kh"); }, "character 2 of 5 is '*'"));
  BOOST_TEST(decode_data_url("data:image/png;base64,aGkh", "x") == "hi!");
  BOOST_TEST(decode_data_url("data:,aGkh", "x") == "hi!");
  BOOST_TEST(decode_data_url("data:image/png;base64,%2B%2f%2B/", "x") == "\xfb\xff\xbf");
  BOOST_TEST(decode_data_url("data:image/png;charset=utf-8;base64,aGk%3D", "x") == "hi");
  BOOST_TEST(fails_with([] { decode_data_url("data:image/png;base64,a%2", "x"); }, "is '%'"));
  BOOST_TEST(fails_with([] { decode_data_url("data:image/png", "x"); }, "without a comma"));
  // Only the beginning of the data is shown.
  try {
    decode_data_url("data:image/png;base64," + std::string(100'000, 'Q') + "*", "x");
    BOOST_ERROR("read");
  } catch (const Error& error) {
    BOOST_TEST(std::string(error.what()).size() < 250u);
    BOOST_TEST(std::string(error.what()).find("(100001 characters)") != std::string::npos);
  }
}
