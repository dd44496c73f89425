/// Text from standard input and files of any length.
#pragma once

#include <cstddef>
#include <istream>
#include <string>

#include "qwen3vl/base/error.hpp"

namespace program {

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

}  // namespace program
