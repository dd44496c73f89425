/// One golden case: its tensors and options, and the comparison with what the library computes.
/// The layout is described in tests/golden/README.md.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qwen3vl/inputs/grid.hpp"
#include "qwen3vl/io/weights/safetensors.hpp"
#include "qwen3vl/tensor/host.hpp"

namespace parity {

using nlohmann::json;
using namespace qwen3vl;

/// Exit codes of a case.
enum Exit { passed = 0, failed = 1 };

class GoldenCase {
 public:
  explicit GoldenCase(const std::filesystem::path& json_file)
      : folder_(json_file.parent_path().parent_path().parent_path()) {
    std::ifstream stream(json_file);
    if (!stream) fail("cannot open the case ", json_file.string());
    options_ = json::parse(stream);
    std::filesystem::path tensors = json_file;
    tensors.replace_extension(".safetensors");
    if (std::filesystem::exists(tensors)) file_.emplace(SafetensorsFile::open(tensors));
    tolerance_ = options_.value("tolerance", 1e-4);
  }

  const json& options() const { return options_; }
  std::string kind() const { return options_.value("kind", ""); }
  /// The model's folder, or another file of its weights.
  std::filesystem::path checkpoint() const {
    return folder_ / options_.value("checkpoint", "models/" + options_.at("model").get<std::string>());
  }
  std::filesystem::path folder() const { return folder_; }
  double tolerance() const { return tolerance_; }

  bool has(const std::string& name) const { return file_ && file_->find(name) != nullptr; }
  const StoredTensor& tensor(const std::string& name) const {
    if (!has(name)) fail("the case has no tensor ", name);
    return *file_->find(name);
  }
  std::vector<float> floats(const std::string& name) const {
    std::vector<float> values(count(name));
    read_floats(tensor(name), values);
    return values;
  }
  std::vector<std::int64_t> integers(const std::string& name) const {
    std::vector<std::int64_t> values(count(name));
    read_int64s(tensor(name), values);
    return values;
  }
  index_t extent(const std::string& name, std::size_t i) const {
    return static_cast<index_t>(tensor(name).shape.at(i));
  }

  /// [a, b] of integers as T; an empty tensor if the case has none.
  template <class T>
  HostMatrix<T> matrix(const std::string& name) const {
    if (!has(name)) return {};
    HostMatrix<T> result(extent(name, 0), extent(name, 1));
    convert(name, result.span());
    return result;
  }
  HostMatrix<float> float_matrix(const std::string& name) const {
    if (!has(name)) return {};
    HostMatrix<float> result(extent(name, 0), extent(name, 1));
    read_floats(tensor(name), result.span());
    return result;
  }
  std::vector<GridThw> grids(const std::string& name) const {
    std::vector<GridThw> result;
    if (!has(name)) return result;
    const auto values = integers(name);
    for (std::size_t i = 0; i < values.size(); i += 3) result.push_back({values[i], values[i + 1], values[i + 2]});
    return result;
  }
  template <class T>
  void convert(const std::string& name, std::span<T> to) const {
    std::ranges::transform(integers(name), to.begin(), [](std::int64_t v) { return static_cast<T>(v); });
  }

  /// max |a - b| / max |b| against the case's tolerance. `keep`, if not empty, says which elements are compared.
  void compare(const std::string& name, std::span<const float> actual, const std::vector<bool>& keep = {},
               double tolerance = 0.0) {
    if (tolerance == 0.0) tolerance = tolerance_;
    const std::vector<float> expected = floats(name);
    if (expected.size() != actual.size()) {
      report(name, concat("has ", actual.size(), " values, the reference ", expected.size()));
      return;
    }
    double error = 0.0, scale = 0.0;
    std::size_t compared = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (!keep.empty() && !keep[i]) continue;
      ++compared;
      const double difference = std::abs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
      if (!(difference <= error)) error = difference;  // NaN stays
      scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
    }
    const double relative = scale > 0.0 ? error / scale : error;
    ++comparisons_;
    if (compared == 0) report(name, "nothing was compared");
    if (!(relative <= tolerance)) {
      report(name, concat("differs by ", relative, ", tolerance ", tolerance));
    } else {
      std::printf("  %-32s %.2e\n", name.c_str(), relative);
    }
  }

  template <class T>
  void compare_integers(const std::string& name, std::span<const T> actual) {
    const auto expected = integers(name);
    ++comparisons_;
    const bool equal =
        std::ranges::equal(expected, actual, [](std::int64_t a, T b) { return a == static_cast<std::int64_t>(b); });
    if (!equal) {
      report(name, "is not equal to the reference");
    } else {
      std::printf("  %-32s equal\n", name.c_str());
    }
  }

  void report(const std::string& name, const std::string& problem) {
    std::printf("  %-32s FAILED: %s\n", name.c_str(), problem.c_str());
    ++failures_;
  }

  /// A case that compared nothing fails.
  Exit result() const { return failures_ == 0 && comparisons_ > 0 ? passed : failed; }

 private:
  std::size_t count(const std::string& name) const {
    std::size_t product = 1;
    for (const auto extent : tensor(name).shape) product *= static_cast<std::size_t>(extent);
    return product;
  }

  std::filesystem::path folder_;
  json options_;
  std::optional<SafetensorsFile> file_;
  double tolerance_ = 1e-4;
  int failures_ = 0;
  int comparisons_ = 0;
};

}  // namespace parity
