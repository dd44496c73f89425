/// What --trace writes.
#pragma once

#include <string>

#include "qwen3vl/trace/trace.hpp"

namespace program {

/// Measures what the machine can do at most, which takes a few seconds, and writes the trace beside it.
void write_trace(const std::string& path, const qwen3vl::Trace& trace, const std::string& program, int threads);

}  // namespace program
