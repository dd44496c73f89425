/// Random weights, for benchmarks and for layers used alone: no checkpoint needed.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qwen3vl/backend/raw_tensor.hpp"
#include "qwen3vl/layers/parameters.hpp"

namespace qwen3vl {

/// A WeightSource of normally distributed matrices (mean 0, standard deviation `scale`), norm weights of 1 and
/// biases of 0. The values depend on the seed and the tensor's name only, not on the order of loading.
class RandomWeights {
 public:
  explicit RandomWeights(std::uint64_t seed = 0, float scale = 0.02f) : seed_(seed), scale_(scale) {}

  std::optional<RawTensor> find(const Part& part) {
    if (part.name == name_) return tensor();
    name_ = part.name;
    shape_ = part.shape;
    std::size_t count = 1;
    for (const index_t extent : shape_) count *= static_cast<std::size_t>(extent);
    values_.assign(count, 0.0f);
    if (shape_.size() > 1) {
      fill();
    } else if (part.name.ends_with("weight")) {
      values_.assign(count, 1.0f);
    }
    return tensor();
  }
  void release(const Part&) {}
  std::vector<std::string> names() const { return {}; }

 private:
  RawTensor tensor() const {
    return {.dtype = DType::f32, .data = reinterpret_cast<const std::byte*>(values_.data()), .shape = shape_};
  }

  /// splitmix64 (Steele, Lea and Flood 2014).
  static std::uint64_t next(std::uint64_t& state) {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  void fill() {
    std::uint64_t state = seed_;
    for (const char c : name_) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    // The sum of four uniform numbers is close enough to normal here and needs no logarithm.
    const float to_unit = scale_ * std::sqrt(3.0f);
    for (float& value : values_) {
      const std::uint64_t bits = next(state);
      float sum = 0.0f;
      for (int i = 0; i < 4; ++i) sum += static_cast<float>((bits >> (16 * i)) & 0xffffu) / 65535.0f;
      value = (sum - 2.0f) * to_unit;
    }
  }

  std::uint64_t seed_;
  float scale_;
  std::string name_;
  std::vector<index_t> shape_;
  std::vector<float> values_;
};

}  // namespace qwen3vl
