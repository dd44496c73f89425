/// A score function (tensor/score.hpp) that models have; others are a few lines, see examples/research/.
#pragma once

#include <limits>

#include "qwen3vl/base/host_device.hpp"
#include "qwen3vl/tensor/score.hpp"

namespace qwen3vl {

/// cap * tanh(score / cap), Gemma 2's attn_logit_softcapping: scores stay within +-cap. An infinite cap changes
/// nothing. tanh is a quotient of polynomials within 4e-7 of itself (Eigen's), which vectorises.
struct SoftCap {
  float cap = std::numeric_limits<float>::infinity();

  QWEN3VL_HOST_DEVICE float operator()(float score, ScorePlace /*place*/) const {
    constexpr float largest = 7.90531110763549805f;  // tanh of it rounds to 1
    const float limit = largest * cap;
    const float x = score < -limit ? -limit : score > limit ? limit : score;
    const float u = x / cap, s = u * u;
    float p = -2.76076847742355e-16f;
    p = p * s + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    float q = 1.19825839466702e-06f;
    q = q * s + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return x * (p / q);
  }
};

}  // namespace qwen3vl
