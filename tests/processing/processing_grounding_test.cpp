// Boxes and points from answers, including typical mistakes of models; drawing them; writing images.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE processing_grounding
#include <boost/test/unit_test.hpp>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/io/image/write_image.hpp"
#include "qwen3vl/processing/grounding/draw_grounding.hpp"
#include "qwen3vl/processing/grounding/grounding.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

namespace {

/// The boxes and points found for an image of 1000 x 2000 pixels, as JSON.
std::string found(std::string_view answer) { return grounding_to_json(parse_grounding(answer, 1000, 2000)).dump(); }

const std::string cat = R"({"label":"cat","box":[20.0,20.0,60.0,40.0]})";
const std::string dog = R"({"label":"dog","box":[100.0,60.0,140.0,80.0]})";
const std::string both = "[" + cat + "," + dog + "]";

Image plain(int height, int width, int channels = 3, std::uint8_t value = 0) {
  Image image{.height = height, .width = width, .channels = channels, .pixels = {}};
  image.pixels.assign(image.offset(height, 0), value);
  return image;
}

std::vector<std::uint8_t> pixel(const Image& image, int y, int x) {
  const auto* const at = image.pixels.data() + image.offset(y, x);
  return {at, at + image.channels};
}

}  // namespace

BOOST_AUTO_TEST_CASE(json_as_it_should_be) {
  const std::string list =
      "[\n\t{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"cat\"},\n\t{\"label\": \"dog\", \"bbox_2d\": [50, 60, 70, "
      "80]}\n]";
  BOOST_TEST(found(list) == both);
  BOOST_TEST(found("```json\n" + list + "\n```") == both);
  BOOST_TEST(found("Here they are:\n```\n" + list + "\n```\nAnything else?") == both);
  BOOST_TEST(found("I see " + list + ".") == both);
  BOOST_TEST(found("{\"objects\": " + list + "}") == both);
  BOOST_TEST(found(R"({"point_2d": [500, 250], "label": "nose"})") == R"([{"label":"nose","point":[1000.0,250.0]}])");
  BOOST_TEST(found(R"({"point_2d": [[1, 2], [3, 4]]})") ==
             R"([{"label":"","point":[2.0,2.0]},{"label":"","point":[6.0,4.0]}])");
  BOOST_TEST(found(R"([{"bbox_2d": [10, 20, 30, 40], "text_content": "SALE", "role": "sign"}])") ==
             R"([{"label":"SALE","box":[20.0,20.0,60.0,40.0],"role":"sign"}])");
  BOOST_TEST(found(R"([{"name": "b", "bbox_2d": [10, 20, 30, 40], "label": "a"}])") ==
             R"([{"label":"a","box":[20.0,20.0,60.0,40.0]}])");
  // As in general object recognition, with labels in two languages.
  BOOST_TEST(found(R"([{"bbox_2d": [10, 20, 30, 40], "name_zh": "米饭", "name_en": "Rice"}])") ==
             R"([{"label":"Rice","box":[20.0,20.0,60.0,40.0],"name_zh":"米饭","name_en":"Rice"}])");
  BOOST_TEST(found("[10, 20, 30, 40]") == R"([{"label":"","box":[20.0,20.0,60.0,40.0]}])");
  BOOST_TEST(found("```json\n[[10, 20, 30, 40], [10.0, 20, 3e1, 40]]\n```") ==
             R"([{"label":"","box":[20.0,20.0,60.0,40.0]},{"label":"","box":[20.0,20.0,60.0,40.0]}])");
  BOOST_TEST(found(R"({"label": "\"K\u00f6ln\" \ud83d\ude00\n", "bbox": [10, 20, 30, 40]})") ==
             "[{\"label\":\"\\\"Köln\\\" 😀\\n\",\"box\":[20.0,20.0,60.0,40.0]}]");
  for (const char* nothing : {"", "No cats.", "{}", "[]", "see [1, 2, 3, 4]", "[1, 2, 3]", "{\"label\": \"cat\"}",
                              "{\"bbox_3d\": [1, 2, 3, 4, 5, 6, 7, 8, 9]}", "{\"bbox_2d\": null}"})
    BOOST_TEST(found(nothing) == "[]", nothing);
}

BOOST_AUTO_TEST_CASE(mistakes_are_forgiven) {
  const auto same = [](const char* answer) { BOOST_TEST(found(answer) == both, answer << " gives " << found(answer)); };
  // Truncated at each punctuation mark.
  same(R"([{"bbox_2d": [10, 20, 30, 40], "label": "cat"}, {"bbox_2d": [50, 60, 70, 80], "label": "dog"})");
  same(R"([{"bbox_2d": [10, 20, 30, 40], "label": "cat"}, {"bbox_2d": [50, 60, 70, 80], "label": "dog")");
  same(R"([{"bbox_2d": [10, 20, 30, 40], "label": "cat"}, {"bbox_2d": [50, 60, 70, 80], "label": "dog)");
  same(
      "```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"cat\"}, {\"bbox_2d\": [50, 60, 70, 80], \"label\": "
      "\"dog\"\n```");
  // Punctuation is missing, superfluous, or Python's.
  same(R"([{"bbox_2d": [10, 20, 30, 40, "label": "cat"}, {"bbox_2d": 50, 60, 70, 80], "label": "dog"},])");
  same(R"([{"bbox_2d": [10 20 30 40] "label": "cat"} {"bbox_2d": [50,, 60, 70, 80,], "label": "dog",}])");
  same(R"([{"bbox_2d": [10, 20, 30, 40], "label": "cat", "bbox_2d": [50, 60, 70, 80], "label": "dog"}])");
  same(R"([{'bbox_2d': (10, 20, 30, 40), 'label': 'cat'}, {'bbox_2d': (50, 60, 70, 80), 'label': 'dog'}])");
  same(R"([{bbox_2d: [10, 20, 30, 40], label: cat}, {BBox_2D: [50, 60, 70, 80], Label: dog}])");
  same(R"([{"bbox_2d": "[10, 20, 30, 40]", "label": "cat"}, {"bbox_2d": [[50, 60], [70, 80]], "label": "dog"}])");
  same("[{\"label\": \"cat,\n\"bbox_2d\": [10, 20, 30, 40]}, {\"bbox_2d\": [50, 60, 70, 80], \"label\": \"dog\"}]");
  // Numbers in quotes, a box with its score, corners the other way round.
  same(R"([{"bbox_2d": ["10", "20", 30, "40"], "label": "cat"}, {"bbox_2d": ["50","60","70","80"], "label": "dog"}])");
  same(R"([{"bbox_2d": [10, 20, 30, 40], "label": "cat"}, {"bbox_2d": [50, 60, 70, 80, 0.9], "label": "dog"}])");
  const std::string turned = R"([{"label":"cat","box":[20.0,20.0,60.0,40.0],"reordered":true}])";
  BOOST_TEST(found(R"({"bbox_2d": [30, 40, 10, 20], "label": "cat"})") == turned);
  BOOST_TEST(found(R"({"bbox_2d": [10, 40, 30, 20], "label": "cat"})") == turned);
  BOOST_TEST(found(R"({"label": "the "big" dog", "bbox_2d": [10, 20, 30, 40]})") ==
             R"([{"label":"the \"big\" dog","box":[20.0,20.0,60.0,40.0]}])");
  BOOST_TEST(found(R"({'label': 'the dog's ball', 'bbox_2d': [10, 20, 30, 40]})") ==
             R"([{"label":"the dog's ball","box":[20.0,20.0,60.0,40.0]}])");
  // Incomplete coordinates: "4" may be the beginning of "40".
  BOOST_TEST(found(R"([{"bbox_2d": [10, 20, 30, 4)") == "[]");
  BOOST_TEST(found(R"([{"bbox_2d": [10, 20, 30, 40], "label": "cat"}, {"bbox_2d": [50, 60, 7)") == "[" + cat + "]");
  // Outside the image, and far outside.
  BOOST_TEST(found(R"({"bbox_2d": [-5, 0, 1001, 1e999]})") ==
             R"([{"label":"","box":[0.0,0.0,2000.0,1000.0],"clamped":true}])");
  BOOST_TEST(found(R"({"bbox_2d": [-1e999, -0, +5, .5]})") ==
             R"([{"label":"","box":[0.0,0.0,10.0,0.5],"clamped":true}])");
  BOOST_TEST(found(R"({"bbox_2d": [1000, 0, 0, 1001]})") ==
             R"([{"label":"","box":[0.0,0.0,2000.0,1000.0],"clamped":true,"reordered":true}])");
  BOOST_TEST(found(R"({"point_2d": [1000, 1000]})") == R"([{"label":"","point":[2000.0,1000.0]}])");
  BOOST_TEST(found(R"({"point_2d": [[-1, 5], [1, 5]]})") ==
             R"([{"label":"","point":[0.0,5.0],"clamped":true},{"label":"","point":[2.0,5.0]}])");
}

BOOST_AUTO_TEST_CASE(the_edge_is_the_edge) {
  // 1000 * (2007 / 1000.0) is beyond 2007.
  for (int size = 1; size < 5000; ++size) {
    const auto edge = parse_grounding(R"({"point_2d": [1001, 1000]})", size, size + 1);
    BOOST_TEST((std::get<GroundedPoint>(edge.at(0).place) == GroundedPoint{size + 1.0, double(size)}), size);
  }
}

BOOST_AUTO_TEST_CASE(options_and_sizes) {
  const auto absolute = parse_grounding(R"({"bbox_2d": [1, 2, 3, 4]})", 10, 20, {.range = 10});
  BOOST_TEST((std::get<GroundedBox>(absolute.at(0).place) == GroundedBox{2, 2, 6, 4}));
  BOOST_TEST(fails_with([] { parse_grounding("", 0, 5); }, "an image of 0 x 5 pixels"));
  for (const double range : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), 1e10})
    BOOST_TEST(fails_with([&] { parse_grounding("", 5, 5, {.range = range}); }, "range is"));
}

BOOST_AUTO_TEST_CASE(anything_may_be_an_answer) {
  std::mt19937 random(3);
  const std::vector<std::string> pieces = {"{",  "}",  "[",   "]",       "\"",    "'",        "\\",  "\\u12",
                                           ":",  ",",  "```", "bbox_2d", "label", "12",       "-",   ".",
                                           "e9", "\n", " ",   "é",       "\xff",  "point_2d", "null"};
  for (int i = 0; i < 20000; ++i) {
    std::string answer;
    for (int j = 0; j < 12; ++j) answer += pieces[random() % pieces.size()];
    for (const GroundedObject& object : parse_grounding(answer, 100, 100))
      if (const auto* box = std::get_if<GroundedBox>(&object.place))
        BOOST_REQUIRE(box->x1 >= 0 && box->x1 <= box->x2 && box->x2 <= 100 && box->y1 <= box->y2);
  }
  const auto repeat = [](const std::string& piece, int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += piece;
    return all;
  };
  for (const char* piece :
       {"{", "{\"a\":", "\"", "{\"\n", "\"\n", "'\" ", "[", "{\"a\":1,\"b\":", "1 ", "\\", "a ", "- "})
    parse_grounding("{" + repeat(piece, 100000), 10, 10);
  // Many boxes for one object with many fields do not multiply.
  const std::string points = repeat("[1, 2], ", 100);
  const auto bytes_of = [&](const std::string& label, int count) {
    std::size_t bytes = 0;
    const auto objects =
        parse_grounding("{\"label\": \"" + label + "\", \"point_2d\": [" + repeat(points, count) + "]}", 10, 10);
    BOOST_TEST(objects.size() == static_cast<std::size_t>(count) * 100);
    BOOST_TEST(objects.front().label == label);
    for (const GroundedObject& object : objects) bytes += object.label.size();
    return bytes;
  };
  BOOST_TEST(bytes_of("sheep", 10) == 5000u);
  BOOST_TEST(bytes_of(std::string(1000, 'x'), 10) == 1000u);
}

BOOST_AUTO_TEST_CASE(drawing) {
  const Image black = plain(400, 500);
  const std::vector<GroundedObject> objects = {{GroundedBox{100, 50, 200, 150}, "cat", {}},
                                               {GroundedBox{300, 200, 400, 300}, "dog", {}},
                                               {GroundedPoint{250, 350}, "cat", {}}};
  const Image drawn = draw_grounding(black, objects, {.line_width = 3, .labels = false});
  const auto first = pixel(drawn, 50, 150), second = pixel(drawn, 250, 300);
  const std::vector<std::uint8_t> none = {0, 0, 0}, white = {255, 255, 255};
  BOOST_TEST(first != none);
  BOOST_TEST(second != none);
  BOOST_TEST(first != second);
  for (const int inside : {50, 52, 147, 149}) BOOST_TEST(pixel(drawn, inside, 150) == first);
  for (const int outside : {49, 53, 100, 146, 150}) BOOST_TEST(pixel(drawn, outside, 150) == none);
  for (const int inside : {100, 102, 197, 199}) BOOST_TEST(pixel(drawn, 100, inside) == first);
  for (const int outside : {99, 103, 196, 200}) BOOST_TEST(pixel(drawn, 100, outside) == none);
  BOOST_TEST(pixel(drawn, 350, 250) == first);  // the same label, the same colour
  BOOST_TEST(pixel(drawn, 350, 259) == white);
  BOOST_TEST(pixel(drawn, 350, 262) == none);
  // Labels are above their box, always inside the image, and change nothing else.
  const Image labelled = draw_grounding(black, objects, {.line_width = 3});
  BOOST_TEST(pixel(labelled, 45, 100) == first);
  int ink = 0;
  for (int y = 39; y < 50; ++y)
    for (int x = 100; x < 120; ++x) ink += pixel(labelled, y, x) == white ? 1 : 0;
  BOOST_TEST(ink > 10);
  BOOST_TEST(ink < 150);
  BOOST_TEST(pixel(labelled, 100, 150) == none);
  const std::vector<GroundedObject> corner = {{GroundedBox{0, 0, 500, 400}, "wörds", {}},
                                              {GroundedPoint{500, 400}, std::string(1000, 'x'), {}}};
  BOOST_TEST(pixel(draw_grounding(black, corner, {.line_width = 1}), 5, 0) != none);
  // Other channel counts become RGB; coordinates may be anything.
  BOOST_TEST(draw_grounding(plain(3, 3, 1), objects).channels == 3);
  BOOST_TEST(pixel(draw_grounding(plain(9, 9, 4), {}), 4, 4) == white);
  const double nan = std::numeric_limits<double>::quiet_NaN(), huge = 1e300;
  const std::vector<GroundedObject> odd = {{GroundedBox{nan, -huge, huge, nan}, "a\n\x01", {}},
                                           {GroundedBox{5, 5, 5, 5}, "", {}},
                                           {GroundedPoint{huge, nan}, "b", {}}};
  for (const int size : {1, 2, 10, 1000})
    draw_grounding(plain(size, 1001 - size), odd, {.line_width = size == 10 ? 1000000 : 0}).check();
  BOOST_TEST(fails_with([&] { draw_grounding(black, odd, {.line_width = -1}); }, "line_width is -1"));
}

BOOST_AUTO_TEST_CASE(written_images_are_read_back) {
  const test::TemporaryFolder folder;
  std::mt19937 random(1);
  for (const int channels : {1, 2, 3, 4}) {
    Image image = plain(13, 21, channels);
    for (std::uint8_t& value : image.pixels) value = static_cast<std::uint8_t>(random());
    write_image(folder / "a.PNG", image);
    const Image read = load_image(folder / "a.PNG");
    BOOST_TEST(read.channels == channels);
    BOOST_TEST(read.pixels == image.pixels);
  }
  write_image(folder / "a.jpg", plain(40, 30, 3, 200));
  const Image read = load_image(folder / "a.jpg");
  BOOST_TEST(read.height == 40);
  BOOST_TEST(std::abs(int{pixel(read, 20, 10)[1]} - 200) <= 3);
  BOOST_TEST(fails_with([&] { write_image(folder / "a.gif", read); }, "images are written as .png, .jpg or .jpeg"));
  BOOST_TEST(fails_with([&] { write_image(folder / "none/a.png", read); }, "cannot write"));
  BOOST_TEST(fails_with([&] { write_image(folder / "a.jpg", read, 0); }, "jpeg_quality is 0"));
  BOOST_TEST(fails_with([&] { write_image(folder / "a.png", Image{}); }, "an image of 0 x 0"));
  BOOST_TEST(fails_with([&] { write_image(folder / "a.jpg", plain(1, 70000, 1)); }, "at most 65535 pixels"));
}
