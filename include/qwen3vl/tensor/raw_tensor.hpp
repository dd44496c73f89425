/// A stored tensor as a backend sees it while loading: bytes, type and shape, and where else the bytes are.
#pragma once

#include <cstddef>
#include <span>

#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl {

/// An open file, mapped from its first byte on to `begin`. Not owned.
struct MappedFrom {
  int descriptor = -1;  ///< below 0: there is none
  const std::byte* begin = nullptr;
};

/// Row-major values of a floating dtype (f32, bf16, f16); `data` need not be aligned.
struct RawTensor {
  DType dtype = DType::f32;
  const std::byte* data = nullptr;
  std::span<const index_t> shape;
  /// What `data` is mapped from: reading it can cost less than touching the mapping.
  MappedFrom file = {};

  index_t rows() const { return shape.empty() ? 1 : shape[0]; }
  index_t row_size() const {
    index_t product = 1;
    for (std::size_t i = 1; i < shape.size(); ++i) product *= shape[i];
    return product;
  }
};

/// How the rows of a weight matrix are laid out by a backend.
enum class Packing {
  plain,
  /// The first half of the rows are gates, the second half ups of a gated MLP; row i of each is kept beside the other,
  /// so that the SwiGLU epilogue finds both in one tile.
  gate_up,
};

}  // namespace qwen3vl
