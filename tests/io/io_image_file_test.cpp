// Images from files: orientation, limits, damaged and hostile files.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_image_file
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/io/image/image_file.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

using namespace std::string_literals;

namespace {

const std::filesystem::path images = std::filesystem::path(QWEN3VL_TEST_DATA) / "golden/cases/processing/images";

Image decode(const std::string& file, const ImageLimits& limits = {}) {
  return decode_image(std::as_bytes(std::span(file)), "picture", limits);
}

/// A TIFF structure with one entry, the orientation, in either byte order.
std::string tiff(int orientation, bool little) {
  const auto number = [&](std::uint32_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * (little ? i : bytes - 1 - i)));
    return text;
  };
  return (little ? "II" : "MM") + number(42, 2) + number(8, 4) + number(1, 2) + number(0x0112, 2) + number(3, 2) +
         number(1, 4) + number(static_cast<std::uint32_t>(orientation), 2) + number(0, 2) + number(0, 4);
}

/// The JPEG with an Exif segment after its first marker.
std::string jpeg_with(const std::string& exif) {
  const std::string jpeg = test::read_file(images / "chelsea.jpg");
  const std::string body = std::string("Exif\0\0", 6) + exif;
  const auto length = static_cast<std::uint16_t>(body.size() + 2);
  return jpeg.substr(0, 2) + "\xff\xe1" + static_cast<char>(length >> 8) + static_cast<char>(length & 0xff) + body +
         jpeg.substr(2);
}

/// The PNG with an eXIf chunk behind its header (stb_image does not look at checksums).
std::string png_with(const std::string& exif) {
  const std::string png = test::read_file(images / "astronaut.png");
  std::string chunk;
  for (int i = 3; i >= 0; --i) chunk += static_cast<char>(exif.size() >> (8 * i));
  return png.substr(0, 33) + chunk + "eXIf" + exif + "\0\0\0\0"s.substr(0, 4) + png.substr(33);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_orientation) {
  // Where the upright image's pixel (y, x) comes from, by the EXIF standard: 1 as stored, 2 mirrored, 3 rotated by 180
  // degrees, 4 flipped, 5 transposed, 6 to be rotated right, 7 transposed the other way, 8 to be rotated left.
  const auto source = [](int orientation, int y, int x, int h, int w) -> std::pair<int, int> {
    switch (orientation) {
      case 2:
        return {y, w - 1 - x};
      case 3:
        return {h - 1 - y, w - 1 - x};
      case 4:
        return {h - 1 - y, x};
      case 5:
        return {x, y};
      case 6:
        return {h - 1 - x, y};
      case 7:
        return {h - 1 - x, w - 1 - y};
      case 8:
        return {x, w - 1 - y};
      default:
        return {y, x};
    }
  };
  for (const bool jpeg : {true, false}) {
    const Image stored = load_image(images / (jpeg ? "chelsea.jpg" : "astronaut.png"));
    for (int orientation = 1; orientation <= 8; ++orientation)
      for (const bool little : {true, false}) {
        const Image turned = decode(jpeg ? jpeg_with(tiff(orientation, little)) : png_with(tiff(orientation, little)));
        BOOST_REQUIRE(turned.height == (orientation < 5 ? stored.height : stored.width));
        BOOST_REQUIRE(turned.width == (orientation < 5 ? stored.width : stored.height));
        for (int y = 0; y < turned.height; ++y)
          for (int x = 0; x < turned.width; ++x) {
            const auto [from_y, from_x] = source(orientation, y, x, stored.height, stored.width);
            for (int c = 0; c < stored.channels; ++c)
              BOOST_REQUIRE(turned.pixels[turned.offset(y, x) + static_cast<std::size_t>(c)] ==
                            stored.pixels[stored.offset(from_y, from_x) + static_cast<std::size_t>(c)]);
          }
      }
  }
}

BOOST_AUTO_TEST_CASE(nonsense_orientations_are_upright) {
  const Image stored = load_image(images / "chelsea.jpg");
  const std::string good = tiff(6, true);
  for (const std::string& exif :
       {tiff(0, true), tiff(9, false), std::string("II"), std::string(), std::string("XX") + good.substr(2),
        good.substr(0, 12), good.substr(0, 4) + "\xff\xff\xff\xff" + good.substr(8)})
    BOOST_TEST(decode(jpeg_with(exif)).width == stored.width);
}

BOOST_AUTO_TEST_CASE(limits_are_asked_before_decoding) {
  const std::string png = test::read_file(images / "astronaut.png");
  BOOST_TEST(fails_with([&] { decode(png, {.max_pixels = 90 * 70 - 1}); }, "over the limit of 6299 pixels"));
  BOOST_TEST(decode(png, {.max_pixels = 90 * 70}).width == 90);
  BOOST_TEST(fails_with([&] { decode(png, {.max_file_bytes = 100}); }, "more than the limit of 100"));
}

BOOST_AUTO_TEST_CASE(channels_are_kept) {
  BOOST_TEST(load_image(images / "page_gray.png").channels == 1);
  BOOST_TEST(load_image(images / "gray_alpha.png").channels == 2);
  BOOST_TEST(load_image(images / "coffee.jpg").channels == 3);
  BOOST_TEST(load_image(images / "logo_rgba.png").channels == 4);
}

BOOST_AUTO_TEST_CASE(pixels_small_and_large) {
  for (const int height : {1, 5, 1400, 3000}) {  // the larger ones have whole huge pages
    Image image{.height = height, .width = 1001, .channels = 3, .pixels = {}};
    image.resize_pixels();
    image.check();
    BOOST_TEST(static_cast<std::size_t>(std::ranges::count(image.pixels, 0)) == image.pixels.size());
    image.pixels.back() = 7;
    const std::size_t last = image.pixels.size() - 1;
    image.height *= 2;
    image.resize_pixels();
    image.check();
    BOOST_TEST(image.pixels[last] == 7);
    BOOST_TEST(image.pixels.back() == 0);
  }
}

BOOST_AUTO_TEST_CASE(not_an_image) {
  const test::TemporaryFolder folder;
  BOOST_TEST(fails_with([&] { load_image(folder / "absent.png"); }, "absent.png"));
  BOOST_TEST(fails_with([&] { load_image(folder.path()); }, "is not a regular file"));
  BOOST_TEST(fails_with([&] { load_image(folder.write("empty.jpg", "")); }, "is empty"));
  BOOST_TEST(
      fails_with([&] { load_image(folder.write("text.jpg", "Hello")); }, "is not an image of a kind that is read"));
  BOOST_TEST(fails_with([&] { load_image(folder.write("a.gif", "GIF89a\x01\0\x01\0\0\0\0;"s)); },
                        "is damaged: it has no frames"));
}

BOOST_AUTO_TEST_CASE(a_jpeg_with_too_large_tables_never_reaches_the_decoder) {
  std::string jpeg = test::read_file(images / "chelsea.jpg");
  const std::size_t table = jpeg.find("\xff\xc4");
  BOOST_REQUIRE(table != std::string::npos);
  jpeg[table + 12] = '\xff';
  jpeg[table + 13] = '\xff';
  BOOST_TEST(fails_with([&] { decode(jpeg); }, "a Huffman table of more than 256 codes"));
  // The decoder takes a first marker with padding.
  BOOST_TEST(fails_with([&] { decode("\xff\xff" + jpeg); }, "a Huffman table of more than 256 codes"));
  // Nor where the file ends among the counts, which then go on as zeros.
  jpeg.resize(table + 14);
  BOOST_TEST(fails_with([&] { decode(jpeg); }, "a Huffman table of more than 256 codes"));
}

// stb_image would use uninitialised memory for them.
BOOST_AUTO_TEST_CASE(a_jpeg_without_its_tables_never_reaches_the_decoder) {
  const std::string jpeg = test::read_file(images / "chelsea.jpg");
  for (const auto& [table, problem] : {std::pair{"\xff\xc4", "a Huffman table that is not there"},
                                       {"\xff\xdb", "a quantization table that is not there"}}) {
    for (std::size_t at = jpeg.find(table); at != std::string::npos && at < jpeg.find("\xff\xda");
         at = jpeg.find(table, at + 2)) {
      std::string without = jpeg;
      without[at + 1] = '\xfe';  // a comment
      BOOST_TEST(fails_with([&] { decode(without); }, problem));
    }
  }
}

BOOST_AUTO_TEST_CASE(chunks_of_a_png_are_checked_before_it_reaches_the_decoder) {
  const std::string png = test::read_file(images / "astronaut.png");
  const std::size_t data = png.find("IDAT");
  std::string changed = png;
  changed.replace(data - 4, 4, "\x7f\xff\xff\xff");  // stb_image would ask for 2 GiB
  BOOST_TEST(fails_with([&] { decode(changed); }, "reaches past its end"));
  changed = png;
  changed.replace(data, 4, "\x1b[2J");  // stb_image would print it
  BOOST_TEST(fails_with([&] { decode(changed); }, "of a kind that is not known"));
  BOOST_TEST(fails_with([&] { decode(png.substr(0, png.size() - 12)); }, "has no end"));
  BOOST_TEST(fails_with([&] { decode(png.substr(0, png.size() - 14)); }, "ends within a chunk"));
}

// One pixel, followed by data that unpack to 40 times the size of the file.
BOOST_AUTO_TEST_CASE(an_image_takes_no_more_memory_than_its_pixels_need) {
  const auto picture = [](int runs) {
    std::string bits;
    const auto put = [&](std::uint32_t value, int count) {
      for (int i = 0; i < count; ++i) bits += (value >> i & 1) != 0 ? '1' : '0';
    };
    const auto put_code = [&](std::uint32_t value, int count) {
      for (int i = count; i-- > 0;) put(value >> i, 1);
    };
    put(0b011, 3);                                  // one block of fixed codes
    for (int i = 0; i < 4; ++i) put_code(0x30, 8);  // four zeros: the pixel's row
    for (int i = 0; i < runs; ++i) {
      put_code(0b11000101, 8);  // 258 bytes
      put_code(0, 5);           // as the one before
    }
    put_code(0, 7);  // the end
    std::string data = "\x78\x01";
    for (std::size_t i = 0; i < bits.size(); i += 8) {
      int byte = 0;
      for (std::size_t k = 0; k < 8 && i + k < bits.size(); ++k) byte |= (bits[i + k] - '0') << k;
      data += static_cast<char>(byte);
    }
    data += "sum.";  // unused, but the decoder reads ahead
    const auto chunk = [](const std::string& kind, const std::string& body) {
      std::string size;
      for (int i = 3; i >= 0; --i) size += static_cast<char>(body.size() >> (8 * i));
      return size + kind + body + "crc.";
    };
    return "\x89PNG\r\n\x1a\n" + chunk("IHDR", "\0\0\0\1\0\0\0\1\x08\2\0\0\0"s) + chunk("IDAT", data) +
           chunk("IEND", "");
  };
  BOOST_TEST(decode(picture(0)).width == 1);
  BOOST_TEST(decode(picture(100)).width == 1);
  BOOST_TEST(fails_with([&] { decode(picture(40'000)); }, "than an image of 1 x 1 can need"));
}

BOOST_AUTO_TEST_CASE(scans_of_a_jpeg_are_limited) {
  const std::string jpeg = test::read_file(images / "chelsea.jpg");
  const std::size_t scan = jpeg.find("\xff\xda");
  BOOST_REQUIRE(scan != std::string::npos);
  const std::string header = jpeg.substr(scan, 2 + 12);  // of three channels
  std::string many = jpeg.substr(0, jpeg.size() - 2);
  for (int i = 0; i < 100; ++i) many += header;
  BOOST_TEST(fails_with([&] { decode(many + "\xff\xd9"); }, "more scans than the limit (ImageLimits::max_scans)"));
  BOOST_TEST(decode(jpeg, {.max_scans = 1}).width > 0);
  BOOST_TEST(fails_with([&] { decode(jpeg, {.max_scans = 0}); }, "max_scans"));
}

BOOST_AUTO_TEST_CASE(damaged_files_are_errors_or_images) {
  std::mt19937 random(1);
  int errors = 0;
  for (const char* name : {"chelsea.jpg", "astronaut.png", "palette.png", "gray_alpha.png"})
    errors += test::errors_of_damaged(test::read_file(images / name), 400, random,
                                      [](const std::string& file) { decode(file, {.max_pixels = 1 << 22}).check(); });
  BOOST_TEST(errors > 200);
}
