/// Activations by their formulas.
#pragma once

#include <cmath>

#include "qwen3vl/backend/contract/ops.hpp"

namespace formulas {

inline double activate(double z, qwen3vl::epilogue::Gelu) { return 0.5 * z * std::erfc(-z / std::sqrt(2.0)); }
inline double activate(double z, qwen3vl::epilogue::GeluTanh) {
  return 0.5 * z * (1.0 + std::tanh(std::sqrt(2.0 / 3.14159265358979323846) * (z + 0.044715 * z * z * z)));
}
template <class E>
double activate(double z, E) {
  return z;
}
inline double silu(double z) { return z / (1.0 + std::exp(-z)); }

}  // namespace formulas
