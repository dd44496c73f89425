/// A score function (tensor/score.hpp) that models have; others are a few lines, see examples/research/.
#pragma once

#include <limits>

#include "qwen3vl/base/host_device.hpp"
#include "qwen3vl/tensor/score.hpp"

namespace qwen3vl {

/// cap * tanh(score / cap), Gemma 2's attn_logit_softcapping: scores stay within +-cap. An infinite cap changes
/// nothing. tanh is Lambert's continued fraction with eleven terms, a quotient of polynomials, which vectorises: within
/// 4e-7 of itself.
struct SoftCap {
  float cap = std::numeric_limits<float>::infinity();

  QWEN3VL_HOST_DEVICE float operator()(float score, ScorePlace /*place*/) const {
    constexpr float largest = 7.91f;  // tanh of it is 1 within 2.7e-7
    const float limit = largest * cap;
    const float x = score < -limit ? -limit : score > limit ? limit : score;
    const float u = x / cap, s = u * u;
    const float p =
        (((((78.0f * s + 75075.0f) * s + 18378360.0f) * s + 1571349780.0f) * s + 45831035250.0f) * s) + 316234143225.0f;
    const float q =
        ((((((s + 3003.0f) * s + 1351350.0f) * s + 192972780.0f) * s + 9820936125.0f) * s + 151242416325.0f) * s) +
        316234143225.0f;
    return x * (p / q);
  }
};

}  // namespace qwen3vl
