/// Reading a small text file as a whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>

#include "qwen3vl/error.hpp"

namespace qwen3vl {

/// The bytes of `path`. Throws Error if it cannot be read, or has more than `max_bytes`: read in pieces, because the
/// size that a file system states may be wrong (pipes, devices).
inline std::string read_text_file(const std::filesystem::path& path, std::size_t max_bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot open ", path.string());
  std::string text;
  char buffer[1 << 14];
  while (file.read(buffer, sizeof buffer), file.gcount() > 0) {
    text.append(buffer, static_cast<std::size_t>(file.gcount()));
    if (text.size() > max_bytes) fail(path.string(), " has more than ", max_bytes, " bytes");
  }
  if (file.bad()) fail("cannot read ", path.string());
  return text;
}

}  // namespace qwen3vl
