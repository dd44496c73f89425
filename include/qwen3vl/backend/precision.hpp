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

/// Precision P with keys and values kept as T (float, bf16 or f16): `WithKv<Bf16, f16>` is a precision, too. Half the
/// bytes double what decoding reads per second at long contexts, and each key and value is rounded once (2^-11 relative
/// for f16, 2^-8 for bf16). Keys are normalised, so they are far inside f16's range of 65504; use bf16 for a model whose
/// values leave it.
template <class P, class T>
struct WithKv : P {
  using Kv = T;
};

}  // namespace qwen3vl
