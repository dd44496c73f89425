// Images to patches against the reference: sizes, resized images bit for bit, pixel values, options, files.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_image_processor
#include <boost/test/unit_test.hpp>
#include <cstdlib>

#include "parity/golden_case.hpp"
#include "qwen3vl/processing/image/image_processor.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using nlohmann::json;

namespace {

const std::filesystem::path cases = std::filesystem::path(QWEN3VL_TEST_DATA) / "golden/cases/processing";

parity::GoldenCase golden_case(const std::string& name) { return parity::GoldenCase(cases / (name + ".json")); }

/// [channels, height, width] or [height, width, channels] of U8 as an image.
Image picture(const parity::GoldenCase& golden, const std::string& name, bool planar) {
  const auto& shape = golden.tensor(name).shape;
  Image image{.height = static_cast<int>(shape[planar ? 1 : 0]),
              .width = static_cast<int>(shape[planar ? 2 : 1]),
              .channels = static_cast<int>(shape[planar ? 0 : 2]),
              .pixels = {}};
  const auto values = golden.integers(name);
  image.pixels.resize(values.size());
  const auto area = static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width);
  const auto channels = static_cast<std::size_t>(image.channels);
  for (std::size_t i = 0; i < values.size(); ++i)
    image.pixels[planar ? i % area * channels + i / area : i] = static_cast<std::uint8_t>(values[i]);
  return image;
}

int largest_difference(const Image& a, const Image& b) {
  if (a.height != b.height || a.width != b.width || a.channels != b.channels) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

double largest_difference(const HostMatrix<float>& a, const std::vector<float>& b) {
  if (static_cast<std::size_t>(a.size()) != b.size()) return 1e9;
  double largest = 0.0;
  for (std::size_t i = 0; i < b.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a.span()[i]) - static_cast<double>(b[i])));
  return largest;
}

std::vector<GridThw> grids_of(const json& list) {
  std::vector<GridThw> grids;
  for (const auto& row : list) grids.push_back({row[0], row[1], row[2]});
  return grids;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/// The reference's message without its type ("ValueError: ").
std::string message(const json& error) {
  const auto text = error.get<std::string>();
  return text.substr(text.find(": ") + 2);
}

}  // namespace

BOOST_AUTO_TEST_CASE(smart_resize_table) {
  const json table = golden_case("smart_resize_image").options();
  for (const auto& row : table.at("rows")) {
    const auto call = [&] { return smart_resize(row[0], row[1], row[2], row[3], row[4]); };
    if (row[7].is_null()) {
      const ImageSize size = call();
      BOOST_TEST((size.height == row[5] && size.width == row[6]),
                 row.dump() << ": got " << size.height << " x " << size.width);
    } else {
      const std::string error = error_of([&] { call(); });
      BOOST_TEST(error.find(message(row[7]).substr(0, 60)) == 0, row.dump() << ": " << error);
    }
  }
  BOOST_TEST(table.at("rows").size() > 20);
}

BOOST_AUTO_TEST_CASE(patch_counts_table) {
  const ImageProcessor processor;
  const json table = golden_case("patch_counts").options();
  for (const auto& row : table.at("rows"))
    BOOST_TEST(processor.number_of_patches(row[1], row[2]) == row[5].get<std::int64_t>(), row.dump());
}

BOOST_AUTO_TEST_CASE(resized_images_are_bit_exact) {
  const auto golden = golden_case("images_small");
  ImageProcessorOptions options;
  options.shortest_edge = golden.options().at("size").at("shortest_edge");
  options.longest_edge = golden.options().at("size").at("longest_edge");
  const ImageProcessor processor(options);
  for (const auto& [file, about] : golden.options().at("files").items()) {
    const Image rgb = picture(golden, "in." + file + ".rgb", true);
    const ImageSize size = processor.resized_size(rgb.height, rgb.width);
    const auto compare = [&, &file = file](const char* name, ResizeBackend backend) {
      const std::string key = "out." + file + "." + name;
      if (!golden.has(key)) return;
      const Image expected = picture(golden, key, true);
      BOOST_TEST(largest_difference(resize(rgb, size, Resample::bicubic, backend), expected) == 0, key);
    };
    compare("resized_torchvision", ResizeBackend::torchvision);
    compare("resized_pil", ResizeBackend::pil);
    const ImageFeatures features = processor(std::span(&rgb, 1));
    BOOST_TEST((features.image_grid_thw == golden.grids("out." + file + ".image_grid_thw")), file);
    if (golden.has("out." + file + ".pixel_values"))
      BOOST_TEST(largest_difference(features.pixel_values, golden.floats("out." + file + ".pixel_values")) <= 1e-6,
                 file);
  }
}

BOOST_AUTO_TEST_CASE(files_become_the_same_rgb) {
  const auto golden = golden_case("images_small");
  for (const auto& [file, about] : golden.options().at("files").items()) {
    const Image rgb = convert_to_rgb(load_image(cases / "images" / file));
    const Image expected = picture(golden, "in." + file + ".rgb", true);
    // PNG is exact. JPEG decoders may round differently; stb_image and libjpeg differ by a few units.
    BOOST_TEST(largest_difference(rgb, expected) <= (file.ends_with(".jpg") ? 4 : 0),
               file << " differs by " << largest_difference(rgb, expected));
  }
}

BOOST_AUTO_TEST_CASE(hub_settings) {
  const auto golden = golden_case("images_hub_settings");
  const ImageProcessor processor(image_processor_options_from_json({golden.options().at("settings"), "settings"}));
  for (const auto& row : golden.options().at("rows")) {
    const auto file = row.at("file").get<std::string>();
    const Image image = load_image(cases / "images" / file);
    const ImageFeatures features = processor(std::span(&image, 1));
    BOOST_TEST((features.image_grid_thw == grids_of(row.at("image_grid_thw"))), file);
    BOOST_TEST(features.pixel_values.rows() == row.at("pixel_values_shape")[0].get<index_t>(), file);
    double sum = 0.0, squares = 0.0;
    for (const float value : features.pixel_values.span()) {
      sum += static_cast<double>(value);
      squares += static_cast<double>(value) * static_cast<double>(value);
    }
    const auto count = static_cast<double>(features.pixel_values.size());
    const double tolerance = golden.options().at("tolerance");
    BOOST_TEST(std::abs(sum / count - row.at("mean").get<double>()) <= tolerance, file);
    BOOST_TEST(
        std::abs(std::sqrt(squares / count - sum * sum / count / count) - row.at("std").get<double>()) <= tolerance,
        file);
    // A JPEG decoder's few units are several steps of 2 / 255 here.
    const double step = file.ends_with(".jpg") ? 0.035 : tolerance;
    for (std::size_t i = 0; i < row.at("first_values").size(); ++i) {
      BOOST_TEST(std::abs(static_cast<double>(features.pixel_values.span()[i]) -
                          row.at("first_values")[i].get<double>()) <= step,
                 file);
      const std::size_t from_end = features.pixel_values.span().size() - row.at("last_values").size() + i;
      BOOST_TEST(std::abs(static_cast<double>(features.pixel_values.span()[from_end]) -
                          row.at("last_values")[i].get<double>()) <= step,
                 file);
    }
  }
}

BOOST_AUTO_TEST_CASE(batch) {
  const auto golden = golden_case("images_batch");
  ImageProcessorOptions options;
  options.shortest_edge = golden.options().at("size").at("shortest_edge");
  options.longest_edge = golden.options().at("size").at("longest_edge");
  std::vector<Image> images;
  for (const auto& file : golden.options().at("files"))
    images.push_back(load_image(cases / "images" / file.get<std::string>()));
  const ImageFeatures features = ImageProcessor(options)(images);
  BOOST_TEST((features.image_grid_thw == golden.grids("out.image_grid_thw")));
  BOOST_TEST(largest_difference(features.pixel_values, golden.floats("out.pixel_values")) <= 1e-6);
}

BOOST_AUTO_TEST_CASE(each_option) {
  const auto golden = golden_case("image_options");
  const json settings = golden.options().at("settings");
  for (const auto& [name, about] : golden.options().at("cases").items()) {
    json merged = settings;
    merged.update(about.at("options"));
    if (merged.contains("resample") && merged["resample"].is_string()) merged.erase("resample");
    const ImageProcessor processor(image_processor_options_from_json({merged, name}));
    Image image = picture(golden, name == "no_resize" ? "in.image_aligned" : "in.image", false);
    // "channel 0 of in.image as a one-channel picture"
    if (name == "gray_unconverted") {
      Image gray{.height = image.height, .width = image.width, .channels = 1, .pixels = {}};
      for (std::size_t i = 0; i < image.pixels.size(); i += 3) gray.pixels.push_back(image.pixels[i]);
      image = gray;
    }
    const ImageFeatures features = processor(std::span(&image, 1));
    BOOST_TEST((features.image_grid_thw == golden.grids("out." + name + ".image_grid_thw")), name);
    const std::string values_name = about.value("same_as_bicubic", false) ? "bicubic" : name;
    const auto& expected = golden.tensor("out." + values_name + ".pixel_values");
    std::vector<float> values(static_cast<std::size_t>(expected.shape[0] * expected.shape[1]));
    if (expected.dtype == DType::u8) {
      const auto integers = golden.integers("out." + values_name + ".pixel_values");
      values.assign(integers.begin(), integers.end());
    } else {
      read_floats(expected, values);
    }
    // One step of the 8-bit image, in the scale of this option.
    const double scale =
        !merged.value("do_rescale", true) ? 255.0 : merged.value("rescale_factor", 1.0 / 255.0) * 255.0;
    const double difference = largest_difference(features.pixel_values, values);
    BOOST_TEST(difference <= golden.options().at("tolerance").get<double>() * std::max(1.0, scale),
               name << " differs by " << difference);
    std::printf("%-20s %.3g\n", name.c_str(), difference);
  }
  for (const auto& [name, about] : golden.options().at("errors").items()) {
    json merged = settings;
    merged.update(about.at("options"));
    Image image{.height = about.at("shape")[0], .width = about.at("shape")[1], .channels = 3, .pixels = {}};
    image.resize_pixels();
    const std::string error = error_of([&, &name = name] {
      ImageProcessor(image_processor_options_from_json({merged, name}))(std::span(&image, 1));
    });
    const std::string wanted = message(about.at("error"));
    BOOST_TEST(error.find(wanted.substr(0, wanted.find(" keys but"))) != std::string::npos,
               name << ": '" << error << "', wanted " << wanted);
  }
}

namespace {

/// Compares with what the library itself made; returns the number of cases.
std::size_t check_sizes(const char* file, ResizeBackend backend) {
  const json rows = json::parse(test::read_file(concat(QWEN3VL_TEST_DATA "/assets/resize/", file)));
  for (const json& row : rows) {
    const auto v = row.get<std::vector<std::int64_t>>();
    Image image{.height = static_cast<int>(v[0]),
                .width = static_cast<int>(v[1]),
                .channels = static_cast<int>(v[2]),
                .pixels = {}};
    for (std::int64_t y = 0; y < v[0]; ++y)
      for (std::int64_t x = 0; x < v[1]; ++x)
        for (std::int64_t c = 0; c < v[2]; ++c) {
          const std::int64_t s = 37 * x + 101 * y + 53 * c + x * y;
          image.pixels.push_back(static_cast<std::uint8_t>((v[6] != 0 ? s * s * 7919 >> 5 : s) % 256));
        }
    const Image resized = resize(image, {v[3], v[4]}, static_cast<Resample>(v[5]), backend);
    BOOST_TEST(test::crc32(resized.pixels) == v[7], file << ": " << row.dump());
  }
  return rows.size();
}

}  // namespace

BOOST_AUTO_TEST_CASE(libraries_in_every_size) {
  BOOST_TEST(check_sizes("pillow.json", ResizeBackend::pil) == 320u);
  BOOST_TEST(check_sizes("torchvision.json", ResizeBackend::torchvision) == 256u);
}

BOOST_AUTO_TEST_CASE(nearest_between_two_pixels) {
  // The middle of these new pixels falls between two old ones. torchvision computes in float and comes out below;
  // Pillow adds up steps in double, and comes out above until its error has grown.
  Image image{.height = 1, .width = 64, .channels = 1, .pixels = {}};
  for (int x = 0; x < 64; ++x) image.pixels.push_back(static_cast<std::uint8_t>(x));
  const Image torchvision = resize(image, {1, 1312}, Resample::nearest, ResizeBackend::torchvision);
  const Image pillow = resize(image, {1, 1312}, Resample::nearest, ResizeBackend::pil);
  const std::size_t places[] = {143, 266, 307, 553, 594, 635};
  const int below[] = {6, 12, 14, 26, 28, 30}, pillows[] = {7, 13, 15, 26, 28, 30};
  for (std::size_t i = 0; i < 6; ++i) {
    BOOST_TEST(int{torchvision.pixels[places[i]]} == below[i]);
    BOOST_TEST(int{pillow.pixels[places[i]]} == pillows[i]);
  }
}

namespace {

/// The array of a case of image_arrays.json: v, scaled to the type.
template <class T, class F>
Image array_of(const json& about, F&& scaled) {
  const auto shape = about.at("shape").get<std::array<std::int64_t, 3>>();
  const auto [height, width, channels] = shape;
  const bool first = about.at("channels_first");
  std::vector<T> numbers(static_cast<std::size_t>(height * width * channels));
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t v = (37 * x + 101 * y + 53 * c + x * y) * (c == 3 ? 4 : 1) % 256;
        const std::int64_t at = first ? (c * height + y) * width + x : (y * width + x) * channels + c;
        numbers[static_cast<std::size_t>(at)] = static_cast<T>(scaled(v));
      }
  if (!about.at("array").get<bool>()) {  // an image of bytes
    Image image{.height = static_cast<int>(height), .width = static_cast<int>(width), .channels = 3, .pixels = {}};
    image.pixels.assign(numbers.begin(), numbers.end());
    return image;
  }
  return image_from_array(numbers, first ? std::vector{channels, height, width} : std::vector{height, width, channels});
}

Image array_of(const json& about) {
  const auto type = about.at("dtype").get<std::string>();
  if (type == "uint8") return array_of<std::uint8_t>(about, [](std::int64_t v) { return v; });
  if (type == "uint16") return array_of<std::uint16_t>(about, [](std::int64_t v) { return v * 257; });
  if (type == "int16") return array_of<std::int16_t>(about, [](std::int64_t v) { return v * 200 - 20000; });
  if (type == "int32") return array_of<std::int32_t>(about, [](std::int64_t v) { return v * 1000 - 9; });
  const auto part = [](std::int64_t v) { return static_cast<double>(v) / 256.0; };
  return type == "float32" ? array_of<float>(about, part) : array_of<double>(about, part);
}

}  // namespace

BOOST_AUTO_TEST_CASE(arrays_and_settings) {
  const auto golden = golden_case("image_arrays");
  double largest = 0.0, largest_of_integers = 0.0;
  for (const auto& [name, about] : golden.options().at("cases").items()) {
    json merged = golden.options().at("settings");
    merged.update(about.at("options"));
    ImageProcessorOptions options = image_processor_options_from_json({merged, name});
    if (about.at("backend") == "pil") options.backend = ResizeBackend::pil;
    const Image image = array_of(about);
    const ImageFeatures features = ImageProcessor(options)(std::span(&image, 1));
    BOOST_TEST((features.image_grid_thw == grids_of(about.at("image_grid_thw"))), name);
    const std::vector<float> expected = golden.floats(name);
    float scale = 1.0f;
    for (const float value : expected) scale = std::max(scale, std::abs(value));
    const double difference = largest_difference(features.pixel_values, expected) / static_cast<double>(scale);
    // The last bit of a sum in float decides now and then how an integer is rounded.
    const bool integers = name.starts_with("uint16") || name.starts_with("int");
    BOOST_TEST(difference <= (integers ? 4e-5 : 1e-6), name << " differs by " << difference);
    (integers ? largest_of_integers : largest) = std::max(integers ? largest_of_integers : largest, difference);
  }
  std::printf("arrays: %.3g, of integers %.3g\n", largest, largest_of_integers);
}

BOOST_AUTO_TEST_CASE(arrays_that_are_no_images) {
  const std::vector<float> numbers(4 * 5 * 3, 0.5f);
  const auto error = [&](std::vector<std::int64_t> shape, std::optional<ChannelDimension> format = std::nullopt) {
    return error_of([&] { image_from_array(numbers, shape, format); });
  };
  BOOST_TEST(error({4, 5, 3}).find("is ambiguous in an array of [4, 5, 3]; give input_data_format") !=
             std::string::npos);
  BOOST_TEST(error({4, 5, 3}, ChannelDimension::last).empty());
  BOOST_TEST(error({5, 6, 2}).find("Unable to infer channel dimension format") != std::string::npos);
  BOOST_TEST(error({5, 6, 3}).find("shape [5, 6, 3] with 60 numbers") != std::string::npos);
  BOOST_TEST(error({-4, -5, 3}).find("an array of shape [-4, -5, 3]") != std::string::npos);
  BOOST_TEST(error({1LL << 31, 1LL << 31, 1LL << 31}).find("is no image") != std::string::npos);
  BOOST_TEST(error({2, 5, 6}, ChannelDimension::last).find("an image of 6 channels") != std::string::npos);
  const Image gray = image_from_array(numbers, {6, 10});
  BOOST_TEST(gray.channels == 1);
  BOOST_TEST(error_of([&] { gray.check(); }).find("not bytes") != std::string::npos);
  const auto processed = [](const Image& image, ResizeBackend backend) {
    ImageProcessorOptions options;
    options.backend = backend;
    return error_of([&] {
      const ImageProcessor processor(options);
      processor(std::span(&image, 1));
    });
  };
  BOOST_TEST(processed(gray, ResizeBackend::torchvision).empty());
  BOOST_TEST(processed(gray, ResizeBackend::pil).find("by torchvision's nearest") != std::string::npos);
  std::vector<float> outside(2 * 2 * 4, 0.5f);
  outside[3] = 1.5f;
  const Image transparent = image_from_array(outside, {2, 2, 4}, ChannelDimension::last);
  BOOST_TEST(processed(transparent, ResizeBackend::torchvision).find("outside the range [0, 1], got [0.5, 1.5]") !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(small_and_thin_images) {
  const ImageProcessor processor;
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 200}, {200, 1}, {2, 3}, {1, 3}}) {
    Image image{.height = height, .width = width, .channels = 3, .pixels = {}};
    image.pixels.assign(image.offset(height, 0), 128);
    const ImageFeatures features = processor(std::span(&image, 1));
    BOOST_TEST(features.pixel_values.rows() == features.image_grid_thw[0].patches());
    for (const float value : features.pixel_values.span())
      BOOST_REQUIRE(std::abs(value - 128.0f / 127.5f + 1.0f) < 1e-6f);
  }
}

BOOST_AUTO_TEST_CASE(settings_from_hostile_files) {
  const auto error = [](const char* text) {
    return error_of([&] { image_processor_options_from_json({json::parse(text), "preprocessor_config.json"}); });
  };
  BOOST_TEST(error(R"({"patch_size": 0})").find("patch_size is 0") != std::string::npos);
  BOOST_TEST(error(R"({"patch_size": -16})").find("patch_size is -16") != std::string::npos);
  BOOST_TEST(error(R"({"patch_size": 1024, "merge_size": 64})").find("patch_size * merge_size is 65536") !=
             std::string::npos);
  BOOST_TEST(error(R"({"patch_size": 99999999999999999999})").find("patch_size is 1e+20, wanted an integer") !=
             std::string::npos);
  BOOST_TEST(error(R"({"merge_size": "2"})").find("merge_size is \"2\", wanted an integer") != std::string::npos);
  BOOST_TEST(error(R"({"image_std": [0.5, 0, 0.5]})").find("image_std not zero") != std::string::npos);
  BOOST_TEST(error(R"({"image_mean": [0.5, 0.5]})").find("image_mean has 2 values, image_std 3") != std::string::npos);
  BOOST_TEST(error(R"({"resample": 7})").find("resample is 7") != std::string::npos);
  BOOST_TEST(error(R"({"size": {"shortest_edge": 100, "longest_edge": -10}})").find("longest_edge is -10") !=
             std::string::npos);
  BOOST_TEST(error(R"({"do_center_crop": true})").find("crop_size") != std::string::npos);
  BOOST_TEST(error(R"({"do_center_crop": true, "crop_size": {"height": 9, "width": 9}})").empty());
  BOOST_TEST(error(R"([1])").find("not a JSON object") != std::string::npos);
  BOOST_TEST(error(R"({"something": "else"})").empty());
}
