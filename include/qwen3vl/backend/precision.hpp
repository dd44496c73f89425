/// Precision: which type weights and the key/value cache are kept in. Activations are the backend's choice (f32 on the
/// CPU), sums are always at least f32.
#pragma once

#include <string_view>

#include "qwen3vl/tensor/dtype.hpp"

namespace qwen3vl {

/// Weights as stored, nothing rounded.
struct F32 {
  using Weight = float;
  using Kv = float;
  static constexpr std::string_view name = "f32";
};

/// bf16 weights, the released checkpoints' own type. The cache stays f32: results then equal those of transformers
/// with the same weights computed in float32.
struct Bf16 {
  using Weight = bf16;
  using Kv = float;
  static constexpr std::string_view name = "bf16";
};

}  // namespace qwen3vl
