// .npy files: byte for byte what NumPy writes, read back unchanged, and no file, however malformed, does more than
// raise an Error. Tensors to and from safetensors, which use the same conversion to `Tensor`.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_npy
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/io/weights/npy.hpp"
#include "qwen3vl/io/weights/write_safetensors.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using test::fails_with;

namespace {

const test::TemporaryFolder folder;

// A header of version 1.0, padded as numpy.save (2.4) pads it.
std::string numpy_header(const std::string& dictionary) {
  std::string header = dictionary;
  header.append(117 - dictionary.size(), ' ').push_back('\n');
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header;
}

std::string header_of(const std::string& descr, const std::string& shape) {
  return numpy_header("{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }");
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

bool refused(const std::string& content, std::string_view what, const NpyLimits& limits = {}) {
  const auto path = folder.write("file.npy", content);
  return fails_with([&] { NpyFile::open(path, limits); }, what) &&
         fails_with([&] { NpyFile::open(path, limits); }, "file.npy");
}

// A matrix of T with a few extremes, that differ in every byte.
template <class T>
HostTensor<T, dynamic, 3> matrix() {
  HostTensor<T, dynamic, 3> tensor(2);
  const double values[] = {0.0, 1.0, 2.0, 100.0, 0.0, 1.0};
  for (std::size_t i = 0; i < 6; ++i) {
    if constexpr (std::is_arithmetic_v<T>) {
      tensor.data()[i] = static_cast<T>(values[i]);
    } else {
      tensor.data()[i] = T(static_cast<float>(values[i]));
    }
  }
  if constexpr (std::numeric_limits<T>::is_specialized && !std::is_same_v<T, bool>) {
    tensor(1, 1) = std::numeric_limits<T>::lowest();
    tensor(1, 2) = std::numeric_limits<T>::max();
  }
  return tensor;
}

template <class T>
bool same(const HostTensor<T, dynamic, 3>& a, const HostTensor<T, dynamic, 3>& b) {
  return a.rows() == b.rows() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

template <class T>
void round_trip(const std::string& descr) {
  const auto path = folder / "round.npy";
  const auto tensor = matrix<T>();
  write_npy(path, tensor);
  BOOST_TEST((NpyFile::open(path).tensor().dtype == dtype_of<T>), descr);
  BOOST_TEST((same(read_npy<T, dynamic, 3>(path), tensor)), descr);
  BOOST_TEST(test::read_file(path) ==
             header_of(descr, "(2, 3)") + std::string(reinterpret_cast<const char*>(tensor.data()), tensor.bytes()));

  write_safetensors(folder / "round.safetensors", {stored_tensor("t", tensor)});
  const auto stored = SafetensorsFile::open(folder / "round.safetensors");
  BOOST_TEST((same(to_tensor<T, dynamic, 3>(*stored.find("t")), tensor)), descr);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_type_comes_back) {
  round_trip<float>("<f4");
  round_trip<double>("<f8");
  round_trip<f16>("<f2");
  round_trip<std::int64_t>("<i8");
  round_trip<std::int32_t>("<i4");
  round_trip<std::int16_t>("<i2");
  round_trip<std::int8_t>("|i1");
  round_trip<std::uint64_t>("<u8");
  round_trip<std::uint32_t>("<u4");
  round_trip<std::uint16_t>("<u2");
  round_trip<std::uint8_t>("|u1");
  round_trip<bool>("|b1");
}

BOOST_AUTO_TEST_CASE(bf16_is_written_as_float32) {
  HostTensor<bf16, dynamic> tensor(40'000);  // more than one piece of the conversion
  for (index_t i = 0; i < tensor.rows(); ++i) tensor(i) = bf16(std::sin(static_cast<float>(i)));
  const auto path = folder / "bf16.npy";
  write_npy(path, tensor);
  BOOST_TEST(test::read_file(path).substr(0, 128) == header_of("<f4", "(40000,)"));
  const auto wide = read_npy<float, dynamic>(path);
  const auto back = read_npy<bf16, 40'000>(path);
  for (index_t i = 0; i < tensor.rows(); ++i) {
    BOOST_REQUIRE(wide(i) == static_cast<float>(tensor(i)));
    BOOST_REQUIRE(back(i).bits == tensor(i).bits);
  }
  // What numpy.save makes of ml_dtypes.bfloat16.
  const auto own = folder.write("own.npy", header_of("<V2", "(2,)") + bytes_of<std::uint16_t>({0x3f80, 0xc040}));
  BOOST_TEST((read_npy<float, 2>(own)(1) == -3.0f));
  BOOST_TEST((read_npy<bf16, dynamic>(own)(0).bits == 0x3f80));
}

BOOST_AUTO_TEST_CASE(shapes_of_every_rank) {
  const auto path = folder / "rank.npy";
  write_npy(path, HostTensor<float>::zeros());
  BOOST_TEST(test::read_file(path) == header_of("<f4", "()") + std::string(4, '\0'));
  BOOST_TEST(read_npy<float>(path).size() == 1);
  HostTensor<std::int32_t, 2, dynamic, 2> cube(3);
  for (index_t i = 0; i < 12; ++i) cube.data()[i] = static_cast<std::int32_t>(i);
  write_npy(path, cube.view());
  BOOST_TEST((read_npy<std::int32_t, dynamic, dynamic, dynamic>(path)(1, 2, 1) == 11));
  write_npy(path, HostMatrix<float>(0, 5));
  BOOST_TEST((read_npy<float, dynamic, 5>(path).rows() == 0));
  BOOST_TEST(fails_with([&] { read_npy<float, dynamic, 4>(path); }, "is [0, 5], wanted [?, 4]"));
  BOOST_TEST(fails_with([&] { read_npy<float, dynamic>(path); }, "is [0, 5], wanted [?]"));
  BOOST_TEST(fails_with([&] { write_npy(path, HostTensor<float, 3>()); }, "holds no memory"));
}

BOOST_AUTO_TEST_CASE(floats_are_converted_and_integers_not) {
  const auto path = folder.write("f8.npy", header_of("<f8", "(3,)") + bytes_of<double>({0.1, -1e300, 1.0}));
  const auto floats = read_npy<float, dynamic>(path);
  BOOST_TEST(floats(0) == 0.1f);
  BOOST_TEST(floats(1) == -std::numeric_limits<float>::infinity());
  BOOST_TEST((read_npy<f16, 3>(path)(2).bits == 0x3c00));
  BOOST_TEST(fails_with([&] { read_npy<std::int64_t, 3>(path); }, "is of type F64, wanted I64"));
  const auto ids = folder.write("i8.npy", header_of("<i8", "(1,)") + bytes_of<std::int64_t>({1}));
  BOOST_TEST(fails_with([&] { read_npy<std::int32_t, 1>(ids); }, "is of type I64, wanted I32"));
  BOOST_TEST(fails_with([&] { read_npy<float, 1>(ids); }, "is of type I64"));
  const auto mask = folder.write("b1.npy", header_of("|b1", "(2,)") + std::string("\x01\x07", 2));
  BOOST_TEST((read_npy<std::uint8_t, 2>(mask)(0) == 1));
  BOOST_TEST((read_npy<bool, 2>(mask)(1) == true));  // any other byte than 0
}

BOOST_AUTO_TEST_CASE(versions_and_spellings) {
  const std::string dictionary = "{\"shape\":(1,2) ,'fortran_order':False,\n 'descr' : '=f4'}";
  const std::string values = bytes_of<float>({1, 2});
  const auto length = static_cast<char>(dictionary.size());
  for (const char version : {'\x02', '\x03'}) {
    const std::string file = std::string("\x93NUMPY") + version + '\0' + length + std::string(3, '\0') + dictionary;
    BOOST_TEST((read_npy<float, 1, 2>(folder.write("version.npy", file + values))(0, 1) == 2.0f));
  }
  const std::string head = std::string("\x93NUMPY") + '\x01' + '\0' + length + '\0';
  BOOST_TEST((read_npy<float, 1, 2>(folder.write("version.npy", head + dictionary + values))(0, 0) == 1.0f));
  for (const char* version : {"\x04\x00", "\x00\x00", "\x01\x01"})
    BOOST_TEST(refused(std::string("\x93NUMPY") + std::string(version, 2) + std::string(20, ' '), "its version is"));
}

BOOST_AUTO_TEST_CASE(what_numpy_can_and_we_do_not) {
  const std::string values(8, '\0');
  BOOST_TEST(refused(numpy_header("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }") + values,
                     "numpy.ascontiguousarray"));
  BOOST_TEST(refused(header_of(">f4", "(2,)") + values, "save array.astype('<f4')"));
  BOOST_TEST(refused(numpy_header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }") + values,
                     "several fields"));
  for (const char* descr : {"<c8", "|O", "<U2", "<M8[ns]", "f4", "", "<", "?f4", "<f44"})
    BOOST_TEST(refused(header_of(descr, "(1,)") + values, "its type is"), descr);
  BOOST_TEST(refused(std::string("PK\x03\x04") + values, ".npz is another format"));
  BOOST_TEST(fails_with(
      [] {
        write_npy(folder / "f8.npy", StoredTensor{"t", DType::f8_e4m3, {0}, {}});
      },
      "no type for F8_E4M3"));
}

BOOST_AUTO_TEST_CASE(hostile_headers) {
  const std::string good = header_of("<f4", "(2, 3)") + std::string(24, '\x01');
  for (std::size_t length = 0; length < good.size(); ++length)
    BOOST_TEST(refused(good.substr(0, length), "cannot be read as a .npy file"), "cut at " << length);
  BOOST_TEST(refused(good + "x", "has 25 bytes of values, its shape [2, 3] of F32 needs 24"));

  // Sizes beyond any memory, and products that wrap around, also to zero.
  for (const char* shape :
       {"(1000000000000000000, 3)", "(9223372036854775807,)", "(9223372036854775808,)", "(4294967296, 4294967296)",
        "(4611686018427387904, 4)", "(0, 9223372036854775807)", "(18446744073709551616,)", "(2305843009213693952, 0)"})
    BOOST_TEST(refused(header_of("<f4", shape) + std::string(24, '\0'), "its shape"), shape);
  BOOST_TEST(refused(header_of("<f4", "(100000000000,)") + std::string(24, '\0'), "needs 400000000000"));
  for (const char* shape :
       {"(-1,)", "(2 3)", "(2,,3)", "(2, 3", "[2, 3]", "(2.0,)", "(2L,)", "6", "(,)", "(True,)", "None"})
    BOOST_TEST(refused(header_of("<f4", shape) + std::string(24, '\0'), "cannot be read as a .npy file"), shape);
  BOOST_TEST(
      refused(header_of("<f4", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)") + std::string(4, '\0'), "NpyLimits::max_rank"));

  for (const char* dictionary :
       {"", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'more': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", "{'descr: 1",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}", "{'descr': '<f4' 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()} + 1", "{descr: '<f4'}"})
    BOOST_TEST(refused(numpy_header(dictionary) + std::string(4, '\0'), "cannot be read as a .npy file"), dictionary);

  // Lengths of the header itself.
  const std::string v2("\x93NUMPY\x02\x00", 8);
  BOOST_TEST(refused(v2 + "\xff\xff\xff\xff" + good, "over the limit of 65536"));
  BOOST_TEST(refused(v2 + std::string("\x00\x10\x00\x00", 4) + good, "does not fit the file"));
  BOOST_TEST(refused(good, "NpyLimits::max_header_bytes", {.max_header_bytes = 117}));
  BOOST_TEST(fails_with([] { NpyFile::open(folder / "none.npy"); }, "cannot open"));
  BOOST_TEST(fails_with([] { NpyFile::open(folder.path()); }, "not a regular file"));
}

BOOST_AUTO_TEST_CASE(random_damage) {
  const std::string good = header_of("<f4", "(2, 3)") + std::string(24, '\x01');
  std::mt19937 random(1);
  int accepted = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bad = good;
    for (unsigned i = 0; i <= random() % 3; ++i) bad[random() % 80] = static_cast<char>(random());
    try {
      const NpyFile file = NpyFile::open(folder.write("bad.npy", bad));
      BOOST_TEST(file.tensor().bytes.size() == 24u);  // whatever its shape, it is inside the file
      ++accepted;
    } catch (const Error& error) {
      BOOST_TEST(std::string_view(error.what()).find('\n') == std::string_view::npos);
    }
  }
  BOOST_TEST(accepted < 2500);
}

BOOST_AUTO_TEST_CASE(writing_fails_whole) {
  const auto tensor = matrix<float>();
  BOOST_TEST(fails_with([&] { write_npy(folder / "no/folder.npy", tensor); }, "cannot create"));
  StoredTensor lying = stored_tensor("t", tensor);
  lying.shape = {INT64_MAX, 4};
  BOOST_TEST(fails_with([&] { write_npy(folder / "lying.npy", lying); }, "t has 24 bytes"));
  lying.shape = {-6};
  BOOST_TEST(fails_with([&] { write_npy(folder / "lying.npy", lying); }, "t has 24 bytes"));
  BOOST_TEST(!std::filesystem::exists(folder / "lying.npy"));
  // And to_tensor validates a StoredTensor built by hand.
  lying.shape = {7};
  BOOST_TEST(fails_with([&] { to_tensor<float, dynamic>(lying); }, "has 24 bytes, its shape and type need 28"));
}
