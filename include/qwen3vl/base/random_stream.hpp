/// Counter-based random weights: value i of a stream depends on i alone, so hosts and devices make the same values in
/// any order.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include "qwen3vl/base/host_device.hpp"

namespace qwen3vl {

/// Numbers of mean 0 and a given standard deviation, close to normally distributed and within 3.5 deviations.
struct RandomStream {
  std::uint64_t state = 0;
  float to_unit = 1.0f;  ///< the standard deviation times sqrt(3)

  RandomStream() = default;
  /// The stream of a tensor: its name and a seed choose it.
  RandomStream(std::uint64_t seed, std::string_view name, float deviation)
      : state(seed), to_unit(deviation * std::sqrt(3.0f)) {
    for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }

  /// Number i. splitmix64 (Steele, Lea and Flood 2014), whose state is a counter; the sum of four uniform numbers is
  /// close enough to normal here and needs no logarithm.
  QWEN3VL_HOST_DEVICE float operator()(std::uint64_t i) const {
    std::uint64_t z = state + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    float sum = 0.0f;
    for (int part = 0; part < 4; ++part) sum += static_cast<float>((z >> (16 * part)) & 0xffffu) / 65535.0f;
    return (sum - 2.0f) * to_unit;
  }
};

}  // namespace qwen3vl
