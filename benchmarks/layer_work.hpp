/// The minimum work of a layer's call, from its list of parameters.
#pragma once

#include <cmath>

#include "qwen3vl/layers/parameters.hpp"

namespace qwen3vl::bench {

/// Bytes of a layer's weights that are read for `rows` rows of which each goes to `top_k` experts, if experts are
/// chosen evenly.
template <class Layer>
double touched_bytes(Layer& layer, index_t rows, index_t top_k) {
  double bytes = 0.0;
  layer.parameters([&](auto& parameter, const Parts&) {
    double share = 1.0;
    if (const index_t experts = parameter_shape(parameter).experts; experts > 0 && top_k > 0)
      share = 1.0 - std::pow(1.0 - static_cast<double>(top_k) / static_cast<double>(experts), rows);
    bytes += share * static_cast<double>(parameter.bytes());
  });
  return bytes;
}

/// Operations of all its matrices for one row.
template <class Layer>
double row_operations(Layer& layer, index_t top_k) {
  double operations = 0.0;
  layer.parameters([&](auto& parameter, const Parts&) {
    const ParameterShape shape = parameter_shape(parameter);
    if (shape.is_vector) return;
    operations += 2.0 * static_cast<double>(shape.rows * shape.columns * (shape.experts > 0 ? top_k : 1));
  });
  return operations;
}

}  // namespace qwen3vl::bench
