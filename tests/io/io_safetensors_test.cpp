// Safetensors: what is written is read back, and no file, however malformed, does more than raise an Error.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_safetensors
#include <sys/resource.h>
#include <sys/stat.h>

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

namespace {

const test::TemporaryFolder folder;

std::string length_bytes(std::uint64_t length) {
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}

// A file with this header and `data` bytes of tensors.
std::string file_of(const std::string& header, std::size_t data) {
  return length_bytes(header.size()) + header + std::string(data, '\x01');
}

SafetensorsFile open(const std::string& content, const SafetensorsLimits& limits = {}) {
  return SafetensorsFile::open(folder.write("file.safetensors", content), limits);
}

bool refused(const std::string& content, std::string_view what, const SafetensorsLimits& limits = {}) {
  return fails_with([&] { open(content, limits); }, what);
}

// One entry of a header, without the name.
std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

template <class T>
StoredTensor stored(const std::string& name, DType dtype, std::vector<index_t> shape, const std::vector<T>& values) {
  return {name, dtype, std::move(shape), std::as_bytes(std::span(values))};
}

const std::string good_header = R"({"__metadata__":{"format":"pt"},"a":)" + entry("F32", "[2,3]", "[0,24]") +
                                R"(,"b":)" + entry("BF16", "[4]", "[24,32]") + "}";

}  // namespace

BOOST_AUTO_TEST_CASE(a_good_file) {
  const SafetensorsFile file = open(file_of(good_header, 32));
  BOOST_TEST(file.tensors().size() == 2u);
  BOOST_TEST(file.metadata().at("format") == "pt");
  const StoredTensor* const a = file.find("a");
  BOOST_REQUIRE(a != nullptr);
  BOOST_TEST((a->dtype == DType::f32));
  BOOST_TEST(a->shape == (std::vector<index_t>{2, 3}), boost::test_tools::per_element());
  BOOST_TEST(a->bytes.size() == 24u);
  BOOST_TEST(file.find("b")->bytes.data() == a->bytes.data() + 24);
  BOOST_TEST(file.find("c") == nullptr);
  BOOST_TEST(file.find("__metadata__") == nullptr);
}

BOOST_AUTO_TEST_CASE(files_of_the_reference) {
  const SafetensorsFile file = SafetensorsFile::open(QWEN3VL_TEST_DATA "/golden/models/dense_small/model.safetensors");
  const StoredTensor* const norm = file.find("model.language_model.norm.weight");
  BOOST_REQUIRE(norm != nullptr);
  BOOST_TEST(norm->shape == (std::vector<index_t>{64}), boost::test_tools::per_element());
  std::vector<float> values(64);
  read_floats(*norm, values);
  for (const float value : values) BOOST_TEST((std::isfinite(value) && value != 0.0f));
  std::size_t bytes = 0;
  for (const StoredTensor& tensor : file.tensors()) bytes += tensor.bytes.size();
  BOOST_TEST(bytes < std::filesystem::file_size(file.name()));
}

BOOST_AUTO_TEST_CASE(orders_and_empty_tensors) {
  // Any order in the header, scalars, and tensors without bytes at the beginning, between others and at the end.
  const std::string header = R"({"last":)" + entry("U8", "[0]", "[5,5]") + R"(,"second":)" +
                             entry("U8", "[]", "[4,5]") + R"(,"first":)" + entry("I32", "[1,1]", "[0,4]") +
                             R"(,"none":)" + entry("F64", "[3,0]", "[0,0]") + R"(,"between":)" +
                             entry("F32", "[0]", "[4,4]") + "}   ";
  const SafetensorsFile file = open(file_of(header, 5));
  BOOST_TEST(file.tensors().size() == 5u);
  BOOST_TEST(file.tensors().front().name == "none");
  BOOST_TEST(file.tensors().back().name == "last");
  std::vector<std::int64_t> value(1);
  read_int64s(*file.find("second"), value);
  BOOST_TEST(value[0] == 1);
  read_int64s(*file.find("first"), value);
  BOOST_TEST(value[0] == 0x01010101);
  read_floats(*file.find("between"), {});
  BOOST_TEST(open(file_of("{}", 0)).tensors().empty());
}

BOOST_AUTO_TEST_CASE(cut_at_every_length) {
  const std::string whole = file_of(good_header, 32);
  for (std::size_t length = 0; length < whole.size(); ++length)
    BOOST_TEST(refused(whole.substr(0, length), "file.safetensors"), "cut at " << length);
  BOOST_TEST(refused(whole + "x", "belong to no tensor"));
}

BOOST_AUTO_TEST_CASE(lying_header_lengths) {
  const std::string rest = good_header + std::string(32, '\0');
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t length :
       {most, most - 7, most - 8, most / 2, most / 2 + 1, std::uint64_t{1} << 32, std::uint64_t{rest.size() + 1}})
    BOOST_TEST(refused(length_bytes(length) + rest, "does not fit the file"), length);
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{good_header.size() - 1},
                                     std::uint64_t{good_header.size() + 1}, std::uint64_t{rest.size()}})
    BOOST_TEST(refused(length_bytes(length) + rest, "header"), length);
  BOOST_TEST(refused("", "too few for a header"));
  BOOST_TEST(refused(file_of(good_header, 32), "over the limit of 100 (SafetensorsLimits::max_header_bytes)",
                     {.max_header_bytes = 100}));
  BOOST_TEST(open(file_of(good_header, 32), {.max_tensors = 2}).tensors().size() == 2u);
  BOOST_TEST(refused(file_of(good_header, 32), "the limit of 1 (SafetensorsLimits::max_tensors)", {.max_tensors = 1}));
  BOOST_TEST(refused(file_of(good_header, 32), "at most 1 sizes (SafetensorsLimits::max_rank)", {.max_rank = 1}));
}

BOOST_AUTO_TEST_CASE(a_huge_header_costs_nothing) {
  // A sparse file that claims a header just over the limit: it must be refused before it is parsed.
  const auto path = folder.write("huge.safetensors", length_bytes(100'000'001) + "{");
  std::filesystem::resize_file(path, 100'000'009);
  BOOST_TEST(fails_with([&] { SafetensorsFile::open(path); }, "over the limit"));
}

BOOST_AUTO_TEST_CASE(lying_entries) {
  struct {
    std::string entry;
    const char* error;
  } const cases[] = {
      {entry("F32", "[8]", "[0,31]"), "shape and dtype need 32"},
      {entry("F32", "[7]", "[0,32]"), "shape and dtype need 28"},
      {entry("BF16", "[8]", "[0,32]"), "shape and dtype need 16"},
      {entry("F32", "[8]", "[1,33]"), "not inside"},
      {entry("F32", "[7]", "[4,32]"), "leaves a gap"},
      {entry("F32", "[8]", "[32,0]"), "not inside"},
      {entry("F32", "[8]", "[18446744073709551615,31]"), "not inside"},
      {entry("F32", "[8]", "[0,18446744073709551615]"), "not inside"},
      {entry("F32", "[8]", "[0,18446744073709551616]"), "two positions"},
      {entry("F32", "[8]", "[-1,31]"), "two positions"},
      {entry("F32", "[8]", "[0.0,32.0]"), "two positions"},
      {entry("F32", "[8]", "[\"0\",\"32\"]"), "two positions"},
      {entry("F32", "[8]", "[0]"), "two positions"},
      {entry("F32", "[8]", "[0,32,32]"), "two positions"},
      {entry("F32", "[8]", "null"), "two positions"},
      {entry("F32", "[-8]", "[0,32]"), "something else than sizes"},
      {entry("F32", "[8.0]", "[0,32]"), "something else than sizes"},
      {entry("F32", "[\"8\"]", "[0,32]"), "something else than sizes"},
      {entry("F32", "[[8]]", "[0,32]"), "something else than sizes"},
      {entry("F32", "[true]", "[0,32]"), "something else than sizes"},
      {entry("F32", "8", "[0,32]"), "is not a list"},
      {entry("F32", "{}", "[0,32]"), "is not a list"},
      {entry("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,8]", "[0,32]"), "is not a list of at most 16"},
      {entry("F32", "[18446744073709551615]", "[0,32]"), "too large"},
      {entry("F32", "[9223372036854775808]", "[0,32]"), "too large"},
      {entry("F32", "[9223372036854775807]", "[0,32]"), "too large"},
      {entry("F32", "[4611686018427387904]", "[0,0]"), "too large"},       // * 4 wraps to 0
      {entry("F32", "[4611686018427387904,2,2]", "[0,32]"), "too large"},  // wraps to 0
      {entry("F32", "[4294967296,4294967296]", "[0,32]"), "too large"},    // wraps to 0
      {entry("U8", "[3,6148914691236517206]", "[0,2]"), "too large"},      // wraps to 2
      {entry("F32", "[0,4294967296,4294967296]", "[0,0]"), "too large"},   // no bytes, but partial products wrap
      {entry("F33", "[8]", "[0,32]"), "'F33', which is not known"},
      {entry("f32", "[8]", "[0,32]"), "not known"},
      {entry("", "[8]", "[0,32]"), "not known"},
      {R"({"dtype":4,"shape":[8],"data_offsets":[0,32]})", "is not a string"},
      {R"({"dtype":null,"shape":[8],"data_offsets":[0,32]})", "is not a string"},
      {R"({"shape":[8],"data_offsets":[0,32]})", "lacks dtype"},
      {R"({"dtype":"F32","data_offsets":[0,32]})", "lacks dtype"},
      {R"({"dtype":"F32","shape":[8]})", "lacks dtype"},
      {R"({"dtype":"F32","shape":[8],"data_offsets":[0,32],"shape":[8]})", "'shape' twice"},
      {"[]", "is not an object"},
      {"null", "is not an object"},
      {"\"F32\"", "is not an object"},
  };
  BOOST_TEST(open(file_of(R"({"t":)" + entry("F32", "[8]", "[0,32]") + "}", 32)).tensors().size() == 1u);
  for (const auto& c : cases) BOOST_TEST(refused(file_of(R"({"t":)" + c.entry + "}", 32), c.error), c.entry);
}

BOOST_AUTO_TEST_CASE(overlaps_and_gaps) {
  const auto two = [](const char* a_shape, const char* a, const char* b_shape, const char* b) {
    return file_of(R"({"a":)" + entry("U8", a_shape, a) + R"(,"b":)" + entry("U8", b_shape, b) + "}", 8);
  };
  BOOST_TEST(open(two("[4]", "[4,8]", "[4]", "[0,4]")).tensors().front().name == "b");
  BOOST_TEST(refused(two("[4]", "[0,4]", "[4]", "[0,4]"), "overlaps"));
  BOOST_TEST(refused(two("[8]", "[0,8]", "[4]", "[4,8]"), "overlaps"));
  BOOST_TEST(refused(two("[5]", "[0,5]", "[4]", "[4,8]"), "overlaps"));
  BOOST_TEST(refused(two("[3]", "[0,3]", "[4]", "[4,8]"), "gap"));
  BOOST_TEST(refused(two("[4]", "[1,5]", "[3]", "[5,8]"), "gap"));
  BOOST_TEST(refused(two("[4]", "[0,4]", "[3]", "[4,7]"), "belong to no tensor"));
  BOOST_TEST(refused(two("[8]", "[0,8]", "[0]", "[3,3]"), "overlaps"));
  BOOST_TEST(refused(file_of("{}", 8), "belong to no tensor"));
}

BOOST_AUTO_TEST_CASE(headers_that_are_not_json) {
  const std::string good = entry("U8", "[4]", "[0,4]");
  struct {
    std::string header;
    const char* error;
  } const cases[] = {
      {R"({"t":)" + good, "not valid JSON"},
      {R"({"t":)" + good + "}}", "not valid JSON"},
      {R"({"t":)" + good + "}{}", "not valid JSON"},
      {R"({"t":)" + good + ",}", "not valid JSON"},
      {R"({"t":)" + good + "}\x01", "not valid JSON"},
      {R"({"t":)" + good + "}" + std::string(1, '\0'), "zero byte"},
      {R"({"t":)" + good + "}" + std::string(1, '\0') + "hidden", "zero byte"},
      {R"({'t':)" + good + "}", "not valid JSON"},
      {R"({"t":)" + good + ",/*x*/\"u\":1}", "not valid JSON"},
      {"{\"t\xff\":" + good + "}", "not valid JSON"},
      {"{\"t\xc0\xaf\":" + good + "}", "not valid JSON"},      // overlong
      {"{\"t\xed\xa0\x80\":" + good + "}", "not valid JSON"},  // a surrogate
      {"{\"t\xe2\x82\":" + good + "}", "not valid JSON"},      // cut
      {"{\"t\\ud800\":" + good + "}", "not valid JSON"},
      {"{\"t\n\":" + good + "}", "not valid JSON"},
      {"\xef\xbb\xbf{\"t\":" + good + "}", "not a JSON object"},
      {" {\"t\":" + good + "}", "not a JSON object"},
      {"[]", "not a JSON object"},
      {"null", "not a JSON object"},
      {"7", "not a JSON object"},
      {R"({"t":)" + good + R"(,"t":)" + good + "}", "'t' twice"},
      {R"({"t":)" + good + R"(,"\u0074":)" + good + "}", "'t' twice"},
      {R"({"__metadata__":{},"t":)" + good + R"(,"__metadata__":{}})", "twice"},
      {R"({"__metadata__":{"a":"1","a":"2"},"t":)" + good + "}", "twice"},
      {R"({"__metadata__":{"a":1},"t":)" + good + "}", "something else than strings"},
      {R"({"__metadata__":[],"t":)" + good + "}", "__metadata__ is not an object"},
      {R"({"__metadata__":null,"t":)" + good + "}", "__metadata__ is not an object"},
      {R"({"t":1e999})", "not valid JSON"},
  };
  for (const auto& c : cases) BOOST_TEST(refused(file_of(c.header, 4), c.error), c.header);
}

BOOST_AUTO_TEST_CASE(deep_nesting) {
  for (const char open_bracket : {'[', '{'})
    for (const std::size_t depth : {std::size_t{9}, std::size_t{1000}, std::size_t{3'000'000}}) {
      std::string nest;
      for (std::size_t i = 0; i < depth; ++i) nest += open_bracket == '[' ? "[" : "{\"a\":";
      BOOST_TEST(refused(file_of("{\"t\":" + nest, 4), "nests deeper"), depth);
    }
}

BOOST_AUTO_TEST_CASE(messages_stay_short_and_printable) {
  const std::string long_name(1'000'000, 'x');
  BOOST_TEST(refused(file_of("{\"" + long_name + "\":1}", 0), "xxx... is not an object"));
  BOOST_TEST(refused(file_of("{\"" + long_name + "\":\"" + long_name + "\x01\"}", 0), "not valid JSON"));
  BOOST_TEST(refused(file_of(R"({"a\n\u001b[31mb":1})", 0), "a??[31mb is not an object"));
  BOOST_TEST(refused(file_of(R"({"t":)" + entry("X\\n" + long_name, "[]", "[0,1]") + "}", 1), "'X?xxx"));
}

BOOST_AUTO_TEST_CASE(damaged_bytes_never_crash) {
  const std::string whole = file_of(good_header, 32);
  std::mt19937 random(1);
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string content = whole;
    for (int i = 0; i <= round % 4; ++i)
      content[random() % (round % 8 == 0 ? 8 : 8 + good_header.size())] = static_cast<char>(random());
    try {
      // Whatever is accepted must be readable.
      const SafetensorsFile file = open(content);
      for (const StoredTensor& tensor : file.tensors()) {
        if (!is_floating_weight(tensor.dtype)) continue;
        std::vector<float> values(tensor.bytes.size() / size_of(tensor.dtype));
        read_floats(tensor, values);
      }
      ++accepted;
    } catch (const Error&) {
    }
  }
  BOOST_TEST(accepted < 3000);
  BOOST_TEST(accepted > 0);  // a changed name is no damage
}

BOOST_AUTO_TEST_CASE(things_that_are_not_files) {
  BOOST_TEST(fails_with([] { SafetensorsFile::open(folder / "none.safetensors"); }, "none.safetensors: No such file"));
  BOOST_TEST(fails_with([] { SafetensorsFile::open(folder.path()); }, "not a regular file"));
  BOOST_TEST(fails_with([] { SafetensorsFile::open("/dev/zero"); }, "not a regular file"));
  const auto pipe = folder / "pipe";
  BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  BOOST_TEST(fails_with([&] { SafetensorsFile::open(pipe); }, "not a regular file"));
}

BOOST_AUTO_TEST_CASE(elements_of_every_type_unaligned) {
  // A header of odd length puts every tensor at an odd address.
  const std::vector<float> floats{1.5f, -2.0f, 0.0f, 65504.0f};
  std::string data, header = "{";
  const auto add = [&](const char* name, const char* dtype, const void* values, std::size_t size, std::size_t count) {
    header += concat(
        header.size() > 1 ? "," : "", "\"", name,
        "\":", entry(dtype, concat("[", count, "]"), concat("[", data.size(), ",", data.size() + size * count, "]")));
    data.append(static_cast<const char*>(values), size * count);
  };
  std::vector<bf16> bf16s;
  std::vector<f16> f16s;
  for (const float value : floats) bf16s.emplace_back(value), f16s.emplace_back(value);
  const std::int64_t i64[]{-5, INT64_MIN};
  const std::int32_t i32[]{-5, INT32_MIN};
  const std::int16_t i16[]{-5, INT16_MIN};
  const std::int8_t i8[]{-5, INT8_MIN};
  const std::uint32_t u32[]{5, UINT32_MAX};
  const std::uint16_t u16[]{5, UINT16_MAX};
  const std::uint8_t u8[]{5, UINT8_MAX}, boolean[]{0, 1};
  const std::uint64_t u64[]{5, UINT64_MAX};
  const double f64[]{1.0, 2.0};
  const unsigned char f8[]{1, 2};
  add("pad", "U8", "x", 1, 1);
  add("F32", "F32", floats.data(), 4, 4);
  add("BF16", "BF16", bf16s.data(), 2, 4);
  add("F16", "F16", f16s.data(), 2, 4);
  add("I64", "I64", i64, 8, 2);
  add("I32", "I32", i32, 4, 2);
  add("I16", "I16", i16, 2, 2);
  add("I8", "I8", i8, 1, 2);
  add("U32", "U32", u32, 4, 2);
  add("U16", "U16", u16, 2, 2);
  add("U8", "U8", u8, 1, 2);
  add("BOOL", "BOOL", boolean, 1, 2);
  add("U64", "U64", u64, 8, 2);
  add("F64", "F64", f64, 8, 2);
  add("F8_E4M3", "F8_E4M3", f8, 1, 2);
  add("F8_E5M2", "F8_E5M2", f8, 1, 2);
  header += "}";
  while (header.size() % 8 != 0) header += ' ';
  const SafetensorsFile file = open(length_bytes(header.size()) + header + data);

  for (const char* name : {"F32", "BF16", "F16"}) {
    std::vector<float> values(4);
    read_floats(*file.find(name), values);
    for (std::size_t i = 0; i < 4; ++i) {
      const float expected = name[0] == 'B' ? static_cast<float>(bf16(floats[i])) : floats[i];
      BOOST_TEST(values[i] == expected, name << " " << i);
    }
    std::vector<float> short_span(3);
    BOOST_TEST(fails_with([&] { read_floats(*file.find(name), short_span); }, "has 4 values, wanted 3"));
  }
  struct {
    const char* name;
    std::int64_t first, second;
  } const integers[] = {{"I64", -5, INT64_MIN}, {"I32", -5, INT32_MIN}, {"I16", -5, INT16_MIN}, {"I8", -5, INT8_MIN},
                        {"U32", 5, UINT32_MAX}, {"U16", 5, UINT16_MAX}, {"U8", 5, UINT8_MAX},   {"BOOL", 0, 1}};
  for (const auto& c : integers) {
    std::vector<std::int64_t> values(2);
    read_int64s(*file.find(c.name), values);
    BOOST_TEST(values[0] == c.first, c.name);
    BOOST_TEST(values[1] == c.second, c.name);
    values.resize(3);
    BOOST_TEST(fails_with([&] { read_int64s(*file.find(c.name), values); }, "has 2 values, wanted 3"));
  }
  std::vector<float> two_floats(2);
  std::vector<std::int64_t> two(2);
  for (const char* name : {"U64", "F64", "F8_E4M3", "F8_E5M2", "U8"}) {
    BOOST_TEST(fails_with([&] { read_floats(*file.find(name), two_floats); }, concat("is of type ", name)), name);
    if (std::string_view(name) != "U8")
      BOOST_TEST(fails_with([&] { read_int64s(*file.find(name), two); }, concat("is of type ", name)), name);
  }
}

BOOST_AUTO_TEST_CASE(released_pages_come_back) {
  const std::vector<std::uint8_t> bytes(1 << 20, 7);
  const auto path = folder / "release.safetensors";
  write_safetensors(path, std::vector{stored("t", DType::u8, {1 << 20}, bytes)});
  const SafetensorsFile file = SafetensorsFile::open(path);
  const StoredTensor& tensor = *file.find("t");
  file.release(tensor);
  for (const std::byte byte : tensor.bytes) BOOST_REQUIRE(byte == std::byte{7});
}

BOOST_AUTO_TEST_CASE(written_files) {
  const std::vector<float> floats{1, 2, 3, 4, 5, 6};
  const std::vector<std::uint8_t> bytes{1, 2, 3};
  const std::vector<std::int64_t> ids{7};
  const auto path = folder / "written.safetensors";
  const std::vector<StoredTensor> tensors{
      stored("odd \"name\"\n\xc3\xa9", DType::u8, {3}, bytes), stored("floats", DType::f32, {2, 3}, floats),
      stored("scalar", DType::i64, {}, ids), stored("empty", DType::bf16, {0, 5}, std::vector<bf16>{})};
  write_safetensors(path, tensors, {{"format", "pt"}});
  const SafetensorsFile file = SafetensorsFile::open(path);
  BOOST_TEST(file.tensors().size() == tensors.size());
  BOOST_TEST(file.metadata().at("format") == "pt");
  for (const StoredTensor& wanted : tensors) {
    const StoredTensor* const found = file.find(wanted.name);
    BOOST_REQUIRE_MESSAGE(found != nullptr, wanted.name);
    BOOST_TEST((found->dtype == wanted.dtype));
    BOOST_TEST(found->shape == wanted.shape, boost::test_tools::per_element());
    BOOST_TEST(std::ranges::equal(found->bytes, wanted.bytes), wanted.name);
    // The mapping begins at a page, so this is the alignment in the file.
    if (!found->bytes.empty())
      BOOST_TEST(reinterpret_cast<std::uintptr_t>(found->bytes.data()) % size_of(found->dtype) == 0u, wanted.name);
  }
  BOOST_TEST(file.tensors().front().name == "scalar");  // the largest elements first
  // The layout that the reference implementation's own tests have for no tensors.
  write_safetensors(path, {});
  BOOST_TEST(test::read_file(path) == length_bytes(8) + "{}      ");
  write_safetensors(path, {}, {{"framework", "pt"}});
  BOOST_TEST(test::read_file(path) == length_bytes(40) + R"({"__metadata__":{"framework":"pt"}})" + "     ");
}

BOOST_AUTO_TEST_CASE(refused_writes) {
  const std::vector<float> floats{1, 2, 3};
  const auto path = folder / "refused.safetensors";
  const auto writing = [&](const std::vector<StoredTensor>& tensors) {
    return [&path, tensors] { write_safetensors(path, tensors); };
  };
  const StoredTensor good = stored("t", DType::f32, {3}, floats);
  BOOST_TEST(fails_with(writing({stored("t", DType::f32, {4}, floats)}), "t has 12 bytes"));
  BOOST_TEST(fails_with(writing({stored("t", DType::f32, {-3}, floats)}), "t has 12 bytes"));
  BOOST_TEST(fails_with(writing({stored("t", DType::f32, {INT64_MAX, 4, 3}, floats)}), "t has 12 bytes"));
  BOOST_TEST(fails_with(writing({good, good}), "the tensor name t is taken"));
  BOOST_TEST(fails_with(writing({stored("__metadata__", DType::f32, {3}, floats)}), "is taken"));
  BOOST_TEST(fails_with(writing({stored("\xff", DType::f32, {3}, floats)}), "not UTF-8"));
  BOOST_TEST(!std::filesystem::exists(path));
  BOOST_TEST(fails_with([&] { write_safetensors(folder / "no/folder", std::vector{good}); }, "cannot create"));
  std::filesystem::create_directories(folder / "taken/inside");
  BOOST_TEST(fails_with([&] { write_safetensors(folder / "taken", std::vector{good}); }, "cannot rename"));
}

BOOST_AUTO_TEST_CASE(a_full_disk_leaves_the_old_file) {
  const test::TemporaryFolder place;
  const std::vector<float> few{1, 2, 3}, many(100'000, 1.0f);
  const auto path = place / "model.safetensors";
  write_safetensors(path, std::vector{stored("t", DType::f32, {3}, few)});
  const std::string before = test::read_file(path);

  // A limit on the size of files stands in for the disk: writes past it fail half way.
  rlimit old_limit{};
  BOOST_REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  rlimit small_limit = old_limit;
  small_limit.rlim_cur = 100'000;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  BOOST_REQUIRE(::setrlimit(RLIMIT_FSIZE, &small_limit) == 0);
  const bool failed = fails_with(
      [&] { write_safetensors(path, std::vector{stored("t", DType::f32, {100'000}, many)}); }, "cannot write");
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);

  BOOST_TEST(failed);
  BOOST_TEST(test::read_file(path) == before);
  BOOST_TEST(std::distance(std::filesystem::directory_iterator(place.path()), {}) ==
             1);  // nothing half-written is left
}
