// JPEG files through libjpeg-turbo: pixels identical to Pillow's, damaged files.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_turbojpeg_image
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <random>
#include <string>

#include "parity/golden_case.hpp"
#include "qwen3vl/io/image/turbojpeg_image.hpp"
#include "qwen3vl/io/video/linked_readers.hpp"
#include "qwen3vl/processing/image/convert_rgb.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

namespace {

const std::filesystem::path cases = std::filesystem::path(QWEN3VL_TEST_DATA) / "golden/cases/processing";

Image decode(const std::string& file) {
  return decode_image(std::as_bytes(std::span(file)), "picture", {}, {.jpeg = decode_by_turbojpeg});
}

/// The same by the library itself.
Image decode_by_stb(const std::string& file) { return decode_image(std::as_bytes(std::span(file)), "picture"); }

/// A smooth image of 4 channels as a JPEG.
std::string encoded(TJPF from, TJSAMP sampling, int flags = 0) {
  constexpr int height = 45, width = 67;
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < tjPixelSize[from]; ++c)
        pixels.push_back(
            static_cast<std::uint8_t>(128.0 + 60.0 * std::sin(0.05 * x * (c + 1)) + 50.0 * std::cos(0.07 * y)));
  const std::unique_ptr<void, int (*)(tjhandle)> encoder(tjInitCompress(), tjDestroy);
  unsigned char* out = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): its type
  BOOST_REQUIRE(tjCompress2(encoder.get(), pixels.data(), width, 0, height, from, &out, &size, sampling, 90, flags) ==
                0);
  std::string file(reinterpret_cast<const char*>(out), size);
  tjFree(out);
  return file;
}

int largest_difference(const Image& a, const Image& b) {
  BOOST_REQUIRE((a.height == b.height && a.width == b.width && a.channels == b.channels));
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

}  // namespace

BOOST_AUTO_TEST_CASE(pixels_are_those_of_pillow) {
  const JpegDecoder decoder = linked_readers().jpeg;
  BOOST_REQUIRE(decoder == &decode_by_turbojpeg);  // comes with the CMake target
  const parity::GoldenCase golden(cases / "images_small.json");
  int files = 0;
  for (const auto& [file, about] : golden.options().at("files").items()) {
    if (!file.ends_with(".jpg")) continue;
    const Image image = convert_to_rgb(load_image(cases / "images" / file, {}, {.jpeg = decoder}));
    const auto expected = golden.integers("in." + file + ".rgb");  // [3, height, width]
    const std::size_t area = image.pixels.size() / 3;
    BOOST_REQUIRE(expected.size() == image.pixels.size());
    std::size_t different = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) different += expected[i] != image.pixels[i % area * 3 + i / area];
    BOOST_TEST(different == 0u, file);
    ++files;
  }
  BOOST_TEST(files >= 2);
}

BOOST_AUTO_TEST_CASE(every_kind_of_jpeg) {
  for (const TJSAMP sampling : {TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_440, TJSAMP_411, TJSAMP_GRAY})
    for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
      const std::string file = encoded(TJPF_RGB, sampling, flags);
      const Image image = decode(file);
      BOOST_TEST(image.channels == (sampling == TJSAMP_GRAY ? 1 : 3));
      BOOST_TEST(largest_difference(image, decode_by_stb(file)) <= 8, "sampling " << sampling);  // smooth: a few units
    }
}

// Exactly Pillow's: io_stills_test.
BOOST_AUTO_TEST_CASE(four_inks_become_rgb) {
  const std::string file = encoded(TJPF_CMYK, TJSAMP_444);
  const Image image = decode(file);
  BOOST_TEST(image.channels == 3);
  BOOST_TEST(largest_difference(image, decode_by_stb(file)) <= 8);
}

BOOST_AUTO_TEST_CASE(a_decoder_of_ones_own) {
  const JpegDecoder own = [](std::span<const std::byte>, int height, int width,
                             const std::string&) -> std::optional<Image> {
    Image image{.height = height, .width = width, .channels = 1, .pixels = {}};
    image.pixels.assign(image.offset(height, 0), 77);
    return image;
  };
  BOOST_TEST(load_image(cases / "images" / "chelsea.jpg", {}, {.jpeg = own}).pixels.at(5) == 77);
  BOOST_TEST(load_image(cases / "images" / "astronaut.png", {}, {.jpeg = own}).channels == 3);
}

BOOST_AUTO_TEST_CASE(damaged_files_are_errors_or_images) {
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const std::string whole = encoded(TJPF_RGB, TJSAMP_420, flags);
    BOOST_TEST(fails_with([&] { decode(whole.substr(0, whole.size() - 40)); }, "picture is damaged: Premature end"));
    std::mt19937 random(1);
    const int errors = test::errors_of_damaged(whole, 1000, random, [](const std::string& file) {
      decode_image(std::as_bytes(std::span(file)), "picture", {.max_pixels = 1 << 22}, {.jpeg = decode_by_turbojpeg})
          .check();
    });
    BOOST_TEST(errors > 200);
  }
}
