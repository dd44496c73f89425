/// Where warnings go: what is wrong and does not stop the work.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

namespace qwen3vl {

/// Called with one line: what is wrong, where, and what was done about it. An empty one drops warnings.
using Warn = std::function<void(const std::string&)>;

/// The default of every reader: a line on stderr, as transformers logs its warnings, because what a file says should
/// not be dropped in silence.
inline void print_warning(const std::string& text) { std::fprintf(stderr, "warning: %s\n", text.c_str()); }

}  // namespace qwen3vl
