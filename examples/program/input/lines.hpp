/// Text from standard input and files of any length.
#pragma once

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <istream>
#include <string>
#include <string_view>

#include "program/input/limits.hpp"
#include "qwen3vl/base/error.hpp"

namespace program {

using namespace qwen3vl;

/// Reads lines of bounded length; longer ones are skipped, so that no input can exhaust memory.
class LineReader {
 public:
  LineReader(std::istream& stream, std::size_t max_bytes) : stream_(stream), max_bytes_(max_bytes) {}

  /// The next line without its end; false at the end of the input. `too_long` says that it was skipped.
  bool next(std::string& line, bool& too_long) {
    line.clear();
    too_long = false;
    bool any = false;
    for (int c = stream_.get(); c != std::istream::traits_type::eof(); c = stream_.get()) {
      any = true;
      if (c == '\n') break;
      if (line.size() < max_bytes_) {
        line += static_cast<char>(c);
      } else {
        too_long = true;
      }
    }
    if (line.ends_with('\r')) line.pop_back();
    return any;
  }

 private:
  std::istream& stream_;
  std::size_t max_bytes_;
};

/// All of a stream. Throws Error beyond `max_bytes`.
inline std::string read_all(std::istream& stream, std::size_t max_bytes) {
  std::string text;
  char block[65536];
  while (stream.read(block, sizeof block), stream.gcount() > 0) {
    text.append(block, static_cast<std::size_t>(stream.gcount()));
    if (text.size() > max_bytes)
      qwen3vl::fail("standard input has more than ", max_bytes, " bytes (MessageLimits::max_bytes)");
  }
  return text;
}

/// Calls each(number, text) for every line of a file ("-": standard input) that is not blank, and each(number, {},
/// error) for one that is too long.
inline void for_each_line(const std::string& path, const Limits& limits,
                          const std::function<void(std::size_t, std::string_view, const std::string&)>& each) {
  std::ifstream file;
  if (path != "-") {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) fail("cannot open ", path, ": it is a folder");
    errno = 0;
    file.open(path);
    if (!file) detail::fail_on_file("open", path);
  }
  const std::size_t max_bytes = limits.messages.max_bytes;
  LineReader reader(file.is_open() ? file : std::cin, max_bytes);
  std::string text;
  bool too_long = false;
  for (std::size_t number = 1; reader.next(text, too_long); ++number) {
    if (too_long) {
      each(number, {}, concat("the line is longer than ", max_bytes, " bytes (MessageLimits::max_bytes)"));
    } else if (text.find_first_not_of(" \t") != std::string::npos) {
      each(number, text, {});
    }
  }
}

/// Where the media of a file's conversations are.
inline std::filesystem::path media_folder(const std::string& file) {
  return file == "-" ? std::filesystem::path() : std::filesystem::path(file).parent_path();
}

}  // namespace program
