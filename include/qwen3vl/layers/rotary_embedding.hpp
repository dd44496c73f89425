/// The text model's rotary frequencies (Qwen3VLTextRotaryEmbedding). Only this table depends on the rope type, so rope
/// types are run-time values; the interleaving of the three position axes is compile-time (backend/ops.hpp).
#pragma once

#include <cmath>
#include <vector>

#include "qwen3vl/config/runtime_config.hpp"
#include "qwen3vl/error.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// Inverse frequencies and the factor on cos and sin.
struct RotaryFrequencies {
  std::vector<float> inv_freq;  ///< [head_dim / 2]
  float attention_scaling = 1.0f;
};

/// The frequencies of a rope type. Throws Error for a type that is not supported.
inline RotaryFrequencies rotary_frequencies(const RopeParameters& rope, index_t head_dim) {
  if (rope.rope_type != "default") fail("rope_type '", rope.rope_type, "' is not supported yet; supported: 'default'");
  RotaryFrequencies result;
  // float32 exponents and powers, as the reference computes them.
  for (index_t i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    result.inv_freq.push_back(1.0f / static_cast<float>(std::pow(rope.rope_theta, static_cast<double>(exponent))));
  }
  return result;
}

}  // namespace qwen3vl
