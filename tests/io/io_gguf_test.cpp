// GGUF: values equal those of the format's own Python package, and no file, however malformed, does more than raise an
// Error.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_gguf
#include <algorithm>
#include <bit>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/io/weights/gguf.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

// The largest piece of memory that was asked for, to see that no count of a file is believed.
static std::size_t largest_allocation = 0;
void* operator new(std::size_t size) {
  largest_allocation = std::max(largest_allocation, size);
  if (void* const memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

const test::TemporaryFolder folder;
const std::filesystem::path golden = QWEN3VL_TEST_DATA "/golden/gguf";

template <class T>
std::string number(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
std::string u16(int value) { return number(static_cast<std::uint16_t>(value)); }
std::string u32(std::uint32_t value) { return number(value); }
std::string u64(std::uint64_t value) { return number(value); }
std::string text(const std::string& value) { return u64(value.size()) + value; }

std::string key(const std::string& name, GgufValueType type, const std::string& value) {
  return text(name) + u32(static_cast<std::uint32_t>(type)) + value;
}
std::string array(GgufValueType element, std::uint64_t count, const std::string& elements) {
  return u32(static_cast<std::uint32_t>(element)) + u64(count) + elements;
}
std::string tensor(const std::string& name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                   std::uint64_t offset) {
  std::string entry = text(name) + u32(static_cast<std::uint32_t>(extents.size()));
  for (const std::uint64_t extent : extents) entry += u64(extent);
  return entry + u32(type) + u64(offset);
}

constexpr std::uint32_t f32_type = 0, q8_0_type = 8, q4_k_type = 12;

struct File {
  std::vector<std::string> keys = {key("general.architecture", GgufValueType::string, text("qwen3vl")),
                                   key("n", GgufValueType::uint32, u32(5))};
  std::vector<std::string> tensors = {tensor("a", {3, 2}, f32_type, 0), tensor("b", {64}, q8_0_type, 32)};
  std::size_t data = 32 + 2 * 34;
  std::uint32_t version = 3;
  std::optional<std::uint64_t> key_count, tensor_count;  // otherwise how many there are

  std::string content() const {
    std::string file =
        "GGUF" + u32(version) + u64(tensor_count.value_or(tensors.size())) + u64(key_count.value_or(keys.size()));
    for (const std::string& entry : keys) file += entry;
    for (const std::string& entry : tensors) file += entry;
    file.resize((file.size() + 31) / 32 * 32);
    return file + std::string(data, '\x01');
  }
};

// A file with one more key, or with these tensors.
File with_key(const std::string& entry) {
  File file;
  file.keys.push_back(entry);
  return file;
}
File with_tensors(std::vector<std::string> entries) {
  File file;
  file.tensors = std::move(entries);
  return file;
}

GgufFile open(const std::string& content, const GgufLimits& limits = {}) {
  return GgufFile::open(folder.write("file.gguf", content), limits);
}
GgufFile open(const File& file, const GgufLimits& limits = {}) { return open(file.content(), limits); }

template <class Content>
bool refused(const Content& content, std::string_view what, const GgufLimits& limits = {}) {
  const bool named = fails_with([&] { open(content, limits); }, (folder / "file.gguf").string());
  return named && fails_with([&] { open(content, limits); }, what);
}

std::vector<float> floats(const StoredTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.size()));
  read_floats(tensor, values);
  return values;
}

// Whether the bits are the same; any NaN equals any other.
bool same(float a, float b) {
  return std::isnan(a) ? std::isnan(b) : std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    if (!same(a[i], b[i])) {
      BOOST_TEST_MESSAGE("value " << i << " is " << a[i] << ", wanted " << b[i]);
      return false;
    }
  return a.size() == b.size();
}

// All that a file says, through every getter, for what was damaged in it.
void read_all(const GgufFile& file) {
  const auto try_to = [](auto&& f) {
    try {
      f();
    } catch (const Error&) {
    }
  };
  for (const auto& [name, value] : file.metadata().values()) {
    try_to([&, &key = name] { file.metadata().string(key); });
    try_to([&, &key = name] { file.metadata().boolean(key); });
    try_to([&, &key = name] { file.metadata().integer(key); });
    try_to([&, &key = name] { file.metadata().number(key); });
    try_to([&, &key = name] { file.metadata().strings(key); });
    try_to([&, &key = name] { file.metadata().integers(key); });
    try_to([&, &key = name] { file.metadata().numbers(key); });
    try_to([&, &key = name] { file.metadata().booleans(key); });
  }
  for (const StoredTensor& tensor : file.tensors())
    if (tensor.encoded || is_floating_weight(tensor.dtype)) floats(tensor);
}

// What read_blocks gives, multiplied out.
std::vector<float> multiplied(const EncodedRows& rows) {
  const BlockForm form = rows.blocks().form;
  const index_t group = rows.blocks().group;
  const auto columns = static_cast<std::size_t>(rows.columns());
  std::vector<std::int8_t> q(columns), steps(columns);
  std::vector<std::uint8_t> offsets(columns);
  std::vector<float> scales(columns), minimums(columns), values;
  for (index_t row = 0; row < rows.rows(); ++row) {
    rows.read_blocks(row, {q.data(), scales.data(), minimums.data(), steps.data(), offsets.data()});
    for (std::size_t i = 0; i < columns; ++i) {
      const float x = q[i];
      if (form == BlockForm::bytes) {
        values.push_back(scales[i / static_cast<std::size_t>(group)] * x);
      } else if (form == BlockForm::nibbles) {
        const std::size_t g = i / static_cast<std::size_t>(group);
        BOOST_REQUIRE((x >= 0 && x <= 15 && offsets[g] <= 15));
        values.push_back(scales[g] * (x - offsets[g]));
      } else if (form == BlockForm::q6_k) {
        BOOST_REQUIRE((x >= -32 && x <= 31));
        values.push_back(scales[i / 256] * steps[i / 16] * x);
      } else {
        BOOST_REQUIRE((x >= 0 && x <= (form == BlockForm::q4_k ? 15 : 31)));
        BOOST_REQUIRE((steps[i / 32] >= 0 && steps[i / 32] <= 63 && offsets[i / 32] <= 63));
        values.push_back(scales[i / 256] * steps[i / 32] * x - minimums[i / 256] * offsets[i / 32]);
      }
    }
  }
  return values;
}

}  // namespace

BOOST_AUTO_TEST_CASE(tensors_of_every_type_have_the_values_of_the_reference) {
  const GgufFile file = GgufFile::open(golden / "types.gguf");
  int compared = 0, multiplied_out = 0;
  for (const StoredTensor& tensor : file.tensors()) {
    const StoredTensor* const expected = file.find(tensor.name + ".expected");
    if (expected == nullptr) continue;
    BOOST_TEST_CONTEXT(tensor.name) {
      const std::vector<float> wanted = floats(*expected);
      BOOST_TEST(tensor.shape == expected->shape, boost::test_tools::per_element());
      BOOST_TEST(same(floats(tensor), wanted));
      ++compared;
      if (!tensor.encoded) continue;
      const EncodedRows& rows = *tensor.encoded;
      BOOST_TEST(rows.columns() == tensor.shape.back());
      BOOST_TEST(rows.rows() * rows.columns() == tensor.size());
      BOOST_TEST(rows.memory().size() == 1u);
      if (tensor.name != "stack" && tensor.name != "vector") BOOST_TEST(rows.type_name() == tensor.name);
      // A row in the middle
      const index_t row = rows.rows() / 2;
      std::vector<float> one(static_cast<std::size_t>(rows.columns()));
      rows.read(row, 1, one.data());
      const auto begin = wanted.begin() + row * rows.columns();
      BOOST_TEST(same(one, {begin, begin + rows.columns()}));
      if (rows.blocks().form == BlockForm::none) continue;
      BOOST_TEST(same(multiplied(rows), wanted));
      ++multiplied_out;
    }
  }
  BOOST_TEST(compared == 18);
  BOOST_TEST(multiplied_out == 10);
}

BOOST_AUTO_TEST_CASE(plain_tensors_have_their_types) {
  const GgufFile file = GgufFile::open(golden / "types.gguf");
  const auto double_values = to_tensor<double, 2>(*file.find("F64"));
  BOOST_TEST(double_values(0) == 0.1);
  BOOST_TEST(double_values(1) == -1e300);
  std::vector<std::int64_t> integers(3);
  read_int64s(*file.find("I8"), integers);
  BOOST_TEST(integers == (std::vector<std::int64_t>{-128, -1, 127}), boost::test_tools::per_element());
  read_int64s(*file.find("I64"), integers);
  BOOST_TEST(integers[2] == std::numeric_limits<std::int64_t>::max());
  BOOST_TEST((file.find("I16")->dtype == DType::i16));
  BOOST_TEST((file.find("I32")->dtype == DType::i32));
  BOOST_TEST((file.find("BF16")->dtype == DType::bf16));
  BOOST_TEST(file.find("nothing") == nullptr);
  for (const StoredTensor& tensor : file.tensors())
    BOOST_TEST(tensor.file.begin == file.parts()[0].file.bytes().data());
}

BOOST_AUTO_TEST_CASE(metadata_of_every_type) {
  const GgufFile file = GgufFile::open(golden / "types.gguf");
  const GgufMetadata& metadata = file.metadata();
  BOOST_TEST(metadata.string("general.architecture") == "qwen3vl");
  BOOST_TEST(metadata.integer("test.uint8") == 200);
  BOOST_TEST(metadata.integer("test.int8") == -100);
  BOOST_TEST(metadata.integer("test.uint16") == 60000);
  BOOST_TEST(metadata.integer("test.int16") == -30000);
  BOOST_TEST(metadata.integer("test.uint32") == 4000000000);
  BOOST_TEST(metadata.integer<int>("test.int32") == -2000000000);
  BOOST_TEST(metadata.integer<std::uint64_t>("test.uint64") == 18446744073709551615u);
  BOOST_TEST(metadata.integer("test.int64") == std::numeric_limits<std::int64_t>::min());
  BOOST_TEST(metadata.number("test.float32") == double{1e-6f});
  BOOST_TEST(metadata.number("test.float64") == 0.1);
  BOOST_TEST(metadata.number("test.int8") == -100.0);
  BOOST_TEST(metadata.boolean("test.true"));
  BOOST_TEST(!metadata.boolean("test.false"));
  BOOST_TEST(metadata.string("test.string") == "Zo\xc3\xab \xf0\x9f\x98\x80");
  BOOST_TEST(metadata.strings("test.strings") ==
                 (std::vector<std::string_view>{"a", "", "\xc4\xa0the", std::string(300, 'x')}),
             boost::test_tools::per_element());
  BOOST_TEST(metadata.integers<int>("test.integers") == (std::vector<int>{-3, 0, 7}), boost::test_tools::per_element());
  BOOST_TEST(metadata.integers("test.bytes") == (std::vector<std::int64_t>{1, 255}), boost::test_tools::per_element());
  BOOST_TEST(metadata.integers("test.long") == (std::vector<std::int64_t>{-1, std::int64_t{1} << 40}),
             boost::test_tools::per_element());
  BOOST_TEST(metadata.numbers("test.numbers") == (std::vector<double>{0.5, -1.25}), boost::test_tools::per_element());
  BOOST_TEST((metadata.booleans("test.booleans") == std::vector<bool>{true, false, true}));
  const GgufValue* const nested = metadata.find("test.nested");
  BOOST_REQUIRE(nested != nullptr);
  BOOST_TEST((nested->element == GgufValueType::array && nested->count == 2));
  BOOST_TEST(!metadata.has("test"));
  BOOST_TEST(metadata.find("test") == nullptr);

  const auto fails = [&](auto&& get, std::string_view what) {
    return fails_with(get, what) && fails_with(get, "types.gguf");
  };
  BOOST_TEST(fails([&] { metadata.string("test"); }, "has no test"));
  BOOST_TEST(fails([&] { metadata.string("test.int8"); }, "test.int8 is INT8, wanted a string"));
  BOOST_TEST(fails([&] { metadata.boolean("test.int8"); }, "test.int8 is INT8, wanted BOOL"));
  BOOST_TEST(fails([&] { metadata.integer("test.true"); }, "test.true is BOOL, wanted an integer"));
  BOOST_TEST(fails([&] { metadata.integer("test.float32"); }, "wanted an integer"));
  BOOST_TEST(fails([&] { metadata.integer("test.uint64"); }, "test.uint64 is 18446744073709551615, wanted a number"));
  BOOST_TEST(fails([&] { metadata.integer<std::size_t>("test.int8"); }, "test.int8 is -100, wanted a number from 0"));
  BOOST_TEST(fails([&] { metadata.integer("test.int8", -9, 9); }, "wanted a number from -9 to 9"));
  BOOST_TEST(fails([&] { metadata.number("test.string"); }, "test.string is STRING, wanted a number"));
  BOOST_TEST(fails([&] { metadata.number("test.infinite"); }, "wanted a finite number"));
  BOOST_TEST(fails([&] { metadata.strings("test.string"); }, "test.string is STRING, wanted an array of strings"));
  BOOST_TEST(fails([&] { metadata.strings("test.integers"); }, "is ARRAY of INT32, wanted an array of strings"));
  BOOST_TEST(fails([&] { metadata.integers("test.nested"); }, "is ARRAY of ARRAY, wanted an array of integers"));
  BOOST_TEST(fails([&] { metadata.integers("test.integers", 0, 9); }, "test.integers is -3, wanted"));
  BOOST_TEST(fails([&] { metadata.numbers("test.booleans"); }, "is ARRAY of BOOL, wanted an array of numbers"));
  BOOST_TEST(fails([&] { metadata.booleans("test.integers"); }, "wanted an array of BOOL"));
}

BOOST_AUTO_TEST_CASE(strings_are_utf8) {
  const GgufFile file = open(with_key(key("s", GgufValueType::string, text("\xff\n"))));
  BOOST_TEST(fails_with([&] { file.metadata().string("s"); }, "s holds a string that is not UTF-8: ??"));
  const GgufFile list =
      open(with_key(key("s", GgufValueType::array, array(GgufValueType::string, 2, text("a") + text("\xed\xa0\x80")))));
  BOOST_TEST(fails_with([&] { list.metadata().strings("s"); }, "s holds a string that is not UTF-8"));
}

BOOST_AUTO_TEST_CASE(a_good_file) {
  const GgufFile file = open(File{});
  BOOST_TEST(file.tensors().size() == 2u);
  BOOST_TEST(file.find("a")->shape == (std::vector<index_t>{2, 3}), boost::test_tools::per_element());
  BOOST_TEST(file.find("a")->bytes.size() == 24u);
  BOOST_TEST(floats(*file.find("b")).size() == 64u);
  File older;
  older.version = 2;
  BOOST_TEST(open(older).tensors().size() == 2u);
  BOOST_TEST(open(with_tensors({tensor("scalar", {}, f32_type, 64)})).find("scalar")->size() == 1);
  BOOST_TEST(open(with_tensors({})).tensors().empty());
  File nothing = with_tensors({});
  nothing.keys.clear();
  BOOST_TEST(open(nothing.content().substr(0, 24)).tensors().empty());  // not even padding
  auto opened = open(File{});
  const std::vector<GgufFile::Part> parts = std::move(opened).take_parts();
  BOOST_TEST(parts.size() == 1u);
  BOOST_TEST(parts[0].name == (folder / "file.gguf").string());
}

BOOST_AUTO_TEST_CASE(other_files_are_refused) {
  BOOST_TEST(refused(std::string(), "does not begin with GGUF"));
  BOOST_TEST(refused(std::string("ggjt") + u32(3), "does not begin with GGUF"));
  BOOST_TEST(refused(std::string("GGUF") + u32(1) + u32(0) + u32(0), "version 1"));
  BOOST_TEST(refused(std::string("GGUF") + u32(4) + u64(0) + u64(0), "version 4"));
  BOOST_TEST(refused(std::string("GGUF") + u32(0) + u64(0) + u64(0), "version 0"));
  BOOST_TEST(refused(std::string("GGUF") + u32(0x03000000) + u64(0) + u64(0), "big-endian"));
  BOOST_TEST(fails_with([] { GgufFile::open(folder.path()); }, "not a regular file"));
  BOOST_TEST(fails_with([] { GgufFile::open(folder / "missing.gguf"); }, "missing.gguf"));
}

// Each is the kind of a published vulnerability in a reader of GGUF: counts that are believed, products that wrap,
// types as indices, ranks beyond an array, tensors outside of the file, strings longer than it, zero or huge alignment.
BOOST_AUTO_TEST_CASE(hostile_metadata_is_refused) {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  File file;
  for (const std::uint64_t count : {most - 1, std::uint64_t{1} << 63, std::uint64_t{1} << 32}) {
    file.key_count = count;
    BOOST_TEST(refused(file, "GgufLimits::max_keys"));
  }
  file.key_count = 60000;
  BOOST_TEST(refused(file, "not a valid GGUF file"));
  for (const std::uint64_t length : {most, most - 7, std::uint64_t{1} << 63, std::uint64_t{1000}}) {
    BOOST_TEST(refused(with_key(u64(length) + "name"), "key 2 of its metadata needs"));
    BOOST_TEST(refused(with_key(key("s", GgufValueType::string, u64(length))), "s needs"));
    BOOST_TEST(
        refused(with_key(key("s", GgufValueType::array, array(GgufValueType::string, 1, u64(length)))), "s needs"));
  }
  for (const std::uint64_t count : {most, most / 4 + 2, most / 8 + 2, std::uint64_t{1} << 63, std::uint64_t{100000}})
    for (const auto element :
         {GgufValueType::uint8, GgufValueType::int16, GgufValueType::float32, GgufValueType::uint64,
          GgufValueType::boolean, GgufValueType::string, GgufValueType::array})
      BOOST_TEST(
          refused(with_key(key("s", GgufValueType::array, array(element, count, ""))), "elements, but the file"));
  for (const std::uint32_t type : {13u, 255u, 0x80000000u, 0xffffffffu}) {
    const auto wrong = static_cast<GgufValueType>(type);
    BOOST_TEST(refused(with_key(key("s", wrong, u64(0))), concat("s has the value type ", type)));
    BOOST_TEST(refused(with_key(key("s", GgufValueType::array, array(wrong, 1, u64(0)))), "value type"));
  }
  std::string nested = array(GgufValueType::uint8, 0, "");
  for (int i = 0; i < 1000; ++i) nested = array(GgufValueType::array, 1, nested);
  BOOST_TEST(refused(with_key(key("s", GgufValueType::array, nested)), "GgufLimits::max_array_depth"));
  BOOST_TEST(refused(with_key(key("s", GgufValueType::boolean, "\x02")), "neither 0 nor 1"));
  BOOST_TEST(
      refused(with_key(key("s", GgufValueType::array, array(GgufValueType::boolean, 2, "\x01\x7f"))), "neither"));
  BOOST_TEST(refused(with_key(key("n", GgufValueType::uint32, u32(6))), "has n twice"));
  BOOST_TEST(refused(with_key(key("", GgufValueType::uint32, u32(6))), "key 2 of its metadata has an empty name"));
  BOOST_TEST(refused(with_key(key("a\nb\x1b[31m", GgufValueType::uint32, u32(6))), "cannot be printed: a?b?[31m"));
  for (const std::string& name : {std::string("n\0", 2), std::string("\xff"), std::string("\x7f")})
    BOOST_TEST(refused(with_key(key(name, GgufValueType::uint32, u32(6))), "cannot be printed"));
  for (const std::uint32_t alignment : {0u, 3u, 33u, 0xffffffffu})
    BOOST_TEST(refused(with_key(key("general.alignment", GgufValueType::uint32, u32(alignment))), "power of two"));
  File far = with_key(key("general.alignment", GgufValueType::uint32, u32(0x80000000u)));
  far.tensors.pop_back();
  BOOST_TEST(refused(far, "the 24 bytes of a at 0 are not inside the 0 bytes of data"));
  BOOST_TEST(refused(with_key(key("general.alignment", GgufValueType::string, text("32"))), "wanted an integer"));
  BOOST_TEST(refused(with_key(key("general.alignment", GgufValueType::int32, u32(0x80000000u))), "wanted a number"));
  BOOST_TEST(refused(with_key(key("general.alignment", GgufValueType::uint64, u64(std::uint64_t{1} << 63))), "wanted"));
}

BOOST_AUTO_TEST_CASE(hostile_tensors_are_refused) {
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  File file;
  for (const std::uint64_t count : {most - 1, std::uint64_t{1} << 63, std::uint64_t{1} << 32}) {
    file.tensor_count = count;
    BOOST_TEST(refused(file, "GgufLimits::max_tensors"));
  }
  file.tensor_count = 60000;
  BOOST_TEST(refused(file, "not a valid GGUF file"));
  const auto is_refused = [](const std::string& entry, std::string_view what) {
    return refused(with_tensors({entry}), what);
  };
  BOOST_TEST(is_refused(u64(most) + "name", "the entry of tensor 0 needs"));
  BOOST_TEST(is_refused(tensor("", {1}, f32_type, 0), "empty name"));
  BOOST_TEST(is_refused(tensor(std::string("\0", 1), {1}, f32_type, 0), "cannot be printed: ?"));
  BOOST_TEST(is_refused(tensor("t", {1, 1, 1, 1, 1}, f32_type, 0), "GgufLimits::max_rank"));
  BOOST_TEST(is_refused(text("t") + u32(0xffffffffu), "t, of 4294967295 dimensions"));
  // Extents whose product, or whose size in bytes, wraps around
  BOOST_TEST(is_refused(tensor("t", {most}, f32_type, 0), "shape of t is too large"));
  BOOST_TEST(is_refused(tensor("t", {1u << 31, 1u << 31, 4}, f32_type, 0), "shape of t is too large"));
  BOOST_TEST(is_refused(tensor("t", {1152, (std::uint64_t{1} << 42) + 1, 4096}, f32_type, 0), "too large"));
  BOOST_TEST(is_refused(tensor("t", {std::uint64_t{1} << 62}, f32_type, 0), "too large"));
  BOOST_TEST(is_refused(tensor("t", {std::uint64_t{1} << 61}, f32_type, 0), "are not inside"));
  BOOST_TEST(is_refused(tensor("t", {(std::uint64_t{1} << 60)}, q8_0_type, 0), "are not inside"));
  BOOST_TEST(is_refused(tensor("t", {0}, f32_type, 0), "extent of 0"));
  BOOST_TEST(is_refused(tensor("t", {4, 0}, f32_type, 0), "extent of 0"));
  BOOST_TEST(is_refused(tensor("t", {std::uint64_t{1} << 62, 0, 4}, f32_type, 0), "extent of 0"));
  BOOST_TEST(
      is_refused(tensor("t", {33}, q8_0_type, 0), "t has rows of 33 values, its type Q8_0 needs a multiple of 32"));
  BOOST_TEST(is_refused(tensor("t", {128, 2}, q4_k_type, 0), "multiple of 256"));
  BOOST_TEST(is_refused(tensor("t", {}, q8_0_type, 0), "rows of 1 values"));
  for (const std::uint32_t type : {4u, 5u, 31u, 38u, 42u, 255u, 0x80000000u, 0xffffffffu})
    BOOST_TEST(is_refused(tensor("t", {32}, type, 0), concat("t is of type ", type, ", which is not known")));
  for (const std::uint32_t type : {9u, 15u, 16u, 17u, 18u, 19u, 21u, 22u, 29u, 34u, 35u, 40u, 41u})
    BOOST_TEST(is_refused(tensor("t", {256}, type, 0), concat(" (", type, "), which is not read")));
  BOOST_TEST(is_refused(tensor("t", {256}, 16, 0), "t is of type IQ2_XXS (16)"));
  BOOST_TEST(is_refused(tensor("t", {1}, f32_type, 4), "t begins at 4, not at a multiple of general.alignment, 32"));
  for (const std::uint64_t offset : {most - 31, std::uint64_t{1} << 63, std::uint64_t{128}})
    BOOST_TEST(is_refused(tensor("t", {1}, f32_type, offset), "are not inside"));
  BOOST_TEST(is_refused(tensor("t", {2}, f32_type, 96), "the 8 bytes of t at 96 are not inside the 100 bytes of data"));
  BOOST_TEST(refused(with_tensors({tensor("a", {1}, f32_type, 0), tensor("a", {1}, f32_type, 32)}), "a exists twice"));
  BOOST_TEST(refused(with_tensors({tensor("a", {1}, f32_type, 0), tensor("b", {1}, f32_type, 0)}), "a and b overlap"));
  BOOST_TEST(refused(with_tensors({tensor("a", {1}, f32_type, 32), tensor("b", {9}, f32_type, 0)}), "b and a overlap"));
}

BOOST_AUTO_TEST_CASE(limits_are_named) {
  BOOST_TEST(refused(File{}, "GgufLimits::max_header_bytes", {.max_header_bytes = 64}));
  BOOST_TEST(refused(File{}, "GgufLimits::max_name_bytes", {.max_name_bytes = 3}));
  BOOST_TEST(refused(File{}, "GgufLimits::max_keys", {.max_keys = 1}));
  BOOST_TEST(refused(File{}, "GgufLimits::max_tensors", {.max_tensors = 1}));
  BOOST_TEST(refused(File{}, "GgufLimits::max_rank", {.max_rank = 1}));
  BOOST_TEST(fails_with([] { GgufFile::open(golden / "split-00001-of-00003.gguf", {.max_files = 2}); },
                        "GgufLimits::max_files"));
}

BOOST_AUTO_TEST_CASE(every_truncation_and_every_changed_byte_is_an_error_or_harmless) {
  const std::string whole =
      with_key(key("list", GgufValueType::array,
                   array(GgufValueType::array, 1, array(GgufValueType::string, 2, text("x") + text("yz")))))
          .content();
  const std::string types = test::read_file(golden / "types.gguf").substr(0, 4000);
  BOOST_REQUIRE_NO_THROW(read_all(open(whole)));
  largest_allocation = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) BOOST_TEST(refused(whole.substr(0, size), "GGUF"));
  const std::size_t header = whole.size() - File{}.data;
  int errors = 0;
  for (std::size_t i = 0; i < header; ++i)
    for (const int change : {0x01, 0x02, 0x08, 0x40, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      try {
        read_all(open(damaged));
      } catch (const Error&) {
        ++errors;
      }
    }
  BOOST_TEST(errors > 500);
  std::mt19937 random(7);
  test::errors_of_damaged(whole, 2000, random, [](const std::string& file) { read_all(open(file)); });
  for (std::size_t size = 0; size < types.size(); size += 7)
    BOOST_TEST(fails_with([&] { open(types.substr(0, size)); }, "GGUF"));
  BOOST_TEST(largest_allocation < 100'000u);
}

BOOST_AUTO_TEST_CASE(split_files) {
  const std::filesystem::path first = golden / "split-00001-of-00003.gguf";
  const GgufFile file = GgufFile::open(first);
  BOOST_TEST(file.tensors().size() == 3u);
  BOOST_TEST(file.parts().size() == 3u);
  BOOST_TEST(floats(*file.find("t2")) == std::vector<float>(6, 2.0f), boost::test_tools::per_element());
  BOOST_TEST(file.metadata().strings("test.strings").size() == 2u);

  BOOST_TEST(fails_with([] { GgufFile::open(golden / "split-00002-of-00003.gguf"); },
                        "is file 2 of a model in 3; give the first, whose name ends in -00001-of-00003.gguf"));
  const std::string one = test::read_file(first), two = test::read_file(golden / "split-00002-of-00003.gguf"),
                    three = test::read_file(golden / "split-00003-of-00003.gguf");
  BOOST_TEST(refused(one, "its name must end in -00001-of-00003.gguf"));
  const auto model = folder.write("m-00001-of-00003.gguf", one);
  BOOST_TEST(fails_with([&] { GgufFile::open(model); },
                        "missing files: m-00002-of-00003.gguf, m-00003-of-00003.gguf; download them again"));
  folder.write("m-00002-of-00003.gguf", two);
  BOOST_TEST(fails_with([&] { GgufFile::open(model); }, "missing files: m-00003-of-00003.gguf"));
  folder.write("m-00003-of-00003.gguf", two);
  BOOST_TEST(fails_with([&] { GgufFile::open(model); }, "m-00003-of-00003.gguf is not file 3 of 3"));
  folder.write("m-00003-of-00003.gguf", three);
  folder.write("m-00002-of-00003.gguf", File{}.content());
  BOOST_TEST(fails_with([&] { GgufFile::open(model); }, "m-00002-of-00003.gguf has no split.count"));
  const auto part = [](int number, int count) {
    File file = with_tensors({tensor(concat("x", number), {1}, f32_type, 0)});
    file.keys = {key("split.no", GgufValueType::uint16, u16(number)),
                 key("split.count", GgufValueType::uint16, u16(count))};
    return file.content();
  };
  folder.write("m-00002-of-00003.gguf", part(2, 3));
  BOOST_TEST(fails_with([&] { GgufFile::open(model); }, "m-00002-of-00003.gguf is not file 2 of 3"));
  folder.write("m-00002-of-00003.gguf", part(1, 4));
  BOOST_TEST(fails_with([&] { GgufFile::open(model); }, "m-00002-of-00003.gguf is not file 2 of 3"));
  folder.write("m-00002-of-00003.gguf", part(1, 3));
  BOOST_TEST(GgufFile::open(model).find("x1") != nullptr);
  const auto other = folder.write("n-00001-of-00002.gguf", part(0, 2));
  File last = with_tensors({tensor("y", {1}, f32_type, 0), tensor("z", {1}, f32_type, 32)});
  last.keys = {key("split.no", GgufValueType::uint16, u16(1)), key("split.count", GgufValueType::uint16, u16(2))};
  folder.write("n-00002-of-00002.gguf", last.content());
  BOOST_TEST(GgufFile::open(other).tensors().size() == 3u);
  last.tensors[1] = tensor("x0", {1}, f32_type, 32);
  folder.write("n-00002-of-00002.gguf", last.content());
  BOOST_TEST(fails_with([&] { GgufFile::open(other); }, "the tensor x0 exists twice"));
  last.tensors.pop_back();
  folder.write("n-00002-of-00002.gguf", last.content());
  File total = with_tensors({tensor("x0", {1}, f32_type, 0)});
  total.keys = {key("split.no", GgufValueType::uint16, u16(0)), key("split.count", GgufValueType::uint16, u16(2)),
                key("split.tensors.count", GgufValueType::int32, u32(4))};
  folder.write("n-00001-of-00002.gguf", total.content());
  BOOST_TEST(fails_with([&] { GgufFile::open(other); }, "have 2 tensors, its split.tensors.count is 4"));
}
