/// Shared by tests of readers: a temporary folder, files of any content, and checks of error messages.
#pragma once

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "qwen3vl/base/error.hpp"

namespace qwen3vl::test {

/// An empty folder that is deleted at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count{0};
    path_ = std::filesystem::temp_directory_path() /
            concat("qwen3vl_test_", std::random_device{}(), "_", count++);  // programs run side by side
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  std::filesystem::path write(std::string_view name, std::string_view content) const {
    std::ofstream stream(path_ / name, std::ios::binary);
    stream.write(content.data(), static_cast<std::streamsize>(content.size()));
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// Sets an environment variable as long as it lives; an empty value unsets it.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* const before = std::getenv(name)) before_ = before;
    set(value);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { set(before_); }

 private:
  void set(const std::string& value) const {
    if (value.empty()) {
      ::unsetenv(name_);
    } else {
      ::setenv(name_, value.c_str(), 1);
    }
  }
  const char* name_;
  std::string before_;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail("the test cannot open ", path.string());
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Passes `rounds` damaged copies of a file to read(file), some of them truncated, with changed bytes that are the same
/// for the same `random`. Returns how many ended in an Error; anything else that is thrown fails the test.
template <class F>
int errors_of_damaged(const std::string& whole, int rounds, std::mt19937& random, F&& read) {
  int errors = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string file = whole;
    if (round % 4 == 0) file.resize(random() % whole.size());
    for (std::size_t i = random() % 6; i > 0 && !file.empty(); --i)
      file[random() % file.size()] = static_cast<char>(random());
    try {
      read(file);
    } catch (const Error&) {
      ++errors;
    }
  }
  return errors;
}

/// The checksum of PNG and zlib, to compare with data of other programs.
inline std::uint32_t crc32(const std::vector<std::uint8_t>& bytes) {
  std::uint32_t sum = ~0u;
  for (const std::uint8_t byte : bytes) {
    sum ^= byte;
    for (int i = 0; i < 8; ++i) sum = sum >> 1 ^ (sum & 1 ? 0xedb88320u : 0u);
  }
  return ~sum;
}

/// Whether `call` throws an Error whose message is one short line that mentions `what`. Anything else fails the test.
template <class F>
bool fails_with(F&& call, std::string_view what) {
  try {
    call();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.find(what) == std::string_view::npos || message.find('\n') != std::string_view::npos ||
        message.size() > 2000) {
      BOOST_TEST_MESSAGE("wanted an error about '" << what << "', got: " << message);
      return false;
    }
    return true;
  }
  BOOST_TEST_MESSAGE("wanted an error about '" << what << "', got none");
  return false;
}

}  // namespace qwen3vl::test
