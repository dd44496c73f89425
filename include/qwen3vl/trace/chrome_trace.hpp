/// Writes a trace in the Trace Event Format, which chrome://tracing and https://ui.perfetto.dev show.
#pragma once

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "qwen3vl/base/error.hpp"
#include "qwen3vl/trace/trace.hpp"

namespace qwen3vl {

/// What the file contains besides events.
struct ChromeTraceOptions {
  /// The least time in seconds that the machine needs for a call; gives each operation its share of the roof ("roof%").
  std::function<double(const TracedCall&)> least_seconds{};
  /// Notes about the run, such as the processor.
  std::map<std::string, std::string> about{};
};

namespace detail {

inline nlohmann::ordered_json chrome_event(const TraceEvent& event, const ChromeTraceOptions& options) {
  const TracedCall& call = event.call;
  const double seconds = static_cast<double>(event.end - event.begin) * 1e-9;
  nlohmann::ordered_json arguments = nlohmann::ordered_json::object();
  for (const auto& [name, value] : call.sizes)
    if (!name.empty()) arguments[std::string(name)] = value;
  if (!call.is_layer) {
    const double operations = call.products + call.others;
    if (!call.weights.empty()) arguments["weights"] = call.weights;
    arguments["FLOP"] = operations;
    arguments["bytes"] = call.bytes;
    if (seconds > 0.0) {
      arguments["GFLOP/s"] = operations * 1e-9 / seconds;
      arguments["GB/s"] = call.bytes * 1e-9 / seconds;
      if (options.least_seconds) arguments["roof%"] = 100.0 * options.least_seconds(call) / seconds;
    }
  }
  return {{"name", call.name},
          {"cat", call.is_layer ? "layer" : "operation"},
          {"ph", "X"},
          {"ts", static_cast<double>(event.begin) * 1e-3},  // microseconds
          {"dur", seconds * 1e6},
          {"pid", 1},
          {"tid", 1},
          {"args", std::move(arguments)}};
}

}  // namespace detail

/// Writes the completed events. Throws Error if the file cannot be written.
inline void write_chrome_trace(const std::filesystem::path& path, const Trace& trace,
                               const ChromeTraceOptions& options = {}) {
  errno = 0;
  std::ofstream file(path);
  // One event per line, never all as one JSON value: a long answer has hundreds of thousands.
  file << "{\"traceEvents\": [";
  const char* separator = "\n";
  for (const TraceEvent& event : trace.events()) {
    if (event.end < event.begin) continue;
    file << separator << detail::chrome_event(event, options).dump();
    separator = ",\n";
  }
  nlohmann::ordered_json about = options.about;
  if (trace.dropped() > 0) about["events left out"] = std::to_string(trace.dropped());
  file << "\n],\n\"displayTimeUnit\": \"ms\",\n\"otherData\": " << about.dump() << "}\n";
  if (!file.flush()) detail::fail_on_file("write", path.string());
}

}  // namespace qwen3vl
