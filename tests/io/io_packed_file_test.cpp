// Files of packed weights: what was written is read back, and any other file is rejected.
#define BOOST_TEST_DYN_LINK
#define BOOST_TEST_MODULE io_packed_file
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "qwen3vl/io/weights/packed_file.hpp"
#include "support/test_files.hpp"

using namespace qwen3vl;
using qwen3vl::test::fails_with;
using qwen3vl::test::read_file;
using qwen3vl::test::TemporaryFolder;

namespace {

std::vector<std::byte> bytes(std::size_t count, unsigned seed) {
  std::vector<std::byte> all(count);
  std::mt19937 random(seed);
  for (std::byte& byte : all) byte = static_cast<std::byte>(random());
  return all;
}

struct Pieces {
  // More than one block of reading, an odd size, and no bytes.
  std::vector<std::byte> a = bytes((9u << 20) + 13, 1), b = bytes(7, 2), c, d = bytes(4096, 3);
  std::vector<std::span<std::byte>> all() { return {a, b, c, d}; }
};

}  // namespace

BOOST_AUTO_TEST_CASE(what_was_written_comes_back) {
  const TemporaryFolder folder;
  const auto path = folder / "weights.packed";
  for (const std::string& identity : {std::string("a model"), std::string(5000, 'x'), std::string()}) {
    Pieces written, read;
    PackedFile::write(path, identity, written.all());
    BOOST_TEST(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1, "no other file is left");
    const auto file = PackedFile::open(path, identity);
    BOOST_REQUIRE(file.has_value());
    for (const int threads : {1, 3}) {
      for (const std::span<std::byte> piece : read.all()) std::fill(piece.begin(), piece.end(), std::byte{0x55});
      std::size_t last = 0;
      BOOST_TEST(file->read(read.all(), threads, [&](std::size_t done) {
        BOOST_TEST(done >= last);
        last = done;
      }));
      BOOST_TEST((read.a == written.a && read.b == written.b && read.d == written.d));
    }
    // A different total size belongs to other weights.
    Pieces other;
    other.b.push_back(std::byte{});
    BOOST_TEST(!file->read(other.all(), 1));
  }
}

BOOST_AUTO_TEST_CASE(anything_else_is_no_file) {
  const TemporaryFolder folder;
  const auto path = folder / "weights.packed";
  Pieces pieces;
  pieces.a.resize(100);
  PackedFile::write(path, "a model", pieces.all());
  const std::string whole = read_file(path);
  BOOST_TEST(PackedFile::open(path, "a model").has_value());
  BOOST_TEST(!PackedFile::open(path, "a Model").has_value());
  BOOST_TEST(!PackedFile::open(path, "a model ").has_value());
  BOOST_TEST(!PackedFile::open(folder / "absent", "a model").has_value());
  BOOST_TEST(!PackedFile::open(folder.path(), "a model").has_value());
  for (const std::size_t size : {0, 15, 31, 32, 38, 39, 4095, 4096, 4100})
    BOOST_TEST(!PackedFile::open(folder.write("cut", whole.substr(0, size)), "a model").has_value(), size);
  BOOST_TEST(!PackedFile::open(folder.write("long", whole + "x"), "a model").has_value());
  for (std::size_t i = 0; i < 39; ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    BOOST_TEST(!PackedFile::open(folder.write("damaged", damaged), "a model").has_value(), i);
  }
  // A file that shrinks after it was opened.
  const auto file = PackedFile::open(path, "a model");
  std::filesystem::resize_file(path, 4096);
  BOOST_TEST(!file->read(pieces.all(), 2));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_written_is_an_error_and_leaves_nothing) {
  Pieces pieces;
  BOOST_TEST(fails_with([&] { PackedFile::write("/nonexistent/weights.packed", "x", pieces.all()); },
                        "/nonexistent/weights.packed"));
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "taken");
  std::filesystem::create_directory(folder / "taken" / "full");
  BOOST_TEST(fails_with([&] { PackedFile::write(folder / "taken", "x", pieces.all()); }, "taken"));
  BOOST_TEST(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

BOOST_AUTO_TEST_CASE(leftovers_of_killed_starts_are_removed) {
  const TemporaryFolder folder;
  const auto path = folder / "weights.packed";
  const auto old = std::filesystem::file_time_type::clock::now() - std::chrono::hours(25);
  for (const char* name : {"weights.packed.abcdef.part", "weights.packed.fresh1.part", "other.packed.abcdef.part"})
    if (const auto file = folder.write(name, "x"); std::string(name).find("fresh") == std::string::npos)
      std::filesystem::last_write_time(file, old);
  Pieces pieces;
  pieces.a.resize(100);
  PackedFile::write(path, "a model", pieces.all());
  BOOST_TEST(!std::filesystem::exists(folder / "weights.packed.abcdef.part"));
  BOOST_TEST(std::filesystem::exists(folder / "weights.packed.fresh1.part"));
  BOOST_TEST(std::filesystem::exists(folder / "other.packed.abcdef.part"));
}
