/// Reading what --trace writes, and checking what holds for every trace.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/test_files.hpp"

namespace qwen3vl::test {

/// The events of a file by name. Each lies inside the last one before it that is not over; operations hold no others;
/// what is inside takes no longer than what it is in; and an operation says its work and its share of the roof.
inline std::map<std::string, std::vector<nlohmann::json>> read_trace(const std::filesystem::path& path) {
  const nlohmann::json trace = nlohmann::json::parse(read_file(path));
  BOOST_TEST(trace.at("otherData").is_object());
  struct Open {
    double end, inside, duration;
    bool is_layer;
  };
  std::vector<Open> open;
  std::map<std::string, std::vector<nlohmann::json>> by_name;
  constexpr double rounding = 1e-3;  // microseconds
  const auto close = [&] {
    BOOST_TEST(open.back().inside <= open.back().duration + rounding);
    open.pop_back();
  };
  for (const nlohmann::json& event : trace.at("traceEvents")) {
    BOOST_TEST(event.at("ph") == "X");
    const double begin = event.at("ts").get<double>(), duration = event.at("dur").get<double>();
    const bool is_layer = event.at("cat") == "layer";
    BOOST_TEST((begin >= 0.0 && duration >= 0.0 && std::isfinite(begin + duration)));
    while (!open.empty() && open.back().end <= begin + rounding) close();
    if (!open.empty()) {
      BOOST_TEST(open.back().is_layer, event.dump() << " is inside an operation");
      BOOST_TEST(begin + duration <= open.back().end + rounding, event.dump() << " outlasts what it is in");
      open.back().inside += duration;
    }
    open.push_back({begin + duration, 0.0, duration, is_layer});
    if (!is_layer) {
      const nlohmann::json& arguments = event.at("args");
      BOOST_TEST(arguments.at("bytes").get<double>() > 0.0, event.dump());
      BOOST_TEST(arguments.at("FLOP").get<double>() >= 0.0, event.dump());
      if (duration > 0.0) BOOST_TEST(arguments.at("roof%").get<double>() > 0.0, event.dump());
    }
    by_name[event.at("name").get<std::string>()].push_back(event);
  }
  while (!open.empty()) close();
  return by_name;
}

}  // namespace qwen3vl::test
