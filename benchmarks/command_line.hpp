/// What the benchmark programs' command lines have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "qwen3vl/base/error.hpp"
#include "roof.hpp"

namespace qwen3vl::bench {

/// Parses; false if the program is done (--help). Errors are thrown as Error, one line.
inline bool parse_arguments(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);
      return false;
    }
    fail(error.what(), "; see --help");
  }
  return true;
}

inline nlohmann::ordered_json to_json(const Roof& roof) {
  return {{"threads", roof.threads},
          {"fma_gflops_one_thread", roof.fma_one * 1e-9},
          {"fma_gflops", roof.fma_all * 1e-9},
          {"bf16_dot_gflops", roof.bf16_all * 1e-9},
          {"int8_dot_gops", roof.int8_all * 1e-9},
          {"read_gbytes_per_second_one_thread", roof.read_one * 1e-9},
          {"read_gbytes_per_second", roof.read_all * 1e-9},
          {"read_buffer_bytes", roof.buffer},
          {"line_round_trip_nanoseconds", roof.line_round_trip * 1e9}};
}

}  // namespace qwen3vl::bench
